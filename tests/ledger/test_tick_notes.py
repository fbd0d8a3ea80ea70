"""Notes on due times, and acknowledgements, on every database: they stay whatever is judged or folded again."""

import pytest
from sqlalchemy import func, select
from test_schedule_store import HOUR, MINUTE, TEN_AT, Stage, entry

from taskledger.errors import SettingsError
from taskledger.ledger import Ledger, query, rebuild, retain, schema, tick_notes
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger.ledger.schedule_store import judge_due, schedule, schedules
from taskledger.retention import Retention

QUARTER = 15 * MINUTE
NOW = TEN_AT + 2 * HOUR


@pytest.fixture
def stage(ledger: Ledger) -> Stage:
    """Two hours of which the due times at 10:15 and 10:30 were missed."""
    stage = Stage(ledger)
    stage.listen(TEN_AT - MINUTE, NOW + HOUR)
    stage.keep(entry())
    for at in range(TEN_AT, NOW, QUARTER):
        if at not in (TEN_AT + QUARTER, TEN_AT + 2 * QUARTER):
            stage.send(at, types=("sent", "received", "started", "succeeded"))
    judge_due(ledger, NOW)
    return stage


def row(stage: Stage, at: int | None = None) -> ScheduleRow:
    found = schedule(stage.ledger, "often", at or NOW, at=at)
    assert found is not None
    return found


def known(stage: Stage) -> list[int]:
    """Minutes after ten of the due times that are acknowledged, as a list, an entry's page and its days tell them."""
    (listed,) = schedules(stage.ledger, NOW)
    told = query.due_times(stage.ledger, listed, Span(TEN_AT, NOW), NOW)
    found = [
        [tick.due_at for tick in ticks if tick.is_acknowledged] for ticks in (listed.ticks, row(stage).ticks, told)
    ]
    assert found[0] == found[1] == found[2]
    return [(due_at - TEN_AT) // MINUTE for due_at in found[0]]


def test_what_is_acknowledged_is_told_until_it_is_taken_back(stage: Stage) -> None:
    """The last word holds; a note alone acknowledges nothing; all of them are kept, the oldest first."""
    due_at = TEN_AT + QUARTER
    tick_notes.add(stage.ledger, row(stage), [due_at], " beat was moved ", "", NOW)
    assert known(stage) == []
    tick_notes.add(stage.ledger, row(stage), [due_at], "", "Ann", NOW + 1, acknowledges=True)
    assert known(stage) == [15]
    tick_notes.add(stage.ledger, row(stage), [due_at], "no, look again", "Bob", NOW + 2, acknowledges=False)
    assert known(stage) == []
    tick_notes.add(stage.ledger, row(stage), [due_at, due_at + QUARTER], "", "Ann", NOW + 3, acknowledges=True)
    assert known(stage) == [15, 30]

    told = tick_notes.of_entry(stage.ledger, row(stage), TEN_AT, NOW, NOW + 2)
    assert [(note.text, note.author, note.acknowledges) for note in told[due_at]] == [
        ("beat was moved", "", None),
        ("", "Ann", True),
        ("no, look again", "Bob", False),
    ]
    assert list(told) == [due_at]


def test_it_is_still_counted_as_missed(stage: Stage) -> None:
    """Neither the verdict nor the counts of the days change with it."""
    before = row(stage)
    tick_notes.add(stage.ledger, before, [TEN_AT + QUARTER], "", "Ann", NOW, acknowledges=True)
    after = row(stage)

    assert [tick.fire for tick in after.ticks] == [tick.fire for tick in before.ticks]
    assert after.adherence == before.adherence
    verdict = query.beat_verdict(stage.ledger, Span(TEN_AT, NOW), NOW)
    assert verdict is not None
    assert verdict.counts.missed == 2


def test_judging_again_and_rebuilding_leave_notes_alone(stage: Stage) -> None:
    """After more was judged, and all events were folded again, each note is still there and still holds."""
    tick_notes.add(stage.ledger, row(stage), [TEN_AT + QUARTER], "known", "Ann", NOW, acknowledges=True)
    judge_due(stage.ledger, NOW + HOUR)
    rebuild.rebuild(stage.ledger)
    judge_due(stage.ledger, NOW + HOUR)

    assert known(stage) == [15]
    told = tick_notes.of_entry(stage.ledger, row(stage), TEN_AT, NOW, NOW)
    assert [note.text for notes in told.values() for note in notes] == ["known"]


def test_as_of_a_moment_before_it_nobody_had_acknowledged_it(stage: Stage) -> None:
    """Looking back at a moment shows what was acknowledged by then."""
    tick_notes.add(stage.ledger, row(stage), [TEN_AT + QUARTER], "", "Ann", NOW - 10 * MINUTE, acknowledges=True)

    for at, expected in ((NOW - 11 * MINUTE, 0), (NOW - 9 * MINUTE, 1)):
        assert sum(tick.is_acknowledged for tick in row(stage, at).ticks) == expected


def test_notes_go_with_their_due_times(stage: Stage) -> None:
    """Pruning takes the notes on due times that it takes, and no others."""
    for due_at in (TEN_AT + QUARTER, TEN_AT + 4 * QUARTER):
        tick_notes.add(stage.ledger, row(stage), [due_at], "x", "", NOW)
    gone = retain.prune(stage.ledger, Retention(default_s=3600.0 + 20 * 60), NOW)
    with stage.ledger.read() as connection:
        left = connection.execute(select(schema.tick_note.c.due_at)).scalars().all()

    assert left == [TEN_AT + 4 * QUARTER]
    assert gone.notes == 1


@pytest.mark.parametrize(("text", "dues"), [("  ", 1), ("", 1), ("x", tick_notes.MOST_DUE + 1)])
def test_what_says_nothing_is_refused(stage: Stage, text: str, dues: int) -> None:
    """An empty note that acknowledges nothing, and one on too many due times, are refused, and nothing is kept."""
    with pytest.raises(SettingsError, match="some text"):
        tick_notes.add(stage.ledger, row(stage), [TEN_AT] * dues, text, "", NOW)
    with stage.ledger.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.tick_note)) == 0


@pytest.mark.parametrize("text", ["naïve ☃ 🐘", "a\x00b", "x" * 10_000, "<b>'\"; DROP TABLE tick_note; --"])
def test_any_text_can_be_kept(stage: Stage, text: str) -> None:
    """Letters of any script stay as they are; what no database takes is taken out, and the endless is cut."""
    tick_notes.add(stage.ledger, row(stage), [TEN_AT], text, text, NOW)
    ((note,),) = tick_notes.of_entry(stage.ledger, row(stage), TEN_AT, NOW, NOW).values()

    assert note.text[:1] == text[:1]
    assert len(note.text) <= 4_000
    assert len(note.author) <= 255
    assert note.created_at == NOW

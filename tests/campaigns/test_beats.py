"""The campaign on real beats: its short form, and that it finds what is wrong."""

from pathlib import Path

import pytest

from benchmarks.campaigns import _beat_truth as truth
from benchmarks.campaigns import beats
from benchmarks.campaigns._beat_compare import Play, compared
from benchmarks.campaigns._beat_crew import Script, Span
from taskledger.ledger.answers import ScheduleRow, TickRow

#: what beat says at level DEBUG
LOG = """
[2026-11-26 03:00:04,000: INFO/MainProcess] Scheduler: Sending due task often (play.work)
[2026-11-26 03:00:04,010: DEBUG/MainProcess] play.work sent. id->one
[2026-11-26 03:00:08,000: INFO/MainProcess] Scheduler: Sending due task often (play.work)
[2026-11-26 03:00:08,010: ERROR/MainProcess] Message Error: no broker
Traceback (most recent call last):
[2026-11-26 03:00:20,000: INFO/MainProcess] Scheduler: Sending due task often (play.work)
[2026-11-26 03:00:20,010: DEBUG/MainProcess] play.work sent. id->two
[2026-11-26 03:00:24,000: INFO/MainProcess] Scheduler: Sending due task often (play.work)
[2026-11-26 03:00:24,010: DEBUG/MainProcess] play.work sent. id->three
"""
BEGAN_S = 1_795_662_000.0


@pytest.mark.acceptance
def test_a_killed_beat_and_an_entry_that_cannot_be_sent(redis_url: str, tmp_path: Path) -> None:
    """A real beat with the probe is killed across due times; each verdict is what its own log says."""
    outcome = beats.run(Script("persistent", "probe", tmp_path, redis_url), ["killed"], is_brief=True)

    assert outcome.is_well, str(outcome)
    assert outcome.tallies["killed"].said["missed"] > 0
    assert outcome.tallies["misfit"].said["failed_to_send"] > 0


def tick(due_s: float, fire: str, task_id: str | None = None, **more: object) -> TickRow:
    """A final verdict; `due_s` and `fired_s` in seconds after three o'clock."""
    fired_s = more.pop("fired_s", None)
    fired_at = None if fired_s is None else round((BEGAN_S + float(str(fired_s))) * 1e6)
    due_at = round((BEGAN_S + due_s) * 1e6)
    return TickRow(due_at, fire, None, fired_at, None, task_id, is_final=True, note="why", error=None, **more)  # type: ignore[arg-type]


#: what is right by the log
RIGHT = (
    tick(8, "failed_to_send", fired_s=8.0),
    tick(12, "missed"),
    tick(16, "missed"),
    tick(20, "on_time", "two", fired_s=20.0),
    tick(24, "on_time", "three", fired_s=24.0),
)


def found(tmp_path: Path, ticks: tuple[TickRow, ...]) -> list[str]:
    """What the campaign calls wrong, of a ledger that says that."""
    (tmp_path / "beat.log").write_text(LOG)
    made = truth.attempts(tmp_path / "beat.log", "beat")
    row = ScheduleRow("often", "", "play.work", "", "", "UTC", "", True, 0, "probe", ticks, None, None)
    play = Play(
        Script("persistent", "probe", tmp_path, ""),
        [Span("quiet", BEGAN_S, BEGAN_S + 30)],
        {"often": [truth.Rule(BEGAN_S, BEGAN_S, 4.0)]},
        [], [], (), {"often": row}, made, BEGAN_S + 1, BEGAN_S + 26,
    )  # fmt: skip
    return [wrong for tally in compared(play).values() for wrong in tally.wrong]


def test_what_is_right_is_not_called_wrong(tmp_path: Path) -> None:
    """A ledger that says what beat's log says is well."""
    assert found(tmp_path, RIGHT) == []


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [
        (0, {"fire": "missed", "fired_at": None}, "it failed: no broker"),
        (1, {"fire": "unknown"}, "unknown, though the probe told all"),
        (1, {"fire": "on_time", "task_id": "four"}, "no such send in beat's log"),
        (3, {"fire": "missed", "task_id": None, "fired_at": None}, "it was sent at"),
        (3, {"fire": "late"}, "it was due at"),
        (3, {"task_id": "one"}, "it was sent at"),
        (4, {"fire": "failed_to_send"}, "beat's log has no failure then"),
        (4, {"is_final": False}, "should have been final by now"),
    ],
)
def test_what_is_wrong_is_found(place: int, wrong: dict[str, object], said: str, tmp_path: Path) -> None:
    """Each kind of wrong verdict is told, with what beat's log says."""
    ticks = (*RIGHT[:place], RIGHT[place]._replace(**wrong), *RIGHT[place + 1 :])  # type: ignore[arg-type] # each case names fields of its own

    assert any(said in each for each in found(tmp_path, ticks))


def test_a_due_time_that_is_left_out_is_found(tmp_path: Path) -> None:
    """A missed due time of which the ledger says nothing is as wrong as one that it calls on time."""
    assert any("nothing is said of it" in each for each in found(tmp_path, RIGHT[:1] + RIGHT[2:]))

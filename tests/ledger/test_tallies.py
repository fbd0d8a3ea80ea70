"""Due times counted by stretches of a span, on every database; and those that are still to come."""

from collections import Counter

import pytest
from test_schedule_store import HOUR, MINUTE, SECOND, TEN_AT, Stage, entry

from taskledger.ledger import Ledger, query
from taskledger.ledger.answers import Span
from taskledger.ledger.schedule_store import judge_due, schedules
from taskledger.schedules import Crontab, Interval

EVERY = 5 * MINUTE


@pytest.fixture
def stage(ledger: Ledger) -> Stage:
    """Two hours of an entry that is due every five minutes; the third due time is missed, the fourth fails."""
    stage = Stage(ledger)
    stage.listen(TEN_AT - MINUTE, TEN_AT + 3 * HOUR)
    stage.keep(entry("often", Crontab("*/5")), entry("hourly", Crontab("30"), args="(1,)"))
    for number, at in enumerate(range(TEN_AT, TEN_AT + 2 * HOUR, EVERY)):
        if number != 2:
            stage.send(at, types=("sent", "received", "started", "failed" if number == 3 else "succeeded"))
    judge_due(ledger, TEN_AT + 3 * HOUR)
    return stage


def told(stage: Stage, span: Span, width: int, **more: int) -> list[tuple[float, str, str | None, int]]:
    """Minutes after ten, what beat did, what became of it, how many."""
    rows = [row for row in schedules(stage.ledger, TEN_AT + 3 * HOUR) if row.name == "often"]
    found = query.tallies(stage.ledger, rows, span, width, TEN_AT + 3 * HOUR, **more)
    return [((one.from_at - TEN_AT) / MINUTE, one.fire, one.outcome, one.number) for one in found]


def test_due_times_are_counted_by_stretches(stage: Stage) -> None:
    """Each stretch has a count for each thing that became of its due times; together they are all of the span."""
    counted = told(stage, Span(TEN_AT, TEN_AT + HOUR), 20 * MINUTE)

    assert sorted(counted, key=str) == [
        (0.0, "missed", None, 1),
        (0.0, "on_time", "failed", 1),
        (0.0, "on_time", "ok", 2),
        (20.0, "on_time", "ok", 4),
        (40.0, "on_time", "ok", 4),
    ]


def test_a_due_time_alone_has_its_task(stage: Stage) -> None:
    """Where a stretch has one due time, its task is told; where it has more, none is."""
    rows = schedules(stage.ledger, TEN_AT + 3 * HOUR)
    fine = query.tallies(stage.ledger, rows, Span(TEN_AT, TEN_AT + HOUR), EVERY, TEN_AT + 3 * HOUR)
    coarse = query.tallies(stage.ledger, rows, Span(TEN_AT, TEN_AT + HOUR), HOUR, TEN_AT + 3 * HOUR)
    often = [one for one in fine if one.entry == "often"]

    assert [one.task_id is None for one in often] == [one.fire == "missed" for one in often]
    assert {one.entry: one.task_id for one in coarse if one.number > 1} == {"often": None}
    assert Counter(one.entry for one in fine) == {"often": 12, "hourly": 1}


def test_as_of_a_moment_nothing_later_is_counted(stage: Stage) -> None:
    """At 10:32 the last due time that is final is the one before 10:30."""
    counted = told(stage, Span(TEN_AT, TEN_AT + 3 * HOUR), 3 * HOUR, at=TEN_AT + 32 * MINUTE)

    assert sum(number for *_, number in counted) == 6


def test_of_very_many_the_tasks_are_not_looked_at(stage: Stage) -> None:
    """Above the limit the outcome is none, which is not the same as unknown; the counts are the same."""
    counted = told(stage, Span(TEN_AT, TEN_AT + HOUR), HOUR, many=10)

    assert sorted(counted, key=str) == [(0.0, "missed", None, 1), (0.0, "on_time", None, 11)]


def test_what_is_due_in_the_next_hours(ledger: Ledger) -> None:
    """Up to the end that is asked for, as the definition says, an entry that is switched off not at all."""
    stage = Stage(ledger)
    stage.listen(TEN_AT - MINUTE, TEN_AT + MINUTE)
    stage.keep(
        entry("a", Crontab("*/20")), entry("b", Interval(3_600.0), args="(1,)"), entry("c", enabled=False, args="(2,)")
    )
    now_at = TEN_AT + SECOND
    ahead = query.due_ahead(ledger, schedules(ledger, now_at), now_at, TEN_AT + HOUR + MINUTE)

    assert {key[1]: [(at - TEN_AT) / MINUTE for at in dues] for key, dues in ahead.items()} == {
        "a": [20.0, 40.0, 60.0],
        "b": [60.0],
    }

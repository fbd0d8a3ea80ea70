"""Due times asked for by the minute, on every database."""

import pytest
from test_schedule_store import MINUTE, SECOND, TEN_AT, Stage, entry

from taskledger.ledger import Ledger, schedule_minutes
from taskledger.ledger.schedule_store import judge_due, schedules
from taskledger.schedules import Clocked, Crontab, Interval

EVERY = 20 * SECOND


@pytest.mark.parametrize("minutes", [1, 4, 30])
def test_so_many_minutes_are_told_whole(ledger: Ledger, minutes: int) -> None:
    """Of a 20-second entry 4 minutes are all due times of the last 4, judged or not; of another, 4 due times."""
    stage = Stage(ledger)
    stage.listen(TEN_AT - MINUTE, TEN_AT + 10 * MINUTE)
    stage.keep(entry("often", Interval(20.0)), entry("seldom", Crontab("*")))
    for at in range(TEN_AT, TEN_AT + 10 * MINUTE, EVERY):
        stage.send(at)
    judge_due(ledger, TEN_AT + 9 * MINUTE)
    asked_at = TEN_AT + 10 * MINUTE - SECOND

    rows = {row.name: row for row in schedules(ledger, asked_at, ticks=minutes, by_minute=True)}

    often, seldom = ([tick for tick in rows[name].ticks if tick.fire != "pending"] for name in ("often", "seldom"))
    assert len({tick.due_at // MINUTE for tick in often}) == min(minutes, 10)
    assert often[0].due_at // MINUTE * MINUTE == TEN_AT + max(10 - minutes, 0) * MINUTE
    assert len(seldom) == min(minutes, 10)
    assert (rows["often"].is_by_minute, rows["seldom"].is_by_minute) == (True, False)
    plain = {row.name: row for row in schedules(ledger, asked_at, ticks=minutes)}
    assert len([tick for tick in plain["often"].ticks if tick.fire != "pending"]) <= minutes


@pytest.mark.parametrize(
    ("schedule", "number"),
    [(Interval(10.0), 6), (Interval(45.0), 2), (Interval(60.0), 1), (Crontab("*"), 1), (Clocked(5), 1)],
)
def test_how_many_due_times_a_minute_has(schedule: object, number: int) -> None:
    """Only what is due more often than once a minute has several; there is a limit to what is read."""
    assert schedule_minutes.per_minute(schedule) == number
    assert schedule_minutes.ticks_of(90, number) == (90 if number == 1 else 91 * number)
    assert schedule_minutes.ticks_of(90, 6_000) == schedule_minutes.MOST

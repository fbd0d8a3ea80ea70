"""Pruning: what the retention no longer keeps goes, whole and in small steps; the rest stays."""

import threading
from typing import Any

import pytest
from sqlalchemy import func, select

from taskledger.events import canonical, decode
from taskledger.ledger import Ledger, presence, retain, schema
from taskledger.ledger.kept import add_note
from taskledger.ledger.query import task
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.schedule_store import judge_due, keep_definitions, schedule
from taskledger.retention import parse_retention
from taskledger.schedules import Crontab, Entry

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
#: 2026-11-22 10:00:00 UTC
NOW_AT = 1_795_341_600 * SECOND


def tell(ledger: Ledger, kind: str, at: int, **fields: Any) -> int:
    """Record one event; how many were new."""
    items = decode(canonical({"type": kind, "timestamp": at / SECOND, "hostname": "w1@host", "pid": 7, **fields}))
    return record(ledger, Batch("default", items, received_at=at)).new


def live(ledger: Ledger, task_id: str, at: int, end: str = "task-succeeded", **fields: Any) -> None:
    """A task that was sent, received and ended, within a second."""
    about = {"uuid": task_id, "name": "proj.add", "queue": "celery"} | fields
    tell(ledger, "task-sent", at, **about)
    tell(ledger, "task-received", at + SECOND // 4, **about)
    tell(ledger, "task-started", at + SECOND // 2, uuid=task_id)
    tell(ledger, end, at + SECOND, uuid=task_id, exception="ValueError('no')", result="1")


def prune(ledger: Ledger, retention: str, **options: Any) -> retain.Pruned:
    return retain.prune(ledger, parse_retention(retention), NOW_AT, **options)


def left(ledger: Ledger) -> list[str]:
    """Ids of the tasks that are left."""
    with ledger.read() as connection:
        return sorted(connection.scalars(select(schema.task.c.id)))


def count(ledger: Ledger, table: Any) -> int:
    with ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def judge_all(ledger: Ledger) -> None:
    """Judge until now; one call catches up with a week."""
    for _ in range(3):
        judge_due(ledger, NOW_AT)


def test_a_task_goes_with_all_that_tells_of_it(ledger: Ledger) -> None:
    """Runs, events and notes of an old task are deleted with it; those of a younger one stay."""
    live(ledger, "old", NOW_AT - 31 * DAY)
    live(ledger, "young", NOW_AT - 29 * DAY)
    for task_id in ("old", "young"):
        add_note(ledger, task_id, "looked at", "me", NOW_AT)

    pruned = prune(ledger, "30d")

    assert (pruned.tasks, pruned.runs, pruned.events, pruned.notes) == (1, 1, 4, 1)
    assert left(ledger) == ["young"]
    assert [count(ledger, table) for table in (schema.run, schema.event, schema.note)] == [1, 4, 1]
    assert str(pruned) == "1 task, 1 run, 4 events, 1 note, 4 counts"


def test_a_dry_run_counts_what_would_go_and_deletes_nothing(ledger: Ledger) -> None:
    """It says what pruning then does, and events of that time are still taken."""
    live(ledger, "old", NOW_AT - 31 * DAY)
    add_note(ledger, "old", "looked at", "me", NOW_AT)
    tell(ledger, "worker-heartbeat", NOW_AT - 31 * DAY)

    counted = prune(ledger, "30d", dry_run=True)

    assert left(ledger) == ["old"]
    assert tell(ledger, "worker-heartbeat", NOW_AT - 32 * DAY) == 1
    assert counted == retain.Pruned(
        NOW_AT - 30 * DAY, tasks=1, runs=1, events=4, worker_events=1, notes=1, sessions=1, counts=5
    )
    assert prune(ledger, "30d").tasks == counted.tasks


def test_the_first_rule_that_matches_decides(ledger: Ledger) -> None:
    """Failures for long, one task for longer, a queue for a day; the rest by default."""
    at = NOW_AT - 40 * DAY
    live(ledger, "failed", at, "task-failed")
    live(ledger, "billing", at, name="billing.charge")
    live(ledger, "mail", NOW_AT - 2 * DAY, queue="mail")
    live(ledger, "mail-failed", NOW_AT - 2 * DAY, "task-failed", queue="mail")
    live(ledger, "plain", at)
    live(ledger, "young", NOW_AT - DAY)

    prune(ledger, "30d,state:failure=90d,task:billing.*=1y,queue:mail=1d")

    assert left(ledger) == ["billing", "failed", "mail-failed", "young"]


def test_a_rule_also_shortens_what_the_default_keeps(ledger: Ledger) -> None:
    """Tasks without a name or queue go by the default; rules about others do not touch them."""
    tell(ledger, "task-started", NOW_AT - 2 * DAY, uuid="nameless")
    tell(ledger, "task-started", NOW_AT - 31 * DAY, uuid="nameless-old")
    live(ledger, "noise", NOW_AT - 2 * DAY, name="noise.tick")

    prune(ledger, "30d,task:noise.*=1d,queue:none=1d")

    assert left(ledger) == ["nameless"]


def test_a_task_is_as_old_as_its_end_or_its_eta(ledger: Ledger) -> None:
    """Sent long ago but ended lately, or still to come: neither is old."""
    tell(ledger, "task-sent", NOW_AT - 31 * DAY, uuid="slow", name="proj.add")
    tell(ledger, "task-succeeded", NOW_AT - DAY, uuid="slow")
    tell(ledger, "task-sent", NOW_AT - 31 * DAY, uuid="later", name="proj.add", eta="2027-01-01T00:00:00+00:00")
    tell(ledger, "task-sent", NOW_AT - 31 * DAY, uuid="lost", name="proj.add")

    prune(ledger, "30d")

    assert left(ledger) == ["later", "slow"]


def test_events_of_workers_go_by_their_type(ledger: Ledger) -> None:
    """Heartbeats for two days, the rest by default; again finds nothing, but for what came late."""
    for days in (1, 3, 31):
        tell(ledger, "worker-heartbeat", NOW_AT - days * DAY)
        tell(ledger, "worker-online", NOW_AT - days * DAY)

    first = prune(ledger, "30d,worker-heartbeat=2d")

    assert first.worker_events == 3
    assert prune(ledger, "30d,worker-heartbeat=2d").worker_events == 0
    tell(ledger, "worker-heartbeat", NOW_AT - 2 * DAY - HOUR)
    assert prune(ledger, "30d,worker-heartbeat=2d").worker_events == 1


def test_what_was_pruned_does_not_come_back(ledger: Ledger) -> None:
    """A late redelivery of a pruned event is refused; one that some rule may still keep is taken."""
    live(ledger, "old", NOW_AT - 100 * DAY)
    prune(ledger, "30d,state:failure=90d")

    assert tell(ledger, "task-sent", NOW_AT - 100 * DAY, uuid="old", name="proj.add") == 0
    assert tell(ledger, "task-sent", NOW_AT - 60 * DAY, uuid="late", name="proj.add") == 1


def test_steps_are_small_and_tell_how_far_they_are(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tasks than one step takes go in several, each told to `progress`, the last one with all done."""
    monkeypatch.setattr(retain, "TASKS_A_STEP", 2)
    for number in range(5):
        live(ledger, f"old-{number}", NOW_AT - 40 * DAY + number)
    told: list[tuple[int, int]] = []

    prune(ledger, "30d", progress=lambda done, total: told.append((done, total)))

    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    assert left(ledger) == []


def test_it_can_be_stopped_between_two_steps(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done stays done, the rest waits for the next time."""
    monkeypatch.setattr(retain, "TASKS_A_STEP", 1)
    for number in range(3):
        live(ledger, f"old-{number}", NOW_AT - 40 * DAY + number * SECOND)
    stop = threading.Event()

    pruned = prune(ledger, "30d", stop=stop, progress=lambda done, _total: stop.set() if done == 1 else None)

    assert pruned.tasks == 1
    assert left(ledger) == ["old-1", "old-2"]
    assert prune(ledger, "30d").tasks == 2


def test_coverage_is_kept_as_long_as_any_task_may_be(ledger: Ledger) -> None:
    """What the longest rule keeps still knows whether anybody was listening then."""
    recorder = presence.begin(ledger, "here", "1", NOW_AT - 100 * DAY)
    for days in (95, 60, 1):
        at = NOW_AT - days * DAY
        presence.end(
            ledger, Position(presence.listen(ledger, recorder, "default", "pub/sub", at), at + HOUR), "stopped"
        )
    presence.listen(ledger, recorder, "default", "pub/sub", NOW_AT - 95 * DAY)

    assert prune(ledger, "30d,state:failure=90d").coverage == 1
    assert count(ledger, schema.coverage) == 3


def test_quarantined_input_goes_by_the_default(ledger: Ledger) -> None:
    """What could not be used is kept like a task that no rule names."""
    for days in (31, 1):
        malformed = decode(f"no json {days}".encode())
        record(ledger, Batch("default", [], malformed, received_at=NOW_AT - days * DAY))

    assert prune(ledger, "30d").quarantined == 1
    assert count(ledger, schema.quarantine) == 1


def test_judging_goes_on_after_its_ticks_were_pruned(ledger: Ledger) -> None:
    """The newest tick of each entry stays, so that judging neither begins again nor calls pruned times missed."""
    from_at = NOW_AT - 10 * DAY
    recorder = presence.begin(ledger, "here", "1", from_at)
    presence.end(ledger, Position(presence.listen(ledger, recorder, "default", "pub/sub", from_at), NOW_AT), "stopped")
    keep_definitions(ledger, "default", "proj", [Entry("daily", "proj.add", Crontab("0", "3"))], from_at)
    for days in range(1, 10):
        live(ledger, f"daily-{days}", (NOW_AT - 7 * HOUR) - days * DAY, args="()", kwargs="{}", root_id=f"daily-{days}")
    judge_all(ledger)
    before = count(ledger, schema.tick)

    pruned = prune(ledger, "12h")
    judge_all(ledger)

    row = schedule(ledger, "daily", NOW_AT)
    assert (before, pruned.ticks, count(ledger, schema.tick)) == (9, 8, 1)
    assert row is not None
    assert [tick.fire for tick in row.ticks if tick.is_final] == ["on_time"]


def test_times_whose_tasks_may_be_gone_are_not_called_missed(ledger: Ledger) -> None:
    """Who judges after the tasks were pruned cannot know whether they were sent."""
    from_at = NOW_AT - 3 * DAY
    recorder = presence.begin(ledger, "here", "1", from_at)
    presence.end(ledger, Position(presence.listen(ledger, recorder, "default", "pub/sub", from_at), NOW_AT), "stopped")
    keep_definitions(ledger, "default", "proj", [Entry("daily", "proj.add", Crontab("0", "3"))], from_at)
    prune(ledger, "30d,task:proj.*=24h")
    judge_all(ledger)

    row = schedule(ledger, "daily", NOW_AT)
    assert row is not None
    assert [(tick.fire, tick.note) for tick in row.ticks if tick.is_final] == [
        ("unknown", "tasks of that time have been pruned")
    ] * 2


def test_an_empty_ledger_is_pruned_to_nothing(ledger: Ledger) -> None:
    """Nothing is there, nothing goes, nothing is wrong."""
    assert str(prune(ledger, "30d")) == "nothing"
    assert task(ledger, "none") is None

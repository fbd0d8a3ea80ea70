"""The timetable: every job runs at once and again, tells what went wrong, and stops quickly."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import select

from taskledger import jobs, schedule_reading
from taskledger.config import Settings
from taskledger.events import canonical, decode
from taskledger.ledger import Ledger, leases, open_ledger, presence, retain, schedule_store, schema
from taskledger.ledger.counted import compared_at
from taskledger.ledger.query import schedules
from taskledger.ledger.record import Batch, Position, record
from taskledger.retention import Retention

SECOND = 1_000_000
DAY = 86_400 * SECOND


@pytest.fixture
def app() -> Celery:
    """An app with one entry, and no result backend that needs cleaning up."""
    made = Celery("shop", broker="memory://", set_as_current=False)
    made.conf.result_expires = None
    made.conf.beat_schedule = {"often": {"task": "shop.tick", "schedule": 1.0}}
    return made


@pytest.fixture
def settings(app: Celery, sqlite_url: str) -> Settings:
    return Settings(
        broker_url="memory://", app="shop", celery_app=app, database_url=sqlite_url, retention=Retention(default_s=60.0)
    )


def now_at() -> int:
    return time.time_ns() // 1000


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Return once the condition holds; fail after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_every_job_runs_at_once(settings: Settings, sqlite_ledger: Ledger) -> None:
    """Soon after the start the schedule is read, what is old is pruned, and what was due is judged."""
    at = now_at() - 3600 * SECOND
    about = {"type": "task-sent", "uuid": "old", "name": "shop.tick", "timestamp": at / SECOND}
    record(sqlite_ledger, Batch("default", decode(canonical(about)), received_at=at))
    recorder = presence.begin(sqlite_ledger, "here", "1", at)
    coverage_id = presence.listen(sqlite_ledger, recorder, "default", "pub/sub", at)
    presence.end(sqlite_ledger, Position(coverage_id, now_at() + DAY), "stopped")
    schedule_store.keep_definitions(sqlite_ledger, "default", "shop (beat_schedule)", [], at)
    jobs.read_schedule(settings, sqlite_ledger, at + 60 * SECOND)

    stop = jobs.start(settings, sqlite_ledger)
    try:
        wait_for(lambda: rows(sqlite_ledger, schema.task) == 0 and rows(sqlite_ledger, schema.tick) > 0)
    finally:
        stop()

    [row] = schedules(sqlite_ledger, now_at())
    assert (row.name, row.source, row.cluster, row.words) == (
        "often",
        "shop (beat_schedule)",
        "default",
        "every second",
    )
    assert row.read_at > at + 60 * SECOND


def test_reading_the_schedule_tells_what_is_due_next(settings: Settings, sqlite_ledger: Ledger) -> None:
    """Once the app's schedule was read, an entry and its next due time are known."""
    assert jobs.read_schedule(settings, sqlite_ledger, now_at()) > 0

    [row] = schedules(sqlite_ledger, now_at())
    assert row.next_due_at is not None


def test_without_an_app_there_is_no_schedule_to_read(sqlite_ledger: Ledger) -> None:
    """A broker alone does not tell what beat promised."""
    assert jobs.read_schedule(Settings(broker_url="memory://"), sqlite_ledger, now_at()) == 0
    assert schedules(sqlite_ledger, now_at()) == ()


def test_the_schedule_belongs_to_the_cluster_of_the_apps_broker(app: Celery) -> None:
    """Of several brokers it is the one that the app itself names; else the first."""
    several = "one=redis://one,two=memory://"

    assert schedule_reading.cluster_of(Settings(broker_url=several, celery_app=app)) == "two"
    assert schedule_reading.cluster_of(Settings(broker_url="one=redis://one,two=redis://two", celery_app=app)) == "one"


def test_a_job_that_fails_says_so_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database without tables is told in a sentence by each job, and nothing is raised."""
    with open_ledger(f"sqlite:///{tmp_path}/empty.sqlite3") as empty, caplog.at_level(logging.WARNING):
        stop = jobs.start(Settings(), empty)
        wait_for(lambda: len(caplog.records) >= 6)
        stop()

    told = sorted(record.getMessage().partition(" failed and is tried again later: ")[0] for record in caplog.records)
    assert told == ["compare", "judge", "keep the lease", "prune", "read schedule", "settle"]
    assert all("taskledger db upgrade" in record.getMessage() for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records)


def test_an_app_whose_tasks_cannot_be_imported_is_told(
    settings: Settings, app: Celery, sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule cannot be read then, which is no reason to stop recording."""
    app.conf.include = ["no_such_module_of_tasks"]
    with caplog.at_level(logging.WARNING):
        stop = jobs.start(settings, sqlite_ledger)
        wait_for(lambda: caplog.records)
        stop()

    assert "no_such_module_of_tasks" in caplog.records[0].getMessage()


def test_stopping_ends_a_pruning_between_two_steps(
    settings: Settings, sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long pruning does not keep the recorder from ending: it stops where it is, and no thread is left."""
    monkeypatch.setattr(retain, "TASKS_A_STEP", 1)
    at = now_at() - DAY
    items = [
        item
        for number in range(400)
        for item in decode(canonical({"type": "task-sent", "uuid": f"{number}", "timestamp": at / SECOND + number}))
    ]
    record(sqlite_ledger, Batch("default", items, received_at=at))
    before = threading.active_count()

    stop = jobs.start(settings, sqlite_ledger)
    wait_for(lambda: rows(sqlite_ledger, schema.task) < 400)
    stop()

    assert 0 < rows(sqlite_ledger, schema.task) < 400
    wait_for(lambda: threading.active_count() <= before)


def test_stopping_ends_a_long_comparison(settings: Settings, sqlite_ledger: Ledger) -> None:
    """After months without a recorder there is much to compare: it stops where it is, and no thread is left."""
    at = now_at()
    recorder = presence.begin(sqlite_ledger, "here", "1", at)
    coverage_id = presence.listen(sqlite_ledger, recorder, "default", "pub/sub", at)
    presence.end(sqlite_ledger, Position(coverage_id, at + 1000 * DAY), "stopped")
    before = threading.active_count()

    stop = jobs.start(settings, sqlite_ledger)
    wait_for(lambda: compared(sqlite_ledger) is not None)
    stop()

    assert compared(sqlite_ledger) < at + 1000 * DAY - 60 * SECOND
    wait_for(lambda: threading.active_count() <= before)


def compared(ledger: Ledger) -> int | None:
    with ledger.read() as connection:
        return compared_at(connection, 1)


def rows(ledger: Ledger, table: object) -> int:
    with ledger.read() as connection:
        return len(connection.execute(select(table)).all())  # type: ignore[call-overload]


def test_of_two_recorders_one_runs_the_jobs(settings: Settings, sqlite_url: str) -> None:
    """A second recorder on the same ledger leaves the jobs to the first, until that one stops and gives them up."""
    with open_ledger(sqlite_url) as first, open_ledger(sqlite_url) as second:
        stop_first = jobs.start(settings, first)
        wait_for(lambda: holder(first))
        before = holder(first)
        stop_second = jobs.start(settings, second)
        time.sleep(1)
        assert holder(first) == before

        stop_first()
        assert leases.take(second, jobs.LEASE, "somebody else", now_at(), 1)
        stop_second()


def holder(ledger: Ledger) -> str | None:
    with ledger.read() as connection:
        return connection.scalar(select(schema.lease.c.holder))

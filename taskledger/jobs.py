"""The timetable: what runs by the clock beside the recorder, in threads and with database connections of its own."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from taskledger.config import Settings
from taskledger.errors import TaskledgerError
from taskledger.ledger import Ledger, gaps, leases, retain, schedule_store
from taskledger.schedule_reading import ScheduleReading
from taskledger.settling import Settling

log = logging.getLogger(__name__)

#: seconds between two runs of each job
PRUNE_EVERY_S = 3600
READ_EVERY_S = 10
JUDGE_EVERY_S = 10
COMPARE_EVERY_S = 5
SETTLE_EVERY_S = 10
#: seconds that a job in progress gets to end
JOIN_S = 2.0

#: the lease of the jobs: of several recorders on one ledger one runs them
LEASE = "jobs"
#: seconds after which another recorder takes over from one that died elsewhere, and in which it is renewed: the clocks
#: of two recorders may differ by the rest
LEASE_S, RENEW_EVERY_S = 15.0, 5

Job = Callable[[Settings, Ledger, threading.Event], None]


def start(settings: Settings, ledger: Ledger) -> Callable[[], None]:
    """Start the timetable; every job runs at once and then by the clock. Gives back what stops it, within 2 seconds."""
    stop = threading.Event()
    running = _Running()
    holder, settling = leases.holder_of(settings.recorder_name), Settling(settings)
    reading = ScheduleReading(settings)
    timetable: tuple[tuple[Job, int], ...] = (
        (_keep_the_lease, RENEW_EVERY_S),
        (_reader(reading), READ_EVERY_S),
        (_judge, JUDGE_EVERY_S),
        (_compare, COMPARE_EVERY_S),
        (_prune, PRUNE_EVERY_S),
        (_settler(settling), SETTLE_EVERY_S),
    )
    scheduler = _scheduler(len(timetable))
    for job, every_s in timetable:
        work = partial(_run, job, settings, ledger, stop, running, holder)
        scheduler.add_job(work, "interval", seconds=every_s, id=_name(job), next_run_time=datetime.now(UTC))
    scheduler.start()
    at_the_end: list[Callable[[], None]] = [
        settling.close,
        reading.close,
        partial(leases.give_up, ledger, LEASE, holder),
    ]
    return partial(_stop, scheduler, stop, running, at_the_end)


def read_schedule(settings: Settings, ledger: Ledger, now_at: int) -> int:
    """Keep what beat promises now, from every source that is known; how many versions of entries changed."""
    reading = ScheduleReading(settings)
    try:
        return reading.read(ledger, now_at)
    finally:
        reading.close()


class _Running:
    """How many jobs are in progress, so that stopping can wait for them."""

    def __init__(self) -> None:
        self._number = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._number -= 1
            self._changed.notify_all()

    def wait_for_end(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._number == 0, timeout_s)


def _scheduler(threads: int) -> Any:
    # A run that is still going on when the next is due is no trouble: the next one is left out.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    return BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(threads)},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )


def _stop(scheduler: Any, stop: threading.Event, running: _Running, at_the_end: Sequence[Callable[[], None]]) -> None:
    stop.set()
    scheduler.shutdown(wait=False)
    if not running.wait_for_end(JOIN_S):
        log.warning("a job is still busy and was left alone", extra={"action": "jobs_left"})
        return
    # A database that is away at the end keeps the lease until its time is up; nothing else is lost.
    for work in at_the_end:
        with suppress(TaskledgerError):
            work()


def _run(job: Job, settings: Settings, ledger: Ledger, stop: threading.Event, running: _Running, holder: str) -> None:
    """One run of a job, if the lease is ours: what goes wrong is told, and tried again at its next time."""
    with running:
        if stop.is_set():
            return
        try:
            if leases.take(ledger, LEASE, holder, _now_at(), LEASE_S):
                job(settings, ledger, stop)
        except TaskledgerError as error:
            _tell(job, stop, str(error))
        except Exception as error:  # The top of a job: it must come back at its next time whatever went wrong.
            _tell(job, stop, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            log.debug("traceback", exc_info=error)


def _tell(job: Job, stop: threading.Event, trouble: str) -> None:
    # Connections are taken away from a job that is late at the end: that is no trouble.
    if not stop.is_set():
        log.error("%s failed and is tried again later: %s", _name(job), trouble, extra={"action": "job_failed"})


def _name(job: Job) -> str:
    return job.__name__.strip("_").replace("_", " ")


def _now_at() -> int:
    return time.time_ns() // 1000


def _reader(reading: ScheduleReading) -> Job:
    """The job that reads beat's schedule; it remembers from round to round."""

    def read_schedule(_settings: Settings, ledger: Ledger, _stop: threading.Event) -> None:
        changed = reading.read(ledger, _now_at())
        if changed:
            log.info("the schedule has %d new versions", changed, extra={"action": "schedule_read", "changed": changed})

    return read_schedule


def _keep_the_lease(_settings: Settings, _ledger: Ledger, _stop: threading.Event) -> None:
    """Nothing but what comes before each job: the lease is renewed, however long the others take."""


def _judge(_settings: Settings, ledger: Ledger, _stop: threading.Event) -> None:
    schedule_store.judge_due(ledger, _now_at())


def _compare(_settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    changed = gaps.compare(ledger, _now_at(), stop)
    if changed:
        log.info("%d gaps are new or changed", changed, extra={"action": "gaps_found", "changed": changed})


def _prune(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    pruned = retain.prune(ledger, settings.retention, _now_at(), stop=stop)
    if str(pruned) != "nothing":
        log.info("pruned %s", pruned, extra={"action": "pruned"})


def _settler(settling: Settling) -> Job:
    """The job that settles what events left open; it remembers from round to round."""

    def settle(_settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
        number = settling.settle(ledger, _now_at(), stop)
        if number:
            log.info("settled %d tasks that events left open", number, extra={"action": "settled", "tasks": number})

    return settle

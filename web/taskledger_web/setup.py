"""Setting up: what has been seen, what has not, what is lost without it, and the exact line that mends it."""

from dataclasses import dataclass

from taskledger.ledger import query
from taskledger.ledger.answers import Coverage, EventCount, RecorderStatus, Span, WorkerRow
from taskledger_web import times
from taskledger_web.asking import ask

RECORD = "celery -A proj taskledger record"
#: the name of the check that the overview's first line makes already
RECORDER = "Recorder running"
_DAY = 86_400 * times.MICROS


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be there. `is_done` None: cannot tell yet. `line` is what to type."""

    name: str
    is_done: bool | None
    text: str
    line: str = ""


def first_step(coverage: Coverage) -> Check | None:
    """What to do when no recorder ever ran; None once one has."""
    return _recorder(RecorderStatus("never", None, None, None)) if coverage.began_at is None else None


def checks(now_at: int) -> tuple[Check, ...]:
    """All of them, in the order in which they can be done."""
    status = ask(query.status, now_at)
    counts = ask(query.event_counts, Span(now_at - _DAY, now_at))
    workers = ask(query.workers, now_at)
    schedules = ask(query.schedules, now_at, ticks=1)
    return (
        _recorder(status),
        _workers(status, workers),
        _task_events(workers, counts),
        _sent_events(counts),
        _entries(len(schedules)),
    )


def _recorder(status: RecorderStatus) -> Check:
    name = RECORDER
    if status.state == "recording":
        return Check(name, True, f"Yes. {status.promise or ''}".strip())
    if status.state == "never":
        return Check(name, False, "No recorder has ever run. This page refreshes by itself once you start it:", RECORD)
    return Check(name, False, "The recorder has stopped, so what happens now is not recorded. Start it again:", RECORD)


def _workers(status: RecorderStatus, workers: tuple[WorkerRow, ...]) -> Check:
    name = "Workers seen"
    if workers:
        online = sum(worker.status == "online" for worker in workers)
        return Check(name, True, f"{len(workers)} seen, {online} online.")
    if status.state == "never":
        return Check(name, None, "Known once a recorder runs.")
    text = (
        "No worker has reported on exchange celeryev. Is one running on this broker and database number? Start it with:"
    )
    return Check(name, False, text, "celery -A proj worker -E")


def _task_events(workers: tuple[WorkerRow, ...], counts: tuple[EventCount, ...]) -> Check:
    name = "Task events"
    silent = [worker for worker in workers if worker.sends_task_events is False]
    if silent:
        tasks = sum(worker.processed or 0 for worker in silent)
        names = ", ".join(worker.name for worker in silent[:3]) + (" and others" if len(silent) > 3 else "")
        runs = "runs" if len(silent) == 1 else "run"
        text = f"{names} {runs} without -E: {tasks:,} tasks are invisible. Start with -E, or set in the configuration:"
        return Check(name, False, text, "worker_send_task_events = True")
    if _number(counts, "task-received", "task-started"):
        return Check(name, True, "Workers send them.")
    return Check(name, None, "None in the last 24 hours.")


def _sent_events(counts: tuple[EventCount, ...]) -> Check:
    name = "Sent events"
    if sent := _number(counts, "task-sent"):
        return Check(name, True, f"{sent:,} in the last 24 hours.")
    if not _number(counts, "task-received"):
        return Check(name, None, "None in the last 24 hours, and nothing was received either.")
    text = (
        "Queue wait, tasks not yet received and lost messages cannot be shown. "
        "Set this where tasks are sent, then restart web and beat:"
    )
    return Check(name, False, text, "task_send_sent_event = True")


def _entries(number: int) -> Check:
    if number:
        return Check("Schedule known", True, f"{number} entr{'y' if number == 1 else 'ies'}.")
    return Check("Schedule known", None, "No schedule known, so no run can be called missed. Give the app:", RECORD)


def _number(counts: tuple[EventCount, ...], *types: str) -> int:
    return sum(count.number for count in counts if count.type in types)

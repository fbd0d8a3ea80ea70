"""Setting up: what has been seen, what has not, what is lost without it, and the exact line that mends it."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.ledger.answers import Coverage, EventCount, RecorderStatus, WorkerRow
from taskledger_web import recorded

RECORD = "celery -A proj taskledger record"
#: the name of the check that the overview's first line makes already
RECORDER = "Recorder running"
#: the names of the other checks
_LATER = ("Workers seen", "Task events", "Sent events", "Schedule known")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be there. `is_done` None: cannot tell yet. `line` is what to type."""

    name: str
    is_done: bool | None
    text: str
    line: str = ""


def first_step(coverage: Coverage, status: RecorderStatus) -> Check | None:
    """What to do while nothing was ever recorded; None once something was."""
    if coverage.began_at is not None:
        return None
    if status.state == "never":
        return _recorder(status)
    text = "A recorder has started, and has not listened to a broker yet. What keeps it is in its log, and in:"
    return Check(RECORDER, False, text, "celery -A proj taskledger doctor")


def checks(
    status: RecorderStatus, workers: Sequence[WorkerRow], counts: Sequence[EventCount], entries: int
) -> tuple[Check, ...]:
    """All of them, in the order in which they can be done. `counts` are those of the last day."""
    if status.state == "never":
        return (_recorder(status), *(Check(name, None, "Known once a recorder runs.") for name in _LATER))
    return (
        _recorder(status),
        _workers(workers),
        _task_events(workers, counts),
        _sent_events(counts),
        _entries(entries),
    )


def _recorder(status: RecorderStatus) -> Check:
    name = RECORDER
    if status.state == "recording":
        return Check(name, True, f"Yes; {recorded.promise_words(status.promise)}." if status.promise else "Yes.")
    if status.state == "never":
        return Check(name, False, "No recorder has ever run. Start it:", RECORD)
    return Check(name, False, "The recorder has stopped, so what happens now is not recorded. Start it again:", RECORD)


def _workers(workers: Sequence[WorkerRow]) -> Check:
    name = "Workers seen"
    if workers:
        online = sum(worker.status == "online" for worker in workers)
        return Check(name, True, f"{len(workers)} seen, {online} online.")
    text = (
        "No worker has reported on exchange celeryev. Is one running on this broker and database number? Start it with:"
    )
    return Check(name, False, text, "celery -A proj worker -E")


def _task_events(workers: Sequence[WorkerRow], counts: Sequence[EventCount]) -> Check:
    name = "Task events"
    silent = [worker for worker in workers if worker.sends_task_events is False]
    if silent:
        names = ", ".join(worker.name for worker in silent[:3]) + (" and others" if len(silent) > 3 else "")
        runs = "runs" if len(silent) == 1 else "run"
        text = f"{names} {runs} without -E: tasks are invisible. Start with -E, or set in the configuration:"
        return Check(name, False, text, "worker_send_task_events = True")
    if _number(counts, "task-received", "task-started"):
        return Check(name, True, "Workers send them.")
    return Check(name, None, "None in the last 24 hours.")


def _sent_events(counts: Sequence[EventCount]) -> Check:
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


def _number(counts: Sequence[EventCount], *types: str) -> int:
    return sum(count.number for count in counts if count.type in types)

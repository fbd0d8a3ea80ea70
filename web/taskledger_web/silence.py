"""The run whose end cannot be told any more: its worker fell silent, went offline or was not listened to."""

from dataclasses import dataclass, replace

from taskledger.ledger import query
from taskledger.ledger.answers import TaskDetail
from taskledger.states import State
from taskledger_web import moments
from taskledger_web.asking import ask
from taskledger_web.view import view
from taskledger_web.words import Word


@dataclass(frozen=True, slots=True)
class Silence:
    """Why a started task may run no more. `status` is the worker's: lost, offline or unknown.

    Of a moment also "followed", by another life; and any, where the task may have been running.
    """

    worker: str
    status: str
    #: the worker's last sign; of a task that may have been running, the moment of the page
    at: int
    #: whether it may have been running all the same: nobody listened all the time
    is_open: bool = False


def of_task(detail: TaskDetail, now_at: int) -> Silence | None:
    """What is known instead of the end of a started task; None while its worker is heard, or was never heard of."""
    task = detail.task
    if task.state != State.STARTED or task.worker is None or task.started_at is None:
        return None
    worker = ask(query.worker, task.worker, now_at)
    if worker is None or worker.cluster != task.cluster or worker.since_at is None or worker.status == "online":
        return None
    # The start itself is a sign of life, and may be the last one.
    return Silence(task.worker, worker.status, max(worker.since_at, task.started_at))


def as_of(detail: TaskDetail) -> Silence | None:
    """The same at the moment of the page, by what is known today of the run that was under way."""
    task = detail.task
    if task.state != State.STARTED or task.worker is None or task.started_at is None:
        return None
    row = next((row for row in moments.workers_seen(task.worker) if row.cluster == task.cluster), None)
    own = next((one for one in row.running if one.id == task.id), None) if row else None
    if row is None or own is None:
        return Silence(task.worker, "followed", task.started_at)
    if moments.certainty(own) == "running":
        return None
    if moments.certainty(own) == "unknown":
        return Silence(task.worker, row.status, view().now_at, is_open=True)
    return Silence(task.worker, row.status, max(row.since_at or 0, task.started_at))


def word(running: Word, silent: Silence) -> Word:
    """What a task of such a worker is called: a shape of its own, and no clock that counts on."""
    text = "Perhaps running" if silent.is_open else "Was running"
    return replace(running, text=text, kind="sent", icon="hatched", note="")

"""The run whose end cannot be told any more: its worker fell silent, went offline or was not listened to."""

from dataclasses import dataclass, replace

from taskledger.ledger import query
from taskledger.ledger.answers import TaskDetail
from taskledger.states import State
from taskledger_web.asking import ask
from taskledger_web.words import Word


@dataclass(frozen=True, slots=True)
class Silence:
    """Why a started task may run no more. `status` is the worker's: lost, offline or unknown."""

    worker: str
    status: str
    #: the worker's last sign
    at: int


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


def word(running: Word) -> Word:
    """What a task of such a worker is called: a shape of its own, and no clock that counts on."""
    return replace(running, text="Was running", kind="sent", icon="hatched", note="")

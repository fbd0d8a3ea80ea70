"""The words, icons and kinds of states: one vocabulary, with the picture and the colour that go with each word."""

from dataclasses import dataclass, replace

from taskledger.ledger.answers import RelatedTask, RunRow, TaskRow
from taskledger.ledger.momentary import Running, RunningTask
from taskledger.states import State
from taskledger_web import times


@dataclass(frozen=True, slots=True)
class Word:
    """How a state is shown. `kind` is its colour class, `icon` the id of its symbol: shapes differ as colours do."""

    text: str
    kind: str
    icon: str
    note: str = ""


STATES = {
    State.UNKNOWN: Word("Not known", "sent", "hatched", "only events of unknown types were seen"),
    State.PENDING: Word("Sent", "sent", "ring"),
    State.RECEIVED: Word("Received", "received", "dot"),
    State.STARTED: Word("Running", "running", "play"),
    State.CANCELLED: Word("Cancelled", "revoked", "undo", "given up when the worker lost its broker; delivered again"),
    State.RETRY: Word("Retrying", "retrying", "loop"),
    State.REJECTED: Word("Rejected", "revoked", "minus"),
    State.IGNORED: Word("Ended", "revoked", "dash", "nothing said how"),
    State.REVOKED: Word("Revoked", "revoked", "barred"),
    State.LOST: Word("Lost", "lost", "broken", "its worker's life ended in mid-run"),
    State.FAILURE: Word("Failed", "failed", "cross"),
    State.SUCCESS: Word("Succeeded", "succeeded", "tick"),
}
SCHEDULED = Word("Scheduled", "sent", "clock")

#: what a search calls each state, as facets name them
NAMES = {word.text.lower(): word for word in (*STATES.values(), SCHEDULED)}

#: how a state is known that no event told
KNOWN_BY = {
    "backend": "settled by the result backend",
    "inspect": "settled by asking the worker",
    "inferred": "inferred",
}

WORKER_STATES = {
    State.UNKNOWN: Word("Not known", "sent", "hatched", "only events of unknown types were seen"),
    "online": Word("Online", "succeeded", "tick"),
    "offline": Word("Offline", "sent", "ring"),
    "lost": Word("Lost", "lost", "triangle"),
    "unknown": Word("Not known", "sent", "hatched"),
}


def of_task(row: TaskRow, now_at: int) -> Word:
    """The word for a task, Scheduled while its ETA is still to come."""
    if row.state in (State.PENDING, State.RECEIVED) and row.eta_at is not None and row.eta_at > now_at:
        return replace(SCHEDULED, note=f"runs in {times.rough((row.eta_at - now_at) / times.MICROS)}")
    word = STATES[row.state]
    note = _note(row, now_at)
    return replace(word, note=note) if note else word


def as_of(row: TaskRow, running: Running) -> Word:
    """The word for a task as of a moment: what was started and has no end was running as long as its worker was."""
    word = of_task(row, running.at)
    if row.state != State.STARTED or any(task.id == row.id for task in running.tasks):
        return word
    if any(task.id == row.id for task in running.unknown):
        return replace(word, text="Perhaps running", kind="sent", icon="hatched", note="no end of it was heard")
    return replace(word, text="Was running", kind="sent", icon="hatched", note="its worker was not heard of any more")


def of_run(run: RunRow) -> Word:
    """The word for one run, with the ledger's own note beside it."""
    word = STATES[run.state]
    note = beside(run)
    return replace(word, note=note) if note else word


def known_by(settled_by: str) -> str:
    """How a state is known that no event told."""
    return KNOWN_BY[settled_by]


def beside(run: RunRow) -> str:
    """How the end of a run is known, where no event told it, and its note."""
    return ": ".join(filter(None, (KNOWN_BY.get(run.settled_by or ""), run.note)))


def of_related(task: RelatedTask) -> Word:
    """The word for a member of a family."""
    return STATES[task.state]


def of_became(task: RunningTask) -> Word:
    """The word for what became of a run that was under way."""
    return STATES[task.became]


def of_facet(value: str) -> Word | None:
    """The word behind a value of the state facet, whether it is written our way or Celery's."""
    folded = value.lower()
    if folded.upper() in State.__members__:
        return STATES[State[folded.upper()]]
    return NAMES.get(folded)


def of_worker(status: str) -> Word:
    """The word for a worker's status."""
    return WORKER_STATES.get(status, WORKER_STATES["unknown"])


def _note(row: TaskRow, now_at: int) -> str:
    def since(at: int | None) -> str:
        return times.duration((now_at - at) / times.MICROS) if at is not None and now_at >= at else ""

    if row.state == State.PENDING:
        return f"in queue {since(row.sent_at)}".strip() if row.sent_at else ""
    if row.state == State.RECEIVED:
        return f"reserved by {row.worker}" if row.worker else ""
    if row.state == State.STARTED:
        return f"for {since(row.started_at)}" if row.started_at else ""
    if row.state == State.RETRY:
        return f"attempt {row.runs} ended" if row.runs else ""
    return ""

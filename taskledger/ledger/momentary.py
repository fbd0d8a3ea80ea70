"""The frozen values that questions about one moment answer with; as in `answers`, None is "not known"."""

from dataclasses import dataclass

from taskledger.ledger.answers import Micros, RelatedTask, WorkerRow
from taskledger.states import State


@dataclass(frozen=True, slots=True)
class HeardAt:
    """Whether anybody listened to a cluster at a moment, and since when without a break; why nobody did."""

    cluster: str
    is_heard: bool
    since_at: Micros | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class RunningTask(RelatedTask):
    """A run that was under way at a moment, as its task. `became` is what is known today of how that run ended.

    `certainty`: running; unknown (nobody listened all the time since it started, so that its end may have been missed);
    or lost (its worker was not heard of any more, last at `last_sign_at`: the run ended with it).
    """

    cluster: str
    worker: str | None
    queue: str | None
    #: which run of the task, counted from 1
    run: int
    started_at: Micros
    ended_at: Micros | None
    became: State
    certainty: str
    last_sign_at: Micros | None


@dataclass(frozen=True, slots=True)
class Running:
    """The runs that were under way at a moment, in the order in which they began."""

    at: Micros
    heard: tuple[HeardAt, ...]
    tasks: tuple[RunningTask, ...]
    #: what may have been running
    unknown: tuple[RunningTask, ...]
    #: what workers were at that were lost or gone by then
    lost: tuple[RunningTask, ...]
    #: False when there were more than are listed
    is_whole: bool


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue at a moment. `name` is None for tasks whose queue nobody announced."""

    name: str | None
    cluster: str
    #: sent or received, and not started
    waiting: int
    #: of those, how many a worker had taken already
    reserved: int
    #: for an ETA still to come, or for another try
    scheduled: int
    running: int
    #: sent, and perhaps run or running, while nobody listened
    unknown: int
    #: since when the oldest waiting one waited
    oldest_at: Micros | None


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues at a moment, the fullest first."""

    at: Micros
    heard: tuple[HeardAt, ...]
    rows: tuple[QueueRow, ...]


@dataclass(frozen=True, slots=True)
class Workers:
    """The worker nodes that had been heard of by a moment, as they stood then."""

    at: Micros
    heard: tuple[HeardAt, ...]
    rows: tuple[WorkerRow, ...]

"""The frozen values that questions about beat are answered with; see `answers` for what holds of all of them."""

from dataclasses import dataclass

from taskledger.ledger.answers import Micros, ScheduleRow, TickRow

__all__ = [
    "BeatRow",
    "BeatVerdict",
    "Change",
    "ScheduleRow",
    "ScheduleVersionRow",
    "TickDetail",
]


@dataclass(frozen=True, slots=True)
class BeatRow:
    """One life of a beat process, as its probe told it.

    `status`: online; silent (past what it promised: dead or wedged); offline (it said so); unknown (past what it
    promised, but nobody was listening then).
    """

    beat_id: str
    cluster: str
    #: as events name it, e.g. "gen7@host"
    hostname: str | None
    pid: int | None
    #: the class, e.g. "celery.beat:PersistentScheduler"
    scheduler: str | None
    #: Celery's
    version: str | None
    timezone: str | None
    status: str
    #: first and last sign of it
    first_at: Micros
    last_seen_at: Micros
    online_at: Micros | None
    offline_at: Micros | None
    #: why it ended: "stopped", or the exception
    reason: str | None
    #: when its next sign was promised
    promised_at: Micros | None
    #: sends since when it began; failed ones
    sent: int
    failed: int
    #: of its sends; None without any
    lag_p95_s: float | None
    #: events that its numbers say were sent and that nobody recorded; those it threw away itself
    lost: int
    dropped: int
    #: entries in the schedule it told last
    entries: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a definition that changed, as people read it, e.g. ("schedule", "every day at 03:00", "…")."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ScheduleVersionRow:
    """A definition of an entry from one moment to another; `changes` against the one before, () for the first."""

    from_at: Micros
    #: None while it is in force
    to_at: Micros | None
    source: str
    words: str
    expression: str
    timezone: str
    task: str
    args: str | None
    kwargs: str | None
    queue: str | None
    enabled: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class TickDetail(TickRow):
    """A tick with what became of its task. Times None where nothing told of them."""

    sent_at: Micros | None = None
    received_at: Micros | None = None
    started_at: Micros | None = None
    ended_at: Micros | None = None
    wait_s: float | None = None
    run_s: float | None = None
    #: "probe", "task-sent", "worker only", "counter"; None where nothing fired
    evidence: str | None = None
    #: words of beat.md 4.1
    flags: tuple[str, ...] = ()
    #: the exception with which the send, or else the task, failed
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BeatVerdict:
    """Whether what was due in a span was sent. `verdict`: "well", "not_well" or "cannot_tell", with the reasons."""

    verdict: str
    sentences: tuple[str, ...]
    #: final and open ticks of the span by their verdict
    counts: dict[str, int]

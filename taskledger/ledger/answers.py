"""The frozen values that the named questions of `query` answer with: all that pages and commands ever see.

Times are integers: microseconds since 1970-01-01 UTC. Durations end in `_s`: seconds, float. None is "not known".
"""

from dataclasses import dataclass
from typing import NamedTuple

from taskledger.ledger.beat_answers import Adherence, EntrySettings, FindingRow
from taskledger.ledger.listening_answers import (
    ClusterStatus,
    Coverage,
    Hole,
    Micros,
    RecorderRow,
    RecorderStatus,
    Span,
    Stretch,
)
from taskledger.ledger.task_answers import (
    Bucket,
    Count,
    Cursor,
    EventRow,
    Facet,
    FailureGroup,
    RelatedTask,
    RunRow,
    SettlementRow,
    TaskDetail,
    TaskPage,
    TaskRow,
)
from taskledger.verdicts import RUN_WORDS

__all__ = [
    "Bucket",
    "ClusterStatus",
    "Count",
    "Coverage",
    "Cursor",
    "EventCount",
    "EventRow",
    "Facet",
    "FailureGroup",
    "Hole",
    "Micros",
    "NoteRow",
    "QuarantinedRow",
    "RecorderRow",
    "RecorderStatus",
    "RelatedTask",
    "RunRow",
    "SavedView",
    "ScheduleRow",
    "SessionRow",
    "SettlementRow",
    "Span",
    "Stats",
    "Stretch",
    "TableSize",
    "TaskDetail",
    "TaskPage",
    "TaskRow",
    "TickRow",
    "WorkerRow",
]


class TickRow(NamedTuple):
    """One due time of a schedule entry and what is known of it; words as in beat.md 4.1.

    A page has ten thousand of them: a tuple is made in a third of the time of a frozen dataclass.
    """

    due_at: Micros
    #: on_time late missed overdue pending failed_to_send disabled unknown dst_skipped
    fire: str
    #: ok failed running retrying waiting not_received expired revoked rejected lost ended unknown;
    #: None when nothing fired
    outcome: str | None
    fired_at: Micros | None
    lateness_s: float | None
    task_id: str | None
    is_final: bool
    note: str | None
    #: words of beat.md 4.1, such as duplicate, catch_up, inferred
    flags: tuple[str, ...] = ()
    #: probe, task-sent, worker only, counter; None when nothing fired
    evidence: str | None = None
    #: what kept it from being sent
    error: str | None = None
    #: of the task that was sent: what its events say
    received_at: Micros | None = None
    started_at: Micros | None = None
    ended_at: Micros | None = None
    #: seconds in the queue, and running
    wait_s: float | None = None
    runtime_s: float | None = None
    #: somebody said that what went wrong is known
    is_acknowledged: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether it fired; `fired_at` is also when beat tried and failed."""
        return self.fired_at is not None and self.fire != "failed_to_send"

    @property
    def remark(self) -> str | None:
        """Why, in words: what failed, once, the note, and what was odd about the run; None: nothing to say."""
        is_told = self.error is None or self.error in (self.note or "")
        odd = [RUN_WORDS[flag] for flag in self.flags if flag in RUN_WORDS]
        return "; ".join(filter(None, (None if is_told else self.error, self.note, *odd))) or None


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule entry with its newest ticks, oldest first."""

    name: str
    cluster: str
    task: str
    #: e.g. "0 3 * * *" or "every 10 s"
    expression: str
    #: e.g. "every day at 03:00"
    words: str
    timezone: str
    #: where the definition was read, e.g. "proj (beat_schedule)"
    source: str
    enabled: bool
    read_at: Micros
    #: "probe", "task-sent", "worker only" or "none yet": how fires of this entry are known
    evidence: str
    ticks: tuple[TickRow, ...]
    next_due_at: Micros | None
    median_lateness_s: float | None
    #: the last 30 days; None where the question does not ask for it
    adherence: Adherence | None = None
    findings: tuple[FindingRow, ...] = ()
    settings: EntrySettings | None = None
    #: due times to come, of the page of one entry
    next_dues_at: tuple[Micros, ...] = ()
    #: 50th and 95th percentile of what is shown
    lateness_p95_s: float | None = None
    runtime_p50_s: float | None = None
    #: the newest send that is known, whether a due time explains it or not
    last_fired_at: Micros | None = None
    last_task_id: str | None = None
    #: it is due more than once a minute, so that a mark each would say little
    is_by_minute: bool = False


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One life of a worker's process."""

    pid: int | None
    online_at: Micros | None
    #: first and last sign of life
    first_at: Micros
    last_at: Micros
    offline_at: Micros | None
    software: str | None
    processed: int | None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker node. `status`: online, offline (said goodbye), lost (fell silent) or unknown (not recorded)."""

    name: str
    cluster: str
    status: str
    #: since when it has that status, as far as is known
    since_at: Micros | None
    last_heartbeat_at: Micros | None
    pid: int | None
    active: int | None
    processed: int | None
    loadavg: tuple[float, ...]
    freq_s: float | None
    software: str | None
    #: tasks the ledger holds as running on it; of a moment they are momentary.RunningTask
    running: tuple[RelatedTask, ...]
    #: False when heartbeats come and `processed` rises but no task event was ever seen: it lacks -E
    sends_task_events: bool | None
    sessions: tuple[SessionRow, ...]


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many new events of a type were recorded in a span."""

    type: str
    number: int


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """An event that could not be used, with why."""

    id: str
    cluster: str
    received_at: Micros
    reason: str
    detail: str
    size: int
    #: the start of it as text, cut for display
    excerpt: str


@dataclass(frozen=True, slots=True)
class TableSize:
    """Rows and bytes of one table; bytes None where the database does not tell."""

    name: str
    rows: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Size and shape of the ledger."""

    engine: str
    schema_version: str
    bytes: int | None
    tables: tuple[TableSize, ...]
    oldest_at: Micros | None
    newest_at: Micros | None


@dataclass(frozen=True, slots=True)
class SavedView:
    """A search somebody kept: a name for an address."""

    slug: str
    name: str
    #: the query string of /tasks, without the question mark
    query: str
    created_at: Micros


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A remark somebody left on a task."""

    id: int
    text: str
    author: str
    created_at: Micros

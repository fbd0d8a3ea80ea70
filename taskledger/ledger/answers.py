"""The frozen values that the named questions of `query` answer with: all that pages and commands ever see.

Times are integers: microseconds since 1970-01-01 UTC. Durations end in `_s`: seconds, float. None is "not known".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskledger.states import State

if TYPE_CHECKING:
    from taskledger.ledger.beat_answers import Adherence, EntrySettings, FindingRow

Micros = int


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of time: from_at <= t < to_at."""

    from_at: Micros
    to_at: Micros


@dataclass(frozen=True, slots=True)
class Stretch:
    """When one recorder was listening to one cluster. `until_at` is the last moment it can vouch for."""

    recorder: str
    cluster: str
    from_at: Micros
    until_at: Micros
    #: why it ended: "stopped", "broker lost: …", "killed"; None while it goes on
    cause: str | None


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch in which no recorder was listening, with the reason if one is known."""

    from_at: Micros
    to_at: Micros
    cause: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a span can vouch for: its holes, and from when to when anything was ever recorded.

    `began_at` is None when no recorder ever ran.
    """

    span: Span
    holes: tuple[Hole, ...]
    began_at: Micros | None
    until_at: Micros | None

    @property
    def is_whole(self) -> bool:
        return not self.holes


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What the header's pill says: is anything being recorded right now?"""

    #: "recording", "stopped" or "never"
    state: str
    lag_s: float | None
    #: when it was last heard of
    seen_at: Micros | None
    promise: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Whether one cluster is being recorded right now."""

    cluster: str
    #: names of those that listen to it
    recorders: tuple[str, ...]
    #: since when it is recorded; or up to when it was
    since_at: Micros
    #: why nobody listens; None while somebody does
    cause: str | None
    promise: str
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of a task list."""

    id: str
    cluster: str
    name: str | None
    state: State
    #: when the ledger first heard of it: sent, else received, else its earliest event
    first_at: Micros
    sent_at: Micros | None
    received_at: Micros | None
    started_at: Micros | None
    ended_at: Micros | None
    wait_s: float | None
    runtime_s: float | None
    worker: str | None
    queue: str | None
    args: str | None
    kwargs: str | None
    result: str | None
    #: the exception of its last failed run, as text
    exception: str | None
    #: how many runs were started
    runs: int
    retries: int | None
    eta_at: Micros | None
    expires_at: Micros | None
    #: how its state is known: backend, inspect or inferred; None: events told it
    settled_by: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is sorted by (first_at, id); opaque to users (see `search.cursor_text`)."""

    first_at: Micros
    id: str
    cluster: str


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of tasks, newest first, with the cursors of its neighbours (None at the ends)."""

    rows: tuple[TaskRow, ...]
    newer: Cursor | None
    older: Cursor | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows match; exact up to the cap, else "at least this many"."""

    number: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """One value of a field with how many tasks of the span have it; `value` is what goes into a query."""

    value: str
    number: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bar of a histogram of tasks by first_at."""

    from_at: Micros
    to_at: Micros
    succeeded: int
    failed: int
    #: everything that is neither
    other: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a task. `number` counts from 1; one that was received and never started has started_at None."""

    number: int
    state: State
    worker: str | None
    pid: int | None
    #: Celery's own count for this run (0 for the first attempt); None when no event said it
    retries: int | None
    sent_at: Micros | None
    received_at: Micros | None
    started_at: Micros | None
    ended_at: Micros | None
    runtime_s: float | None
    exception: str | None
    traceback: str | None
    #: key of the failure group, 32 hex digits; None when it did not fail
    fingerprint: str | None
    #: note in words beside the state: "expired", "terminated", "requeued"; None when there is nothing to add
    note: str | None
    #: how its end is known: backend, inspect or inferred; None: events told it, or it has not ended
    settled_by: str | None = None


@dataclass(frozen=True, slots=True)
class SettlementRow:
    """A fact about a task that did not come as an event. It counts only where events left open what it says."""

    #: backend (the result backend kept it), inspect (the worker was asked), inferred (nobody can have the run any more)
    settled_by: str
    #: when it was found out
    known_at: Micros
    #: the run it is about; both None: about the task as a whole
    worker: str | None
    begun_at: Micros | None
    state: State | None
    #: when the run ended, or by when at the latest
    at: Micros | None
    #: what the task is called, where that was found with it
    name: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it was recorded; `fields` is the original, whole."""

    id: str
    type: str
    at: Micros
    received_at: Micros
    hostname: str | None
    pid: int | None
    clock: int | None
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RelatedTask:
    """A member of a task's family: enough to name it and to link to it."""

    id: str
    name: str | None
    state: State
    first_at: Micros
    parent_id: str | None


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """All the ledger knows of one task id."""

    task: TaskRow
    routing_key: str | None
    #: the client that sent it, e.g. gen123@web1; never a worker
    client: str | None
    root_id: str | None
    parent_id: str | None
    runs: tuple[RunRow, ...]
    events: tuple[EventRow, ...]
    #: root first, then by first_at; without the task itself; at most 200
    family: tuple[RelatedTask, ...]
    #: the best known first
    settlements: tuple[SettlementRow, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Runs that failed in the same way within the span."""

    fingerprint: str
    task_name: str | None
    #: e.g. "ValueError: invalid card for customer *"
    title: str
    #: e.g. "proj.py:35 in charge"; None when no frame is of the application
    frame: str | None
    number: int
    first_at: Micros
    last_at: Micros
    workers: int
    queues: tuple[str, ...]
    #: the newest task of the group
    example_id: str
    #: failures per equal part of the span, oldest first
    trend: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TickRow:
    """One due time of a schedule entry and what is known of it; words as in beat.md 4.1."""

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
    adherence: "Adherence | None" = None
    findings: "tuple[FindingRow, ...]" = ()
    settings: "EntrySettings | None" = None
    #: due times to come, of the page of one entry
    next_dues_at: tuple[Micros, ...] = ()
    #: 50th and 95th percentile of what is shown
    lateness_p95_s: float | None = None
    runtime_p50_s: float | None = None
    #: the newest send that is known, whether a due time explains it or not
    last_fired_at: Micros | None = None
    last_task_id: str | None = None


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
class RecorderRow:
    """One life of a recorder's process."""

    name: str
    started_at: Micros
    seen_at: Micros
    stopped_at: Micros | None
    version: str
    #: cluster -> what its transport can promise, in words
    promises: tuple[tuple[str, str], ...]
    lag_s: float | None
    recorded: int


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

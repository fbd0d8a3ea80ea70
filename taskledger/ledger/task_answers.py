"""Answers about tasks: lists, one task with its runs, and failures; as `answers` has them."""

from dataclasses import dataclass
from typing import Any

from taskledger.states import State

Micros = int


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

"""Which events belong to one delivery of a task, and what it came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskledger import failures
from taskledger.events import INT32_MAX, Event
from taskledger.states import ENDS, SILENT_TYPES, State
from taskledger.texts import MAX_TRACEBACK_CHARS, cut, name, text

#: Celery 5.7 announces a hard time limit twice, and a terminated task may be revoked twice: once is true.
_ANNOUNCED_TWICE = frozenset({State.FAILURE, State.REVOKED, State.REJECTED})

#: Ends carry neither the attempt nor the delivery, and of those that a worker's processes send at once either may be
#: told first (celery/concurrency/asynpool.py reads their pipes as they come).
AT_ONCE = "it went on beside another run on its worker, and no event says which of the two ends is whose"


class Run(NamedTuple):
    """One delivery of a task to a worker; it was executed if `started_at` is known."""

    number: int
    state: State
    worker: str | None
    pid: int | None
    retries: int | None
    sent_at: int | None
    received_at: int | None
    started_at: int | None
    ended_at: int | None
    runtime_s: float | None
    exception: str | None
    traceback: str | None
    failure: failures.Failure | None
    note: str | None
    #: how its end is known, as settlements.SettledBy has it; None: by its events
    settled_by: int | None = None


@dataclass(slots=True)
class Draft:
    """A run while its events are being gathered; `worker` and `pid` are the process that has it."""

    worker: str | None
    pid: int | None
    received: Event | None = None
    started: Event | None = None
    ended: Event | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Event:
        event = self.received or self.started or self.ended
        if event is None:
            raise ValueError("a draft is only made from an event")
        return event


def gather(story: Sequence[Event]) -> list[Draft]:
    """The runs that these events tell of, in the order in which they began."""
    drafts: list[Draft] = []
    for event in story:
        if event.type == "task-received":
            drafts.append(Draft(event.hostname, event.pid, received=event))
        elif event.type == "task-started":
            _waiting(drafts, event).started = event
        elif event.type in ENDS:
            _end(drafts, event, story)
    return drafts


def noted(draft: Draft, note: str) -> Draft:
    draft.notes.append(note)
    return draft


def _waiting(drafts: list[Draft], event: Event) -> Draft:
    """The oldest run in this process that was received and neither started nor ended; else a new one."""
    for draft in drafts:
        if draft.started is None and draft.ended is None and _is_in(draft, event):
            return draft
    return _add(drafts, event)


def _add(drafts: list[Draft], event: Event) -> Draft:
    drafts.append(Draft(event.hostname, event.pid))
    return drafts[-1]


def _is_in(draft: Draft, event: Event) -> bool:
    """Whether the process that tells of an event has that run: one of the same worker's name may be its successor."""
    pid = event.pid
    return draft.worker == event.hostname and (pid == draft.pid or pid is None or draft.pid is None)


def _end(drafts: list[Draft], event: Event, story: Sequence[Event]) -> None:
    """Close the run this event ends: one that is running here, else one that waits here, else one nobody saw begin."""
    here = [draft for draft in drafts if _is_in(draft, event)]
    running = [draft for draft in here if draft.started is not None and draft.ended is None]
    if running:
        ended_by = running[0] if len(running) == 1 else _ended_by(running, event, story)
        ended_by.ended = event
        return
    if here and _repeats(here[-1], event):
        here[-1].notes.extend(_notes(event))
        return
    waiting = [draft for draft in here if draft.ended is None]
    (waiting[0] if waiting else _add(drafts, event)).ended = event


def _ended_by(running: Sequence[Draft], event: Event, story: Sequence[Event]) -> Draft:
    """Which of the runs that go on at once on one worker this event ends: the oldest that can have ended so.

    A quick attempt may succeed before the worker tells that the one before it was retried. But an attempt that another
    one followed was retried, and the last one was not.
    """
    attempts = {retries_of(each) for each in story if each.type not in SILENT_TYPES}
    fitting = []
    for draft in running:
        retries = retries_of(draft.received) if draft.received else None
        was_followed = retries is not None and retries + 1 in attempts
        if was_followed == (event.type == "task-retried"):
            fitting.append(draft)
    candidates = fitting or running
    if len(candidates) > 1:
        for draft in candidates:
            draft.notes.append(AT_ONCE)
    return candidates[0]


def _repeats(draft: Draft, event: Event) -> bool:
    """Whether this end only says again how the run ended: a second failure, or a rejection after a failure."""
    if draft.ended is None:
        return False
    before, now = ENDS[draft.ended.type], ENDS[event.type]
    return now in _ANNOUNCED_TWICE and (before == now or (before == State.FAILURE and now == State.REJECTED))


def finished(number: int, draft: Draft, sent_at: Mapping[int | None, int], drafts: Sequence[Draft]) -> Run:
    ended, end = draft.ended, draft.ended.fields if draft.ended else {}
    retries = _attempt(draft, drafts)
    failure = None
    if ended and ended.type in ("task-failed", "task-retried"):
        failure = failures.describe(text(end.get("exception")), text(end.get("traceback")))
    received, started = draft.received, draft.started
    # In the order of the fields: by their names it takes three times as long, and this is done for each run.
    return Run(
        number,
        ENDS[ended.type] if ended else State.STARTED if started else State.RECEIVED,
        name(draft.worker),
        small(draft.first.pid),
        retries,
        sent_at.get(retries) if retries is not None else None,
        received.at if received else None,
        started.at if started else None,
        ended.at if ended else None,
        runtime_of(ended, started),
        cut(failure.text) if failure else None,
        cut(text(end.get("traceback")), MAX_TRACEBACK_CHARS) if failure else None,
        failure,
        "; ".join(dict.fromkeys([*_notes(ended), *draft.notes])) or None if ended or draft.notes else None,
    )


def _attempt(draft: Draft, drafts: Sequence[Draft]) -> int | None:
    """Celery's retry count of a run: only task-received says it; else it follows from the retries seen before."""
    if draft.received is not None:
        return retries_of(draft.received)
    return sum(
        1 for other in drafts if other.ended and other.ended.type == "task-retried" and other.ended.at < draft.first.at
    )


def retries_of(event: Event) -> int | None:
    """Celery's retry count, where an event tells it."""
    return attempt(event.fields)


def attempt(fields: Mapping[str, Any]) -> int | None:
    """As `retries_of`, of what the event says."""
    value = fields.get("retries")
    return value if value.__class__ is int and -INT32_MAX <= value <= INT32_MAX else None


def small(value: int | None) -> int | None:
    """The value if a 32-bit column holds it."""
    return value if value is None or -INT32_MAX <= value <= INT32_MAX else None


def runtime_of(ended: Event | None, started: Event | None) -> float | None:
    """Seconds: as the worker measured, else from start to end (failures carry no runtime)."""
    if ended is None:
        return None
    measured = ended.fields.get("runtime")
    if isinstance(measured, int | float) and not isinstance(measured, bool) and 0 <= measured < 1e12:
        return float(measured)
    return (ended.at - started.at) / 1e6 if started else None


def until(runs: Sequence[Run], at: int) -> tuple[Run, ...]:
    """The runs that had begun by a moment, as they were then: what came later is taken from them.

    A run whose start nobody heard began when its end less its runtime says.
    """
    begun = []
    for run in runs:
        started_at = run.started_at
        if started_at is None and run.ended_at is not None and run.runtime_s is not None:
            started_at = round(run.ended_at - run.runtime_s * 1e6)
        if run.ended_at is not None and run.ended_at <= at:
            begun.append(run)
        elif started_at is not None and started_at <= at:
            begun.append(_unended(run, State.STARTED, started_at))
        elif run.received_at is not None and run.received_at <= at:
            begun.append(_unended(run, State.RECEIVED, None))
    return tuple(begun)


def _unended(run: Run, state: State, started_at: int | None) -> Run:
    return run._replace(
        state=state, started_at=started_at, ended_at=None, runtime_s=None, exception=None, traceback=None, failure=None,
        note=None, settled_by=None,
    )  # fmt: skip


def _notes(event: Event | None) -> list[str]:
    """What an end says beside its state."""
    if event is None:
        return []
    fields = event.fields
    if event.type == "task-revoked":
        return [word for word in ("terminated", "expired") if fields.get(word)]
    if event.type == "task-rejected":
        return ["requeued" if fields.get("requeue") else "dropped"]
    return []

"""What the ledger knows of one task: a projection of the set of its events, so order and repetition cannot matter."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from taskledger import failures
from taskledger.events import INT32_MAX, TASK_EVENT_TYPES, Event
from taskledger.texts import MAX_TRACEBACK_CHARS, cut, kept, moment, name, text


class State(IntEnum):
    """Celery's states, stored as these numbers.

    UNKNOWN: only events of unknown types were seen. CANCELLED is what Celery announces as `task-cancelled`: the worker
    gave the run up when it lost its broker, which will deliver the task again (celery/worker/request.py,
    `_announce_cancelled`).
    """

    UNKNOWN = 0
    PENDING = 10
    RECEIVED = 20
    STARTED = 30
    CANCELLED = 35
    RETRY = 40
    REJECTED = 50
    REVOKED = 60
    FAILURE = 70
    SUCCESS = 80

    @property
    def is_end(self) -> bool:
        """Whether a task in this state does nothing more by itself."""
        return self >= State.REJECTED


#: How each ending event leaves its run.
ENDS = {
    "task-cancelled": State.CANCELLED,
    "task-retried": State.RETRY,
    "task-rejected": State.REJECTED,
    "task-revoked": State.REVOKED,
    "task-failed": State.FAILURE,
    "task-succeeded": State.SUCCESS,
}
#: These say what became of a task and nothing about it: name, arguments and relations stand in other events.
SILENT_TYPES = frozenset({"task-started", *ENDS})
#: What follows what in a run that goes straight on.
_STEPS = {"task-sent": 1, "task-received": 2, "task-started": 3, **dict.fromkeys(ENDS, 4)}
#: Order of events that carry the same timestamp.
RANK = {"task-sent": 0, "task-received": 1, "task-started": 2, **{kind: int(state) for kind, state in ENDS.items()}}
#: Celery 5.7 announces a hard time limit twice, and a terminated task may be revoked twice: once is true.
_ANNOUNCED_TWICE = frozenset({State.FAILURE, State.REVOKED, State.REJECTED})


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


class Task(NamedTuple):
    """What is known of one task id; times in microseconds since the epoch, texts as Celery's reprs, cut with a mark."""

    id: str
    name: str | None
    state: State
    first_at: int
    sent_at: int | None
    received_at: int | None
    started_at: int | None
    ended_at: int | None
    eta_at: int | None
    expires_at: int | None
    wait_s: float | None
    runtime_s: float | None
    retries: int | None
    worker: str | None
    client: str | None
    queue: str | None
    routing_key: str | None
    root_id: str | None
    parent_id: str | None
    args: str | None
    kwargs: str | None
    result: str | None
    exception: str | None
    events: int
    runs: tuple[Run, ...]


@dataclass(slots=True)
class _Draft:
    """A run while its events are being gathered."""

    worker: str | None
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


def project(task_id: str, events: Iterable[Event], *, cut_at: int | None = None) -> Task:
    """The task that these events tell of: a function of their set alone.

    `cut_at` says that events are left out after that moment: no run goes on across it. Raises ValueError for no events
    at all.
    """
    story = _in_order(events)
    known = [event for event in story if event.type in TASK_EVENT_TYPES]
    sents = [event for event in known if event.type == "task-sent"]
    drafts = _gather_runs(known if cut_at is None else [event for event in known if event.at <= cut_at])
    if cut_at is not None:
        drafts[-1:] = [_noted(draft, "what came after it is left out") for draft in drafts[-1:]]
        drafts += _gather_runs([event for event in known if event.at > cut_at])
    # Of several sends of one attempt the first is the run's.
    sent_at = {_retries(event): event.at for event in reversed(sents)}
    runs = tuple([_run(number, draft, sent_at, drafts) for number, draft in enumerate(drafts, 1)])
    return _task(task_id, story, sents, runs)


def fold(task: Task, known: Iterable[Event], event: Event) -> Task:
    """The task after one more event, given the events it was made of; the same event again changes nothing."""
    return project(task.id, [*known, event])


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Each event once, in the order of their story."""
    story = list({event.id: event for event in events}.values())
    if not story:
        raise ValueError("a task is made of at least one event")
    if len(story) > 1:
        story.sort(key=_story_order)
    return story


def _story_order(event: Event) -> tuple[int, int, int, bytes]:
    return (event.at, RANK.get(event.type, 0), event.clock or 0, event.id)


def _gather_runs(story: Sequence[Event]) -> list[_Draft]:
    plain = _plain_run(story)
    return _search_runs(story) if plain is None else [plain]


def _search_runs(story: Sequence[Event]) -> list[_Draft]:
    drafts: list[_Draft] = []
    for event in story:
        if event.type == "task-received":
            drafts.append(_Draft(event.hostname, received=event))
        elif event.type == "task-started":
            _waiting(drafts, event).started = event
        elif event.type in ENDS:
            _end(drafts, event, story)
    return drafts


def _plain_run(story: Sequence[Event]) -> _Draft | None:
    """The one run of a story that goes straight on: most do, and need no search for what belongs together."""
    draft: _Draft | None = None
    reached = 0
    for event in story:
        kind = event.type
        step = _STEPS.get(kind)
        if step is None or step <= reached or (draft is not None and event.hostname != draft.worker):
            return None
        reached = step
        if kind == "task-sent":
            continue
        if draft is None:
            draft = _Draft(event.hostname)
        if kind == "task-received":
            draft.received = event
        elif kind == "task-started":
            draft.started = event
        else:
            draft.ended = event
    return draft


def _noted(draft: _Draft, note: str) -> _Draft:
    draft.notes.append(note)
    return draft


def _waiting(drafts: list[_Draft], event: Event) -> _Draft:
    """The oldest run on this worker that was received and neither started nor ended; else a new one."""
    for draft in drafts:
        if draft.worker == event.hostname and draft.started is None and draft.ended is None:
            return draft
    return _add(drafts, event)


def _add(drafts: list[_Draft], event: Event) -> _Draft:
    drafts.append(_Draft(event.hostname))
    return drafts[-1]


def _end(drafts: list[_Draft], event: Event, story: Sequence[Event]) -> None:
    """Close the run this event ends: one that is running here, else one that waits here, else one nobody saw begin."""
    here = [draft for draft in drafts if draft.worker == event.hostname]
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


def _ended_by(running: Sequence[_Draft], event: Event, story: Sequence[Event]) -> _Draft:
    """Which of the runs that go on at once on one worker this event ends: the oldest that can have ended so.

    A quick attempt may succeed before the worker tells that the one before it was retried. But an attempt that another
    one followed was retried, and the last one was not.
    """
    attempts = {_retries(each) for each in story if each.type not in SILENT_TYPES}
    for draft in running:
        retries = _retries(draft.received) if draft.received else None
        was_followed = retries is not None and retries + 1 in attempts
        if was_followed == (event.type == "task-retried"):
            return draft
    return running[0]


def _repeats(draft: _Draft, event: Event) -> bool:
    """Whether this end only says again how the run ended: a second failure, or a rejection after a failure."""
    if draft.ended is None:
        return False
    before, now = ENDS[draft.ended.type], ENDS[event.type]
    return now in _ANNOUNCED_TWICE and (before == now or (before == State.FAILURE and now == State.REJECTED))


def _run(number: int, draft: _Draft, sent_at: Mapping[int | None, int], drafts: Sequence[_Draft]) -> Run:
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
        _small(draft.first.pid),
        retries,
        sent_at.get(retries) if retries is not None else None,
        received.at if received else None,
        started.at if started else None,
        ended.at if ended else None,
        _runtime(draft),
        cut(failure.text) if failure else None,
        cut(text(end.get("traceback")), MAX_TRACEBACK_CHARS) if failure else None,
        failure,
        "; ".join(dict.fromkeys([*_notes(ended), *draft.notes])) or None if ended or draft.notes else None,
    )


def _attempt(draft: _Draft, drafts: Sequence[_Draft]) -> int | None:
    """Celery's retry count of a run: only task-received says it; else it follows from the retries seen before."""
    if draft.received is not None:
        return _retries(draft.received)
    return sum(
        1 for other in drafts if other.ended and other.ended.type == "task-retried" and other.ended.at < draft.first.at
    )


def _retries(event: Event) -> int | None:
    value = event.fields.get("retries")
    return value if value.__class__ is int and -INT32_MAX <= value <= INT32_MAX else None


def _small(value: int | None) -> int | None:
    """The value if a 32-bit column holds it."""
    return value if value is None or -INT32_MAX <= value <= INT32_MAX else None


def _runtime(draft: _Draft) -> float | None:
    """Seconds: as the worker measured, else from start to end (failures carry no runtime)."""
    if draft.ended is None:
        return None
    measured = draft.ended.fields.get("runtime")
    if isinstance(measured, int | float) and not isinstance(measured, bool) and 0 <= measured < 1e12:
        return float(measured)
    return (draft.ended.at - draft.started.at) / 1e6 if draft.started else None


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


def _task(task_id: str, story: Sequence[Event], sents: Sequence[Event], runs: tuple[Run, ...]) -> Task:
    last = _telling(runs)
    sent = sents[0] if sents else None
    tellers = [event for event in story if event.type not in SILENT_TYPES]
    about = _about(tellers)
    started = [run.started_at for run in runs if run.started_at is not None]
    eta_at = moment(about["eta"])
    # In the order of the fields, as in _run.
    return Task(
        task_id,
        name(about["name"]),
        last.state if last else State.PENDING if sent else State.UNKNOWN,
        story[0].at,
        sent.at if sent else None,
        min([run.received_at for run in runs if run.received_at is not None], default=None),
        last.started_at if last else None,
        last.ended_at if last and last.state >= State.REJECTED else None,
        eta_at,
        moment(about["expires"]),
        _wait(sent, eta_at, min(started, default=None)),
        last.runtime_s if last else None,
        max([run.retries for run in runs if run.retries is not None], default=None),
        last.worker if last else None,
        name(sent.hostname) if sent else None,
        name(about["queue"]),
        name(about["routing_key"]),
        _relative(tellers, "root_id", task_id),
        _relative(tellers, "parent_id", task_id),
        kept(about["args"]),
        kept(about["kwargs"]),
        kept(_last(story, "task-succeeded", "result")),
        next((run.exception for run in reversed(runs) if run.exception), None),
        len(story),
        runs,
    )


_LASTING = ("name", "args", "kwargs", "queue", "routing_key")
#: a retry has an ETA of its own, which is not the task's
_ABOUT = (*_LASTING, "eta", "expires")


def _about(tellers: Sequence[Event]) -> dict[str, Any]:
    """The first value of each field that says something about the task as a whole."""
    about: dict[str, Any] = dict.fromkeys(_ABOUT)
    missing: Sequence[str] = _ABOUT
    for event in tellers:
        get = event.fields.get
        for key in [key for key in missing if key in _LASTING] if _retries(event) else missing:
            about[key] = get(key)
        missing = [key for key in missing if about[key] is None]
    return about


def _telling(runs: Sequence[Run]) -> Run | None:
    """The run whose state is the task's: the last, unless it only waits.

    While a retry waits for its time the task is in RETRY, as Celery has it; and a delivery that waits does not hide
    that an earlier run has ended since.
    """
    if not runs:
        return None
    last = runs[-1]
    if last.state != State.RECEIVED or last.received_at is None:
        return last
    if len(runs) > 1 and runs[-2].state == State.RETRY:
        return runs[-2]
    later = [run for run in runs if run.ended_at is not None and run.ended_at > last.received_at and run.state.is_end]
    return later[-1] if later else last


def _wait(sent: Event | None, eta_at: int | None, started_at: int | None) -> float | None:
    """Seconds in the queue: from sending (or the ETA, if later) to the first start; clocks that disagree give 0."""
    if sent is None or started_at is None:
        return None
    return max(0, started_at - max(sent.at, eta_at or 0)) / 1e6


def _last(story: Sequence[Event], kind: str, key: str) -> Any:
    for event in reversed(story):
        if event.type == kind:
            return event.fields.get(key)
    return None


def _relative(tellers: Sequence[Event], key: str, task_id: str) -> str | None:
    """A root or parent id; a retried task names itself as its parent (celery/app/task.py), which is no relation."""
    for event in tellers:
        value = event.fields.get(key)
        if isinstance(value, str) and value and value != task_id:
            return value[:255]
    return None

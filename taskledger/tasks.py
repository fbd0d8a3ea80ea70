"""What the ledger knows of one task: a projection of the set of its events, so order and repetition cannot matter."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from taskledger import runs
from taskledger.events import TASK_EVENT_TYPES, Event
from taskledger.runs import Run, attempt, retries_of, runtime_of, small
from taskledger.settlements import Settlement, first_said, settled, unseen
from taskledger.states import BEAT_SENT, RANK, SILENT_TYPES, State
from taskledger.texts import kept, moment, name


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
    #: how its state is known, as settlements.SettledBy has it; 0: by its events, while something else of it was settled
    settled_by: int | None = None


def project(
    task_id: str, events: Iterable[Event], *, cut_at: int | None = None, settlements: Sequence[Settlement] = ()
) -> Task:
    """The task that these events tell of: a function of their set, and of the set of what was settled, alone.

    A settlement fills what events left open, and nothing else: whenever the event comes, it counts. `cut_at` says that
    events are left out after that moment: no run goes on across it. Raises ValueError for no events at all.
    """
    story = _in_order(events)
    task = _straight(task_id, story) if cut_at is None and not settlements else None
    return _searched(task_id, story, cut_at, settlements) if task is None else task


def _searched(task_id: str, story: Sequence[Event], cut_at: int | None, settlements: Sequence[Settlement] = ()) -> Task:
    """Of any story."""
    known = [event for event in story if event.type in TASK_EVENT_TYPES]
    sents = [event for event in known if event.type == "task-sent"] or [
        event for event in story if event.type == BEAT_SENT
    ]
    drafts = runs.gather(known if cut_at is None else [event for event in known if event.at <= cut_at])
    if cut_at is not None:
        drafts[-1:] = [runs.noted(draft, "what came after it is left out") for draft in drafts[-1:]]
        drafts += runs.gather([event for event in known if event.at > cut_at])
    # Of several sends of one attempt the first is the run's.
    sent_at = {0 if event.type == BEAT_SENT else retries_of(event): event.at for event in reversed(sents)}
    made = tuple([runs.finished(number, draft, sent_at, drafts) for number, draft in enumerate(drafts, 1)])
    if settlements:
        return _settled(task_id, story, sents, made, settlements)
    return _task(task_id, story, sents, made)


def _settled(
    task_id: str, story: Sequence[Event], sents: Sequence[Event], told: Sequence[Run], facts: Sequence[Settlement]
) -> Task:
    """The task with what events left open filled in."""
    found = [settled(run, facts) for run in told]
    if not found and (one := unseen(facts)) is not None:
        found = [one]
    task = _task(task_id, story, sents, tuple(run for run, _ in found))
    last = telling(task.runs)
    results = [by.result for _, by in found if by is not None and by.result is not None]
    return task._replace(
        name=task.name or name(first_said(facts, "name")),
        args=kept(first_said(facts, "args")) if task.args is None else task.args,
        kwargs=kept(first_said(facts, "kwargs")) if task.kwargs is None else task.kwargs,
        result=kept(results[-1]) if task.result is None and results else task.result,
        settled_by=(last.settled_by if last else None) or 0,
    )


def _straight(task_id: str, story: Sequence[Event]) -> Task | None:
    """What `_searched` makes of a first attempt that goes straight on, in a third of the time; None for other stories.

    Most are like this, and this is done once or twice for each task that anybody runs.
    """
    steps = _straight_steps(story)
    if steps is None:
        return None
    sent, received, started, ended = steps
    said, end = received.fields, ended.fields if ended else _NOTHING
    first = said if sent is None else sent.fields
    retries, sent_retries = attempt(said), attempt(first)
    if retries or sent_retries:
        return None
    name_, args, kwargs, queue, routing_key, eta, expires = [
        said.get(key) if (value := first.get(key)) is None else value for key in _ABOUT
    ]
    worker, eta_at = name(received.hostname), moment(eta)
    sent_at, started_at = sent.at if sent else None, started.at if started else None
    ended_at, runtime_s = ended.at if ended else None, runtime_of(ended, started)
    state = State.SUCCESS if ended else State.STARTED if started else State.RECEIVED
    is_first = sent is not None and retries is not None and sent_retries == retries
    run = Run(
        1, state, worker, small(received.pid), retries, sent_at if is_first else None, received.at, started_at,
        ended_at, runtime_s, None, None, None, None,
    )  # fmt: skip
    return Task(
        task_id, name(name_), state, story[0].at, sent_at, received.at, started_at, ended_at, eta_at, moment(expires),
        _wait(sent, eta_at, started_at), runtime_s, retries, worker, name(sent.hostname) if sent else None, name(queue),
        name(routing_key), _relative((first, said), "root_id", task_id), _relative((first, said), "parent_id", task_id),
        kept(args), kept(kwargs), kept(end.get("result")), None, len(story), (run,),
    )  # fmt: skip


#: what follows what in a run that goes straight on
_STEPS = {"task-sent": 0, "task-received": 1, "task-started": 2, "task-succeeded": 3}
_NOTHING: dict[str, Any] = {}


def _straight_steps(story: Sequence[Event]) -> tuple[Event | None, Event, Event | None, Event | None] | None:
    """Sent, received, started and ended, if there is nothing else, in this order, and all on one worker."""
    steps: list[Event | None] = [None, None, None, None]
    reached = -1
    for event in story:
        step = _STEPS.get(event.type)
        if step is None or step <= reached:
            return None
        steps[step], reached = event, step
    sent, received, started, ended = steps
    if received is None:
        return None
    host, pid = received.hostname, received.pid
    if (started is not None and (started.hostname != host or started.pid != pid)) or (
        ended is not None and (ended.hostname != host or ended.pid != pid)
    ):
        return None
    return sent, received, started, ended


def fold(task: Task, known: Iterable[Event], event: Event) -> Task:
    """The task after one more event, given the events it was made of; the same event again changes nothing."""
    return project(task.id, [*known, event])


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Each event once, in the order of their story."""
    story = list(events)
    if not story:
        raise ValueError("a task is made of at least one event")
    before = -1
    for event in story:
        if event.at <= before:
            break
        before = event.at
    else:
        return story  # Each is later than the one before, so none is there twice either.
    return sorted({event.id: event for event in story}.values(), key=_story_order)


def _story_order(event: Event) -> tuple[int, int, int, bytes]:
    return (event.at, RANK.get(event.type, 0), event.clock or 0, event.id)


def _task(task_id: str, story: Sequence[Event], sents: Sequence[Event], runs: tuple[Run, ...]) -> Task:
    last = telling(runs)
    sent = sents[0] if sents else None
    tellers = [event for event in story if event.type not in SILENT_TYPES]
    about = _about(tellers)
    started = [run.started_at for run in runs if run.started_at is not None]
    eta_at = moment(about["eta"])
    # In the order of the fields, as in `runs.finished`.
    return Task(
        task_id,
        name(about["name"]) or _sent_name(sent),
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
        _relative([event.fields for event in tellers], "root_id", task_id),
        _relative([event.fields for event in tellers], "parent_id", task_id),
        kept(about["args"]),
        kept(about["kwargs"]),
        kept(_last(story, "task-succeeded", "result")),
        next((run.exception for run in reversed(runs) if run.exception), None),
        len(story),
        runs,
    )


def _sent_name(sent: Event | None) -> str | None:
    """The name by which beat's probe told of the send, where no event of the task has said it."""
    return name(sent.fields.get("task")) if sent is not None and sent.type == BEAT_SENT else None


_LASTING = ("name", "args", "kwargs", "queue", "routing_key")
#: a retry has an ETA of its own, which is not the task's
_ABOUT = (*_LASTING, "eta", "expires")


def _about(tellers: Sequence[Event]) -> dict[str, Any]:
    """The first value of each field that says something about the task as a whole."""
    about: dict[str, Any] = dict.fromkeys(_ABOUT)
    missing: Sequence[str] = _ABOUT
    for event in tellers:
        get = event.fields.get
        for key in [key for key in missing if key in _LASTING] if retries_of(event) else missing:
            about[key] = get(key)
        missing = [key for key in missing if about[key] is None]
    return about


def telling(runs: Sequence[Run]) -> Run | None:
    """The run whose state is the task's: the last, unless it only waits.

    While a retry waits for its time the task is in RETRY, as Celery has it; and a delivery that waits does not hide
    that an earlier run has ended since. A second run that was lost takes nothing from a first that succeeded.
    """
    if not runs:
        return None
    last = runs[-1]
    if last.state == State.LOST:
        return next((run for run in reversed(runs) if run.state == State.SUCCESS), last)
    if last.state != State.RECEIVED or last.received_at is None:
        return last
    if len(runs) > 1 and runs[-2].state == State.RETRY:
        return runs[-2]
    later = [
        run
        for run in runs
        if run.ended_at is not None and run.ended_at > last.received_at and run.state.is_end and run.state != State.LOST
    ]
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


def _relative(told: Iterable[dict[str, Any]], key: str, task_id: str) -> str | None:
    """A root or parent id; a retried task names itself as its parent (celery/app/task.py), which is no relation."""
    for fields in told:
        value = fields.get(key)
        if value.__class__ is str and value and value != task_id:
            return value[:255]
    return None

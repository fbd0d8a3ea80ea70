"""What a batch comes to before its transaction begins: as far as the database need not be asked."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

from taskledger import bodies
from taskledger.events import INT32_MAX, TASK_EVENT_TYPES, WORKER_EVENT_TYPES, Event, Malformed
from taskledger.ledger import bulk, fold
from taskledger.ledger.beats import BEAT_EVENT_TYPES
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.rows import NEVER, Plan, Rows
from taskledger.ledger.stories import Key, Remembered
from taskledger.ledger.types import pack_task_id
from taskledger.states import BEAT_SENT, SILENT_TYPES
from taskledger.tasks import project
from taskledger.texts import name

#: what `_said` tells of
_KINDS = (Kind.NAME, Kind.QUEUE, Kind.ROUTING_KEY)
#: what a worker tells of its tasks
_OF_WORKERS = TASK_EVENT_TYPES - {"task-sent"}
#: what is folded of itself, and not of a task
_APART = WORKER_EVENT_TYPES | BEAT_EVENT_TYPES
#: places in a row of `event`
AT, TYPE, HOST, ID, TASK = 0, 2, 3, 6, 7


class Prepared(NamedTuple):
    """The events of a batch, each once and in the order of their ids, and what they come to if all of them are new.

    `plain` makes it what goes through a pipe.
    """

    cluster_id: int
    received_at: int
    #: how many events it holds, those that are in it twice included
    number: int
    oldest_at: int
    #: the numbers of the types by which workers tell of their tasks, as far as they are in it
    of_workers: Sequence[int]
    #: of `event`, in the order of its columns
    rows: Sequence[bulk.Row]
    plans: Sequence[Plan]
    #: the events of workers and of beat's probe: few
    apart: Sequence[Event]
    malformed: Sequence[Malformed]
    #: what is to be remembered of open tasks once this is written; it does not go through the pipe
    remembered: Remembered

    def plain(self) -> tuple[Any, ...]:
        """As plain values, of which `restored` makes it again."""
        plans, malformed = [tuple(plan) for plan in self.plans], [tuple(item) for item in self.malformed]
        return (*self[:6], plans, [event.plain() for event in self.apart], malformed)


def restored(values: Sequence[Any]) -> Prepared:
    """What `Prepared.plain` made plain values of."""
    plans, apart, malformed = values[6:]
    made = list(starmap(Plan, plans)), list(starmap(Event, apart)), list(starmap(Malformed, malformed))
    return Prepared._make((*values[:6], *made, {}))


def prepare(
    ledger: Ledger, cluster: str, received_at: int, events: Sequence[Event], malformed: Sequence[Malformed] = ()
) -> Prepared:
    """The events as rows, and plans for their tasks; names that are new get numbers, in a transaction of their own.

    What is known of open tasks is taken from `ledger.stories`. Raises LedgerAway when the numbers cannot be had.
    """
    labels, ordered = ledger.labels, _each_once(events)
    missing = set(_unknown_names(labels, cluster, ordered))
    if missing:
        labels.intern(missing)
    cluster_id = labels.number(Kind.CLUSTER, cluster)
    types = {kind: labels.number(Kind.TYPE, kind) for kind in {event.type for event in ordered}}
    by_task = _by_task(ordered)
    keys = {task_id: pack_task_id(task_id) for task_id in by_task}
    plans, remembered = _plans(ledger, cluster_id, keys, by_task)
    return Prepared(
        cluster_id,
        received_at,
        len(events),
        min([event.at for event in ordered], default=0),
        [number for kind, number in types.items() if kind in _OF_WORKERS],
        _rows(labels, cluster_id, received_at, types, keys, ordered),
        plans,
        [event for event in ordered if event.type in _APART],
        malformed,
        remembered,
    )


def _each_once(events: Iterable[Event]) -> list[Event]:
    """In the order of their ids, which is that of their milliseconds."""
    unique = {event.id: event for event in events}
    return [unique[event_id] for event_id in sorted(unique)]


def only(prepared: Prepared, kept: Collection[bytes]) -> Prepared:
    """What is left of it with the events of these ids; where one is left out, the plan of its task does not hold."""
    rows = [row for row in prepared.rows if row[ID] in kept]
    events = Counter([row[TASK] for row in rows])
    plans = [
        plan if plan.events == events[plan.key] else Plan(plan.key, NEVER, events[plan.key])
        for plan in prepared.plans
        if plan.key in events
    ]
    apart = [event for event in prepared.apart if event.id in kept]
    oldest_at = min([row[AT] for row in rows], default=0)
    return prepared._replace(oldest_at=oldest_at, rows=rows, plans=plans, apart=apart)


def _plans(
    ledger: Ledger, cluster_id: int, keys: Mapping[str, bytes], by_task: Mapping[str, list[Event]]
) -> tuple[list[Plan], Remembered]:
    """What becomes of these tasks, if what is remembered of them is what they had before."""
    stories, rows = ledger.stories, Rows(ledger.labels, cluster_id)
    plans: list[Plan] = []
    told: dict[Key, Sequence[Event] | None] = {}
    for task_id, fresh in by_task.items():
        key = keys[task_id]
        before = stories.of((cluster_id, key))
        story = [*before, *fresh] if before else fresh
        if len(story) > fold.MAX_STORY:
            plans.append(Plan(key, NEVER, len(fresh)))
            told[cluster_id, key] = None
            continue
        made = project(task_id, story)
        plans.append(rows.plan(made, key, len(before), len(fresh)))
        if not made.state.is_end:
            told[cluster_id, key] = _remembered(story)
        elif before:
            told[cluster_id, key] = None
    return plans, told


def _remembered(story: Iterable[Event]) -> list[Event]:
    """Each event once, and small."""
    unique = {event.id: event for event in story}
    for event in unique.values():
        event.forget()
    return list(unique.values())


def _by_task(events: Iterable[Event]) -> Mapping[str, list[Event]]:
    stories: dict[str, list[Event]] = {}
    for event in events:
        task_id = event.task_id
        if task_id is not None:
            told = stories.get(task_id)
            if told is None:
                stories[task_id] = [event]
            else:
                told.append(event)
    return stories


def _unknown_names(labels: Labels, cluster: str, events: Sequence[Event]) -> Iterator[tuple[Kind, str]]:
    """The names that have no number at hand: mostly none, so that is what must be found out fast."""
    said: list[tuple[Kind, Iterable[str | None]]] = [
        (Kind.CLUSTER, [cluster]),
        (Kind.TYPE, {event.type for event in events}),
        (Kind.HOST, {event.hostname for event in events}),
    ]
    for kind, names in said:
        yield from ((kind, one) for one in names if one is not None and one not in labels.known(kind))
    for values in _said(events):
        for kind, value in zip(_KINDS, values, strict=True):
            if value.__class__ is not str or value not in labels.known(kind):
                spelled = name(value)
                if spelled is not None and spelled not in labels.known(kind):
                    yield kind, spelled


def _said(events: Iterable[Event]) -> Iterator[tuple[Any, ...]]:
    """Name, queue and routing key, as events say them together: few of a batch say what none before has said."""
    seen: set[tuple[Any, ...]] = set()
    for event in events:
        if event.type in SILENT_TYPES:
            continue
        get = event.fields.get
        # By beat's name the task goes until an event of its own names it.
        if event.type == BEAT_SENT:
            yield get("task"), None, None
        values = get("name"), get("queue"), get("routing_key")
        # Of other values some are equal and not spelled the same, as 1 and true.
        if all(value is None or value.__class__ is str for value in values):
            if values in seen:
                continue
            seen.add(values)
        yield values


def _rows(
    labels: Labels,
    cluster_id: int,
    received_at: int,
    types: Mapping[str, int],
    keys: Mapping[str, bytes],
    events: Sequence[Event],
) -> list[bulk.Row]:
    """In the order of the columns of `event`."""
    named = {event.hostname for event in events}
    hosts = {name: None if name is None else labels.number(Kind.HOST, name) for name in named}
    made = iter(bodies.pack_all([event.body for event in events if event.packed is None]))
    packed = [event.packed or next(made) for event in events]
    return [
        (
            event.at,
            cluster_id,
            types[event.type],
            hosts[event.hostname],
            lag_ms if -INT32_MAX <= (lag_ms := (received_at - event.at) // 1000) <= INT32_MAX else _most(lag_ms),
            codec,
            event.id,
            None if event.task_id is None else keys[event.task_id],
            body,
        )
        for event, (codec, body) in zip(events, packed, strict=True)
    ]


def _most(lag_ms: int) -> int:
    """What the column holds of a lag that is longer."""
    return INT32_MAX if lag_ms > 0 else -INT32_MAX

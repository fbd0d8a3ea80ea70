"""What a batch comes to before its transaction begins: as far as the database need not be asked."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from taskledger import bodies
from taskledger.events import INT32_MAX, Event
from taskledger.ledger import bulk
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.types import pack_task_id
from taskledger.states import BEAT_SENT, SILENT_TYPES
from taskledger.texts import name

_FIELDS = ((Kind.NAME, "name"), (Kind.QUEUE, "queue"), (Kind.ROUTING_KEY, "routing_key"))


class Prepared(NamedTuple):
    """The events of a batch, each once and in the order of their ids, and what they come to if all of them are new."""

    cluster_id: int
    events: list[Event]
    #: of `event`, in the order of its columns
    rows: list[bulk.Row]
    by_task: Mapping[str, list[Event]]
    oldest_at: int


def prepare(labels: Labels, cluster: str, received_at: int, events: Sequence[Event]) -> Prepared:
    """The events as rows; names that are new get their numbers, in a transaction of their own.

    Raises LedgerAway when that cannot be done.
    """
    missing = set(_unknown_names(labels, cluster, events))
    if missing:
        labels.intern(missing)
    unique = {event.id: event for event in events}
    ordered = [unique[event_id] for event_id in sorted(unique)]
    cluster_id = labels.number(Kind.CLUSTER, cluster)
    return _of(cluster_id, ordered, _rows(labels, cluster_id, received_at, ordered))


def only(prepared: Prepared, kept: Iterable[bytes]) -> Prepared:
    """What is left of it with the events of these ids."""
    ids = set(kept)
    pairs = [pair for pair in zip(prepared.events, prepared.rows, strict=True) if pair[0].id in ids]
    return _of(prepared.cluster_id, [event for event, _ in pairs], [row for _, row in pairs])


def _of(cluster_id: int, events: list[Event], rows: list[bulk.Row]) -> Prepared:
    oldest_at = min([event.at for event in events], default=0)
    return Prepared(cluster_id, events, rows, _by_task(events), oldest_at)


def _by_task(events: Iterable[Event]) -> dict[str, list[Event]]:
    stories: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.task_id is not None:
            stories[event.task_id].append(event)
    return stories


def _unknown_names(labels: Labels, cluster: str, events: Iterable[Event]) -> Iterator[tuple[Kind, str]]:
    """The names that have no number at hand: mostly none, so that is what must be found out fast."""
    types, hosts = labels.known(Kind.TYPE), labels.known(Kind.HOST)
    fields = [(labels.known(kind), kind, key) for kind, key in _FIELDS]
    if cluster not in labels.known(Kind.CLUSTER):
        yield Kind.CLUSTER, cluster
    for event in events:
        if event.type not in types:
            yield Kind.TYPE, event.type
        if event.hostname is not None and event.hostname not in hosts:
            yield Kind.HOST, event.hostname
        if event.type not in SILENT_TYPES:
            for known, kind, key in fields:
                value = event.fields.get(key)
                if value.__class__ is not str or value not in known:
                    spelled = name(value)
                    if spelled is not None and spelled not in known:
                        yield kind, spelled
            if event.type == BEAT_SENT and (spelled := name(event.fields.get("task"))) is not None:
                yield Kind.NAME, spelled  # by which the task goes until an event of its own names it


def _rows(labels: Labels, cluster_id: int, received_at: int, events: Sequence[Event]) -> list[bulk.Row]:
    """In the order of the columns of `event`."""
    types = {name: labels.number(Kind.TYPE, name) for name in {event.type for event in events}}
    named = {event.hostname for event in events}
    hosts = {name: None if name is None else labels.number(Kind.HOST, name) for name in named}
    keys = {task_id: None if task_id is None else pack_task_id(task_id) for task_id in {one.task_id for one in events}}
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
            keys[event.task_id],
            body,
        )
        for event, (codec, body) in zip(events, packed, strict=True)
    ]


def _most(lag_ms: int) -> int:
    """What the column holds of a lag that is longer."""
    return INT32_MAX if lag_ms > 0 else -INT32_MAX

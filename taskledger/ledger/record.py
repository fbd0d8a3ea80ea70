"""Write a batch: what is new, what it makes of tasks and workers, what is counted; all of it or nothing."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, select, update
from sqlalchemy.exc import IntegrityError

from taskledger import bodies
from taskledger.errors import LedgerConflict
from taskledger.events import INT32_MAX, Event, Malformed
from taskledger.ledger import beats, bulk, dialects, fold, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.faults import is_double
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.types import pack_task_id
from taskledger.states import BEAT_SENT, SILENT_TYPES
from taskledger.texts import name
from taskledger.texts import text as plain

log = logging.getLogger(__name__)

#: how often a transaction that met another one is tried again
TRIES = 8
HOUR = 3_600_000_000


class Position(NamedTuple):
    """How far a recorder can vouch for what it heard: the coverage row and the moment."""

    coverage_id: int
    until_at: int


class Batch(NamedTuple):
    """What one transaction writes: items of one cluster, in the order received. `received_at` is the newest arrival."""

    cluster: str
    events: Sequence[Event]
    malformed: Sequence[Malformed] = ()
    received_at: int = 0
    position: Position | None = None


class Recorded(NamedTuple):
    """What became of a batch: events that were new, known already, or older than what was pruned; input set aside."""

    new: int = 0
    duplicate: int = 0
    stale: int = 0
    quarantined: int = 0


def record(ledger: Ledger, batch: Batch) -> Recorded:
    """Write a batch in one transaction; recording the same batch again changes nothing.

    Raises LedgerAway when the database cannot be reached: nothing was written then, or (the connection broke during the
    commit) all of it was.
    """
    _intern_names(ledger.labels, batch)
    for attempt in range(TRIES):
        try:
            return _try(ledger, batch)
        except (LedgerConflict, IntegrityError) as error:
            if isinstance(error, IntegrityError) and not is_double(error):
                raise
            # Another recorder wrote the same rows in between: the next try sees them.
            log.debug("trying a batch again: %s", error, extra={"action": "batch_retried"})
            time.sleep(0.01 * 2**attempt)
    return _try(ledger, batch)


def _try(ledger: Ledger, batch: Batch) -> Recorded:
    with ledger.write() as connection:
        recorded, told, heard = _write(connection, ledger, batch)
    # Only what is committed may be remembered.
    ledger.stories.keep(told)
    ledger.stories.heard |= heard
    return recorded


def _write(connection: Connection, ledger: Ledger, batch: Batch) -> tuple[Recorded, fold.Told, fold.Heard]:
    horizon = connection.scalar(_HORIZON) or 0
    unique = {event.id: event for event in batch.events if event.at >= horizon}
    stale = sum([event.at < horizon for event in batch.events])
    cluster_id = ledger.labels.number(Kind.CLUSTER, batch.cluster)
    events = [unique[event_id] for event_id in sorted(unique)]
    fresh = _insert_events(connection, ledger.labels, cluster_id, batch.received_at, events)
    told = fold.tasks(connection, ledger, cluster_id, _by_task(fresh))
    heard = fold.workers(connection, ledger, cluster_id, fresh, batch.received_at)
    beats.fold(connection, ledger, cluster_id, fresh)
    _count(connection, ledger.labels, cluster_id, fresh)
    quarantined = _quarantine(connection, cluster_id, batch)
    if batch.position is not None:
        extend(connection, batch.position)
    return Recorded(len(fresh), len(batch.events) - stale - len(fresh), stale, quarantined), told, heard


_HORIZON = select(schema.mark.c.value).where(schema.mark.c.name == "pruned_before_at")


def extend(connection: Connection, position: Position) -> None:
    """Move the end of a coverage row forward, never back."""
    until = schema.coverage.c.until_at
    later = case((until < position.until_at, position.until_at), else_=until)
    connection.execute(
        update(schema.coverage).where(schema.coverage.c.id == position.coverage_id).values(until_at=later)
    )


def _intern_names(labels: Labels, batch: Batch) -> None:
    """Give a number to every name of the batch that has none yet."""
    missing = set(_unknown_names(labels, batch))
    if missing:
        labels.intern(missing)


_FIELDS = ((Kind.NAME, "name"), (Kind.QUEUE, "queue"), (Kind.ROUTING_KEY, "routing_key"))


def _unknown_names(labels: Labels, batch: Batch) -> Iterator[tuple[Kind, str]]:
    """The names that have no number at hand: mostly none, so that is what must be found out fast."""
    types, hosts = labels.known(Kind.TYPE), labels.known(Kind.HOST)
    fields = [(labels.known(kind), kind, key) for kind, key in _FIELDS]
    if batch.cluster not in labels.known(Kind.CLUSTER):
        yield Kind.CLUSTER, batch.cluster
    for event in batch.events:
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


def _insert_events(
    connection: Connection, labels: Labels, cluster_id: int, received_at: int, events: Sequence[Event]
) -> Sequence[Event]:
    """Insert the events that are not there yet and say which they were; mostly all are new, so that is tried first."""
    rows = _event_rows(labels, cluster_id, received_at, events)
    if bulk.insert_if_all_new(connection, schema.event, rows):
        return events
    ids = [event.id for event in events]
    known = {bytes(row[0]) for row in bulk.select_in(connection, "SELECT id FROM event", "id", ids)}
    bulk.insert(connection, schema.event, [row for key, row in zip(ids, rows, strict=True) if key not in known])
    return [event for event in events if event.id not in known]


def _event_rows(labels: Labels, cluster_id: int, received_at: int, events: Sequence[Event]) -> list[bulk.Row]:
    """In the order of the columns of `event`."""
    types = {name: labels.number(Kind.TYPE, name) for name in {event.type for event in events}}
    hosts = {name: labels.number(Kind.HOST, name) for name in {event.hostname for event in events} if name is not None}
    made = iter(bodies.pack_all([event.body for event in events if event.packed is None]))
    packed = [event.packed or next(made) for event in events]
    return [
        (
            event.at,
            cluster_id,
            types[event.type],
            None if event.hostname is None else hosts[event.hostname],
            max(-INT32_MAX, min(INT32_MAX, (received_at - event.at) // 1000)),
            codec,
            event.id,
            None if event.task_id is None else pack_task_id(event.task_id),
            body,
        )
        for event, (codec, body) in zip(events, packed, strict=True)
    ]


def _by_task(events: Iterable[Event]) -> dict[str, list[Event]]:
    stories: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.task_id is not None:
            stories[event.task_id].append(event)
    return stories


def _count(connection: Connection, labels: Labels, cluster_id: int, fresh: Iterable[Event]) -> None:
    numbers = Counter([(event.at // HOUR * HOUR, event.type) for event in fresh])
    counted = sorted((hour, labels.number(Kind.TYPE, kind), number) for (hour, kind), number in numbers.items())
    rows = [
        {"hour_at": hour, "cluster_id": cluster_id, "type_id": kind, "number": number} for hour, kind, number in counted
    ]
    if rows:
        connection.execute(dialects.upsert(connection, schema.event_count, add=("number",)), rows)


def _quarantine(connection: Connection, cluster_id: int, batch: Batch) -> int:
    """Keep what could not be used; the same bytes again are the same row."""
    unique = {item.id: item for item in batch.malformed}
    rows = [
        {
            "id": item.id,
            "cluster_id": cluster_id,
            "received_at": batch.received_at,
            "reason": item.reason,
            "detail": plain(item.detail),
            "size": item.size,
            "body": item.body,
        }
        for item in unique.values()
    ]
    if not rows:
        return 0
    table = schema.quarantine
    known = set(connection.scalars(select(table.c.id).where(table.c.id.in_(list(unique)))))
    fresh = [row for row in rows if row["id"] not in known]
    if fresh:
        connection.execute(dialects.insert_ignore(connection, table), fresh)
    return len(fresh)

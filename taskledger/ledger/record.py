"""Write a batch: what is new, what it makes of tasks and workers, what is counted; all of it or nothing."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, select, update
from sqlalchemy.exc import IntegrityError

from taskledger.errors import LedgerConflict
from taskledger.events import Event, Malformed
from taskledger.ledger import dialects, fold, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind

log = logging.getLogger(__name__)

#: how often a transaction that met another one is tried again
TRIES = 8
HOUR = 3_600_000_000
#: codec of an event's body: canonical JSON as it is
PLAIN = 0


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
    names = ledger.labels.intern(_names(batch))
    for attempt in range(TRIES):
        try:
            with ledger.write() as connection:
                return _write(connection, batch, names)
        except (LedgerConflict, IntegrityError) as error:
            # Another recorder wrote the same rows in between: the next try sees them.
            log.debug("trying a batch again: %s", error, extra={"action": "batch_retried"})
            time.sleep(0.01 * 2**attempt)
    with ledger.write() as connection:
        return _write(connection, batch, names)


def _write(connection: Connection, batch: Batch, names: fold.Names) -> Recorded:
    horizon = connection.scalar(select(schema.mark.c.value).where(schema.mark.c.name == "pruned_before_at")) or 0
    unique = {event.id: event for event in batch.events if event.at >= horizon}
    stale = sum(1 for event in batch.events if event.at < horizon)
    cluster_id = names[Kind.CLUSTER, batch.cluster]
    fresh = _insert_events(connection, cluster_id, unique, names, batch.received_at)
    fold.tasks(connection, cluster_id, _by_task(fresh), names)
    fold.workers(connection, cluster_id, fresh, names)
    _count(connection, cluster_id, fresh, names)
    quarantined = _quarantine(connection, cluster_id, batch)
    if batch.position is not None:
        extend(connection, batch.position)
    return Recorded(len(fresh), len(batch.events) - stale - len(fresh), stale, quarantined)


def extend(connection: Connection, position: Position) -> None:
    """Move the end of a coverage row forward, never back."""
    until = schema.coverage.c.until_at
    later = case((until < position.until_at, position.until_at), else_=until)
    connection.execute(
        update(schema.coverage).where(schema.coverage.c.id == position.coverage_id).values(until_at=later)
    )


def _names(batch: Batch) -> Iterable[tuple[Kind, str]]:
    yield Kind.CLUSTER, batch.cluster
    for event in batch.events:
        yield from fold.names_of(event)


def _insert_events(
    connection: Connection, cluster_id: int, unique: Mapping[bytes, Event], names: fold.Names, received_at: int
) -> list[Event]:
    """Insert the events that are not there yet and say which they were, in the order of their ids."""
    ids = sorted(unique)
    if connection.dialect.name != "postgresql":
        ids = _missing(connection, ids)
    rows = [_event_row(unique[event_id], cluster_id, names, received_at) for event_id in ids]
    if not rows:
        return []
    if connection.dialect.name == "postgresql":
        insert = dialects.insert_ignore(connection, schema.event).returning(schema.event.c.id)
        ids = sorted(bytes(event_id) for event_id in connection.scalars(insert, rows))
    else:
        connection.execute(schema.event.insert(), rows)
    return [unique[event_id] for event_id in ids]


def _missing(connection: Connection, ids: Sequence[bytes]) -> list[bytes]:
    known: set[bytes] = set()
    for chunk in dialects.chunks(ids):
        known.update(
            bytes(found) for found in connection.scalars(select(schema.event.c.id).where(schema.event.c.id.in_(chunk)))
        )
    return [event_id for event_id in ids if event_id not in known]


def _event_row(event: Event, cluster_id: int, names: fold.Names, received_at: int) -> dict[str, object]:
    return {
        "id": event.id,
        "cluster_id": cluster_id,
        "type_id": names[Kind.TYPE, fold.label(event.type)],
        "at": event.at,
        "received_at": received_at,
        "task_id": event.task_id,
        "host_id": names[Kind.HOST, fold.label(event.hostname)] if event.hostname else None,
        "pid": event.pid,
        "clock": event.clock,
        "codec": PLAIN,
        "body": event.body,
    }


def _by_task(events: Iterable[Event]) -> dict[str, list[Event]]:
    stories: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.task_id is not None:
            stories[event.task_id].append(event)
    return stories


def _count(connection: Connection, cluster_id: int, fresh: Iterable[Event], names: fold.Names) -> None:
    numbers: dict[tuple[int, int], int] = defaultdict(int)
    for event in fresh:
        numbers[event.at // HOUR * HOUR, names[Kind.TYPE, fold.label(event.type)]] += 1
    rows = [
        {"hour_at": hour, "cluster_id": cluster_id, "type_id": kind, "number": number}
        for (hour, kind), number in sorted(numbers.items())
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
            "detail": fold.plain(item.detail),
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

"""Write a batch: what is new, what it makes of tasks and workers, what is counted; all of it or nothing."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, select, update
from sqlalchemy.exc import IntegrityError

from taskledger.errors import LedgerConflict
from taskledger.events import Event, Malformed
from taskledger.ledger import beats, bulk, dialects, fold, schema, sessions
from taskledger.ledger.engine import Ledger
from taskledger.ledger.faults import is_double
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.prepare import Prepared, only, prepare
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
    prepared = prepare(ledger.labels, batch.cluster, batch.received_at, batch.events)
    for attempt in range(TRIES):
        try:
            return _try(ledger, batch, prepared)
        except (LedgerConflict, IntegrityError) as error:
            if isinstance(error, IntegrityError) and not is_double(error):
                raise
            # Another recorder wrote the same rows in between: the next try sees them.
            log.debug("trying a batch again: %s", error, extra={"action": "batch_retried"})
            time.sleep(0.01 * 2**attempt)
    return _try(ledger, batch, prepared)


def _try(ledger: Ledger, batch: Batch, prepared: Prepared) -> Recorded:
    with ledger.write() as connection:
        recorded, told, heard = _write(connection, ledger, batch, prepared)
    # Only what is committed may be remembered.
    ledger.stories.keep(told)
    ledger.stories.heard |= heard
    return recorded


def _write(
    connection: Connection, ledger: Ledger, batch: Batch, prepared: Prepared
) -> tuple[Recorded, fold.Told, sessions.Heard]:
    horizon = connection.scalar(_HORIZON) or 0
    stale = 0
    if prepared.oldest_at < horizon:
        stale = sum([event.at < horizon for event in batch.events])
        prepared = only(prepared, [event.id for event in prepared.events if event.at >= horizon])
    fresh, cluster_id = _insert_events(connection, prepared), prepared.cluster_id
    told = fold.tasks(connection, ledger, cluster_id, fresh.by_task)
    heard = sessions.fold(connection, ledger, cluster_id, fresh.events, batch.received_at)
    beats.fold(connection, ledger, cluster_id, fresh.events)
    _count(connection, ledger.labels, cluster_id, fresh.events)
    quarantined = _quarantine(connection, cluster_id, batch)
    if batch.position is not None:
        extend(connection, batch.position)
    new = len(fresh.events)
    return Recorded(new, len(batch.events) - stale - new, stale, quarantined), told, heard


_HORIZON = select(schema.mark.c.value).where(schema.mark.c.name == "pruned_before_at")


def extend(connection: Connection, position: Position) -> None:
    """Move the end of a coverage row forward, never back."""
    until = schema.coverage.c.until_at
    later = case((until < position.until_at, position.until_at), else_=until)
    connection.execute(
        update(schema.coverage).where(schema.coverage.c.id == position.coverage_id).values(until_at=later)
    )


def _insert_events(connection: Connection, prepared: Prepared) -> Prepared:
    """Insert the events that are not there yet and say which they were; mostly all are new, so that is tried first."""
    if bulk.insert_if_all_new(connection, schema.event, prepared.rows):
        return prepared
    ids = [event.id for event in prepared.events]
    known = {bytes(row[0]) for row in bulk.select_in(connection, "SELECT id FROM event", "id", ids)}
    fresh = only(prepared, set(ids) - known)
    bulk.insert(connection, schema.event, fresh.rows)
    return fresh


def _count(connection: Connection, labels: Labels, cluster_id: int, fresh: Sequence[Event]) -> None:
    """Count events by hour and type; they come in the order of their milliseconds, and most batches are of one hour."""
    if fresh and fresh[0].at // HOUR == fresh[-1].at // HOUR:
        hour = fresh[0].at // HOUR * HOUR
        numbers = {(hour, kind): number for kind, number in Counter([event.type for event in fresh]).items()}
    else:
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

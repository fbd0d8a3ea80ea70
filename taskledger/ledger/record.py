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
from taskledger.ledger.prepare import AT, ID, TASK, TYPE, Prepared, only, prepare
from taskledger.ledger.stories import Remembered
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
    prepared = prepared_of(ledger, batch)
    recorded, told = write(ledger, prepared, batch.position)
    remember(ledger, prepared.cluster_id, prepared.remembered, told)
    return recorded


def prepared_of(ledger: Ledger, batch: Batch) -> Prepared:
    """As `prepare`."""
    return prepare(ledger, batch.cluster, batch.received_at, batch.events, batch.malformed)


def write(ledger: Ledger, prepared: Prepared, position: Position | None) -> tuple[Recorded, fold.Told]:
    """Write what was prepared, here or elsewhere, in one transaction; as `record`.

    Returns as well what was found of tasks that were not as they had been remembered, for `remember`.
    """
    for attempt in range(TRIES):
        try:
            return _try(ledger, prepared, position)
        except (LedgerConflict, IntegrityError) as error:
            if isinstance(error, IntegrityError) and not is_double(error):
                raise
            # Another recorder wrote the same rows in between: the next try sees them.
            log.debug("trying a batch again: %s", error, extra={"action": "batch_retried"})
            time.sleep(0.01 * 2**attempt)
    return _try(ledger, prepared, position)


def remember(ledger: Ledger, cluster_id: int, remembered: Remembered, told: fold.Told) -> None:
    """What was prepared is written: from now on it is known; of some tasks it was found to be other than thought."""
    ledger.stories.keep(remembered)
    ledger.stories.keep({
        (cluster_id, key): None if rows is None else [fold.event_of(key, *row) for row in rows]
        for key, rows in told.items()
    })  # fmt: skip


def _try(ledger: Ledger, prepared: Prepared, position: Position | None) -> tuple[Recorded, fold.Told]:
    with ledger.write() as connection:
        recorded, told, heard = _write(connection, ledger, prepared, position)
    # Only what is committed may be remembered.
    ledger.heard |= heard
    return recorded, told


def _write(
    connection: Connection, ledger: Ledger, prepared: Prepared, position: Position | None
) -> tuple[Recorded, fold.Told, sessions.Heard]:
    horizon = connection.scalar(_HORIZON) or 0
    timely = prepared
    if prepared.oldest_at < horizon:
        timely = only(prepared, {row[ID] for row in prepared.rows if row[AT] >= horizon})
    stale = len(prepared.rows) - len(timely.rows)
    fresh = _insert_events(connection, timely)
    told = _left_out(prepared, fresh) | fold.tasks(connection, ledger, fresh.cluster_id, fresh.plans)
    heard = sessions.fold(connection, ledger, fresh)
    beats.fold(connection, ledger, fresh.cluster_id, fresh.apart)
    _count(connection, fresh)
    quarantined = _quarantine(connection, fresh)
    if position is not None:
        extend(connection, position)
    new = len(fresh.rows)
    return Recorded(new, prepared.number - stale - new, stale, quarantined), told, heard


def _left_out(prepared: Prepared, fresh: Prepared) -> fold.Told:
    """The tasks of which something was not written: it is not in the ledger, or it is there in another shape."""
    if fresh is prepared:
        return {}
    kept = {row[ID] for row in fresh.rows}
    return {row[TASK]: None for row in prepared.rows if row[TASK] is not None and row[ID] not in kept}


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
    ids = [row[ID] for row in prepared.rows]
    known = {bytes(row[0]) for row in bulk.select_in(connection, "SELECT id FROM event", "id", ids)}
    fresh = only(prepared, set(ids) - known)
    bulk.insert(connection, schema.event, fresh.rows)
    return fresh


def _count(connection: Connection, fresh: Prepared) -> None:
    """Count events by hour and type; they come in the order of their milliseconds, and most batches are of one hour."""
    rows = fresh.rows
    if rows and (hour := rows[0][AT] // HOUR * HOUR) == rows[-1][AT] // HOUR * HOUR:
        numbers = {(hour, kind): number for kind, number in Counter([row[TYPE] for row in rows]).items()}
    else:
        numbers = Counter([(row[AT] // HOUR * HOUR, row[TYPE]) for row in rows])
    counted = [
        {"hour_at": hour, "cluster_id": fresh.cluster_id, "type_id": kind, "number": number}
        for (hour, kind), number in sorted(numbers.items())
    ]
    if counted:
        connection.execute(dialects.upsert(connection, schema.event_count, add=("number",)), counted)


def _quarantine(connection: Connection, prepared: Prepared) -> int:
    """Keep what could not be used; the same bytes again are the same row."""
    unique = {item.id: item for item in prepared.malformed}
    rows = [
        {
            "id": item.id,
            "cluster_id": prepared.cluster_id,
            "received_at": prepared.received_at,
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

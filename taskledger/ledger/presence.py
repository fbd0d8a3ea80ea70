"""Who was listening, to what, from when to when: the ground of every "did not happen"."""

from typing import Any

from sqlalchemy import Connection, insert, select, update

from taskledger.ledger import lasting, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.record import Position
from taskledger.ledger.record import extend as move

#: microseconds without a sign of life after which a recorder does not count as recording
SILENCE = 15_000_000
#: the cause of a coverage row whose recorder was gone without a word
KILLED = "the recorder was killed or lost its machine"


def begin(ledger: Ledger, name: str, version: str, now_at: int) -> int:
    """A recorder starts; the number of its row.

    Rows that an earlier life under the same name left open are closed, if it has been silent: two that live at once
    under one name, as on one machine by default, leave each other alone.
    """
    with ledger.write() as connection:
        _close_left_open(connection, name[:255], now_at - SILENCE)
        lasting.begin(connection, now_at)
        row = {"name": name[:255], "version": version, "started_at": now_at, "seen_at": now_at, "recorded": 0}
        return _key(connection.execute(insert(schema.recorder), row))


def listen(ledger: Ledger, recorder_id: int, cluster: str, promise: str, from_at: int, *, resumed: bool = False) -> int:
    """A recorder listens to a cluster from a moment on; the number of its coverage row.

    `resumed`: the broker kept everything since the cluster's last coverage ended, so this one begins there.
    """
    cluster_id = ledger.labels.intern([(Kind.CLUSTER, cluster)])[Kind.CLUSTER, cluster]
    table = schema.coverage
    with ledger.write() as connection:
        if resumed:
            last = select(table.c.until_at).where(table.c.cluster_id == cluster_id, table.c.promise == promise)
            from_at = min(from_at, connection.scalar(last.order_by(table.c.until_at.desc()).limit(1)) or from_at)
        row = {
            "recorder_id": recorder_id,
            "cluster_id": cluster_id,
            "promise": promise,
            "from_at": from_at,
            "until_at": from_at,
        }
        return _key(connection.execute(insert(table), row))


def extend(
    ledger: Ledger, position: Position | None, *, recorder_id: int, seen_at: int, lag_s: float | None, recorded: int
) -> None:
    """A sign of life: the coverage goes on to its position; `recorded` is the recorder's count of new events so far."""
    table = schema.recorder
    with ledger.write() as connection:
        if position is not None:
            move(connection, position)
            revived = update(schema.coverage).where(schema.coverage.c.id == position.coverage_id)
            connection.execute(revived.where(schema.coverage.c.cause == KILLED).values(cause=None))
        # Whoever called this recorder dead while it was only slow was wrong.
        values = {"seen_at": seen_at, "lag_s": lag_s, "recorded": recorded, "stopped_at": None}
        connection.execute(update(table).where(table.c.id == recorder_id).values(values))


def end(ledger: Ledger, position: Position, cause: str, *, lost_from_at: int | None = None) -> None:
    """The recorder stops listening at that position, for a cause in words; before it, if something older is lost."""
    table = schema.coverage
    with ledger.write() as connection:
        move(connection, position)
        row = update(table).where(table.c.id == position.coverage_id)
        connection.execute(row.values(cause=cause[:1000]))
        if lost_from_at is not None:
            connection.execute(row.where(table.c.until_at > lost_from_at).values(until_at=lost_from_at))
            connection.execute(row.where(table.c.from_at > lost_from_at).values(from_at=lost_from_at))


def stop(ledger: Ledger, recorder_id: int, now_at: int) -> None:
    """The recorder says goodbye."""
    table = schema.recorder
    with ledger.write() as connection:
        connection.execute(update(table).where(table.c.id == recorder_id).values(seen_at=now_at, stopped_at=now_at))


def _close_left_open(connection: Connection, name: str, silent_since_at: int) -> None:
    recorder, coverage = schema.recorder, schema.coverage
    left_open = (recorder.c.name == name) & recorder.c.stopped_at.is_(None) & (recorder.c.seen_at < silent_since_at)
    mine = select(recorder.c.id).where(left_open)
    left = coverage.c.recorder_id.in_(mine) & coverage.c.cause.is_(None)
    connection.execute(update(coverage).where(left).values(cause=KILLED))
    connection.execute(update(recorder).where(left_open).values(stopped_at=recorder.c.seen_at))


def _key(result: Any) -> int:
    return int(result.inserted_primary_key[0])

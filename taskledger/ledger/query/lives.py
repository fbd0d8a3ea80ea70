"""The sessions of workers up to a moment, and the last thing each worker said of itself before it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from taskledger import bodies
from taskledger.events import first_id_at, integer, restore
from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.sessions import session_of
from taskledger.workers import Session, load_of, lost_after_s

#: (host, cluster) -> sessions, in the order in which they began
Lives = Mapping[tuple[int, int], Sequence[Session]]
#: microseconds back that a heartbeat is looked for at most
FARTHEST = 600_000_000

E = schema.event.c


class Beat(NamedTuple):
    """A heartbeat: when, and what it said; None is what it did not say."""

    at: int
    pid: int | None
    active: int | None
    processed: int | None
    loadavg: str | None


def lives(connection: Connection, at: int, hosts: Sequence[int] | None = None) -> Lives:
    """The sessions that had begun by a moment, of these hosts, or of all."""
    table = schema.worker_session
    query = select(table).where(table.c.first_at <= at)
    parts = [None] if hosts is None else list(dialects.chunks(hosts))
    found: dict[tuple[int, int], list[Session]] = defaultdict(list)
    for part in parts:
        mine = query if part is None else query.where(table.c.host_id.in_(part))
        for row in connection.execute(mine.order_by(table.c.first_at)):
            found[row.host_id, row.cluster_id].append(session_of(row))
    return found


def beats(connection: Connection, labels: Labels, at: int, found: Lives) -> dict[tuple[int, int], Beat]:
    """The last heartbeat up to a moment of each worker that sent any shortly before: events hold every one of them."""
    kind = labels.find(Kind.TYPE, "worker-heartbeat")
    lasting = [one for sessions in found.values() for one in sessions if one.last_at >= at - FARTHEST]
    if kind is None or not lasting:
        return {}
    back = min(round(max(lost_after_s(one.freq_s) for one in lasting) * 1_000_000), FARTHEST)
    span = (E.id >= first_id_at(at - back), E.id < first_id_at(at + 1000), E.at <= at)
    rows = connection.execute(select(E.host_id, E.cluster_id, E.at, E.codec, E.body).where(E.type_id == kind, *span))
    last: dict[tuple[int, int], Any] = {}
    for row in rows:
        key = (row.host_id, row.cluster_id)
        if key in found and (key not in last or row.at >= last[key].at):
            last[key] = row
    return {key: _beat(row) for key, row in last.items()}


def last_beat(sessions: Sequence[Session], at: int) -> Beat | None:
    """The last heartbeat of the last session, where that is over; of one that goes on, only events tell."""
    last = sessions[-1] if sessions else None
    if last is None or last.last_at > at or last.heartbeat_at is None:
        return None
    return Beat(last.heartbeat_at, last.pid or None, last.active, last.processed, last.loadavg)


def _beat(row: Any) -> Beat:
    fields = restore(bodies.unpack(row.codec, bytes(row.body)))
    active, processed = integer(fields.get("active")), integer(fields.get("processed"))
    return Beat(row.at, integer(fields.get("pid")), active, processed, load_of(fields))

"""What beat's probe told, folded again from its events: all that is missing comes back, and what is there stays."""

from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, select

from taskledger import bodies
from taskledger.events import Event, canonical, decode, restore
from taskledger.ledger import beats, schema
from taskledger.ledger.labels import Kind
from taskledger.ledger.rebuilding import Rebuilding

#: events of one transaction
PAGE = 500


def fold_all(work: Rebuilding) -> None:
    """Fold every event of the probe again; those that were folded before change nothing."""
    types = work.ledger.labels.ids(Kind.TYPE, beats.BEAT_EVENT_TYPES.__contains__)
    last = b""
    while types and not work.dry_run and not work.is_stopped():
        with work.ledger.read() as connection:
            rows = _page(connection, types, last)
        if not rows:
            return
        clusters = {row.cluster_id for row in rows}
        for cluster_id in sorted(clusters):
            events = [event for row in rows if row.cluster_id == cluster_id for event in _events(row)]
            work.write(partial(_fold, work=work, cluster_id=cluster_id, events=events))
        last = bytes(rows[-1].id)


def _page(connection: Connection, types: list[int], last: bytes) -> Any:
    event = schema.event.c
    mine = and_(event.id > last, event.type_id.in_(types))
    question = select(event.id, event.cluster_id, event.codec, event.body).where(mine)
    return connection.execute(question.order_by(event.id).limit(PAGE)).all()


def _events(row: Any) -> list[Event]:
    said = restore(bodies.unpack(row.codec, bytes(row.body)))
    return [event for event in decode(canonical(said)) if isinstance(event, Event)]


def _fold(connection: Connection, *, work: Rebuilding, cluster_id: int, events: list[Event]) -> None:
    beats.fold(connection, work.ledger, cluster_id, events)

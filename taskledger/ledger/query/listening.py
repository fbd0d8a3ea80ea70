"""Questions about the recorders: who was listening when, and what a span can vouch for."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, select

from taskledger.ledger import schema
from taskledger.ledger.answers import ClusterStatus, Coverage, Hole, RecorderRow, RecorderStatus, Span, Stretch
from taskledger.ledger.engine import Ledger
from taskledger.ledger.presence import KILLED, SILENCE

#: microseconds before the ledger's newest coverage after which a cluster counts as given up
GIVEN_UP = 7 * 86_400_000_000
#: lives of recorders that are listed
MAX_RECORDERS = 50


def status(ledger: Ledger, now_at: int) -> RecorderStatus:
    """Whether anything is being recorded right now."""
    newest = recorders(ledger)
    if not newest:
        return RecorderStatus("never", None, None, None)
    latest = max(newest, key=lambda one: one.seen_at)
    is_alive = latest.stopped_at is None and now_at - latest.seen_at < SILENCE
    promise = latest.promises[0][1] if latest.promises else None
    return RecorderStatus(
        "recording" if is_alive else "stopped", latest.lag_s if is_alive else None, latest.seen_at, promise
    )


def clusters(ledger: Ledger, now_at: int) -> tuple[ClusterStatus, ...]:
    """Each cluster that was recorded in the ledger's last week, by name, and whether it is recorded right now."""
    with ledger.read() as connection:
        reach = _reach(connection)
        newest_at = max(reach.values(), default=0)
        current = [cluster_id for cluster_id, until_at in reach.items() if until_at >= newest_at - GIVEN_UP]
        rows = {cluster_id: _last_rows(connection, cluster_id, until_at=reach[cluster_id]) for cluster_id in current}
    found = (_cluster(ledger.labels.value(cluster_id) or "", rows[cluster_id], now_at) for cluster_id in current)
    return tuple(sorted(found, key=lambda one: one.cluster))


def coverage(ledger: Ledger, span: Span, now_at: int | None = None, *, cluster: str | None = None) -> Coverage:
    """The holes of a span, up to now: where a cluster was not listened to; of one cluster, or of all that are recorded.

    A cluster is in question from its first recording on, and for a week after its last.
    """
    now_at = time.time_ns() // 1000 if now_at is None else now_at
    listening = stretches(ledger, Span(span.from_at - SILENCE, span.to_at + SILENCE))
    reach = {name: found for name, found in _recorded(ledger).items() if cluster in (None, name)}
    began_at = min((found.from_at for found in reach.values()), default=None)
    until_at = max((found.to_at for found in reach.values()), default=None)
    current = [name for name, found in reach.items() if found.to_at >= span.from_at - GIVEN_UP]
    end_at = min(span.to_at, now_at)
    if not current:
        return Coverage(span, tuple(_holes((), span.from_at, end_at, began_at)), began_at, until_at)
    holes: list[Hole] = []
    for name in current:
        # Before a further cluster was first recorded it was not known, which is no hole in what was.
        own_from_at = span.from_at if reach[name].from_at == began_at else reach[name].from_at
        mine = [stretch for stretch in listening if stretch.cluster == name]
        prefix = f"{name}: " if len(current) > 1 else ""
        found = _holes(mine, max(span.from_at, own_from_at), end_at, began_at)
        holes += [Hole(one.from_at, one.to_at, prefix + one.cause) for one in found]
    return Coverage(span, tuple(_merged(holes)), began_at, until_at)


def _recorded(ledger: Ledger) -> dict[str, Span]:
    """Cluster -> from when to when it was ever recorded."""
    columns = schema.coverage.c
    ends = (func.min(columns.from_at).label("from_at"), func.max(columns.until_at).label("until_at"))
    with ledger.read() as connection:
        rows = connection.execute(select(columns.cluster_id, *ends).group_by(columns.cluster_id)).all()
    return {ledger.labels.value(row.cluster_id) or "": Span(row.from_at, row.until_at) for row in rows}


def _merged(holes: Iterable[Hole]) -> Iterable[Hole]:
    """Holes of several clusters as one list: those that overlap become one, with all their causes."""
    last: Hole | None = None
    for hole in sorted(holes, key=lambda one: (one.from_at, one.to_at)):
        if last is None or hole.from_at >= last.to_at:
            if last is not None:
                yield last
            last = hole
        else:
            last = Hole(last.from_at, max(last.to_at, hole.to_at), f"{last.cause}; {hole.cause}")
    if last is not None:
        yield last


def stretches(ledger: Ledger, span: Span) -> tuple[Stretch, ...]:
    """When each recorder was listening to each cluster within a span, oldest first."""
    table = schema.coverage
    query = select(table, schema.recorder.c.name).join(schema.recorder, schema.recorder.c.id == table.c.recorder_id)
    within = query.where(table.c.until_at >= span.from_at, table.c.from_at < span.to_at).order_by(
        table.c.from_at, table.c.id
    )
    with ledger.read() as connection:
        rows = connection.execute(within).all()
    return tuple(
        Stretch(row.name, ledger.labels.value(row.cluster_id) or "", row.from_at, row.until_at, row.cause)
        for row in rows
    )


def recorders(ledger: Ledger, *, begun_by_at: int | None = None) -> tuple[RecorderRow, ...]:
    """The lives of recorders, newest first."""
    table, listening = schema.recorder, schema.coverage
    lives = select(table) if begun_by_at is None else select(table).where(table.c.started_at <= begun_by_at)
    with ledger.read() as connection:
        rows = connection.execute(
            lives.order_by(table.c.started_at.desc(), table.c.id.desc()).limit(MAX_RECORDERS)
        ).all()
        of = select(listening.c.recorder_id, listening.c.cluster_id, listening.c.promise).distinct()
        promised = connection.execute(of.where(listening.c.recorder_id.in_([row.id for row in rows]))).all()
    promises: dict[int, list[tuple[str, str]]] = {}
    for row in promised:
        promises.setdefault(row.recorder_id, []).append((ledger.labels.value(row.cluster_id) or "", row.promise))
    return tuple(
        RecorderRow(
            name=row.name,
            started_at=row.started_at,
            seen_at=row.seen_at,
            stopped_at=row.stopped_at,
            version=row.version,
            promises=tuple(sorted(promises.get(row.id, []))),
            lag_s=row.lag_s,
            recorded=row.recorded,
        )
        for row in rows
    )


def recorders_at(ledger: Ledger, at: int) -> tuple[RecorderRow, ...]:
    """The lives that had begun by a moment, as far as they are known of then, newest first."""
    return tuple(_recorder_at(row, at) for row in recorders(ledger, begun_by_at=at))


def _recorder_at(row: RecorderRow, at: int) -> RecorderRow:
    if row.seen_at <= at:
        return row
    return replace(row, seen_at=at, stopped_at=None, lag_s=None, recorded=None)


def _reach(connection: Connection) -> dict[int, int]:
    """Cluster -> up to when it is covered."""
    columns = schema.coverage.c
    query = select(columns.cluster_id, func.max(columns.until_at).label("until_at")).group_by(columns.cluster_id)
    return {row.cluster_id: row.until_at for row in connection.execute(query)}


def _last_rows(connection: Connection, cluster_id: int, until_at: int) -> Sequence[Row[Any]]:
    """The coverage that is open, and the one that reaches furthest, with their recorders; that one is the last."""
    table, recorder = schema.coverage, schema.recorder
    query = (
        select(table, recorder.c.name, recorder.c.seen_at, recorder.c.stopped_at, recorder.c.lag_s)
        .join(recorder, recorder.c.id == table.c.recorder_id)
        .where(table.c.cluster_id == cluster_id, table.c.cause.is_(None) | (table.c.until_at == until_at))
    )
    return connection.execute(query.order_by(table.c.until_at, table.c.id)).all()


def _cluster(name: str, rows: Sequence[Row[Any]], now_at: int) -> ClusterStatus:
    last = rows[-1]
    live = [row for row in rows if row.cause is None and row.stopped_at is None and now_at - row.seen_at < SILENCE]
    if not live:
        return ClusterStatus(name, (), last.until_at, last.cause or KILLED, last.promise, None)
    return ClusterStatus(
        cluster=name,
        recorders=tuple(sorted({row.name for row in live})),
        since_at=min(row.from_at for row in live),
        cause=None,
        promise=live[-1].promise,
        lag_s=max((row.lag_s for row in live if row.lag_s is not None), default=None),
    )


def _holes(listening: Iterable[Stretch], from_at: int, to_at: int, began_at: int | None) -> Iterable[Hole]:
    """The parts of a span that no stretch covers; ends that meet within SILENCE of the present are no hole."""
    at, cause = from_at, "no recorder had run yet"
    for stretch in listening:
        if stretch.from_at > at:
            before_first = began_at is not None and at < began_at == stretch.from_at
            yield Hole(at, min(stretch.from_at, to_at), "before the first recording" if before_first else cause)
        if stretch.until_at >= at:
            at, cause = stretch.until_at, stretch.cause or "the recorder was killed or lost its machine"
        if at >= to_at:
            return
    if to_at - at > SILENCE or (at == from_at and began_at is None and to_at > at):
        yield Hole(at, to_at, cause)

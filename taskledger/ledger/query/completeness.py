"""Questions about what is missing: the gaps of a span, and whether it is proven complete."""

from typing import Any

from sqlalchemy import Connection, select

from taskledger.ledger import schema
from taskledger.ledger.answers import Coverage, Span
from taskledger.ledger.counted import compared_at
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.proofs import COMPLETE, LOST, MISSING, UNKNOWN, Completeness, GapRow, Uncounted
from taskledger.ledger.query.listening import coverage

#: gaps that are listed
MAX_GAPS = 1_000
#: microseconds that comparing may be behind the end of a span and still count as up to it
BEHIND = 30_000_000
NO_COUNTS = "it sends no heartbeats with counts (--without-heartbeat, or an old Celery)"


def gaps(ledger: Ledger, span: Span, *, cluster: str | None = None, worker: str | None = None) -> tuple[GapRow, ...]:
    """What workers counted and nobody recorded in a span, newest first; at most MAX_GAPS."""
    table = schema.gap.c
    within = [table.to_at > span.from_at, table.from_at < span.to_at]
    for kind, name, column in ((Kind.CLUSTER, cluster, table.cluster_id), (Kind.HOST, worker, table.host_id)):
        if name is not None:
            within.append(column == (ledger.labels.find(kind, name) or -1))
    query = select(schema.gap).where(*within).order_by(table.to_at.desc(), table.id.desc()).limit(MAX_GAPS)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return tuple(_gap(ledger, row) for row in rows)


def completeness(ledger: Ledger, span: Span, now_at: int, *, cluster: str | None = None) -> Completeness:
    """Whether every start and end of a task in a span was recorded, up to now, and what says so."""
    covered = coverage(ledger, span, now_at, cluster=cluster)
    missing = gaps(ledger, span, cluster=cluster)
    with ledger.read() as connection:
        ids = _clusters(connection, ledger, cluster)
        reached = [compared_at(connection, cluster_id) for cluster_id in ids]
        uncounted = tuple(_uncounted(connection, ledger, ids, span))
        workers = len(connection.execute(_counted_in(ids, span)).all())
    compared = min((at for at in reached if at is not None), default=None) if None not in reached else None
    verdict = _verdict(covered, missing, uncounted, compared, min(span.to_at, now_at))
    return Completeness(verdict, covered, missing, uncounted, compared, workers)


def _verdict(
    covered: Coverage, missing: tuple[GapRow, ...], uncounted: tuple[Uncounted, ...], compared: int | None, to_at: int
) -> str:
    """What is proven counts first; an end without a word (Ignore, Reject) is nothing that Celery would have told."""
    if any(gap.kind == LOST or gap.starts for gap in missing):
        return MISSING
    if not covered.is_whole or uncounted or compared is None or compared < to_at - BEHIND:
        return UNKNOWN
    return COMPLETE


def _clusters(connection: Connection, ledger: Ledger, cluster: str | None) -> list[int]:
    if cluster is not None:
        found = ledger.labels.find(Kind.CLUSTER, cluster)
        return [] if found is None else [found]
    return list(connection.scalars(select(schema.coverage.c.cluster_id).distinct()))


def _counted_in(ids: list[int], span: Span) -> Any:
    table = schema.worker_count.c
    return select(table.host_id).where(table.cluster_id.in_(ids), table.counted_at >= span.from_at)


def _uncounted(connection: Connection, ledger: Ledger, ids: list[int], span: Span) -> list[Uncounted]:
    """Workers that told of tasks in the span, and never of how many."""
    worker, counted = schema.worker.c, schema.worker_count
    same = (counted.c.host_id == worker.host_id) & (counted.c.cluster_id == worker.cluster_id)
    query = (
        select(worker.host_id, worker.cluster_id)
        .outerjoin_from(schema.worker, counted, same)
        .where(worker.cluster_id.in_(ids), worker.task_event_at >= span.from_at, counted.c.host_id.is_(None))
        .where(worker.first_at < span.to_at)
    )
    return [
        Uncounted(ledger.labels.value(row.cluster_id) or "", ledger.labels.value(row.host_id) or "", NO_COUNTS)
        for row in connection.execute(query)
    ]


def _gap(ledger: Ledger, row: Any) -> GapRow:
    return GapRow(
        cluster=ledger.labels.value(row.cluster_id) or "",
        worker=ledger.labels.value(row.host_id) or "",
        pid=row.pid or None,
        from_at=row.from_at,
        to_at=row.to_at,
        starts=row.starts,
        ends=row.ends,
        kind=row.kind,
        cause=row.cause,
    )

"""Questions about failures: which runs failed in the same way, how often, since when."""

from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, true

from taskledger.ledger import schema
from taskledger.ledger.answers import FailureGroup, Span
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.states import State

#: groups that are listed
MAX_GROUPS = 200

R = schema.run.c


def failure_groups(ledger: Ledger, span: Span, *, text: str | None = None, parts: int = 24) -> tuple[FailureGroup, ...]:
    """The ways in which runs failed for good in a span, the latest first; `text` must be in title, frame or task."""
    return _groups(ledger, span, _mentions(ledger, text), parts)


def failure_group(ledger: Ledger, fingerprint: str, span: Span) -> FailureGroup | None:
    """One group within a span, or None if it did not happen there (or the key is none)."""
    try:
        key = bytes.fromhex(fingerprint)
    except ValueError:
        return None
    return next(iter(_groups(ledger, span, R.fingerprint == key, 24)), None)


def _groups(ledger: Ledger, span: Span, which: ColumnElement[bool], parts: int) -> tuple[FailureGroup, ...]:
    failed = and_(
        R.fingerprint.is_not(None), R.state == State.FAILURE, R.ended_at >= span.from_at, R.ended_at < span.to_at, which
    )
    with ledger.read() as connection:
        rows = connection.execute(_counted(failed)).all()
        keys = [row.fingerprint for row in rows]
        trends = _trends(connection, and_(failed, R.fingerprint.in_(keys)), span, parts)
        queues = _queues(connection, and_(failed, R.fingerprint.in_(keys)))
        newest = {row.fingerprint: _example(connection, failed, row) for row in rows}
    return tuple(
        FailureGroup(
            fingerprint=bytes(row.fingerprint).hex(),
            task_name=ledger.labels.value(row.name_id),
            title=row.title,
            frame=row.frame,
            number=row.number,
            first_at=row.first_at,
            last_at=row.last_at,
            workers=row.workers,
            queues=tuple(sorted(name for number in queues[row.fingerprint] if (name := ledger.labels.value(number)))),
            example_id=newest[row.fingerprint],
            trend=tuple(trends[row.fingerprint].get(part, 0) for part in range(parts)),
        )
        for row in rows
    )


def _counted(failed: ColumnElement[bool]) -> Select[Any]:
    group = schema.failure_group
    last_at = func.max(R.ended_at).label("last_at")
    numbers = (
        select(
            R.fingerprint,
            func.count().label("number"),
            func.min(R.ended_at).label("first_at"),
            last_at,
            func.count(R.worker_id.distinct()).label("workers"),
        )
        .where(failed)
        .group_by(R.fingerprint)
        .order_by(last_at.desc())
        .limit(MAX_GROUPS)
        .subquery()
    )
    joined = select(numbers, group.c.name_id, group.c.title, group.c.frame)
    return joined.join(group, group.c.fingerprint == numbers.c.fingerprint).order_by(numbers.c.last_at.desc())


def _trends(connection: Connection, failed: ColumnElement[bool], span: Span, parts: int) -> dict[bytes, dict[int, int]]:
    width = max(1, -(-(span.to_at - span.from_at) // parts))
    part = ((R.ended_at - span.from_at) // width).label("part")
    query = select(R.fingerprint, part, func.count().label("number")).where(failed).group_by(R.fingerprint, part)
    trends: dict[bytes, dict[int, int]] = defaultdict(dict)
    for row in connection.execute(query):
        trends[row.fingerprint][int(row.part)] = row.number
    return trends


def _queues(connection: Connection, failed: ColumnElement[bool]) -> dict[bytes, set[int]]:
    task = schema.task.c
    same = and_(task.id == R.task_id, task.cluster_id == R.cluster_id)
    query = (
        select(R.fingerprint, task.queue_id)
        .join(schema.task, same)
        .where(failed, task.queue_id.is_not(None))
        .distinct()
    )
    queues: dict[bytes, set[int]] = defaultdict(set)
    for row in connection.execute(query):
        queues[row.fingerprint].add(row.queue_id)
    return queues


def _example(connection: Connection, failed: ColumnElement[bool], row: Any) -> str:
    newest = select(R.task_id).where(failed, R.fingerprint == row.fingerprint, R.ended_at == row.last_at)
    return str(connection.scalar(newest.order_by(R.task_id).limit(1)))


def _mentions(ledger: Ledger, text: str | None) -> ColumnElement[bool]:
    """The groups whose title, frame or task has that text in it, whatever its case."""
    if not text:
        return true()
    needle, group = text.lower(), schema.failure_group.c
    names = ledger.labels.ids(Kind.NAME, lambda value: needle in value.lower())
    titled = func.lower(group.title).contains(needle, autoescape=True) | func.lower(group.frame).contains(
        needle, autoescape=True
    )
    return R.fingerprint.in_(select(group.fingerprint).where(titled | group.name_id.in_(names)))

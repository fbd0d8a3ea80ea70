"""Questions about tasks: lists, counts, facets, and all that is known of one."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal_column, or_, select, true

from taskledger import bodies
from taskledger.events import integer, restore
from taskledger.ledger import schema, then
from taskledger.ledger.answers import (
    Bucket,
    Count,
    Cursor,
    EventRow,
    Facet,
    RelatedTask,
    RunRow,
    SettlementRow,
    Span,
    TaskDetail,
    TaskPage,
    TaskRow,
)
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.search import Expression, condition, id_begins
from taskledger.ledger.settled import fact_of
from taskledger.settlements import SettledBy
from taskledger.states import State

#: tasks of the span, newest first, that facets are counted over
FACET_SAMPLE = 100_000
#: values of one facet
FACET_VALUES = 12
#: members of a family that a task's page shows
MAX_FAMILY = 200
#: events of one task that its page shows
MAX_EVENTS = 1_000

T = schema.task.c


def tasks(
    ledger: Ledger,
    where: Expression | None,
    span: Span,
    *,
    limit: int = 50,
    after: Cursor | None = None,
    before: Cursor | None = None,
    at: int | None = None,
) -> TaskPage:
    """One page of the tasks of a span, newest first; `after` a cursor are the older ones, `before` it the newer.

    `at`, here and in the questions below: those first heard of by that moment, as they stood and as they match then.
    """
    matching = select(schema.task).where(_matches(ledger, where, span, at))
    with ledger.read() as connection:
        if before is not None:
            found = _newer(connection, matching, before, limit + 1)
            rows, more_newer, more_older = found[:limit][::-1], len(found) > limit, True
        else:
            query = matching if after is None else matching.where(_older_than(after))
            found = list(connection.execute(query.order_by(T.first_at.desc(), T.id.desc()).limit(limit + 1)))
            rows, more_newer, more_older = found[:limit], after is not None, len(found) > limit
        answer = tuple(row_of(ledger.labels, row) for row in rows)
        if at is not None:
            answer = then.rows_at(connection, ledger.labels, rows, answer, at)
    newer = _cursor(answer[0]) if answer and more_newer else None
    return TaskPage(answer, newer, _cursor(answer[-1]) if answer and more_older else None)


def count_tasks(
    ledger: Ledger, where: Expression | None, span: Span, *, cap: int = 10_000, at: int | None = None
) -> Count:
    """How many tasks of a span match, counted no further than the cap."""
    one: Select[Any] = select(literal_column("1")).select_from(schema.task)
    some = one.where(_matches(ledger, where, span, at)).limit(cap + 1)
    with ledger.read() as connection:
        number = connection.scalar(select(func.count()).select_from(some.subquery())) or 0
    return Count(min(number, cap), number <= cap)


def facets(
    ledger: Ledger, where: Expression | None, span: Span, *, at: int | None = None
) -> dict[str, tuple[Facet, ...]]:
    """The commonest states, tasks, queues and workers among the newest FACET_SAMPLE tasks of a span that match."""
    columns = [then.past(column, at).label(column.name) for column in (T.state, T.name_id, T.queue_id, T.worker_id)]
    newest = select(*columns).where(_matches(ledger, where, span, at)).order_by(T.first_at.desc()).limit(FACET_SAMPLE)
    answer = {}
    with ledger.read() as connection:
        for key, column in zip(
            ("state", "task", "queue", "worker"), ("state", "name_id", "queue_id", "worker_id"), strict=True
        ):
            sample = newest.subquery()
            number = func.count().label("number")
            counted = (
                select(sample.c[column], number).group_by(sample.c[column]).order_by(number.desc(), sample.c[column])
            )
            answer[key] = _facet(ledger.labels, key, connection.execute(counted.limit(FACET_VALUES + 1)))
    return answer


def histogram(
    ledger: Ledger, where: Expression | None, span: Span, *, bars: int = 96, at: int | None = None
) -> tuple[Bucket, ...]:
    """Tasks of a span by the moment they were first heard of, in equal parts; an empty part is there with zeros."""
    width = max(1, -(-(span.to_at - span.from_at) // bars))
    part = ((T.first_at - span.from_at) // width).label("part")
    number = func.count().label("number")
    known = select(part, then.past(T.state, at).label("state")).where(_matches(ledger, where, span, at)).subquery()
    query = select(known.c.part, known.c.state, number).group_by(known.c.part, known.c.state)
    counts: dict[int, dict[str, int]] = {}
    with ledger.read() as connection:
        for row in connection.execute(query):
            bar = counts.setdefault(int(row.part), {"succeeded": 0, "failed": 0, "other": 0})
            bar[_fate(row.state)] += row.number
    none = {"succeeded": 0, "failed": 0, "other": 0}
    starts = range(span.from_at, span.to_at, width)
    return tuple(Bucket(start, min(start + width, span.to_at), **counts.get(n, none)) for n, start in enumerate(starts))


def task(ledger: Ledger, task_id: str, *, at: int | None = None) -> TaskDetail | None:
    """All that is known of one task id; where several clusters have it, of the newest.

    `at`: as it stood at that moment; None where it had not been heard of by then.
    """
    known = true() if at is None else T.first_at <= at
    with ledger.read() as connection:
        newest = select(schema.task).where(T.id == task_id, known).order_by(T.first_at.desc())
        found = connection.execute(newest).first()
        if found is None:
            return None
        detail = TaskDetail(
            task=row_of(ledger.labels, found),
            routing_key=ledger.labels.value(found.routing_key_id),
            client=ledger.labels.value(found.client_id),
            root_id=found.root_id,
            parent_id=found.parent_id,
            runs=_runs(connection, ledger.labels, found),
            events=_events(connection, ledger.labels, found),
            family=_family(connection, ledger.labels, found, at),
            settlements=_settlements(connection, ledger.labels, found),
        )
        return detail if at is None else then.detail_at(connection, ledger.labels, found, detail, at)


def tasks_like(ledger: Ledger, prefix: str, limit: int = 10) -> tuple[RelatedTask, ...]:
    """Tasks whose id begins like that, newest first."""
    query = select(schema.task).where(id_begins(prefix)).order_by(T.first_at.desc(), T.id.desc()).limit(limit)
    with ledger.read() as connection:
        return tuple(_related(ledger.labels, row) for row in connection.execute(query))


def row_of(labels: Labels, row: Any) -> TaskRow:
    """The line of a list that a row of `task` makes."""
    plain = (
        "id",
        "first_at",
        "sent_at",
        "received_at",
        "started_at",
        "ended_at",
        "wait_s",
        "runtime_s",
        "args",
        "kwargs",
    )
    more = ("result", "exception", "runs", "retries", "eta_at", "expires_at")
    return TaskRow(
        cluster=labels.value(row.cluster_id) or "",
        name=labels.value(row.name_id),
        state=State(row.state),
        worker=labels.value(row.worker_id),
        queue=labels.value(row.queue_id),
        settled_by=_settled_by(row),
        **{key: getattr(row, key) for key in (*plain, *more)},
    )


def _matches(ledger: Ledger, where: Expression | None, span: Span, at: int | None) -> ColumnElement[bool]:
    to_at = span.to_at if at is None else min(span.to_at, at + 1)
    within = and_(T.first_at >= span.from_at, T.first_at < to_at)
    return and_(within, then.past(condition(where, ledger.labels), at) if where is not None else true())


def _newer(connection: Connection, matching: Select[Any], cursor: Cursor, limit: int) -> list[Any]:
    newer = or_(T.first_at > cursor.first_at, and_(T.first_at == cursor.first_at, T.id > cursor.id))
    return list(connection.execute(matching.where(newer).order_by(T.first_at, T.id).limit(limit)))


def _older_than(cursor: Cursor) -> ColumnElement[bool]:
    # The first half is implied by the second; with it the databases enter the index at the right place.
    return and_(T.first_at <= cursor.first_at, or_(T.first_at < cursor.first_at, T.id < cursor.id))


def _cursor(row: TaskRow) -> Cursor:
    return Cursor(row.first_at, row.id, row.cluster)


def _facet(labels: Labels, key: str, rows: Any) -> tuple[Facet, ...]:
    found = [(State(value).name if key == "state" else labels.value(value), number) for value, number in rows]
    return tuple(Facet(value, number) for value, number in found if value is not None)[:FACET_VALUES]


def _fate(state: int) -> str:
    return {State.SUCCESS: "succeeded", State.FAILURE: "failed"}.get(State(state), "other")


def _runs(connection: Connection, labels: Labels, found: Any) -> tuple[RunRow, ...]:
    table = schema.run
    query = (
        select(table)
        .where(table.c.task_id == found.id, table.c.cluster_id == found.cluster_id)
        .order_by(table.c.number)
    )
    plain = ("number", "pid", "retries", "sent_at", "received_at", "started_at", "ended_at", "runtime_s")
    return tuple(
        RunRow(
            state=State(row.state),
            worker=labels.value(row.worker_id),
            fingerprint=bytes(row.fingerprint).hex() if row.fingerprint else None,
            settled_by=_settled_by(row),
            **{key: getattr(row, key) for key in (*plain, "exception", "traceback", "note")},
        )
        for row in connection.execute(query)
    )


def _events(connection: Connection, labels: Labels, found: Any) -> tuple[EventRow, ...]:
    table = schema.event.c
    query = select(schema.event).where(table.task_id == found.id).order_by(table.id).limit(MAX_EVENTS)
    rows = [row for row in connection.execute(query) if row.cluster_id == found.cluster_id]
    found_events = (
        EventRow(
            id=bytes(row.id).hex(),
            type=labels.value(row.type_id) or "",
            at=row.at,
            received_at=row.at + row.lag_ms * 1000,
            hostname=labels.value(row.host_id),
            pid=integer(fields.get("pid")),
            clock=integer(fields.get("clock")),
            fields=fields,
        )
        for row in rows
        for fields in (restore(bodies.unpack(row.codec, bytes(row.body))),)
    )
    return tuple(sorted(found_events, key=lambda event: (event.at, event.clock or 0, event.id)))


def _settlements(connection: Connection, labels: Labels, found: Any) -> tuple[SettlementRow, ...]:
    table = schema.settlement
    mine = select(table).where(table.c.task_id == found.id, table.c.cluster_id == found.cluster_id)
    facts = [fact_of(labels, row) for row in connection.execute(mine.order_by(table.c.settled_by, table.c.known_at))]
    return tuple(
        SettlementRow(
            one.settled_by.name.lower(), one.known_at, one.worker, one.begun_at, one.state, one.at, one.name, one.note
        )
        for one in facts
    )


def _settled_by(row: Any) -> str | None:
    """In a word; a task may have 0, where its state is known by events and something else of it was settled."""
    return SettledBy(row.settled_by).name.lower() if row.settled_by else None


def _family(connection: Connection, labels: Labels, found: Any, at: int | None) -> tuple[RelatedTask, ...]:
    root = found.root_id or found.id
    columns = (T.id, T.name_id, T.first_at, T.parent_id, then.past(T.state, at).label("state"))
    relatives = select(*columns).where(or_(T.root_id == root, T.id == root), T.cluster_id == found.cluster_id)
    known = relatives.where(T.id != found.id, true() if at is None else T.first_at <= at)
    query = known.order_by(T.first_at, T.id).limit(MAX_FAMILY)
    members = [_related(labels, row) for row in connection.execute(query)]
    return tuple(sorted(members, key=lambda member: member.id != root))


def _related(labels: Labels, row: Any) -> RelatedTask:
    return RelatedTask(row.id, labels.value(row.name_id), State(row.state), row.first_at, row.parent_id)

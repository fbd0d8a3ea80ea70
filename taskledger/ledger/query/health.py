"""Questions about the ledger itself: how large, how old, what came in, and what could not be used."""

from sqlalchemy import ColumnElement, Connection, UnaryExpression, func, select, text, true

from taskledger.ledger import schema
from taskledger.ledger.answers import EventCount, QuarantinedRow, Span, Stats, TableSize
from taskledger.ledger.engine import Ledger
from taskledger.ledger.record import HOUR

#: characters of a quarantined message that are shown
EXCERPT = 400

_MYSQL_BYTES = "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = database()"


def event_counts(ledger: Ledger, span: Span) -> tuple[EventCount, ...]:
    """How many events of each type are recorded of the hours that a span touches, the commonest first."""
    columns = schema.event_count.c
    number = func.sum(columns.number).label("number")
    within = (columns.hour_at > span.from_at - HOUR) & (columns.hour_at < span.to_at)
    query = select(columns.type_id, number).where(within).group_by(columns.type_id)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    counts = [EventCount(ledger.labels.value(row.type_id) or "", int(row.number)) for row in rows]
    return tuple(sorted(counts, key=lambda count: (-count.number, count.type)))


def quarantine_count(ledger: Ledger, *, at: int | None = None) -> int:
    """How many messages or events are set aside, or were by a moment."""
    query = select(func.count()).select_from(schema.quarantine).where(_received_by(at))
    with ledger.read() as connection:
        return connection.scalar(query) or 0


def quarantined(ledger: Ledger, limit: int = 50, *, at: int | None = None) -> tuple[QuarantinedRow, ...]:
    """What was set aside, or had been by a moment, newest first."""
    columns = schema.quarantine.c
    query = (
        select(schema.quarantine).where(_received_by(at)).order_by(columns.received_at.desc(), columns.id).limit(limit)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return tuple(
        QuarantinedRow(
            id=bytes(row.id).hex(),
            cluster=ledger.labels.value(row.cluster_id) or "",
            received_at=row.received_at,
            reason=row.reason,
            detail=row.detail,
            size=row.size,
            excerpt=bytes(row.body)[:EXCERPT].decode("utf-8", "backslashreplace"),
        )
        for row in rows
    )


def stats(ledger: Ledger) -> Stats:
    """Size and shape of the ledger, as the database tells it."""
    with ledger.read() as connection:
        tables = tuple(_size(connection, name) for name in sorted(schema.metadata.tables))
        return Stats(
            engine=ledger.dialect,
            schema_version=str(connection.scalar(text("SELECT version_num FROM alembic_version"))),
            bytes=_bytes(connection),
            tables=tables,
            oldest_at=_edge(connection, schema.event.c.id.asc()),
            newest_at=_edge(connection, schema.event.c.id.desc()),
        )


def _received_by(at: int | None) -> ColumnElement[bool]:
    return true() if at is None else schema.quarantine.c.received_at <= at


def _size(connection: Connection, name: str) -> TableSize:
    table = schema.metadata.tables[name]
    rows = connection.scalar(select(func.count()).select_from(table)) or 0
    size = None
    if connection.dialect.name == "postgresql":
        size = connection.scalar(text("SELECT pg_total_relation_size(CAST(:name AS regclass))"), {"name": f'"{name}"'})
    elif connection.dialect.name in ("mysql", "mariadb"):
        one = f"{_MYSQL_BYTES} AND table_name = :name"
        size = connection.scalar(text(one), {"name": name})
    return TableSize(name, rows, None if size is None else int(size))


def _bytes(connection: Connection) -> int | None:
    queries = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        "postgresql": "SELECT pg_database_size(current_database())",
    }
    found = connection.scalar(text(queries.get(connection.dialect.name, _MYSQL_BYTES)))
    return None if found is None else int(found)


def _edge(connection: Connection, order: UnaryExpression[bytes]) -> int | None:
    """The moment of the first or last event: its id begins with it, and ids are in an index."""
    found = connection.scalar(select(schema.event.c.id).order_by(order).limit(1))
    return None if found is None else int.from_bytes(bytes(found)[:6], "big") * 1000

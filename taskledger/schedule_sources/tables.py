"""The tables of django-celery-beat and sqlalchemy-celery-beat, read with a SELECT of our own; no Django is needed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnClause,
    Connection,
    Engine,
    Inspector,
    Select,
    TableClause,
    and_,
    column,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from taskledger import databases
from taskledger.crontabs import DAY
from taskledger.errors import ScheduleAway, ScheduleUnreadable
from taskledger.schedule_sources import Reading
from taskledger.schedule_sources.rows import KINDS, Reckoning, count_of, entry_of

#: milliseconds that a SELECT may take on PostgreSQL: a table that is being altered must not hold us up
MOST_MS = 5000
#: a beat that ran an entry so lately is one that uses these tables
LATELY = 2 * DAY
#: columns of the entries' table that are read where they are there: older versions have fewer
ENTRY_COLUMNS = (
    "name", "task", "args", "kwargs", "queue", "expires", "expire_seconds", "one_off", "start_time", "enabled",
    "last_run_at", "total_run_count",
)  # fmt: skip
#: columns of each kind of schedule
KIND_COLUMNS = {
    "interval": ("every", "period"),
    "crontab": ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"),
    "solar": ("event", "latitude", "longitude"),
    "clocked": ("clocked_time",),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one of the two packages names its tables; `{}` is a kind of schedule."""

    source: str
    entries: str
    kinds: str
    #: schemas in which they may be
    schemas: tuple[str | None, ...] = (None,)
    #: of SQLAlchemy's a row names the kind of its schedule; of Django's it has a key for each
    is_discriminated: bool = False


DJANGO = Layout("django-celery-beat", "django_celery_beat_periodictask", "django_celery_beat_{}schedule")
SQLALCHEMY = Layout(
    "sqlalchemy-celery-beat", "celery_periodictask", "celery_{}schedule", (None, "celery_schema"), is_discriminated=True
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are, and how beat reads them."""

    address: URL
    reckoning: Reckoning = field(default_factory=Reckoning)
    layouts: tuple[Layout, ...] = (DJANGO, SQLALCHEMY)
    #: nobody says that beat uses them: they count only while beat does
    is_guess: bool = False


class ScheduleTables:
    """A Store: a database in which one of the two packages keeps its schedule, or both do."""

    def __init__(self, place: Place, celery_app: Any) -> None:
        self._place, self._app = place, celery_app
        self.shown = place.address.render_as_string(hide_password=True)
        self._engine: Engine | None = None
        self._questions: dict[str, Select[Any]] = {}

    def read(self, now_at: int) -> list[Reading]:
        """See Store."""
        try:
            with self._connect() as connection:
                readings = self._read(connection)
        except SQLAlchemyError as error:
            self._questions.clear()
            why = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
            raise ScheduleAway(f"the schedule in {self.shown} cannot be read now: {why}") from error
        if self._place.is_guess:
            return [reading for reading in readings if _is_alive(reading, now_at)]
        if not readings:
            raise ScheduleUnreadable(
                f"there is no schedule in {self.shown}: it has neither {DJANGO.entries} nor {SQLALCHEMY.entries}"
            )
        return readings

    def close(self) -> None:
        """See Store."""
        if self._engine is not None:
            self._engine.dispose()

    def _connect(self) -> Connection:
        if self._engine is None:
            try:
                self._engine = databases.engine(self._place.address)
            except ValueError as error:
                raise ScheduleUnreadable(f"the schedule in {error}") from error
        return self._engine.connect()

    def _read(self, connection: Connection) -> list[Reading]:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = {MOST_MS}"))
        if not self._questions:
            self._questions = _questions(connection, self._place.layouts)
        found = {source: connection.execute(question).mappings().all() for source, question in self._questions.items()}
        return [self._reading(source, [dict(row) for row in rows]) for source, rows in found.items()]

    def _reading(self, source: str, rows: Sequence[Mapping[str, Any]]) -> Reading:
        reckoning = self._place.reckoning
        entries = tuple(entry_of(row, reckoning, self._app) for row in rows)
        return Reading(source, entries, tuple(count_of(row, reckoning) for row in rows))


def _is_alive(reading: Reading, now_at: int) -> bool:
    return any(count.last_run_at is not None and now_at - count.last_run_at < LATELY for count in reading.counts)


def _questions(connection: Connection, layouts: Iterable[Layout]) -> dict[str, Select[Any]]:
    """One SELECT for each package whose tables are there: a single one, so that all it tells is of one moment."""
    inspector = inspect(connection)
    found: dict[str, Select[Any]] = {}
    for layout in layouts:
        schema = next((schema for schema in _schemas(connection, layout) if _has(inspector, layout, schema)), "")
        if schema != "":
            found[layout.source] = _question(inspector, layout, schema)
    return found


def _schemas(connection: Connection, layout: Layout) -> tuple[str | None, ...]:
    """SQLite has no schemas to look into."""
    return (None,) if connection.dialect.name == "sqlite" else layout.schemas


def _has(inspector: Inspector, layout: Layout, schema: str | None) -> bool:
    return inspector.has_table(layout.entries, schema=schema)


def _question(inspector: Inspector, layout: Layout, schema: str | None) -> Select[Any]:
    entries = _table(inspector, layout.entries, schema)
    columns: list[Any] = [entries.c[name] for name in ENTRY_COLUMNS if name in entries.c]
    joined: Any = entries
    for kind in KINDS:
        if not inspector.has_table(layout.kinds.format(kind), schema=schema):
            continue
        other = _table(inspector, layout.kinds.format(kind), schema)
        joined = joined.outerjoin(other, _is_of(layout, kind, entries, other))
        columns.append(other.c.id.label(f"{kind}_key"))
        columns += [other.c[name].label(f"{kind}_{name}") for name in KIND_COLUMNS[kind] if name in other.c]
    return select(*columns).select_from(joined).order_by(entries.c.name)


def _table(inspector: Inspector, name: str, schema: str | None) -> TableClause:
    there: list[ColumnClause[Any]] = [column(each["name"]) for each in inspector.get_columns(name, schema=schema)]
    return table(name, *there, schema=schema)


def _is_of(layout: Layout, kind: str, entries: TableClause, other: TableClause) -> Any:
    if not layout.is_discriminated:
        return entries.c[f"{kind}_id"] == other.c.id
    return and_(entries.c.schedule_id == other.c.id, entries.c.discriminator == f"{kind}schedule")

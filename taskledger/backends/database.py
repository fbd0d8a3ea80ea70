"""Results in a database: `celery_taskmeta` of Celery's own backend, `django_celery_results_taskresult` of Django's.

These are other people's tables, read with a SELECT of our own.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, case, column, func, inspect, select, table
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from taskledger import databases
from taskledger.backends.meta import MAX_BYTES, Reading
from taskledger.errors import BackendAway, BackendUnreadable
from taskledger.orphans import Found

#: ids in one SELECT
IDS_AT_ONCE = 500
#: our name of a field -> its column: celery/backends/database/models.py
CELERY = {
    name: name
    for name in ("task_id", "status", "result", "date_done", "traceback", "name", "args", "kwargs", "worker", "retries")
}
#: django_celery_results/models.py
DJANGO = {
    "task_id": "task_id",
    "status": "status",
    "result": "result",
    "date_done": "date_done",
    "traceback": "traceback",
    "name": "task_name",
    "args": "task_args",
    "kwargs": "task_kwargs",
    "worker": "worker",
    "content_type": "content_type",
}
#: values that are serialised, each by itself
_SERIALISED = ("result", "args", "kwargs")


class DatabaseBackend:
    """Read by SELECT; results larger than MAX_BYTES stay where they are."""

    def __init__(
        self, address: URL, place: tuple[str, str | None], columns: Mapping[str, str], reading: Reading
    ) -> None:
        self._name, self._schema = place
        self._columns = columns
        self._reading = reading
        self._shown = address.render_as_string(hide_password=True)
        self._engine = _engine(address)
        self._there: frozenset[str] = frozenset()

    def read(self, names: Mapping[str, str | None]) -> dict[str, Found]:
        """See Backend."""
        try:
            rows = self._rows(list(names))
        except SQLAlchemyError as error:
            why = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
            raise BackendAway(f"the result backend {self._shown} cannot be read now: {why}") from error
        found = {row["task_id"]: self._reading.found(self._meta(row), names[row["task_id"]]) for row in rows}
        return {task_id: one for task_id, one in found.items() if one is not None}

    def close(self) -> None:
        """See Backend."""
        self._engine.dispose()

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if "pickle" in str(row.get("content_type")) or "x-python" in str(row.get("content_type")):
            # Django's table has it as base64, which looks like any text.
            row = {**row, "result": b"\x80", "args": None, "kwargs": None}
        return {**row, **{key: self._reading.value(row.get(key)) for key in _SERIALISED}, **self._done(row)}

    def _done(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Django keeps UTC; Celery the time of its app's zone, which the reading knows, where that is not told."""
        done = row.get("date_done")
        if isinstance(done, str) and self._columns is DJANGO:
            done = datetime.fromisoformat(done)
        if isinstance(done, datetime) and done.tzinfo is None and self._columns is DJANGO:
            done = done.replace(tzinfo=UTC)
        return {"date_done": done}

    def _rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            if not self._there:
                inspector = inspect(connection)
                if not inspector.has_table(self._name, schema=self._schema):
                    return []  # Celery makes it when it has the first result to keep.
                columns = inspector.get_columns(self._name, schema=self._schema)
                self._there = frozenset(each["name"] for each in columns)
            rows = []
            for start in range(0, len(ids), IDS_AT_ONCE):
                found = connection.execute(self._question(ids[start : start + IDS_AT_ONCE]))
                rows += [dict(row) for row in found.mappings() if row["task_id"] in ids]
            return rows

    def _question(self, ids: Sequence[str]) -> Any:
        there: dict[str, Any] = {key: column(name) for key, name in self._columns.items() if name in self._there}
        source = table(self._name, *there.values(), schema=self._schema)
        result = source.c[self._columns["result"]]
        # The reason stands in the log only for what is read; a value of that size is nobody's to look at.
        small = case((func.length(result) <= MAX_BYTES, result), else_=None).label("result")
        others = [source.c[name.name].label(key) for key, name in there.items() if key not in ("result", "date_done")]
        if "date_done" in there:
            others.append(self._moment(source.c[there["date_done"].name]).label("date_done"))
        return select(small, *others).where(source.c[self._columns["task_id"]].in_(ids))

    def _moment(self, done: Any) -> Any:
        """On PostgreSQL a worker's driver hands a time with its zone over, and the server drops that for its own."""
        if self._engine.dialect.name == "postgresql" and self._columns is CELERY:
            return func.timezone(func.current_setting("TimeZone"), done)
        return done


def open_database(url: str, celery_app: Any, reading: Reading) -> DatabaseBackend:
    """The backend behind `db+URL` or `database+URL`, `django-db`, or `django-db+URL`. Raises BackendUnreadable."""
    kind, _, rest = url.partition("+")
    if kind == "django-db" or url.startswith("django-db"):
        address = _address(rest) if rest else _djangos_address()
        return DatabaseBackend(address, ("django_celery_results_taskresult", None), DJANGO, reading)
    conf = celery_app.conf if celery_app is not None else {}
    name = (conf.get("database_table_names") or {}).get("task", "celery_taskmeta")
    schema = (conf.get("database_table_schemas") or {}).get("task")
    return DatabaseBackend(_address(rest or url.partition(":")[2]), (name, schema), CELERY, reading)


def _address(url: str) -> URL:
    try:
        return databases.address(url)
    except ValueError as error:
        raise BackendUnreadable(f"The result backend {error}.") from error


def _djangos_address() -> URL:
    """Where Django's default database is."""
    try:
        from django.conf import settings  # noqa: PLC0415  Django is not ours to bring.

        database = settings.DATABASES["default"]
    except Exception as error:  # Whatever the project's settings raise: it cannot be read.
        raise BackendUnreadable(
            "The result backend django-db cannot be read: Django's settings are not known; give --app, or"
            " --result-backend django-db+postgresql://…"
        ) from error
    try:
        return databases.djangos_address(database)
    except ValueError as error:
        raise BackendUnreadable(f"The result backend django-db cannot be read: {error}.") from error


def _engine(address: URL) -> Engine:
    try:
        return databases.engine(address)
    except ValueError as error:
        raise BackendUnreadable(f"The result backend {error}.") from error

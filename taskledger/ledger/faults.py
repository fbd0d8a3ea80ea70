"""The faults of databases, in the words of our own tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
)

from taskledger.errors import LedgerAway, LedgerConflict, LedgerError


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn a database that is away into LedgerAway, with a sentence; other faults of the driver stay what they are."""
    try:
        yield
    except OperationalError as error:
        if _is_conflict(error):
            raise LedgerConflict(f"another transaction was in the way: {reason(error)}") from error
        where = url.render_as_string(hide_password=True)
        if _is_missing_table(error):
            raise LedgerError(f"{where} has no taskledger tables: run `taskledger db upgrade`") from error
        raise LedgerAway(f"cannot use the database {where}: {reason(error)}") from error


@contextmanager
def as_sqlalchemy(connection: Connection) -> Iterator[None]:
    """Faults of the driver, used directly, as SQLAlchemy raises them when it uses it."""
    driver: Any = connection.dialect.dbapi
    try:
        yield
    except driver.Error as error:
        kinds = (IntegrityError, OperationalError, DataError, ProgrammingError)
        kind = next((kind for kind in kinds if isinstance(error, getattr(driver, kind.__name__))), DBAPIError)
        raise kind("COPY", None, error) from error


def reason(error: DBAPIError) -> str:
    """The driver's own words in one line."""
    return " ".join(str(error.orig).split())[:300]


def _is_missing_table(error: DBAPIError) -> bool:
    return "no such table" in str(error.orig)


def _is_conflict(error: DBAPIError) -> bool:
    """Deadlock, serialization failure or lock wait: the same transaction may pass when tried again."""
    if getattr(error.orig, "sqlstate", None) in ("40001", "40P01", "55P03"):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return code in (1205, 1213)


def masked(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url.rpartition("@")[2]

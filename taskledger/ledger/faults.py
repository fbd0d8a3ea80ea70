"""The faults of databases, in the words of our own tree."""

import sqlite3
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
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from taskledger.errors import LedgerAway, LedgerConflict, LedgerError

#: MySQL's codes of statements that fail whatever the values: no such table, no right to use it
_NOT_THE_VALUES = (1142, 1146)
#: its codes, and MariaDB's, of values that PyMySQL calls operational: too large for a packet, against a constraint
_THE_VALUES = (1153, 3819, 4025)
#: how PostgreSQL, MySQL and SQLite say that a key is there already
_DOUBLES = ("23505", 1062, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn a database that is away into LedgerAway, with a sentence.

    What it refuses because of the values themselves stays the driver's fault; all else may pass when tried again later.
    """
    try:
        yield
    except DBAPIError as error:
        if _is_refusal(error):
            raise
        if _is_conflict(error):
            raise LedgerConflict(f"another transaction was in the way: {reason(error)}") from error
        where = url.render_as_string(hide_password=True)
        if _is_missing_table(error):
            raise LedgerError(f"{where} has no taskledger tables: run `taskledger db upgrade`") from error
        raise LedgerAway(f"cannot use the database {where}: {reason(error)}") from error
    except PoolTimeoutError as error:
        where = url.render_as_string(hide_password=True)
        raise LedgerAway(f"cannot use the database {where}: all of its connections are busy") from error


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


def is_double(error: IntegrityError) -> bool:
    """Whether a key is there already: what else is against a constraint will be so at every try."""
    code = _sqlstate(error) or getattr(error.orig, "sqlite_errorcode", None) or _number(error)
    return code in _DOUBLES


def _is_missing_table(error: DBAPIError) -> bool:
    return "no such table" in str(error.orig) or _sqlstate(error) == "42P01" or _number(error) == 1146


def _is_refusal(error: DBAPIError) -> bool:
    """Whether the values are to blame: a data exception, a constraint, or more than a row or a packet may hold."""
    if isinstance(error, IntegrityError | DataError) or _number(error) in _THE_VALUES:
        return True
    sqlstate = _sqlstate(error)
    if sqlstate is None:
        is_sqlite = isinstance(error.orig, sqlite3.Error)
        return isinstance(error, ProgrammingError | InterfaceError if is_sqlite else ProgrammingError) and (
            _number(error) not in _NOT_THE_VALUES
        )
    # 42 is "syntax error or access rule violation"; without the table or the right to write no value would pass.
    return sqlstate[:2] in ("22", "23", "54") or (sqlstate[:2] == "42" and sqlstate not in ("42P01", "42501"))


def _sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code. PyMySQL has some as well, but most of MySQL's numbers share one."""
    return None if isinstance(_number(error), int) else getattr(error.orig, "sqlstate", None)


def _number(error: DBAPIError) -> object:
    """MySQL's code."""
    return error.orig.args[0] if error.orig is not None and error.orig.args else None


def _is_conflict(error: DBAPIError) -> bool:
    """Deadlock, serialization failure or lock wait: the same transaction may pass when tried again."""
    return _sqlstate(error) in ("40001", "40P01", "55P03") or _number(error) in (1205, 1213)


def masked(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url.rpartition("@")[2]

"""Many rows at once by each driver's own bulk path: the path of an event has no time for a statement a row.

Rows are tuples in the order of the columns of the table, values as the driver takes them (task ids packed).
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, LargeBinary, SmallInteger, Table
from sqlalchemy.exc import IntegrityError

from taskledger.ledger import dialects
from taskledger.ledger.faults import as_sqlalchemy, is_double
from taskledger.ledger.types import TaskId

Row = tuple[Any, ...]
#: rows of one statement on SQLite; 1,000 of our widest table stay below the 32,766 parameters that it takes
CHUNKS = (1_000, 100, 10, 1)
#: PostgreSQL's names of our column types, the special ones first
_COPY_TYPES: tuple[tuple[type, str], ...] = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Double, "float8"),
    (Boolean, "bool"),
    (LargeBinary, "bytea"),
    (TaskId, "bytea"),
)


def insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows whose keys are not there. Raises IntegrityError if one is."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
    elif connection.dialect.name == "sqlite":
        _insert_in_chunks(connection, table, rows)
    else:
        connection.exec_driver_sql(_insert_sql(table, mark(connection)), list(rows))


def insert_if_all_new(connection: Connection, table: Table, rows: Sequence[Row]) -> bool:
    """Insert all of the rows, or none if any key is there already; which of the two it was.

    Raises IntegrityError when it is another constraint that they do not keep.
    """
    try:
        with connection.begin_nested():
            insert(connection, table, rows)
    except IntegrityError as error:
        if not is_double(error):
            raise
        return False
    return True


def select_in(
    connection: Connection, select: str, column: str, values: Sequence[bytes], *, after: str = ""
) -> list[Any]:
    """The rows of `select … WHERE column IN (values) after`, asked in pieces; values are bytes."""
    found: list[Any] = []
    for chunk in dialects.chunks(values):
        where, parameters = _in(connection, chunk)
        found += connection.exec_driver_sql(f"{select} WHERE {column} {where} {after}", parameters).all()
    return found


def delete_in(connection: Connection, table: Table, column: str, values: Sequence[bytes], *, after: str = "") -> None:
    """Delete the rows that have one of the values in the column."""
    for chunk in dialects.chunks(values):
        where, parameters = _in(connection, chunk)
        connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE {column} {where} {after}", parameters)


def mark(connection: Connection) -> str:
    """How the driver marks the place of a value."""
    return "?" if connection.dialect.name == "sqlite" else "%s"


@cache
def _in_marks(mark: str, number: int) -> str:
    return f"IN ({', '.join([mark] * number)})"


def _in(connection: Connection, values: Sequence[bytes]) -> tuple[str, tuple[Any, ...]]:
    """What a column is compared with, and the parameters of that."""
    if connection.dialect.name == "postgresql":
        # One parameter, and one text for any number of values, which is parsed and planned once.
        return "= ANY(%s)", (list(values),)
    return _in_marks(mark(connection), len(values)), tuple(values)


def _insert_in_chunks(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Many rows a statement, as far as that goes.

    sqlite3 lets go of the interpreter's lock for each step of a statement, and must wait for it after each: with a step
    a row, the threads that read and decode would stop the one that writes thousands of times.
    """
    begun = 0
    for number in CHUNKS:
        sql = _insert_sql(table, "?", number)
        while len(rows) - begun >= number:
            values = tuple(chain.from_iterable(rows[begun : begun + number]))
            connection.exec_driver_sql(sql, values)
            begun += number


@cache
def _insert_sql(table: Table, mark: str, rows: int = 1) -> str:
    names = ", ".join(column.name for column in table.columns)
    row = f"({', '.join([mark] * len(table.columns))})"
    return f"INSERT INTO {table.name} ({names}) VALUES {', '.join([row] * rows)}"


def _copy(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    driver: Any = connection.connection.driver_connection
    with as_sqlalchemy(connection), driver.cursor() as cursor, cursor.copy(_copy_sql(table)) as copy:
        copy.set_types(_copy_types(table))
        for row in rows:
            copy.write_row(row)


@cache
def _copy_sql(table: Table) -> str:
    return f"COPY {table.name} ({', '.join(column.name for column in table.columns)}) FROM STDIN (FORMAT BINARY)"


@cache
def _copy_types(table: Table) -> list[str]:
    return [
        next((name for kind, name in _COPY_TYPES if isinstance(column.type, kind)), "text") for column in table.columns
    ]

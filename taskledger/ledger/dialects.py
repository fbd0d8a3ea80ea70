"""The few statements that each database spells in its own way."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Engine, Insert, Table, any_, literal
from sqlalchemy.dialects import mysql, postgresql, sqlite

T = TypeVar("T")
#: values in one IN list: all three databases take it in one statement
CHUNK = 1_000


def insert_ignore(bind: Engine | Connection, table: Table) -> Insert:
    """An insert that leaves rows alone whose key is there already."""
    if bind.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    if bind.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return mysql.insert(table).prefix_with("IGNORE")


def upsert(bind: Engine | Connection, table: Table, *, add: Sequence[str] = ()) -> Insert:
    """An insert that replaces every other column of a row whose primary key is there; columns in `add` are summed."""
    keys = {column.name for column in table.primary_key}
    names = [column.name for column in table.columns if column.name not in keys]
    if bind.dialect.name in ("mysql", "mariadb"):
        change = mysql.insert(table)
        values = {
            name: table.c[name] + change.inserted[name] if name in add else change.inserted[name] for name in names
        }
        return change.on_duplicate_key_update(values)
    insert: Any = sqlite.insert(table) if bind.dialect.name == "sqlite" else postgresql.insert(table)
    values = {name: table.c[name] + insert.excluded[name] if name in add else insert.excluded[name] for name in names}
    changed: Insert = insert.on_conflict_do_update(index_elements=sorted(keys), set_=values)
    return changed


def among(bind: Engine | Connection, column: Column[T], values: Sequence[T]) -> ColumnElement[bool]:
    """That a column has one of the values: to PostgreSQL one array, for a thousand parameters take longer than it."""
    if bind.dialect.name != "postgresql":
        return column.in_(values)
    return column == any_(literal(list(values), postgresql.ARRAY(column.type)))


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items in pieces that fit one statement."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""How our tables are made, whichever database they are in."""

from typing import Any

from sqlalchemy import Column, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def table(name: str, *items: Column[Any] | Index | UniqueConstraint | PrimaryKeyConstraint) -> Table:
    """A table of that name; on MariaDB as well, names that differ in case are different."""
    return Table(name, metadata, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def sparse(name: str, column: str, *more: str) -> Index:
    """An index over the rows that have a value, where the database can leave the others out."""
    present = text(f"{column} IS NOT NULL")
    return Index(name, column, *more, postgresql_where=present, sqlite_where=present)

"""Run migrations: one at a time on a database, however many programs try."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, text

from taskledger.config import load
from taskledger.errors import LedgerAway
from taskledger.ledger.engine import Ledger, open_ledger
from taskledger.ledger.faults import translated
from taskledger.ledger.schema import metadata

#: any number, the same in every program that migrates this schema
LOCK_KEY = 7_451_023_018
#: seconds that an upgrade waits for another one to end
LOCK_WAIT_S = 600


def address() -> str:
    """The database: given by the program, else what the settings say, as for the `alembic` command."""
    given = context.config.attributes.get("url")
    if given:
        return str(given)
    return load({}, os.environ).database_url


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Hold the lock that lets one upgrade run at a time; SQLite's own write lock serves there."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
    elif dialect in ("mysql", "mariadb"):
        name = f"taskledger.{LOCK_KEY}"
        if not connection.scalar(text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": LOCK_WAIT_S}):
            raise LedgerAway(f"another upgrade of this database has run for {LOCK_WAIT_S} s: try again when it is done")
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        if dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
        elif dialect in ("mysql", "mariadb"):
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": f"taskledger.{LOCK_KEY}"})
        connection.commit()


def migrate(ledger: Ledger) -> None:
    """Run what was asked for in one transaction (MariaDB commits each statement by itself)."""
    with translated(ledger.engine.url), ledger.engine.connect() as connection, alone(connection):
        connection.info["immediate"] = True
        context.configure(
            connection=connection,
            target_metadata=metadata,
            compare_type=True,
            render_as_batch=True,
            # SQLite can, and its lock must be held from the look at what is there until the last step.
            transactional_ddl=connection.dialect.name in ("sqlite", "postgresql"),
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    context.configure(url=address(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with open_ledger(address()) as opened:
        migrate(opened)

"""The schema: bring a database to the version of this program, or say how far it is from it.

Alembic is imported where a migration runs: to look where a database stands takes none of its 15 MB, and every recorder
and site does that when it starts.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from taskledger.errors import LedgerError, SchemaAhead, SchemaBehind
from taskledger.ledger.engine import Ledger, open_ledger
from taskledger.ledger.faults import masked
from taskledger.ledger.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic keeps the migration that runs in a global of the process.
_ALEMBIC = Lock()


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database's schema stands; `state` is "current", "behind", "ahead" or "empty"."""

    state: str
    current: str | None
    head: str


def upgrade(url: str, revision: str = "head") -> Schema:
    """Bring the database forward; two upgrades at once wait for each other (see migrations/env.py)."""
    _run(url, "upgrade", revision)
    return check(url)


def downgrade(url: str, revision: str) -> Schema:
    """Take the database back to a revision, or to "base"."""
    _run(url, "downgrade", revision)
    return check(url)


def check(url: str) -> Schema:
    """Where the database stands. Raises LedgerAway when it cannot be reached."""
    with open_ledger(url) as ledger:
        return check_open(ledger)


def check_open(ledger: Ledger) -> Schema:
    """As check, for a ledger that is open."""
    known = revisions()
    with ledger.read() as connection:
        current = _revision_of(connection)
    return Schema(_state(known, current), current, known[-1])


def ensure(url: str, *, is_default: bool) -> None:
    """Make sure the schema fits this program: the embedded default is upgraded, any other database is left alone.

    Raises SchemaBehind or SchemaAhead.
    """
    schema = check(url)
    if schema.state in ("behind", "empty") and is_default:
        upgrade(url)
    else:
        require(schema, url)


def require(schema: Schema, url: str) -> None:
    """Raise SchemaBehind or SchemaAhead, with what to do, unless that database's schema is the one of this program."""
    if schema.state == "empty":
        raise SchemaBehind(f"the database {masked(url)} has no taskledger tables yet: run `taskledger db upgrade`")
    if schema.state == "behind":
        raise SchemaBehind(
            f"the database {masked(url)} is at schema {schema.current}, this program needs {schema.head}:"
            " run `taskledger db upgrade`"
        )
    if schema.state == "ahead":
        raise SchemaAhead(
            f"the database {masked(url)} is at schema {schema.current}, which this program does not know:"
            " a newer taskledger wrote it; install that version"
        )


def differences(url: str) -> list[Any]:
    """What Alembic finds different between the tables as they are and as `schema.py` says; empty for equal."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_ledger(url) as ledger, ledger.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def config(url: str) -> "Config":
    """Alembic's configuration for that database."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    made.attributes["url"] = url
    return made


def scripts() -> Path:
    """The folder of migrations: inside the installed package, else beside it in a checkout."""
    packaged = Path(str(resources.files("taskledger"))) / "migrations"
    return packaged if packaged.is_dir() else packaged.parents[1] / "migrations"


def revisions() -> list[str]:
    """The revisions that this program knows, oldest first: each migration's file begins with its own."""
    return sorted(path.name.partition("_")[0] for path in (scripts() / "versions").glob("[0-9]*_*.py"))


def _revision_of(connection: Connection) -> str | None:
    """As Alembic keeps it."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _state(known: list[str], current: str | None) -> str:
    if current is None:
        return "empty"
    if current == known[-1]:
        return "current"
    return "behind" if current in known else "ahead"


def _run(url: str, action: str, revision: str) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        with _ALEMBIC:
            getattr(command, action)(config(url), revision)
    except CommandError as error:
        raise LedgerError(f"cannot migrate {masked(url)}: {error}") from error

"""The schema: bring a database to the version of this program, or say how far it is from it."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from taskledger.errors import LedgerError, SchemaAhead, SchemaBehind
from taskledger.ledger.engine import Ledger, open_ledger
from taskledger.ledger.faults import masked
from taskledger.ledger.schema import metadata

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
    _run(url, command.upgrade, revision)
    return check(url)


def downgrade(url: str, revision: str) -> Schema:
    """Take the database back to a revision, or to "base"."""
    _run(url, command.downgrade, revision)
    return check(url)


def check(url: str) -> Schema:
    """Where the database stands. Raises LedgerAway when it cannot be reached."""
    with open_ledger(url) as ledger:
        return check_open(ledger)


def check_open(ledger: Ledger) -> Schema:
    """As check, for a ledger that is open."""
    script = ScriptDirectory.from_config(config(""))
    head = script.get_current_head() or ""
    with ledger.read() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return Schema(_state(script, current, head), current, head)


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
    with open_ledger(url) as ledger, ledger.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def config(url: str) -> Config:
    """Alembic's configuration for that database."""
    made = Config()
    made.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    made.attributes["url"] = url
    return made


def scripts() -> Path:
    """The folder of migrations: inside the installed package, else beside it in a checkout."""
    packaged = Path(str(resources.files("taskledger"))) / "migrations"
    return packaged if packaged.is_dir() else packaged.parents[1] / "migrations"


def _state(script: ScriptDirectory, current: str | None, head: str) -> str:
    if current is None:
        return "empty"
    if current == head:
        return "current"
    try:
        script.get_revision(current)
    except CommandError:
        return "ahead"
    return "behind"


def _run(url: str, action: Any, revision: str) -> None:
    try:
        with _ALEMBIC:
            action(config(url), revision)
    except CommandError as error:
        raise LedgerError(f"cannot migrate {masked(url)}: {error}") from error

"""Opening a ledger: one SQLAlchemy engine, set up for what each database needs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from taskledger.errors import SettingsError
from taskledger.ledger.faults import masked, translated
from taskledger.ledger.labels import Labels
from taskledger.ledger.stories import Stories

#: seconds that SQLite waits for another writer
BUSY_TIMEOUT_S = 30
#: libpq's settings for a server that went without a word: noticed after half a minute, not after the system's hours
PATIENCE = {"tcp_user_timeout": 30_000, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
#: the drivers that `pip install taskledger` brings
DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


class Ledger:
    """An open ledger. `write` gives a transaction that may write, `read` one that only reads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        #: names as numbers
        self.labels = Labels(engine)
        #: events of open tasks, for `prepare`
        self.stories = Stories()
        #: (cluster, host) -> when that worker was noted to tell of its tasks: first, and last to the minute
        self.heard: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def dialect(self) -> str:
        """sqlite, postgresql, mysql or mariadb."""
        return self.engine.dialect.name

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction. Raises LedgerAway when the database cannot be reached or is locked for too long."""
        with translated(self.engine.url), self.engine.connect() as connection:
            # SQLite must take its write lock at once: upgrading a read lock later fails without waiting.
            connection.info["immediate"] = True
            with connection.begin():
                yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look at the ledger."""
        with translated(self.engine.url), self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_ledger(url: str, *, echo: bool = False) -> Ledger:
    """The ledger at that SQLAlchemy URL; connects on first use. Raises SettingsError for a URL that cannot be meant."""
    address = parse_url(url)
    options: dict[str, Any] = {"echo": echo, "pool_pre_ping": True}
    if address.get_backend_name() == "sqlite":
        _make_folder(address)
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    else:
        # A transaction must see what another recorder committed while it waited for a row lock.
        options |= {"isolation_level": "READ COMMITTED", "pool_size": 10, "max_overflow": 10}
        options["connect_args"] = {"connect_timeout": 10}
        if address.get_backend_name() == "postgresql":
            options["connect_args"] |= PATIENCE
    try:
        engine = create_engine(address, **options)
    except (ImportError, NoSuchModuleError) as error:
        raise SettingsError(f"cannot open {masked(url)}: its driver is not installed ({error})") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return Ledger(engine)


def parse_url(url: str) -> URL:
    """A database URL with the driver we bring, where none was named."""
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise SettingsError(
            f"the database URL {masked(url)!r} is not one: it looks like sqlite:///file.sqlite3 or postgresql://user@host/name"
        ) from error
    if address.drivername in DRIVERS:
        address = address.set(drivername=DRIVERS[address.drivername])
    if address.get_backend_name() not in ("sqlite", "postgresql", "mysql", "mariadb"):
        raise SettingsError(
            f"the database {address.get_backend_name()!r} in {masked(url)!r} is not supported:"
            " use sqlite, postgresql, mysql or mariadb"
        )
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise SettingsError(f"{url!r} keeps nothing: name a file, as in sqlite:///taskledger.sqlite3")
    return address


def _make_folder(address: URL) -> None:
    folder = Path(address.database or "").absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make the folder {folder} for the database: {error.strerror}") from error


#: 8 MB of cache (in kB); twice as much in the WAL before it goes into the file, so that a page that changes often goes
#: there once
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "temp_store=MEMORY",
    "cache_size=-8192",
    "wal_autocheckpoint=4000",
)


def _prepare_sqlite(engine: Engine) -> None:
    """WAL, so that the site reads while the recorder writes; and transactions begun by us, not by the driver."""

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            # A full disk, for one. Nobody else has this connection yet, to close it.
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.info.pop("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

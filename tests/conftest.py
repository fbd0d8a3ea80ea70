"""What all tests share: databases, brokers and a browser, real ones; and the rule that a test says what it holds."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import browsing
import pytest
import services
from hypothesis import settings
from playwright.sync_api import Browser

from taskledger.ledger import Ledger, migrate, open_ledger
from taskledger.ledger.schema import metadata

# A slow machine is no fault of a test: how long an example takes is never asserted.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

ENGINES = ("sqlite", "postgresql", "mariadb")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The docstring of a test is the sentence that must hold."""
    silent = [item.nodeid for item in items if not _sentence(item)]
    if silent:
        raise pytest.UsageError("A test says in its docstring, in a sentence, what must hold: " + ", ".join(silent))


def _sentence(item: pytest.Item) -> bool:
    documented = (getattr(item, "function", None) or item.obj).__doc__ if hasattr(item, "obj") else "A doctest."
    return bool(documented) and documented.strip().endswith((".", "?", "!", ")"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees this user's settings or writes into this user's ledger."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("TASKLEDGER_") and not name.startswith("TASKLEDGER_TEST_"):
                patch.delenv(name)
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(scope="session")
def migrated_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Engine -> URL of a database at head, filled in as they are asked for: the migrations run once an engine."""
    with ExitStack() as stack:
        yield _Migrated(stack, tmp_path_factory.mktemp("template"))


class _Migrated(dict[str, str]):
    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__()
        self._stack, self._folder = stack, folder

    def __missing__(self, engine: str) -> str:
        template = f"sqlite:///{self._folder / 'template.sqlite3'}"
        url = template if engine == "sqlite" else self._stack.enter_context(services.database(engine))
        migrate.upgrade(url)
        self[engine] = url
        return url


@pytest.fixture(params=ENGINES)
def database_engine(request: pytest.FixtureRequest) -> str:
    """sqlite, postgresql, mariadb: a test that uses it, or a fixture built on it, runs on each."""
    return request.param


@pytest.fixture
def database_url(database_engine: str, migrated_databases: dict[str, str], tmp_path: Path) -> str:
    """The URL of a ledger at head with nothing in it, on each database."""
    url = migrated_databases[database_engine]
    if database_engine == "sqlite":
        return _copy_of(url, tmp_path)
    _empty(url)
    return url


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """An open, empty ledger, on each database."""
    with open_ledger(database_url) as opened:
        yield opened


@pytest.fixture
def sqlite_url(migrated_databases: dict[str, str], tmp_path: Path) -> str:
    """As database_url, for what does not depend on the database: on SQLite alone."""
    return _copy_of(migrated_databases["sqlite"], tmp_path)


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Ledger]:
    """As ledger, on SQLite alone."""
    with open_ledger(sqlite_url) as opened:
        yield opened


@pytest.fixture
def bare_database_url(database_engine: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without a single table, on each database: for migrations."""
    if database_engine == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.sqlite3'}"
        return
    with services.database(database_engine) as url:
        yield url


@pytest.fixture(scope="session")
def _redis_database() -> Iterator[str]:
    with services.redis_database() as url:
        yield url


@pytest.fixture
def redis_url(_redis_database: str) -> str:
    """The URL of a Redis database of our own, emptied."""
    services.empty_redis(_redis_database)
    return _redis_database


@pytest.fixture
def rabbitmq_url() -> Iterator[str]:
    """The URL of a new virtual host; where none can be made, of the one that is there (see queue_name)."""
    with services.rabbitmq_vhost() as url:
        yield url


@pytest.fixture
def queue_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a durable queue that no other test uses; on RabbitMQ the queue is gone afterwards."""
    url = request.getfixturevalue("rabbitmq_url") if "rabbitmq_url" in request.fixturenames else None
    name = services.unique("taskledger-test")
    yield name
    if url:
        services.delete_queue(url, name)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium to drive."""
    return services.chromium_path()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests."""
    with browsing.started(chromium) as opened:
        yield opened


def _copy_of(url: str, folder: Path) -> str:
    copy = folder / "ledger.sqlite3"
    shutil.copyfile(url.removeprefix("sqlite:///"), copy)
    return f"sqlite:///{copy}"


def _empty(url: str) -> None:
    with open_ledger(url) as opened, opened.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())

"""The real services that tests run on: where each is, a corner of its own for a test, and what to say if it is away."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import amqp
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

#: service -> variable that says where it is, and where it is looked for without
PLACES = {
    "postgresql": ("TASKLEDGER_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1/postgres"),
    "mariadb": ("TASKLEDGER_TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1/mysql"),
    "redis": ("TASKLEDGER_TEST_REDIS_URL", "redis://127.0.0.1:6379"),
    "rabbitmq": ("TASKLEDGER_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
}
CHROMIUM_VARIABLE = "TASKLEDGER_TEST_CHROMIUM"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: which Redis database a test run has taken; others leave it alone
OWNER_KEY = "taskledger-test-owner"
#: seconds after which a run that was killed gives its Redis database up
OWNER_S = 3600


def missing(service: str, variable: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where CI=true promises that everything is there."""
    message = f"{service} is missing ({' '.join(reason.split())[:200]}); start it, or set {variable}"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def place(service: str) -> str:
    variable, default = PLACES[service]
    return os.environ.get(variable) or default


def unique(prefix: str = "taskledger_test") -> str:
    """A name that no other run of the tests uses."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


@contextmanager
def database(service: str) -> Iterator[str]:
    """The URL of a new and empty database, dropped afterwards."""
    server, name = make_url(place(service)), unique()
    _on_server(service, server, f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        _on_server(service, server, f"DROP DATABASE {name}{' WITH (FORCE)' if service == 'postgresql' else ''}")


def _on_server(service: str, server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    except DBAPIError as error:
        missing(service, PLACES[service][0], str(error.orig))
    finally:
        engine.dispose()


@contextmanager
def redis_database() -> Iterator[str]:
    """The URL of a Redis database that was empty and is this run's alone; never one with anybody's data in it."""
    server = place("redis").rstrip("/")
    scheme, _, host = server.partition("://")
    base = f"{scheme}://{host.partition('/')[0]}"
    number = _free_redis_database(base)
    try:
        yield f"{base}/{number}"
    finally:
        with redis.Redis.from_url(f"{base}/{number}") as client:
            client.flushdb()


def empty_redis(url: str) -> None:
    # In one go: in between, another run would find it empty and free.
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=True) as both:
        both.flushdb().set(OWNER_KEY, os.getpid(), ex=OWNER_S).execute()


def _free_redis_database(base: str) -> int:
    try:
        for number in range(15, 0, -1):
            with redis.Redis.from_url(f"{base}/{number}", socket_connect_timeout=3) as client:
                # The key comes first: two runs that look at the same moment cannot both set it.
                if not client.set(OWNER_KEY, os.getpid(), nx=True, ex=OWNER_S):
                    continue  # Somebody has it: perhaps this very run, which may need another one beside it.
                if client.dbsize() == 1:
                    return number
                client.delete(OWNER_KEY)
    except redis.RedisError as error:
        missing("redis", PLACES["redis"][0], str(error))
    missing("redis", PLACES["redis"][0], "its databases 1 to 15 all hold something")


@contextmanager
def rabbitmq_vhost() -> Iterator[str]:
    """The URL of a virtual host of our own; without rabbitmqctl, of the one that is there: use `queue_name` then."""
    url = place("rabbitmq")
    _check_rabbitmq(url)
    name, user = unique("taskledger-test"), url.partition("://")[2].partition(":")[0]
    if not _rabbitmqctl(
        f'V = <<"{name}">>, ok = rabbit_vhost:add(V, <<"tests">>),'
        f' rabbit_auth_backend_internal:set_permissions(<<"{user}">>, V, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).'
    ):
        yield url
        return
    try:
        yield f"{url.rpartition('@')[0]}@{url.rpartition('@')[2].partition('/')[0]}/{name}"
    finally:
        _rabbitmqctl(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>).')


def delete_queue(url: str, name: str) -> None:
    with _amqp(url) as connection:
        connection.channel().queue_delete(name)


def _check_rabbitmq(url: str) -> None:
    try:
        with _amqp(url):
            pass
    except (OSError, amqp.AMQPError) as error:
        missing("rabbitmq", PLACES["rabbitmq"][0], str(error))


def _amqp(url: str) -> Any:
    """An open connection; the virtual host is what follows the address, and empty means /."""
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    host, _, vhost = url.rpartition("@")[2].partition("/")
    return amqp.Connection(host, user, password, virtual_host=vhost or "/", connect_timeout=3)


def _rabbitmqctl(expression: str) -> bool:
    """Whether RabbitMQ's own tool is here, may be used, and did it."""
    tool = shutil.which("rabbitmqctl", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if tool is None:
        return False
    # Erlang complains on stdout about a configuration folder that it may not read, as the tests' own is.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    command = [tool, "-q", "eval", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)
    return done.returncode == 0 and done.stdout.strip() == "ok"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, in a folder that it makes; fill it with `fill`."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no space on that file system; without the file that is returned there is as much as before."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def chromium_path() -> str:
    named = os.environ.get(CHROMIUM_VARIABLE)
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return found or missing("chromium", CHROMIUM_VARIABLE, f"no {named or ', '.join(CHROMIUM_NAMES)} on PATH")

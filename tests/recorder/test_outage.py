"""The database goes away, hangs, is read-only, or has no space left; and so has the spool: on real brokers."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery.events.event import get_exchange
from kombu import Connection
from proxy import Proxy
from recording import Read, recording, until
from services import fill
from sqlalchemy import create_engine, select, text

from benchmarks.campaigns import outage, spool_kills, stage
from taskledger.config import Settings
from taskledger.ledger import open_ledger, schema

#: bytes of a large event
LARGE = 10_000
#: events in one message
HANDFUL = 50
#: seconds that writing a full memory may take on a busy machine
LONG_S = 60.0


def settings(broker_url: str, database_url: str, folder: Path, **more: object) -> Settings:
    return Settings(
        broker_url=broker_url, database_url=database_url, spool_folder=folder / "spool", batch_wait_s=0.05, **more
    )  # type: ignore[arg-type]


class Publisher:
    """Sends messages of many events each, as prefork workers do, with ids that count up."""

    def __init__(self, url: str) -> None:
        self.sent = 0
        self._connection = Connection(url)
        self._producer = self._connection.Producer(exchange=get_exchange(self._connection))

    def send(self, number: int, size: int = 100) -> None:
        for first in range(self.sent, self.sent + number, HANDFUL):
            events = [
                {"type": "task-received", "uuid": f"id-{each}", "timestamp": time.time(), "pad": "x" * size}
                for each in range(first, min(first + HANDFUL, self.sent + number))
            ]
            self._producer.publish(events, "task.multi", serializer="json")
        self.sent += number

    @property
    def ids(self) -> set[str]:
        return {f"id-{number}" for number in range(self.sent)}


@contextmanager
def publishing(url: str) -> Iterator[Publisher]:
    publisher = Publisher(url)
    try:
        yield publisher
    finally:
        publisher._connection.release()


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Another program writes into the SQLite file, and does not end."""
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("BEGIN EXCLUSIVE"))
        yield
        connection.execute(text("ROLLBACK"))
    engine.dispose()


def spooled(folder: Path) -> int:
    """Bytes in the spool."""
    return sum(path.stat().st_size for path in folder.rglob("*.spool"))


def dropped(read: Read) -> int:
    """How many events the coverage says were dropped."""
    causes = [row.cause or "" for row in read.coverage()]
    return sum(int(found.replace(",", "")) for cause in causes for found in re.findall(r"\(([\d,]+) events\)", cause))


@pytest.mark.parametrize("transport", list(outage.TRANSPORTS))
def test_outage_under_load(transport: str) -> None:
    """The campaign in short: PostgreSQL away under load loses nothing, doubles nothing, and memory stays bounded."""
    outcome = outage.run(seconds=12, rate=300, transport=transport, seed=20261122)

    assert outcome.is_well, str(outcome)
    assert outcome.stored > 12 * 100
    assert outcome.spool_peak > 0


def test_killed_while_spooling() -> None:
    """The campaign in short: ten kills between writing to the spool and acknowledging lose and double nothing."""
    outcome = spool_kills.run(kills=10, rate=100, seed=20261122)

    assert (outcome.lost, outcome.duplicate) == (0, 0)
    assert outcome.sent > 100


def overflow(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """Send until there is no room, and a little more."""
    for _ in range(100):
        publisher.send(1000)
        time.sleep(0.05)
        if "events are being lost" in caplog.text:
            break
    publisher.send(1000)


class TestSQLite:
    @pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
    def test_locked(self, request: pytest.FixtureRequest, broker: str, sqlite_url: str, tmp_path: Path) -> None:
        """While another program holds the lock events go to the spool; then they are recorded, without a gap."""
        url = request.getfixturevalue(f"{broker}_url")
        queue = {"queue_name": request.getfixturevalue("queue_name")} if broker == "rabbitmq" else {}
        read = Read(sqlite_url)
        with recording(settings(url, sqlite_url, tmp_path, **queue)), publishing(url) as publisher:
            until(read.is_listening, "coverage")
            publisher.send(100)
            until(lambda: read.events() == 100, "events before")
            with locked(sqlite_url):
                publisher.send(500)
                until(lambda: spooled(tmp_path), "the spool")
                publisher.send(500)
                time.sleep(0.5)
            until(lambda: read.events() == 1100, "all events")
            until(lambda: not spooled(tmp_path), "an empty spool")
            publisher.send(100)
            until(lambda: read.task_ids() == publisher.ids, "events after")
        (stretch,) = read.coverage()

        assert stretch.cause == "stopped"

    def test_left_in_the_spool(self, redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
        """What a recorder could not write before it stopped the next one writes, with the time that it covers."""
        read, chosen = Read(sqlite_url), settings(redis_url, sqlite_url, tmp_path)
        with publishing(redis_url) as publisher:
            with recording(chosen):
                until(read.is_listening, "coverage")
                publisher.send(100)
                until(lambda: read.events() == 100, "events before")
                lock = locked(sqlite_url)
                lock.__enter__()
                publisher.send(300)
                time.sleep(0.3)
            left = spooled(tmp_path)
            lock.__exit__(None, None, None)
            with recording(chosen):
                until(lambda: read.task_ids() == publisher.ids, "what was left")
                until(lambda: len(read.coverage()) >= 3, "coverage of both")
        before, spooled_then, after = read.coverage()[:3]

        assert left > 0
        assert before.until_at >= spooled_then.from_at
        assert spooled_then.from_at < spooled_then.until_at <= after.from_at
        assert spooled_then.cause == "stopped"

    @pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
    def test_disk_full(self, request: pytest.FixtureRequest, broker: str, sqlite_url: str, small_disk: Path) -> None:
        """With no space for the database nothing is lost or broken, and soon after space returns all is recorded."""
        url = request.getfixturevalue(f"{broker}_url")
        queue = {"queue_name": request.getfixturevalue("queue_name")} if broker == "rabbitmq" else {}
        shutil.copy(sqlite_url.removeprefix("sqlite:///"), small_disk / "ledger.sqlite3")
        database_url = f"sqlite:///{small_disk / 'ledger.sqlite3'}"
        read, folder = Read(database_url), small_disk.parent
        with recording(settings(url, database_url, folder, **queue)), publishing(url) as publisher:
            until(read.is_listening, "coverage")
            publisher.send(100)
            until(lambda: read.events() == 100, "events before")
            fill(small_disk)
            publisher.send(1500, size=1000)
            until(lambda: spooled(folder), "the spool")
            then = read.events()
            (small_disk / "ballast").unlink()
            until(lambda: read.events() > then, "recording again", 10)
            until(lambda: read.task_ids() == publisher.ids, "all of it")
        with open_ledger(database_url) as ledger, ledger.read() as connection:
            sound = connection.scalar(text("PRAGMA integrity_check"))
            quarantined = connection.execute(select(schema.quarantine)).all()

        assert then < publisher.sent
        assert (sound, quarantined) == ("ok", [])


class TestNoRoomAnywhere:
    def test_pubsub(self, redis_url: str, sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """With memory and spool full the newest are dropped, and the gap says exactly how many."""
        read = Read(sqlite_url)
        chosen = settings(redis_url, sqlite_url, tmp_path, spool_bytes=1_000_000)
        with recording(chosen), publishing(redis_url) as publisher:
            until(read.is_listening, "coverage")
            with locked(sqlite_url):
                overflow(publisher, caplog)
            until(lambda: dropped(read), "a gap with its cause", LONG_S)
            publisher.send(10)
            until(lambda: f"id-{publisher.sent - 1}" in read.task_ids(), "events after", LONG_S)
        lost = len(publisher.ids - read.task_ids())

        assert lost == dropped(read) > 0
        assert any("messages dropped: spool full" in (row.cause or "") for row in read.coverage())

    def test_pubsub_on_a_full_disk(
        self, redis_url: str, sqlite_url: str, small_disk: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With no space for the spool the count is as exact, and the spool is used again when there is space."""
        read, folder = Read(sqlite_url), small_disk
        with recording(settings(redis_url, sqlite_url, folder)), publishing(redis_url) as publisher:
            until(read.is_listening, "coverage")
            fill(folder)
            with locked(sqlite_url):
                overflow(publisher, caplog)
                (folder / "ballast").unlink()
                until(lambda: spooled(folder), "the spool", 10)
            until(lambda: dropped(read), "a gap with its cause", LONG_S)
            publisher.send(10)
            until(lambda: f"id-{publisher.sent - 1}" in read.task_ids(), "events after", LONG_S)

        assert len(publisher.ids - read.task_ids()) == dropped(read) > 0

    def test_durable_queue(self, rabbitmq_url: str, queue_name: str, sqlite_url: str, tmp_path: Path) -> None:
        """A durable queue keeps what does not fit: nothing is lost."""
        read = Read(sqlite_url)
        chosen = settings(
            rabbitmq_url, sqlite_url, tmp_path, queue_name=queue_name, spool_bytes=500_000, batch_size=100
        )
        with recording(chosen), publishing(rabbitmq_url) as publisher:
            until(read.is_listening, "coverage")
            with locked(sqlite_url):
                publisher.send(6000, size=2000)
                until(lambda: spooled(tmp_path), "the spool")
                time.sleep(2)
                held = spooled(tmp_path)
            until(lambda: read.task_ids() == publisher.ids, "all of it")

        assert 0 < held <= 500_000
        assert dropped(read) == 0


class TestServers:
    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_read_only(self, redis_url: str, database_url: str, tmp_path: Path) -> None:
        """A server that is read-only, as after a failover, is waited for; nothing goes into quarantine."""
        read = Read(database_url)
        with recording(settings(redis_url, database_url, tmp_path)), publishing(redis_url) as publisher:
            until(read.is_listening, "coverage")
            read_only(database_url, "on")
            try:
                publisher.send(500)
                until(lambda: spooled(tmp_path), "the spool")
                then = read.events()
            finally:
                read_only(database_url, "off")
            until(lambda: read.task_ids() == publisher.ids, "all of it")

        assert then < 500
        assert read.reasons() == []

    @pytest.mark.parametrize("database_engine", ["postgresql", "mariadb"])
    def test_without_a_word(
        self, rabbitmq_url: str, queue_name: str, database_engine: str, database_url: str, tmp_path: Path
    ) -> None:
        """While the driver waits for an answer that never comes, events are spooled; later all are recorded."""
        read = Read(database_url)
        port = {"postgresql": 5432, "mariadb": 3306}[database_engine]
        with Proxy(database_url, port) as proxy, publishing(rabbitmq_url) as publisher:
            chosen = settings(rabbitmq_url, proxy.url, tmp_path, queue_name=queue_name)
            with recording(chosen):
                until(read.is_listening, "coverage")
                publisher.send(100)
                until(lambda: read.events() == 100, "events before")
                proxy.swallow(swallowing=True)
                publisher.send(500)
                until(lambda: spooled(tmp_path), "the spool")
                then = read.events()
                proxy.swallow(swallowing=False)
                proxy.cut()
                until(lambda: read.task_ids() == publisher.ids, "all of it")

        assert then < publisher.sent

    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_connections_killed(self, redis_url: str, database_url: str, tmp_path: Path) -> None:
        """Connections that the server ends under load cost nothing and double nothing."""
        read = Read(database_url)
        with recording(settings(redis_url, database_url, tmp_path)), publishing(redis_url) as publisher:
            until(read.is_listening, "coverage")
            for _ in range(10):
                publisher.send(200)
                end_connections(database_url)
                time.sleep(0.2)
            until(lambda: read.task_ids() == publisher.ids, f"all of {publisher.sent} in {database_url}")

        assert read.events() == publisher.sent


class TestSeveralBrokers:
    def test_side_by_side(
        self, redis_url: str, rabbitmq_url: str, queue_name: str, sqlite_url: str, tmp_path: Path
    ) -> None:
        """One recorder reads several clusters; each row has its own, and one that is away does not stop the other."""
        read = Read(sqlite_url)
        with Proxy(redis_url, 6379) as proxy, publishing(redis_url) as one, publishing(rabbitmq_url) as two:
            chosen = settings(f"one={proxy.url},two={rabbitmq_url}", sqlite_url, tmp_path, queue_name=queue_name)
            with recording(chosen):
                until(lambda: len(read.coverage()) == 2, "coverage of both")
                one.send(10)
                until(lambda: read.events() == 10, "events of the first")
                proxy.refuse(refusing=True)
                two.sent = 10
                two.send(10)
                until(lambda: read.events() == 20, "events of the second")
                proxy.refuse(refusing=False)
                until(lambda: len(read.coverage()) == 3, "the first again")
                one.send(10, size=7)
                until(lambda: read.events() == 30, "events of the first again")
        found = by_cluster(sqlite_url)
        causes = {(names, cause.partition(":")[0]) for names, cause in found["causes"]}

        assert found["tasks"] == {
            ("one", f"id-{number}") for number in range(20)
        } | {("two", f"id-{number}") for number in range(10, 20)}  # fmt: skip
        assert causes == {("one", "broker lost"), ("one", "stopped"), ("two", "stopped")}


def test_dropped_by_redis(redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    """A recorder that stood still while much was sent is cut off by Redis; the gap says that this was why."""
    read = Read(sqlite_url)
    with (
        stage.recorder(tmp_path, redis_url, sqlite_url) as running,
        publishing(redis_url) as publisher,
    ):
        until(read.is_listening, "coverage")
        running.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        publisher.send(6000, size=LARGE)
        running.send_signal(signal.SIGCONT)
        until(lambda: read.is_listening(rows=2), "a second stretch of coverage")
    first, _ = read.coverage()

    assert re.fullmatch(r"broker lost: .* in which nothing was read: .* full output buffer", first.cause)


def test_spool_folder_cannot_be_written(redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    """A spool folder that was named and cannot be written is a wrong setting."""
    (tmp_path / "spool").write_text("a file")
    done = subprocess.run(
        [*stage.command(tmp_path, redis_url, sqlite_url)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert "is --spool-folder (TASKLEDGER_SPOOL_FOLDER) right?" in done.stderr
    assert "Traceback" not in done.stderr


def read_only(database_url: str, value: str) -> None:
    """For all connections from now on; those that are open are ended."""
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only = {value}"))
    engine.dispose()
    end_connections(database_url)


def end_connections(database_url: str) -> None:
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ))  # fmt: skip
    engine.dispose()


def by_cluster(url: str) -> dict[str, set[tuple[str, str]]]:
    """(cluster, task id) of each task and (cluster, cause) of each stretch of coverage."""
    name = select(schema.label.c.id, schema.label.c.value).subquery()
    task, stretch = schema.task.c, schema.coverage.c
    with open_ledger(url) as ledger, ledger.read() as connection:
        tasks = connection.execute(select(name.c.value, task.id).join(name, name.c.id == task.cluster_id)).all()
        causes = connection.execute(
            select(name.c.value, stretch.cause).join(name, name.c.id == stretch.cluster_id)
        ).all()
    return {"tasks": {(row[0], row[1]) for row in tasks}, "causes": {(row[0], row[1]) for row in causes}}

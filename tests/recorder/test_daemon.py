"""The recorder as a whole: real brokers, real databases, and what happens when they go away."""

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import amqp
import pytest
import redis
from celery import Celery
from celery.events.event import get_exchange
from kombu import Connection
from proxy import Proxy
from recording import Read, kill_subscribers, recording, until

from taskledger.config import Settings
from taskledger.errors import SettingsError, SourceLost
from taskledger.ledger import open_ledger
from taskledger.recorder import daemon
from taskledger.recorder.source import Promise
from taskledger.recorder.stub import StubSource


class Sender:
    """A worker that sends events with ids of its own, in a thread, until told to stop; `ids` are those sent."""

    def __init__(self, url: str, per_second: int = 400) -> None:
        self.ids: set[str] = set()
        self._url = url
        self._pause_s = 20 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.ids, "the first event sent")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _send(self) -> None:
        numbers = itertools.count()
        with worker(self._url, buffer_group={"task"}, buffer_limit=20) as dispatcher:
            while not self._stop.wait(self._pause_s):
                for number in itertools.islice(numbers, 20):
                    dispatcher.send("task-started", uuid=f"id-{number}")
                    self.ids.add(f"id-{number}")


@contextmanager
def worker(url: str, **options: Any) -> Iterator[Any]:
    """Celery's own event dispatcher on a connection of its own."""
    app = Celery("worker", broker=url, set_as_current=False)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection, **options) as dispatcher:
        yield dispatcher
    app.close()


def send(url: str, *ids: str) -> None:
    with worker(url) as dispatcher:
        for task_id in ids:
            dispatcher.send("task-received", uuid=task_id)


def settings(broker_url: str | None, database_url: str, **more: Any) -> Settings:
    return Settings(broker_url=broker_url, database_url=database_url, batch_wait_s=0.05, **more)


def message(task_id: str) -> bytes:
    return json.dumps({"type": "task-sent", "timestamp": time.time(), "uuid": task_id, "hostname": "h"}).encode()


class TestRedis:
    def test_records(self, redis_url: str, sqlite_url: str) -> None:
        """Events of a worker are in the ledger, with the coverage and its promise."""
        read = Read(sqlite_url)
        with recording(settings(redis_url, sqlite_url)):
            until(read.is_listening, "coverage")
            send(redis_url, *map(str, range(100)))
            until(lambda: read.events() == 100, "100 events")
        (stretch,) = read.coverage()

        assert (stretch.promise, stretch.cause) == ("counted loss", "stopped")
        assert stretch.from_at < stretch.until_at

    def test_killed_connection(self, redis_url: str, sqlite_url: str) -> None:
        """After CLIENT KILL it listens again; the coverage shows the gap and its cause."""
        read = Read(sqlite_url)
        with recording(settings(redis_url, sqlite_url)):
            until(read.is_listening, "coverage")
            send(redis_url, "before")
            until(lambda: read.events() == 1, "an event before")
            kill_subscribers(redis_url)
            until(lambda: read.is_listening(rows=2), "a second stretch of coverage")
            send(redis_url, "after")
            until(lambda: read.task_ids() == {"before", "after"}, "an event after")
        first, second = read.coverage()

        assert first.cause.startswith("broker lost: ")
        assert first.until_at <= second.from_at
        assert second.cause == "stopped"

    def test_malformed_among_good(self, redis_url: str, sqlite_url: str) -> None:
        """What cannot be used is set aside with its reason, and what came with it is recorded."""
        read = Read(sqlite_url)
        with recording(settings(redis_url, sqlite_url)):
            until(read.is_listening, "coverage")
            publish_raw(redis_url, b'[{"type": "task-sent", "timestamp": 1, "uuid": "a"}, 7, {"timestamp": 2}]')
            publish_raw(redis_url, b"\x80\x04", content_type="application/x-python-serialize")
            publish_raw(redis_url, b"x", headers={"compression": "zlib"})
            with redis.Redis.from_url(redis_url) as client:
                database = redis_url.rpartition("/")[2]
                client.publish(f"/{database}.celeryev/task.sent", '{"no": "properties"}')
            send(redis_url, "b")
            until(lambda: read.task_ids() == {"a", "b"}, "both good events")
            until(lambda: len(read.reasons()) == 5, "five refusals")

        assert read.reasons() == ["bad-envelope", "bad-type", "compressed", "content-type", "not-an-object"]


class TestRabbitMQ:
    def test_stopped_and_started(self, rabbitmq_url: str, queue_name: str, sqlite_url: str) -> None:
        """What is sent while no recorder runs is recorded by the next, and the coverage has no hole."""
        read = Read(sqlite_url)
        chosen = settings(rabbitmq_url, sqlite_url, queue_name=queue_name)
        with Sender(rabbitmq_url) as sender:
            for rows in (1, 2):
                with recording(chosen):
                    until(lambda rows=rows: read.is_listening(rows), "coverage")
                    time.sleep(0.5)
                time.sleep(0.5)
        with recording(chosen):
            # What was sent before the first recorder declared its queue is nobody's.
            until(lambda: sender.ids - read.task_ids() <= early(sender, read), "everything sent")
            until(lambda: read.coverage()[-1].until_at > time.time_ns() // 1000 - 3_000_000, "coverage up to now")
        rows = read.coverage()

        assert [row.cause for row in rows] == ["stopped"] * 3
        assert all(after.from_at == before.until_at for before, after in itertools.pairwise(rows))

    def test_cut_connection(self, rabbitmq_url: str, queue_name: str, sqlite_url: str) -> None:
        """Connections cut under load cost nothing."""
        read = Read(sqlite_url)
        with Proxy(rabbitmq_url, 5672) as proxy, recording(settings(proxy.url, sqlite_url, queue_name=queue_name)):
            until(read.is_listening, "coverage")
            with Sender(rabbitmq_url) as sender:
                for _ in range(3):
                    time.sleep(0.3)
                    proxy.cut()
            until(lambda: read.task_ids() >= sender.ids, "everything sent")

    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_database_away(self, rabbitmq_url: str, queue_name: str, database_url: str) -> None:
        """With the database away for a while, everything sent meanwhile is recorded once it is back."""
        read = Read(database_url)
        with Proxy(database_url, 5432) as proxy:
            with recording(settings(rabbitmq_url, proxy.url, queue_name=queue_name)), Sender(rabbitmq_url) as sender:
                until(read.events, "a first event")
                proxy.refuse(refusing=True)
                so_far = len(sender.ids)
                until(lambda: len(sender.ids) > so_far + 400, "events while the database is away")
                recorded_then = read.events()
                proxy.refuse(refusing=False)
                until(lambda: read.events() > recorded_then + 400, "recording going on")
            known = read.task_ids()

        assert recorded_then <= so_far + 400
        assert sender.ids - known <= early(sender, read) | unread(rabbitmq_url, queue_name)

    def test_sigterm_under_load(self, rabbitmq_url: str, queue_name: str, sqlite_url: str, tmp_path: Path) -> None:
        """SIGTERM under load ends it with 0 within 10 s, and what it did not write is still in its queue."""
        read = Read(sqlite_url)
        with (
            Sender(rabbitmq_url, per_second=2000) as sender,
            process(tmp_path, rabbitmq_url, sqlite_url, queue_name) as running,
        ):
            until(lambda: read.events() > 500, "500 events")
            running.send_signal(signal.SIGTERM)
            code = running.wait(10)

        assert code == 0
        assert sender.ids - read.task_ids() <= early(sender, read) | unread(rabbitmq_url, queue_name)
        assert read.coverage()[-1].cause == "stopped"

    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_sigterm_while_the_database_is_away(
        self, rabbitmq_url: str, queue_name: str, database_url: str, tmp_path: Path
    ) -> None:
        """It ends with 0 within 10 s also when it cannot write; the events stay in its queue."""
        read = Read(database_url)
        with Proxy(database_url, 5432) as proxy, process(tmp_path, rabbitmq_url, proxy.url, queue_name) as running:
            until(read.is_listening, "coverage")
            proxy.refuse(refusing=True)
            send(rabbitmq_url, "kept")
            time.sleep(1)
            running.send_signal(signal.SIGTERM)
            code = running.wait(10)

        assert code == 0
        assert unread(rabbitmq_url, queue_name) == {"kept"}

    def test_sigterm_while_the_database_hangs(
        self, rabbitmq_url: str, queue_name: str, sqlite_url: str, tmp_path: Path
    ) -> None:
        """It ends with 0 within 10 s also when the driver does not come back; the events stay in its queue."""
        read = Read(sqlite_url)
        with process(tmp_path, rabbitmq_url, sqlite_url, queue_name) as running:
            until(read.is_listening, "coverage")
            with open_ledger(sqlite_url) as other, other.write():
                send(rabbitmq_url, "kept")
                time.sleep(1)
                running.send_signal(signal.SIGTERM)
                code = running.wait(10)

        assert code == 0
        assert unread(rabbitmq_url, queue_name) == {"kept"}


class TestBatches:
    """On the stub: what does not depend on the broker."""

    def test_duplicates(self, sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
        """A message delivered twice is one row, and the recorder says that it came twice."""
        caplog.set_level(logging.INFO)
        source, read = StubSource(), Read(sqlite_url)
        with recording(settings(None, sqlite_url), {"default": source}):
            until(read.is_listening, "coverage")
            same = message("a")
            source.send(same)
            source.send(same)
            source.send(message("b"))
            until(lambda: source.acknowledged == 3, "acknowledgements")
        told = next(record for record in caplog.records if getattr(record, "action", "") == "progress")

        assert read.events() == 2
        assert (told.recorded, told.duplicate) == (2, 1)

    def test_acknowledged_after_the_commit(self, sqlite_url: str) -> None:
        """While the database is locked nothing is acknowledged; afterwards everything is."""
        source, read = StubSource(), Read(sqlite_url)
        with recording(settings(None, sqlite_url), {"default": source}):
            until(read.is_listening, "coverage")
            with open_ledger(sqlite_url) as other, other.write():
                source.send(message("a"))
                time.sleep(0.5)

                assert source.acknowledged == 0

            until(lambda: source.acknowledged == 1, "the acknowledgement")

        assert read.events() == 1

    def test_only_empty_lists(self, sqlite_url: str) -> None:
        """Messages without a single event are acknowledged too."""
        source, read = StubSource(), Read(sqlite_url)
        with recording(settings(None, sqlite_url), {"default": source}):
            until(read.is_listening, "coverage")
            source.send(b"[]")
            until(lambda: source.acknowledged == 1, "the acknowledgement")

    def test_coverage_grows_while_nothing_happens(self, sqlite_url: str) -> None:
        """With no event at all the coverage still goes on."""
        source, read = StubSource(Promise.COUNTED_LOSS), Read(sqlite_url)
        with recording(settings(None, sqlite_url), {"default": source}):
            until(read.is_listening, "coverage")
            before = read.coverage()[0].until_at
            until(lambda: read.coverage()[0].until_at > before, "coverage that grows", 5)

    def test_keeps_trying(self, sqlite_url: str) -> None:
        """A broker that is away at the start, and again later, is waited for."""
        source, read = StubSource(), Read(sqlite_url)
        source.refusals.extend([SourceLost("not up yet"), SourceLost("not up yet")])
        with recording(settings(None, sqlite_url), {"default": source}):
            until(read.is_listening, "coverage")
            source.refusals.extend([SourceLost("gone"), SettingsError("the password was changed")])
            source.disconnect()
            until(lambda: read.is_listening(rows=2), "coverage again")

        assert [row.cause for row in read.coverage()] == ["broker lost: the stub was disconnected", "stopped"]

    def test_refused_at_the_start(self, sqlite_url: str) -> None:
        """A broker that says no at the start ends it with what it said."""
        source = StubSource()
        source.refusals.append(SettingsError("no such user"))

        with pytest.raises(SettingsError, match="no such user"):
            daemon.run(settings(None, sqlite_url), sources={"default": source}, stop=threading.Event())

    def test_background(self, sqlite_url: str) -> None:
        """What runs beside it is started with the ledger, and stopped before the ledger is closed."""
        heard: list[str] = []
        stop = threading.Event()

        def start(ledger: Any) -> Any:
            heard.append(f"started on {ledger.dialect}")
            stop.set()
            return lambda: heard.append("stopped")

        code = daemon.run(
            settings(None, sqlite_url), sources={"default": StubSource()}, stop=stop, background=[start]
        )  # fmt: skip

        assert code == 0
        assert heard == ["started on sqlite", "stopped"]

    def test_first_line(self, sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
        """The first line says version, broker, queue and database, without passwords; programs get an action."""
        caplog.set_level(logging.INFO)
        source = StubSource(queue="events-here")
        with recording(settings(None, sqlite_url), {"default": source}):
            until(Read(sqlite_url).is_listening, "coverage")
        first = next(record for record in caplog.records if record.name.startswith("taskledger.recorder"))

        assert all(part in first.getMessage() for part in ("taskledger", "stub://", "events-here", "durable queue"))
        assert first.action == "started"


def publish_raw(url: str, body: bytes, content_type: str = "application/json", **options: Any) -> None:
    with Connection(url) as connection:
        connection.Producer(exchange=get_exchange(connection)).publish(
            body, "task.sent", content_type=content_type, content_encoding="utf-8", **options
        )


def early(sender: Sender, read: Read) -> set[str]:
    """What was sent before the first id that is known: then there was no queue yet."""
    first = min(int(task_id.partition("-")[2]) for task_id in read.task_ids())
    return {task_id for task_id in sender.ids if int(task_id.partition("-")[2]) < first}


def unread(url: str, queue: str) -> set[str]:
    """The task ids of what is still in a queue; they stay there."""
    host, _, vhost = url.rpartition("@")[2].partition("/")
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    found: set[str] = set()
    with amqp.Connection(host, user, password, virtual_host=vhost or "/") as connection:
        channel = connection.channel()
        while (got := channel.basic_get(queue, no_ack=False)) is not None:
            document = json.loads(got.body)
            found |= {event["uuid"] for event in (document if isinstance(document, list) else [document])}
    return found


@contextmanager
def process(folder: Path, broker_url: str, database_url: str, queue_name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`taskledger record` as a process."""
    command = [sys.executable, "-m", "taskledger", "record", "--no-jobs"]
    command += ["-b", broker_url, "-d", database_url, "--queue-name", queue_name]
    with (
        (folder / "record.log").open("wb") as lines,
        subprocess.Popen(command, stderr=lines, env=dict(os.environ)) as running,
    ):
        try:
            yield running
        finally:
            running.kill()

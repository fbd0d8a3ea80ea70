"""Events that a Celery app appends to a stream: in every pool, the same as it publishes, and never to its harm."""

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from taskledger import events
from taskledger.config import Settings
from taskledger.integrations import durable
from taskledger.recorder import brokers, stream
from taskledger.recorder.batch import opened

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
POOLS = ("prefork", "threads", "solo", "gevent")
SEND = "import proj; [proj.double.delay(number) for number in range(20)]"


@contextmanager
def worker(url: str, pool: str, how: str, folder: Path) -> Iterator[dict[str, str]]:
    """A real worker meanwhile; its environment, for clients."""
    environ = os.environ | {
        "PROJ_BROKER": url,
        "PROJ_DURABLE": how,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
    }
    command = [sys.executable, "-m", "celery", "-A", "proj", "worker", "-E", "-P", pool, "-c", "2", "-n", "w@vm"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield environ
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def appended(url: str, exchange: str = "celeryev") -> list[events.Event]:
    """The events in the stream."""
    with redis.Redis.from_url(url) as client:
        found = client.xrange(durable.stream_name(exchange))
    return [event for _, fields in found for event in _decoded(fields[b"body"])]


def _decoded(body: bytes) -> list[events.Event]:
    decoded = events.decode(body)
    assert all(isinstance(each, events.Event) for each in decoded), decoded
    return [each for each in decoded if isinstance(each, events.Event)]


class TestPools:
    @pytest.mark.parametrize("pool", POOLS)
    def test_all_that_is_published(self, pool: str, redis_url: str, tmp_path: Path) -> None:
        """What workers and clients publish is in the stream, event for event, in every pool."""
        if importlib.util.find_spec(pool) is None and pool == "gevent":
            (pytest.fail if os.environ.get("CI") else pytest.skip)("gevent is missing; pip install gevent")
        settings = Settings(broker_url=redis_url, durable_stream="off")
        source = brokers.source(settings, redis_url)
        source.open()
        published: dict[bytes, events.Event] = {}
        until_s = time.monotonic() + 60
        with worker(redis_url, pool, "line", tmp_path) as environ:
            subprocess.run([sys.executable, "-c", SEND], env=environ, cwd=tmp_path, check=True)
            while time.monotonic() < until_s and number_of(published.values(), "task-succeeded") < 20:
                for delivery in source.receive(100, 0.1):
                    published |= {event.id: event for event in _decoded(opened(delivery).body)}
        for delivery in iter(lambda: next(iter(source.receive(1, 0.3)), None), None):
            published |= {event.id: event for event in _decoded(opened(delivery).body)}
        source.close()
        kept = {event.id: event for event in appended(redis_url)}

        assert number_of(published.values(), "task-succeeded") == 20, (tmp_path / "worker.log").read_text()[-3000:]
        assert number_of(kept.values(), "task-sent") == 20
        assert number_of(kept.values(), "worker-offline") == 1
        assert sorted(kept) == sorted(published)

    def test_by_setting(self, redis_url: str, tmp_path: Path) -> None:
        """The setting alone makes a worker append its events."""
        until_s = time.monotonic() + 60
        with worker(redis_url, "solo", "setting", tmp_path) as environ:
            subprocess.run([sys.executable, "-c", SEND], env=environ, cwd=tmp_path, check=True)
            while time.monotonic() < until_s and number_of(appended(redis_url), "task-succeeded") < 20:
                time.sleep(0.2)

        assert number_of(appended(redis_url), "task-succeeded") == 20, (tmp_path / "worker.log").read_text()[-3000:]

    def test_off_unless_asked_for(self, redis_url: str, tmp_path: Path) -> None:
        """A project that asks for nothing writes no stream."""
        with worker(redis_url, "solo", "", tmp_path) as environ:
            subprocess.run([sys.executable, "-c", SEND], env=environ, cwd=tmp_path, check=True)

        assert appended(redis_url) == []


def number_of(found: Any, kind: str) -> int:
    return len([event for event in found if event.type == kind])


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """An app with an exchange of its own and the line installed."""
    made = Celery("app", broker=redis_url, set_as_current=False)
    made.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    durable.install(made)
    yield made
    made.close()


def send(app: Celery, number: int = 1, **options: Any) -> None:
    with app.connection_for_write() as connection, app.events.Dispatcher(connection, **options) as dispatcher:
        for _ in range(number):
            dispatcher.send("task-sent", uuid=str(uuid.uuid4()))


def test_both_agree_on_names() -> None:
    """The worker's half and the recorder's half mean the same stream and the same header."""
    assert durable.stream_name("celeryev") == stream.PREFIX + "celeryev"
    assert durable.HEADER == stream.HEADER


def test_bounded(app: Celery, redis_url: str) -> None:
    """The stream does not grow beyond the setting by more than Redis rounds."""
    app.conf.taskledger_stream_length = 200
    send(app, 1500)

    assert 200 <= len(appended(redis_url, app.conf.event_exchange)) <= 400


def test_batches(app: Celery, redis_url: str) -> None:
    """A batch of a prefork worker is one entry, as it is one message."""
    send(app, 10, buffer_group={"task"}, buffer_limit=10)
    with redis.Redis.from_url(redis_url) as client:
        entries = client.xrange(durable.stream_name(app.conf.event_exchange))

    assert [len(json.loads(fields[b"body"])) for _, fields in entries] == [10]


def test_installed_late_and_twice(redis_url: str) -> None:
    """Installing after the first event was sent, and once more, appends each event once from then on."""
    app = Celery("app", broker=redis_url, set_as_current=False)
    app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    app.conf.task_send_sent_event = True
    app.send_task("any")
    durable.install(app)
    durable.install(app)
    app.send_task("any")

    assert len(appended(redis_url, app.conf.event_exchange)) == 1


def test_a_dispatcher_of_the_project(redis_url: str) -> None:
    """A dispatcher class that the project brought itself goes on to work below ours."""
    app = Celery("app", broker=redis_url, set_as_current=False)
    app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    base = app.events.Dispatcher

    class Stamping(base):  # type: ignore[misc,valid-type]
        def send(self, kind: str, **fields: Any) -> Any:
            return super().send(kind, stamped=True, **fields)

    app.events.dispatcher_cls = Stamping
    durable.install(app)
    send(app)

    assert [event.fields["stamped"] for event in appended(redis_url, app.conf.event_exchange)] == [True]


class TestTrouble:
    def test_refused(self, app: Celery, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
        """When Redis refuses to append, one line is logged, and every event is published without the mark."""
        source = brokers.source(Settings(broker_url=redis_url, celery_app=app, durable_stream="off"), redis_url)
        source.open()
        with redis.Redis.from_url(redis_url) as client:
            client.set(durable.stream_name(app.conf.event_exchange), "not a stream")
        send(app, 50)
        heard = []
        while len(heard) < 50 and (helping := source.receive(50, 1.0)):
            heard += helping
        source.close()

        assert len(heard) == 50
        assert len([record for record in caplog.records if "not appended" in record.message]) == 1

    def test_goes_on_when_mended(
        self, app: Celery, redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a failure no attempt is made for a while; then what was missed is appended as well, in order."""
        monkeypatch.setattr(durable, "FIRST_REST_S", 0.3)
        app.events.dispatcher_cls.appender._rest_s = 0.3
        name = durable.stream_name(app.conf.event_exchange)
        with redis.Redis.from_url(redis_url) as client:
            client.set(name, "not a stream")
            send(app, 5)
            client.delete(name)
            send(app, 5)
            resting = client.exists(name)
            time.sleep(0.35)
            send(app, 5)

        assert resting == 0
        found = appended(redis_url, app.conf.event_exchange)
        assert len(found) == 15
        assert [event.at for event in found] == sorted(event.at for event in found)
        assert "0 messages were only published" in caplog.text

    def test_what_is_kept_is_bounded(
        self, app: Celery, redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of what is missed no more than so many bytes are kept, the newest; the rest is counted and said."""
        monkeypatch.setattr(durable, "KEPT_BYTES", 10_000)
        app.events.dispatcher_cls.appender._rest_s = 0.3
        name = durable.stream_name(app.conf.event_exchange)
        with redis.Redis.from_url(redis_url) as client:
            client.set(name, "not a stream")
            send(app, 500)
            client.delete(name)
            time.sleep(0.7)
            send(app, 2)

        found = appended(redis_url, app.conf.event_exchange)
        missed = int(re.findall(r"(\d+) messages were only published", caplog.text)[0])
        assert 5 < len(found) < 100
        assert len(found) + missed == 502

    def test_much_is_appended_piece_by_piece(
        self, app: Celery, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No event waits until all that was missed is appended; it is marked as appended only when it is itself."""
        monkeypatch.setattr(durable, "AT_ONCE", 10)
        app.events.dispatcher_cls.appender._rest_s = 0.3
        name = durable.stream_name(app.conf.event_exchange)
        with redis.Redis.from_url(redis_url) as client:
            client.set(name, "not a stream")
            send(app, 25)
            client.delete(name)
            time.sleep(0.7)
            lengths = []
            for _ in range(4):
                send(app)
                lengths.append(client.xlen(name))

        assert lengths == [10, 20, 28, 29]

    def test_not_redis(self, caplog: pytest.LogCaptureFixture) -> None:
        """On another broker nothing changes, and that is said once."""
        caplog.set_level(logging.INFO, "taskledger")
        app = Celery("app", broker="memory://", set_as_current=False)
        durable.install(app)
        send(app, 10)
        app.close()

        assert len([record for record in caplog.records if "not Redis" in record.message]) == 1

    def test_light(self) -> None:
        """Installing imports neither the Redis client nor anything else of taskledger."""
        code = (
            "import sys, celery; app = celery.Celery(broker='redis://127.0.0.1:1/0');"
            "import taskledger.integrations.durable as durable; durable.install(app);"
            "print([name for name in sys.modules if name == 'redis' or name.startswith('taskledger')"
            " and name not in ('taskledger', 'taskledger.integrations', 'taskledger.integrations.durable')])"
        )
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)

        assert done.stdout.strip() == "[]"

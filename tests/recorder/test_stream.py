"""The stream on Redis: who reads what of it, what comes again, and what is known to be lost."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from celery import Celery
from recording import kill_subscribers
from wires import hear

from taskledger.config import Settings
from taskledger.errors import SourceLost
from taskledger.integrations import durable
from taskledger.recorder import brokers, redis_source, stream
from taskledger.recorder.source import Delivery, Promise


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app whose events go into a stream as well."""
    with celery_app(redis_url) as made:
        durable.install(made)
        yield made


@pytest.fixture
def plain_app(redis_url: str, app: Celery) -> Iterator[Celery]:
    """An app on the same exchange, without the stream."""
    with celery_app(redis_url) as made:
        made.conf.event_exchange = app.conf.event_exchange
        yield made


@contextmanager
def celery_app(url: str) -> Iterator[Celery]:
    made = Celery("sender", broker=url, set_as_current=False)
    made.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    yield made
    made.close()


@contextmanager
def opened(app: Celery, name: str = "one", mode: str = "auto", **more: Any) -> Iterator[Any]:
    settings = Settings(
        broker_url=app.conf.broker_url, celery_app=app, recorder_name=name, durable_stream=mode, **more
    )  # fmt: skip
    source = brokers.source(settings, app.conf.broker_url)
    source.open()
    try:
        yield source
    finally:
        source.close()


def send(app: Celery, *ids: str) -> None:
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        for task_id in ids:
            dispatcher.send("task-sent", uuid=task_id)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [json.loads(each.body)["uuid"] for each in deliveries]


def key(app: Celery) -> str:
    return durable.stream_name(app.conf.event_exchange)


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A client of one's own."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


class TestAuto:
    def test_without_a_stream(self, plain_app: Celery, server: redis.Redis) -> None:
        """Where no worker writes a stream, none is made, and the promise is that of pub/sub."""
        with opened(plain_app) as source:
            send(plain_app, "a")

            assert ids(hear(source, 1)) == ["a"]
            assert source.promise is Promise.COUNTED_LOSS

        assert server.exists(key(plain_app)) == 0

    def test_what_was_there_before(self, app: Celery) -> None:
        """What workers appended before there was any recorder is read, from the first on."""
        send(app, *map(str, range(50)))
        with opened(app) as source:
            assert ids(hear(source, 50)) == [str(number) for number in range(50)]
            assert source.promise is Promise.DURABLE_IN_PART

    def test_each_once(self, app: Celery) -> None:
        """What is published and appended is handed out once, with a tag."""
        send(app, "before")
        with opened(app) as source:
            send(app, "a", "b")
            heard = hear(source, 3)

            assert sorted(ids(heard)) == ["a", "b", "before"]
            assert all(each.tag for each in heard)
            assert source.receive(10, 0.2) == []
            assert source.is_drained()

    def test_workers_without_it_are_heard(self, app: Celery, plain_app: Celery) -> None:
        """Beside the stream, workers that do not write to it are heard as ever, without a tag."""
        send(app, "before")
        with opened(app) as source:
            send(plain_app, "plain")
            heard = {json.loads(each.body)["uuid"]: each.tag for each in hear(source, 2)}

        assert heard["plain"] is None
        assert heard["before"] is not None

    def test_appears_later(self, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream that is first written while the recorder runs is found, and all of it is read."""
        monkeypatch.setattr(redis_source, "LOOK_EVERY_S", 0.0)
        with opened(app) as source:
            assert source.promise is Promise.COUNTED_LOSS

            send(app, "a")
            heard = ids(hear(source, 1))
            until_s = time.monotonic() + 10
            while source.promise is Promise.COUNTED_LOSS and time.monotonic() < until_s:
                heard += ids(source.receive(10, 0.05))

            assert set(heard) == {"a"}
            assert source.promise is Promise.DURABLE_IN_PART

    def test_off(self, app: Celery, server: redis.Redis) -> None:
        """Switched off, the stream is left alone and events are heard over pub/sub."""
        with opened(app, mode="off") as source:
            send(app, "a")

            assert [each.tag for each in hear(source, 1)] == [None]

        assert server.xinfo_groups(key(app)) == []


class TestOn:
    def test_killed_connection_resumes(self, app: Celery, redis_url: str) -> None:
        """What is sent while the connection is cut is read afterwards, and the coverage has no hole."""
        with opened(app, mode="on") as source:
            kill_subscribers(redis_url)
            with pytest.raises(SourceLost):
                hear(source, 1)
            send(app, "meanwhile")
            again = source.open()

            assert (again.resumed, again.promise) == (True, Promise.DURABLE_STREAM)
            assert ids(hear(source, 1)) == ["meanwhile"]

    def test_outsider(self, app: Celery, plain_app: Celery, caplog: pytest.LogCaptureFixture) -> None:
        """A worker that does not write to the stream is named once, and the promise is taken back."""
        with opened(app, mode="on") as source:
            send(plain_app, "a", "b")
            hear(source, 2)
            told = [record for record in caplog.records if "without writing them to the stream" in record.message]
            again = source.open()

        assert len(told) == 1
        assert (again.resumed, again.promise) == (False, Promise.DURABLE_IN_PART)


class TestGroup:
    def test_share(self, app: Celery) -> None:
        """Two recorders of one group get each message once between them."""
        with opened(app, "one", "on") as one, opened(app, "two", "on") as two:
            send(app, *map(str, range(200)))
            heard: list[str] = []
            for _ in range(100):
                heard += ids(one.receive(20, 0.01)) + ids(two.receive(20, 0.01))
                if len(heard) >= 200:
                    break

        assert sorted(heard, key=int) == [str(number) for number in range(200)]

    def test_unacknowledged_comes_again(self, app: Celery) -> None:
        """A recorder that starts again under its name first gets what it had not acknowledged."""
        with opened(app, mode="on") as source:
            send(app, *map(str, range(10)))
            heard = hear(source, 10)
            source.acknowledge(heard[3].tag)
        send(app, "10")
        with opened(app, mode="on") as source:
            assert ids(hear(source, 7)) == [str(number) for number in range(4, 11)]

    def test_left_by_the_dead(self, app: Celery, monkeypatch: pytest.MonkeyPatch, server: redis.Redis) -> None:
        """What a recorder had read when it died goes to another one, and nothing stays pending."""
        monkeypatch.setattr(stream, "ABANDONED_S", 0.2)
        monkeypatch.setattr(redis_source, "CLAIM_EVERY_S", 0.1)
        with opened(app, "dead", "on") as dead:
            send(app, *map(str, range(20)))
            hear(dead, 20)
        with opened(app, "heir", "on") as heir:
            heard = hear(heir, 20)
            heir.acknowledge(heard[-1].tag)

            assert ids(heard) == [str(number) for number in range(20)]

        assert server.xpending(key(app), "taskledger")["pending"] == 0

    def test_prefetch_is_bounded(self, app: Celery) -> None:
        """Unacknowledged, no more than four batches come; after the acknowledgement the rest does."""
        with opened(app, mode="on", batch_size=5) as source:
            send(app, *map(str, range(30)))
            ahead = hear(source, 20)

            assert source.receive(10, 0.2) == []
            assert not source.is_drained()

            source.acknowledge(ahead[-1].tag)

            assert ids(hear(source, 10)) == [str(number) for number in range(20, 30)]
            assert source.is_drained()


class TestCutOff:
    def test_while_nobody_reads(self, app: Celery, server: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
        """What was pushed out unread while no recorder ran is counted at the opening, which then resumes nothing."""
        with opened(app, mode="on") as source:
            send(app, *map(str, range(10)))
            heard = hear(source, 10)
            source.acknowledge(heard[-1].tag)
        send(app, *map(str, range(10, 40)))
        server.xtrim(key(app), maxlen=5, approximate=False)
        with opened(app, mode="on") as source:
            assert source.lost == 25
            assert "25 messages were cut off" in caplog.text
            assert ids(hear(source, 5)) == [str(number) for number in range(35, 40)]

            source.close()
            again = source.open()

            assert (source.lost, again.resumed) == (25, True)

    def test_while_it_reads(self, app: Celery, server: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is pushed out before a running recorder came to it is a loss with its number, and a gap."""
        monkeypatch.setattr(redis_source, "COUNT_EVERY_S", 0.0)
        monkeypatch.setattr("taskledger.recorder.kombu_source.PULSE_S", 0.0)
        with opened(app, mode="on", batch_size=5) as source:
            send(app, *map(str, range(60)))
            hear(source, 10)
            server.xtrim(key(app), maxlen=20, approximate=False)
            with pytest.raises(SourceLost, match="30 messages were cut off"):
                hear(source, 60)
            again = source.open()

        assert (source.lost, again.resumed) == (30, False)

    def test_unacknowledged_and_gone(self, app: Celery, server: redis.Redis) -> None:
        """What was read, not acknowledged, and then pushed out counts as lost, and stays pending no longer."""
        with opened(app, mode="on") as source:
            send(app, *map(str, range(10)))
            hear(source, 10)
        server.xtrim(key(app), maxlen=4, approximate=False)
        with opened(app, mode="on") as source:
            heard = hear(source, 4)
            source.acknowledge(heard[-1].tag)
            source._count_lost(source._stream)

            assert source.lost == 6

        assert server.xpending(key(app), "taskledger")["pending"] == 0

    def test_before_there_was_a_group(self, app: Celery, server: redis.Redis) -> None:
        """What was pushed out before the first recorder came is nobody's loss."""
        send(app, *map(str, range(30)))
        server.xtrim(key(app), maxlen=10, approximate=False)
        with opened(app, mode="on") as source:
            hear(source, 10)
            source._count_lost(source._stream)

            assert source.lost == 0


def test_prefixed_keys(app: Celery, server: redis.Redis) -> None:
    """With a key prefix in the app's options, worker and recorder mean the same stream."""
    app.conf.broker_transport_options = {"global_keyprefix": "shop:"}
    with opened(app, mode="on") as source:
        send(app, "a")

        assert [(each.tag is not None) for each in hear(source, 1)] == [True]

    assert server.exists(f"shop:{key(app)}") == 1


def test_forgets_who_is_gone_for_good(app: Celery, server: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that was silent for long is taken out of the group, unless it holds something."""
    with opened(app, "gone", "on"), opened(app, "holding", "on") as holding:
        send(app, "a")
        hear(holding, 1)
    monkeypatch.setattr(stream, "FORGOTTEN_S", 0.0)
    time.sleep(0.01)
    with opened(app, "new", "on"):
        names = {each["name"] for each in server.xinfo_consumers(key(app), "taskledger")}

    assert b"gone" not in names
    assert b"holding" in names

"""What is particular to a broker: how settings name it, where Celery's events are on it, and what it answers."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from proxy import Proxy
from recording import kill_subscribers
from wires import hear

from taskledger.config import Settings
from taskledger.errors import SettingsError, SourceLost
from taskledger.recorder import brokers
from taskledger.recorder.source import Promise, Source


def source_of(url: str, **more: Any) -> Source:
    return brokers.source(Settings(broker_url=url, **more), url)


@contextmanager
def opened(url: str, **more: Any) -> Iterator[Source]:
    source = source_of(url, **more)
    source.open()
    try:
        yield source
    finally:
        source.close()


def send(app: Celery, task_id: str) -> None:
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        dispatcher.send("task-sent", uuid=task_id)


class TestWrongURLs:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("nonsense://user:secret@host/", "No such transport: nonsense"),
            ("redis://host:notaport/0", "notaport"),
            ("sqla+sqlite:///x.db", "Celery sends no events over"),
        ],
    )
    def test_at_once(self, url: str, says: str) -> None:
        """A URL that makes no sense is one sentence with the URL, without its password, before anything connects."""
        with pytest.raises(SettingsError) as told:
            source_of(url)

        assert says in str(told.value)
        assert "secret" not in str(told.value)
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("redis://nobody.invalid:6379/0", "nothing is known by that name"),
            ("amqp://me:secret@nobody.invalid//", "nothing is known by that name"),
            ("redis://127.0.0.1:6379/not-a-number", "Database is int"),
        ],
    )
    def test_when_opened(self, url: str, says: str) -> None:
        """A host that does not exist, or a database that cannot, is a wrong setting when it is opened."""
        with pytest.raises(SettingsError) as told:
            source_of(url).open()

        assert says in str(told.value)
        assert "secret" not in str(told.value)

    def test_wrong_password_on_redis(self, redis_url: str) -> None:
        """Redis that refuses the password is a wrong setting."""
        url = redis_url.replace("://", "://nobody:wrong-secret@", 1)
        with pytest.raises(SettingsError, match="refuses") as told:
            source_of(url).open()

        assert "wrong-secret" not in str(told.value)

    def test_redis_database_that_is_not_there(self, redis_url: str) -> None:
        """A database number beyond those of the server is a wrong setting."""
        with pytest.raises(SettingsError, match="DB index"):
            source_of(f"{redis_url.rpartition('/')[0]}/99999").open()

    @pytest.mark.parametrize("what", ["password", "vhost"])
    def test_refused_by_rabbitmq(self, rabbitmq_url: str, what: str) -> None:
        """RabbitMQ that refuses user or virtual host is a wrong setting."""
        host = rabbitmq_url.rpartition("@")[2]
        wrong = {
            "password": f"amqp://nobody:wrong-secret@{host}",
            "vhost": f"{rabbitmq_url.rpartition('/')[0]}/no-such-vhost",
        }
        with pytest.raises(SettingsError, match="refuses") as told:
            source_of(wrong[what]).open()

        assert "wrong-secret" not in str(told.value)

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_nobody_answers(self, scheme: str) -> None:
        """A port on which nobody listens may be a broker that is not up yet: it is tried again."""
        with pytest.raises(SourceLost, match="refused"):
            source_of(f"{scheme}://127.0.0.1:1//").open()


class TestRedis:
    def test_killed_client_is_noticed(self, redis_url: str) -> None:
        """redis-py does not mend a killed subscription in secret: it is SourceLost."""
        with opened(redis_url) as source:
            kill_subscribers(redis_url)

            with pytest.raises(SourceLost):
                hear(source, 1)

    @pytest.mark.parametrize(
        "envelope",
        [
            {"no": "properties"},
            {"body": "e30=", "properties": None},
            {"body": "e30=", "properties": {"body_encoding": "no-such"}},
            {"body": "not base64!", "properties": {"body_encoding": "base64"}},
            {"body": {"__type__": "decimal", "__value__": "x"}, "properties": {}},
            {"body": 7, "properties": {}},
            [1, 2],
            7,
        ],
    )
    def test_bad_envelopes(self, redis_url: str, envelope: Any) -> None:
        """A bad envelope is one refused delivery, and the next good event comes over the same subscription."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        database = redis_url.rpartition("/")[2]
        with opened(redis_url) as source, redis.Redis.from_url(redis_url) as client:
            client.publish(f"/{database}.celeryev/task.sent", json.dumps(envelope))
            send(app, "good")
            bad, good = hear(source, 2)

        assert bad.refused == "bad-envelope"
        assert json.loads(good.body)["uuid"] == "good"

    def test_what_is_no_envelope(self, redis_url: str) -> None:
        """Text that is no JSON at all, or nested without end, costs nothing but itself."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        database = redis_url.rpartition("/")[2]
        with opened(redis_url) as source, redis.Redis.from_url(redis_url) as client:
            for text in ("{", "[" * 100_000, "\x00\xff"):
                client.publish(f"/{database}.celeryev/task.sent", text)
            send(app, "good")
            good = next(each for each in iter(lambda: hear(source, 1)[0], None) if each.refused is None)

        assert json.loads(good.body)["uuid"] == "good"

    def test_options_of_the_app(self, redis_url: str) -> None:
        """With -A, key prefix and exchange are the app's; without, another exchange is not heard."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        app.conf.broker_transport_options = {"global_keyprefix": "shop:"}
        app.conf.event_exchange = "shop-events"
        with opened(redis_url, celery_app=app) as source, opened(redis_url) as stranger:
            send(app, "a")

            assert json.loads(hear(source, 1)[0].body)["uuid"] == "a"
            assert stranger.receive(10, 0.2) == []

    def test_pattern_less_fanout(self, redis_url: str) -> None:
        """Without fanout prefix and patterns, as old Celery projects have it, events are heard too."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        app.conf.broker_transport_options = {"fanout_prefix": False, "fanout_patterns": False}
        app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
        with opened(redis_url, celery_app=app) as source:
            send(app, "a")

            assert json.loads(hear(source, 1)[0].body)["uuid"] == "a"

    def test_two_recorders(self, redis_url: str) -> None:
        """Two sources on one Redis both hear everything."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        with opened(redis_url) as first, opened(redis_url) as second:
            send(app, "a")

            assert hear(first, 1)[0].body == hear(second, 1)[0].body

    def test_leaves_nothing_behind(self, redis_url: str) -> None:
        """A source that was closed leaves no binding in Redis."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
        with opened(redis_url, celery_app=app):
            pass
        with redis.Redis.from_url(redis_url) as client:
            assert client.smembers(f"_kombu.binding.{app.conf.event_exchange}") == set()

    def test_failover(self, redis_url: str) -> None:
        """Of several URLs the first that answers is read."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        with opened(f"redis://127.0.0.1:1/0;{redis_url}") as source:
            send(app, "a")

            assert json.loads(hear(source, 1)[0].body)["uuid"] == "a"


class TestRabbitMQ:
    def test_uses_the_queue_that_is_there(self, rabbitmq_url: str, queue_name: str) -> None:
        """A queue that an operator declared otherwise, here a quorum queue, is used as it is."""
        app = Celery("sender", broker=rabbitmq_url, set_as_current=False)
        with channel_on(rabbitmq_url) as channel:
            channel.queue_declare(
                queue_name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
            )  # fmt: skip
            source = source_of(rabbitmq_url, queue_name=queue_name)

            assert source.open().resumed

            send(app, "a")

            assert json.loads(hear(source, 1)[0].body)["uuid"] == "a"

            source.close()

    def test_deleted_queue(self, rabbitmq_url: str, queue_name: str) -> None:
        """A queue that is deleted meanwhile is SourceLost, and opening again makes a new one that resumes nothing."""
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            with channel_on(rabbitmq_url) as channel:
                channel.queue_delete(queue_name)
            with pytest.raises(SourceLost):
                hear(source, 1)

            assert not source.open().resumed

    def test_prefetch_is_bounded(self, rabbitmq_url: str, queue_name: str) -> None:
        """Unacknowledged, no more than four batches of messages come; after the acknowledgement the rest does."""
        app = Celery("sender", broker=rabbitmq_url, set_as_current=False)
        with opened(rabbitmq_url, queue_name=queue_name, batch_size=5) as source:
            with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
                for number in range(30):
                    dispatcher.send("task-sent", uuid=str(number))
            ahead = hear(source, 20)

            assert source.receive(10, 0.2) == []
            assert not source.is_drained()

            source.acknowledge(ahead[-1].tag)

            assert len(hear(source, 10)) == 10
            assert source.is_drained()

    def test_heartbeats(self, rabbitmq_url: str, queue_name: str) -> None:
        """Both sides agreed on heartbeats, so that a silent death of the broker is noticed."""
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            assert source._connection.connection.heartbeat == brokers.HEARTBEAT_S

    def test_messages_survive_a_cut(self, rabbitmq_url: str, queue_name: str) -> None:
        """What came before the connection broke is handed out before SourceLost is raised."""
        app = Celery("sender", broker=rabbitmq_url, set_as_current=False)
        with Proxy(rabbitmq_url, 5672) as proxy, opened(proxy.url, queue_name=queue_name) as source:
            send(app, "a")
            hear(source, 1)
            send(app, "b")
            source.is_drained()
            proxy.cut()
            heard = source.receive(10, 0.5)

            assert [json.loads(each.body)["uuid"] for each in heard] == ["b"]


def test_memory_leaves_nothing_behind() -> None:
    """In process, a closed source takes its queue along, so that nothing piles up."""
    app = Celery("sender", broker="memory://", set_as_current=False)
    app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    with opened("memory://", celery_app=app) as source:
        name = source.queue

        assert source.promise is Promise.IN_PROCESS

    send(app, "a")
    with app.connection_for_write() as connection, connection.channel() as channel:
        assert name not in channel.queues


@contextmanager
def channel_on(url: str) -> Iterator[amqp.Channel]:
    host, _, vhost = url.rpartition("@")[2].partition("/")
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    with amqp.Connection(host, user, password, virtual_host=vhost or "/") as connection:
        yield connection.channel()

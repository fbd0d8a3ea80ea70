"""The queue on RabbitMQ: what it is made as, what is used as it is, and the commands for it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from click.testing import CliRunner
from wires import hear

from taskledger.cli import taskledger
from taskledger.config import Settings
from taskledger.integrations import durable
from taskledger.recorder import brokers, rabbitmq
from taskledger.recorder.rabbitmq import Difference, Wanted


class Server:
    """What py-amqp knows of a broker."""

    def __init__(self, product: str, version: str) -> None:
        self.server_properties = {"product": product, "version": version}


@contextmanager
def opened(url: str, **more: Any) -> Iterator[Any]:
    source = brokers.source(Settings(broker_url=url, **more), url)
    source.open()
    try:
        yield source
    finally:
        source.close()


@contextmanager
def connected(url: str) -> Iterator[Any]:
    host, _, vhost = url.rpartition("@")[2].partition("/")
    user, _, password = url.partition("://")[2].rpartition("@")[0].partition(":")
    with amqp.Connection(host, user, password, virtual_host=vhost or "/") as connection:
        yield connection


def send(url: str, number: int) -> None:
    app = Celery("sender", broker=url, set_as_current=False)
    # A quorum queue that has just come into being may lose what a sender leaves behind who does not wait for its word.
    app.conf.broker_transport_options = {"confirm_publish": True}
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        for each in range(number):
            dispatcher.send("task-sent", uuid=str(each))


class TestQueue:
    @pytest.mark.parametrize("kind", ["quorum", "classic"])
    def test_as_the_settings_say(self, rabbitmq_url: str, queue_name: str, kind: str) -> None:
        """A new queue has the type, bounds and expiry of the settings, and RabbitMQ agrees."""
        with opened(rabbitmq_url, queue_name=queue_name, queue_type=kind, queue_bytes=10**6, queue_days=3):
            pass
        with connected(rabbitmq_url) as connection:
            found = rabbitmq.arguments_of(connection, queue_name, {})

        assert found.get("x-queue-type", "classic") == kind
        assert found["x-max-length-bytes"] == 10**6
        assert found["x-overflow"] == "drop-head"
        assert found["x-expires"] == 3 * 86_400_000

    @pytest.mark.parametrize(
        ("product", "version", "limit"),
        [
            ("RabbitMQ", "3.10.8", None),
            ("RabbitMQ", "3.13.7", None),
            ("RabbitMQ", "4.0.2", -1),
            ("LavinMQ", "2.1", None),
        ],
    )
    def test_delivery_limit(self, product: str, version: str, limit: int | None) -> None:
        """The delivery limit is switched off where there is one, and not mentioned where -1 would mean none at all."""
        wanted = Wanted("quorum", 0, 0)

        assert wanted.arguments(Server(product, version)).get("x-delivery-limit") == limit

    def test_redelivered_again_and_again(self, rabbitmq_url: str, queue_name: str) -> None:
        """A message that thirty recorders in a row did not acknowledge is still delivered to the next."""
        with opened(rabbitmq_url, queue_name=queue_name):
            send(rabbitmq_url, 1)
        for _ in range(30):
            with opened(rabbitmq_url, queue_name=queue_name) as source:
                hear(source, 1)
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            assert json.loads(hear(source, 1)[0].body)["uuid"] == "0"

    def test_bound(self, rabbitmq_url: str, queue_name: str) -> None:
        """When more waits than allowed, the oldest messages go and the newest stay."""
        with opened(rabbitmq_url, queue_name=queue_name, queue_bytes=20_000):
            pass
        send(rabbitmq_url, 500)
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            heard = []
            while helping := source.receive(1000, 0.5):
                heard += [int(json.loads(each.body)["uuid"]) for each in helping]

        assert 0 < len(heard) < 500
        assert heard == list(range(500 - len(heard), 500))

    def test_used_as_it_is(self, rabbitmq_url: str, queue_name: str, caplog: pytest.LogCaptureFixture) -> None:
        """A queue that is there with other arguments is used, and one line of the log says how it differs."""
        with connected(rabbitmq_url) as connection:
            connection.channel().queue_declare(queue_name, durable=True, auto_delete=False)
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            send(rabbitmq_url, 3)
            source.close()
            source.open()

            assert len(hear(source, 3)) == 3

        (told,) = [record.message for record in caplog.records if "used as it is" in record.message]
        assert f"{queue_name} is used as it is, though its x-" in told

    def test_agreeing_queue_is_not_mentioned(
        self, rabbitmq_url: str, queue_name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A queue that is what the settings say is opened again without a word."""
        for _ in range(2):
            with opened(rabbitmq_url, queue_name=queue_name):
                pass

        assert "used as it is" not in caplog.text

    def test_no_such_type(self, rabbitmq_url: str, queue_name: str, caplog: pytest.LogCaptureFixture) -> None:
        """Where the broker does not know the type of queue, a classic one is made, and that is said."""
        with connected(rabbitmq_url) as connection:
            rabbitmq.declare(connection, queue_name, Wanted("unheard-of", 0, 0))
            differs = rabbitmq.difference(connection, queue_name, {"x-queue-type": "quorum"})

        assert differs == Difference("x-queue-type", "classic", "quorum")
        assert "a classic one it is" in caplog.text


class TestCommands:
    def test_show(self, rabbitmq_url: str, queue_name: str) -> None:
        """Shown are type, messages, recorders, limits and age, for people and for programs."""
        with opened(rabbitmq_url, queue_name=queue_name) as source:
            send(rabbitmq_url, 7)
            hear(source, 7)
        seen = command(rabbitmq_url, "show", "--queue-name", queue_name)
        plain = command(rabbitmq_url, "show", "--queue-name", queue_name, "--json")

        assert seen.exit_code == 0
        assert [line.split() for line in seen.output.splitlines()][2] == ["Messages", "7"]
        assert "14 days" in seen.output
        assert "x-max-length-bytes=2147483648" in seen.output
        assert json.loads(plain.output)[0]["arguments"]["x-queue-type"] == "quorum"
        assert "guest:guest" not in seen.output + plain.output

    def test_show_what_others_made(self, rabbitmq_url: str, queue_name: str) -> None:
        """The arguments of a queue that somebody else declared are shown as they are."""
        with connected(rabbitmq_url) as connection:
            arguments = {"x-max-length": 77, "x-overflow": "reject-publish"}
            connection.channel().queue_declare(queue_name, durable=True, auto_delete=False, arguments=arguments)
        shown = json.loads(command(rabbitmq_url, "show", "--queue-name", queue_name, "--json").output)[0]

        assert shown["type"] == "classic queue"
        assert shown["arguments"]["x-overflow"] == "reject-publish"
        assert shown["arguments"].get("x-expires") is None

    def test_remove(self, rabbitmq_url: str, queue_name: str) -> None:
        """Removing needs --yes; then the queue is gone, and showing it says so with exit code 1."""
        with opened(rabbitmq_url, queue_name=queue_name):
            pass
        asked = command(rabbitmq_url, "remove", "--queue-name", queue_name)
        done = command(rabbitmq_url, "remove", "--queue-name", queue_name, "--yes")
        shown = command(rabbitmq_url, "show", "--queue-name", queue_name)

        assert (asked.exit_code, done.exit_code, shown.exit_code) == (2, 0, 1)
        assert "add --yes" in asked.output
        assert f"removed the quorum queue {queue_name}" in done.output
        assert "is not there" in shown.output

    def test_stream(self, redis_url: str) -> None:
        """On Redis the stream is shown with its memory, and removed."""
        app = Celery("sender", broker=redis_url, set_as_current=False)
        durable.install(app)
        with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
            for _ in range(5):
                dispatcher.send("worker-heartbeat")
        (shown,) = json.loads(command(redis_url, "show", "--json").output)
        done = command(redis_url, "remove", "--yes")

        assert (shown["type"], shown["name"], shown["messages"]) == ("stream", "taskledger.celeryev", 5)
        assert shown["bytes"] > 0
        assert done.exit_code == 0
        with redis.Redis.from_url(redis_url) as client:
            assert client.exists("taskledger.celeryev") == 0

    def test_broker_away(self) -> None:
        """A broker that is away is a sentence and exit code 3; none at all is a wrong use."""
        away = command("amqp://guest:secret@127.0.0.1:1//", "show")
        none = CliRunner().invoke(taskledger, ["queue", "show"])

        assert (away.exit_code, none.exit_code) == (3, 2)
        assert "cannot be reached" in away.output
        assert "secret" not in away.output


def command(url: str, *words: str) -> Any:
    return CliRunner().invoke(taskledger, ["queue", words[0], "--broker", url, *words[1:]])

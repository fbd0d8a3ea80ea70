"""What every source holds to, on the stub, in process, on Redis with and without its stream, and on RabbitMQ."""

import json
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import wires
from recording import until
from wires import Wire, hear

from taskledger.errors import SourceLost
from taskledger.recorder.batch import opened


def made(request: pytest.FixtureRequest) -> Iterator[Wire]:
    names = {"redis": ["redis_url"], "stream": ["redis_url"], "rabbitmq": ["rabbitmq_url", "queue_name"]}.get(
        request.param, []
    )
    with getattr(wires, request.param)(*map(request.getfixturevalue, names)) as wire:
        yield wire


#: each kind of broker, with nothing on it
wire = pytest.fixture(made, params=["stub", "memory", "redis", "stream", "rabbitmq"], name="wire")
#: those with a connection that can be cut
distant = pytest.fixture(made, params=["stub", "redis", "stream", "rabbitmq"], name="distant")
#: those that keep what nobody acknowledged
keeping = pytest.fixture(made, params=["stub", "stream", "rabbitmq"], name="keeping")


def read(deliveries: list[Any]) -> list[Any]:
    """The events in these messages, one after the other."""
    documents = [json.loads(delivery.body) for delivery in deliveries]
    return [event for document in documents for event in (document if isinstance(document, list) else [document])]


class TestReceive:
    def test_single_events(self, wire: Wire) -> None:
        """What Celery's dispatcher sends one by one arrives as it was sent, in order."""
        source = wire.source()
        source.open()
        sent = wire.send("task-sent", "task-received", "task-started", "task-succeeded", "worker-heartbeat")

        assert sent == read(hear(source, 5))

    def test_batches(self, wire: Wire) -> None:
        """What a prefork worker gathers into task.multi arrives as one message holding all of it."""
        source = wire.source()
        source.open()
        with wire.dispatcher(buffer_group={"task"}, buffer_limit=10) as dispatcher:
            for number in range(10):
                dispatcher.send("task-started", uuid=str(number))
            (delivery,) = hear(source, 1)

            assert dispatcher.sent == read([delivery])

    def test_timestamps_are_untouched(self, wire: Wire) -> None:
        """A timestamp and a clock arrive as they were sent, whatever the sender's time zone."""
        source = wire.source()
        source.open()
        with wire.dispatcher() as dispatcher:
            dispatcher.send("task-sent", uuid="a", timestamp=1700000000.123456, blind=True)
        (event,) = read(hear(source, 1))

        assert event["timestamp"] == 1700000000.123456
        assert event["clock"] is None
        assert "local_received" not in event

    def test_order_of_many(self, wire: Wire) -> None:
        """A thousand messages arrive once each and in order, in helpings no larger than asked for."""
        source = wire.source()
        source.open()
        sent = wire.send(*["task-started"] * 1000)
        heard = []
        for _ in range(1000):
            helping = source.receive(70, 1.0)
            heard += helping

            assert len(helping) <= 70

            if len(heard) == 1000:
                break

        assert sent == read(list(map(opened, heard)))
        assert source.receive(70, 0.05) == []

    def test_what_it_says_of_a_message(self, wire: Wire) -> None:
        """Content type and encoding come as they were said, with the moment of arrival."""
        source = wire.source()
        source.open()
        wire.publish(b"[]", "application/x-yaml", "latin-1")
        (delivery,) = hear(source, 1)

        assert delivery.body == b"[]"
        assert (delivery.content_type, delivery.content_encoding) == ("application/x-yaml", "latin-1")
        assert delivery.refused is None
        assert delivery.received_at > 1_700_000_000_000_000

    def test_drained(self, wire: Wire) -> None:
        """It is drained before anything was sent and, soon, when all was received; and not in between."""
        source = wire.source()
        source.open()
        before = source.is_drained()
        wire.send(*["task-started"] * 30)
        hear(source, 10, limit=10)
        between = source.is_drained()
        hear(source, 20)
        # Of what came by the stream, copies are published as well, and may still be on their way.
        until(source.is_drained, "drained")

        assert (before, between) == (True, False)


class TestHostile:
    def test_pickle_is_not_decoded(self, wire: Wire) -> None:
        """A pickled message is delivered as the bytes it is; nothing in it is executed."""
        source = wire.source()
        source.open()
        bomb = pickle.dumps(Bomb())
        wire.publish(bomb, "application/x-python-serialize", "binary")
        (delivery,) = hear(source, 1)

        assert delivery.body == bomb
        assert delivery.content_type == "application/x-python-serialize"

    def test_compression_is_not_acted_on(self, wire: Wire) -> None:
        """A message that says it is compressed is delivered as it is, and refused."""
        source = wire.source()
        source.open()
        body = zlib.compress(b"x" * 1_000_000)
        wire.publish(body, compression="application/x-gzip")
        (delivery,) = hear(source, 1)

        assert delivery.body == body
        assert delivery.refused == "compressed"

    def test_the_next_one_arrives(self, wire: Wire) -> None:
        """After unreadable messages the next good one arrives on the same connection."""
        source = wire.source()
        source.open()
        for body in (b"", b"\xff\xfe", b"nope", b"[" * 5000):
            wire.publish(body, "application/json", "no-such-encoding")
        sent = wire.send("task-started")

        assert sent == read(hear(source, 5)[-1:])


class TestConnection:
    def test_nothing_is_missed_after_opening(self, wire: Wire) -> None:
        """What is sent right after open() returned is received."""
        for _ in range(5):
            source = wire.source()
            source.open()
            sent = wire.send("task-started")
            heard = hear(source, 1)
            if heard[-1].tag:
                source.acknowledge(heard[-1].tag)

            assert sent == read(heard)

            source.close()

    def test_lost_and_opened_again(self, distant: Wire) -> None:
        """A cut connection is SourceLost, and after opening again events arrive."""
        source = distant.source()
        source.open()
        distant.cut()
        with pytest.raises(SourceLost):
            hear(source, 1)
        opened = source.open()
        sent = distant.send("task-started")

        assert sent == read(hear(source, 1))
        assert opened.resumed is distant.keeps

    def test_not_open(self, wire: Wire) -> None:
        """A source that is closed, or was never open, is lost; closing it again does no harm."""
        source = wire.source()
        with pytest.raises(SourceLost):
            source.receive(10, 0.05)
        source.open()
        source.close()
        source.close()

        with pytest.raises(SourceLost):
            source.receive(10, 0.05)

    def test_promise(self, wire: Wire) -> None:
        """The promise is known before opening, and opening says the same."""
        source = wire.source()

        assert source.open().promise is source.promise
        assert source.promise.keeps is wire.keeps


class TestAcknowledgement:
    def test_first_opening_resumes_nothing(self, keeping: Wire) -> None:
        """A queue that was made just now resumes nothing, and one that is there already does."""
        source = keeping.source()
        first = source.open()
        source.close()

        assert (first.resumed, source.open().resumed) == (False, True)

    def test_kept_while_nobody_reads(self, keeping: Wire) -> None:
        """What is sent while the source is closed arrives when it is opened."""
        source = keeping.source()
        source.open()
        source.close()
        sent = keeping.send("task-sent", "task-started")
        source.open()

        assert sent == read(hear(source, 2))

    def test_unacknowledged_comes_again(self, keeping: Wire) -> None:
        """Everything up to the acknowledged message is gone, everything after it comes again."""
        source = keeping.source()
        source.open()
        sent = keeping.send(*["task-started"] * 10)
        heard = hear(source, 10)
        source.acknowledge(heard[3].tag)
        source.close()
        source.open()

        assert sent[4:] == read(hear(source, 6))

    def test_tags_of_an_earlier_opening(self, keeping: Wire) -> None:
        """Acknowledging what came over a connection that is gone does nothing."""
        source = keeping.source()
        source.open()
        sent = keeping.send("task-started", "task-succeeded")
        old = hear(source, 2)
        source.close()
        source.open()
        hear(source, 2)
        source.acknowledge(old[-1].tag)
        source.close()
        source.open()

        assert sent == read(hear(source, 2))


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)

"""The reading half alone: on the stub, with nobody who takes what it hears."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from recording import until

from taskledger.errors import SourceLost
from taskledger.recorder.backoff import delays
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Delivery, Promise, Tag
from taskledger.recorder.stub import StubSource
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Item, Listening, Waiting


@contextmanager
def reading(source: StubSource, waiting: Waiting) -> Iterator[Reader]:
    stop = threading.Event()
    reader = Reader("default", source, waiting, stop, limit=10)
    reader.start()
    try:
        yield reader
    finally:
        stop.set()
        reader.finish()
        reader.join(5)

    assert not reader.is_alive()


def take(waiting: Waiting, is_last: Callable[[Item], bool]) -> list[Item]:
    """Everything up to the first item that is meant."""
    items: list[Item] = []
    while not items or not is_last(items[-1]):
        item = waiting.get(5)

        assert item is not None

        items.append(item)
    return items


def heard(*bodies: bytes, cluster: str = "default", drained_at: int = 0) -> Heard:
    return Heard(cluster, tuple(Delivery(body, "", "", None, 0) for body in bodies), drained_at)


class TestNoRoom:
    def test_subscription_drops(self) -> None:
        """Without room a subscription reads on and drops; when there is room the hole is told, with its size."""
        source, waiting = StubSource(Promise.COUNTED_LOSS), Waiting(max_bytes=3000)
        with reading(source, waiting) as reader:
            until(lambda: waiting.get(0), "listening")
            for number in range(100):
                source.send(b"%03d" % number + bytes(600))
            until(lambda: reader.dropped, "dropping")
            until(source.is_drained, "all of it read")
            kept = waiting.messages
            took = take(waiting, lambda item: isinstance(item, Interrupted))
            source.send(b"after")
            rest = take(waiting, lambda item: isinstance(item, Heard) and bool(item.deliveries))
        numbers = [int(each.body[:3]) for item in took if isinstance(item, Heard) for each in item.deliveries]

        assert numbers == list(range(kept))
        assert took[-1] == Interrupted("default", f"messages dropped: no memory left ({100 - kept} events)")
        assert isinstance(rest[0], Listening)
        assert rest[-1].deliveries[0].body == b"after"

    def test_durable_queue_does_not(self) -> None:
        """What a durable queue delivered is kept, because its broker delivers only so much ahead."""
        source, waiting = StubSource(), Waiting(max_bytes=10)
        with reading(source, waiting) as reader:
            until(lambda: waiting.get(0), "listening")
            for _ in range(100):
                source.send(bytes(600))
            until(lambda: waiting.messages == 100, "all of it")

            assert reader.dropped == 0


class TestLostConnection:
    def test_durable_queue(self) -> None:
        """Messages that nobody took are forgotten, since they come again; each comes once."""
        source, waiting = StubSource(), Waiting()
        with reading(source, waiting):
            until(lambda: isinstance(waiting.get(0), Listening), "listening")
            source.send(b"a")
            until(lambda: waiting.messages == 1, "a message")
            source.refusals.append(SourceLost("away"))
            source.disconnect()
            until(lambda: waiting.messages == 0, "the message forgotten")
            items = take(waiting, lambda item: isinstance(item, Heard) and bool(item.deliveries))
        kinds = [type(item) for item in items if not isinstance(item, Heard)]

        assert kinds == [Interrupted, Listening]
        assert sum(len(item.deliveries) for item in items if isinstance(item, Heard)) == 1

    def test_halted_last(self) -> None:
        """Told to stop, it says so after the last thing it heard."""
        waiting = Waiting()
        with reading(StubSource(), waiting):
            until(lambda: isinstance(waiting.get(0), Listening), "listening")
        items = take(waiting, lambda item: isinstance(item, Halted))

        assert items[-1] == Halted("default")
        assert waiting.get(0) is None


class TestWaiting:
    def test_ticks_do_not_pile_up(self) -> None:
        """Of ticks that nobody took only the last is kept."""
        waiting = Waiting()
        for drained_at in (1, 2, 3):
            waiting.put(heard(drained_at=drained_at))
        waiting.put(heard(drained_at=4, cluster="other"))

        assert [waiting.get(0), waiting.get(0)] == [heard(drained_at=3), heard(drained_at=4, cluster="other")]
        assert waiting.get(0) is None

    def test_room_returns_late(self) -> None:
        """Once full, it has no room until half of it is free."""
        waiting = Waiting(max_bytes=2000)
        room = []
        for _ in range(5):
            waiting.put(heard(bytes(100)))
            room.append(waiting.has_room())
        for _ in range(4):
            waiting.get(0)
            room.append(waiting.has_room())

        assert room == [True, True, True, True, False, False, False, True, True]

    def test_discard(self) -> None:
        """Only the messages of that cluster are forgotten; what else was said stays, in order."""
        waiting = Waiting()
        told = Interrupted("default", "because")
        for item in (heard(b"a"), told, heard(b"b", cluster="other"), heard(b"c")):
            waiting.put(item)
        waiting.discard("default")

        assert waiting.messages == 1
        assert [waiting.get(0), waiting.get(0)] == [told, heard(b"b", cluster="other")]


def test_delays() -> None:
    """The first try comes fast, the waits double, and none is longer than the longest."""
    waits = [wait for wait, _ in zip(delays(30.0), range(20), strict=False)]

    assert waits[0] <= 0.15
    assert waits[1] <= 0.5
    assert all(15.0 <= wait <= 30.0 for wait in waits[9:])


def test_broker_is_asked_often() -> None:
    """However long a broker was away, it is asked again soon enough to be recorded five seconds after its return."""
    assert max(wait for wait, _ in zip(delays(), range(50), strict=False)) <= 3.0


@pytest.mark.parametrize("promise", Promise)
def test_promises(promise: Promise) -> None:
    """Each promise has a sentence that says what it means."""
    assert promise.sentence.endswith(".")


class TestBreakingOff:
    def test_pause(self) -> None:
        """Paused, it lets go of the broker and forgets what comes again; resumed, it reads all of that."""
        source, waiting = StubSource(), Waiting()
        with reading(source, waiting) as reader:
            until(lambda: isinstance(waiting.get(0), Listening), "listening")
            source.send(b"a")
            until(lambda: waiting.messages == 1, "a message")
            reader.pause("no room")
            until(lambda: not source._is_open, "letting go")
            source.send(b"b")
            items = take(waiting, lambda item: isinstance(item, Interrupted))
            quiet = waiting.get(0.3)
            reader.resume()
            until(lambda: waiting.messages == 2, "both messages")

        assert items[-1] == Interrupted("default", "no room")
        assert quiet is None

    def test_reopen(self) -> None:
        """Told to break off, it begins again at once, and what was not acknowledged comes once more."""
        source, waiting = StubSource(), Waiting()
        with reading(source, waiting) as reader:
            source.send(b"a")
            take(waiting, lambda item: isinstance(item, Heard) and bool(item.deliveries))
            reader.reopen("some were dropped")
            items = take(waiting, lambda item: isinstance(item, Heard) and bool(item.deliveries))
        kinds = [type(item) for item in items if not isinstance(item, Heard) or item.deliveries]

        assert kinds == [Interrupted, Listening, Heard]

    def test_acknowledgements_never_go_back(self) -> None:
        """A tag that comes late, after a later one, changes nothing."""
        source, waiting = StubSource(), Waiting()
        with reading(source, waiting) as reader:
            until(lambda: isinstance(waiting.get(0), Listening), "listening")
            for _ in range(3):
                source.send(b"a")
            until(lambda: waiting.messages == 3, "messages")
            reader.acknowledge(Tag(1, 3))
            reader.acknowledge(Tag(1, 1))
            until(lambda: source.acknowledged == 3, "all acknowledged")

    def test_no_room_in_part(self) -> None:
        """Of a broker that keeps a part, that part is kept without room, and only the rest is dropped and counted."""
        source, waiting = StubSource(Promise.DURABLE_IN_PART), Waiting(max_bytes=0)
        kept = Delivery(b"[{}]", "application/json", "utf-8", Tag(1, 1), 0)
        lost = Delivery(b"[{}, {}, 7]", "application/json", "utf-8", None, 0)
        reader = Reader("default", source, waiting, threading.Event(), limit=1)
        reader._hand_over([kept])
        reader._hand_over([kept, lost])

        assert [waiting.get(0), waiting.get(0), waiting.get(0)] == [Heard("default", (kept,))] * 2 + [None]
        assert reader.dropped == 3

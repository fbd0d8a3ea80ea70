"""The middle of the recorder, step by step: on stubs, with a backlog that has no room."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from recording import until

from taskledger.errors import SourceLost
from taskledger.recorder.backlog import Backlog
from taskledger.recorder.batch import MAX_BATCH_BYTES, Gathered
from taskledger.recorder.gatherer import Gatherer
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Delivery, Opened, Promise, Tag
from taskledger.recorder.spooled import Work
from taskledger.recorder.stub import StubSource
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Listening, Reached, Waiting

#: events in one message
HANDFUL = 10


class Crowd:
    """A gatherer with a reader for each source, and a backlog that holds about 30 kB."""

    def __init__(self, **sources: StubSource) -> None:
        self.stop = threading.Event()
        self.waiting = Waiting()
        self.backlog = Backlog(None, batch_size=HANDFUL, max_bytes=30_000)
        self.readers = {
            name: Reader(name, source, self.waiting, self.stop, limit=10) for name, source in sources.items()
        }
        self.gatherer = Gatherer(self.readers, self.waiting, self.backlog, HANDFUL, 0.001, hold_s=0.3)
        self.works: list[Work] = []

    def write(self) -> None:
        """The database is back: all that waits is written."""
        while (work := self.backlog.take(0)) is not None:
            self.works.append(work)
            self.backlog.written()

    def step_until(self, holds: object, what: str) -> None:
        def stepped() -> bool:
            self.gatherer.step()
            return bool(holds()) if callable(holds) else True

        until(stepped, what)

    def of(self, cluster: str, *kinds: type) -> list[Work]:
        return [work for work in self.works if work.cluster == cluster and isinstance(work, kinds)]


@contextmanager
def crowd(**sources: StubSource) -> Iterator[Crowd]:
    made = Crowd(**sources)
    for reader in made.readers.values():
        reader.start()
    try:
        yield made
    finally:
        made.stop.set()
        for reader in made.readers.values():
            reader.finish()
            reader.join(5)


def send(source: StubSource, numbers: range) -> None:
    """A message of ten events for each ten numbers."""
    for first in numbers[::HANDFUL]:
        source.send(json.dumps([
            {"type": "task-sent", "uuid": str(number), "timestamp": 1_700_000_000 + number, "hostname": "h"}
            for number in range(first, first + HANDFUL)
        ]).encode())  # fmt: skip


def numbers(works: list[Work]) -> list[int]:
    return [int(event.task_id or -1) for work in works if isinstance(work, Gathered) for event in work.events]


def test_pubsub_drops_and_counts() -> None:
    """Without room a subscription is read on; the newest are dropped, counted by event, and told with the cause."""
    source = StubSource(Promise.COUNTED_LOSS)
    with crowd(default=source) as made:
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(source, range(500))
        made.step_until(lambda: source.is_drained() and not made.gatherer.messages, "all of it read")
        dropped = made.gatherer.dropped
        made.write()
        made.step_until(lambda: not made.gatherer._dropping, "room")
        send(source, range(500, 520))
        made.step_until(lambda: source.is_drained() and not made.gatherer.messages, "the rest")
        made.write()
    kept = numbers(made.works)
    ended, begun = made.of("default", Interrupted, Listening)[1:3]

    assert dropped > 0
    assert kept == [*range(500 - dropped), *range(500, 520)]
    assert ended == Interrupted(
        "default", f"messages dropped: spool full ({dropped} events)", (1_700_000_000 + 500 - dropped) * 1_000_000
    )
    assert isinstance(begun, Listening)
    assert not begun.opened.resumed


def test_no_coverage_while_dropping() -> None:
    """Nothing says that all is there up to a moment at which something was dropped."""
    source = StubSource(Promise.COUNTED_LOSS)
    with crowd(default=source) as made:
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(source, range(500))
        made.step_until(lambda: made.gatherer.dropped, "dropping")
        made.step_until(lambda: source.is_drained() and not made.gatherer.messages, "all of it read")
        made.readers["default"]._ask_at_s = 0
        for _ in range(10):
            made.gatherer.step()
        made.write()
    kept = numbers(made.works)
    reached = [work.until_at for work in made.of("default", Gathered, Reached) if isinstance(work, Gathered | Reached)]

    assert max(reached) <= (1_700_000_000 + max(kept)) * 1_000_000


def test_durable_queue_is_held_back() -> None:
    """What a broker keeps is not decoded before the writer wants it, and then comes in order; nothing is dropped."""
    source = StubSource()
    with crowd(default=source) as made:
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(source, range(5000))
        made.step_until(lambda: source.is_drained() and made.gatherer.messages, "all of it read")
        decoded = made.backlog.events

        def all_there() -> bool:
            made.write()
            return len(numbers(made.works)) == 5000

        made.step_until(all_there, "all of it written")

    assert decoded < 5000
    assert numbers(made.works) == list(range(5000))
    assert made.gatherer.dropped == 0


def test_durable_queue_is_let_go_of() -> None:
    """Without room for long, its broker gets back what it keeps; when there is room, all of it comes again."""
    source = StubSource()
    with crowd(default=source) as made:
        made.backlog.is_stuck = True
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(source, range(5000))
        made.step_until(lambda: not source._is_open, "letting go")
        made.step_until(lambda: not made.gatherer._breaking, "the reader has said so")
        held = made.backlog.events, made.gatherer.messages, source.acknowledged
        made.backlog.is_stuck = False

        def all_there() -> bool:
            made.write()
            return len(numbers(made.works)) == 5000

        made.step_until(all_there, "all of it written")

    assert held == (0, 0, 0)
    assert numbers(made.works) == list(range(5000))
    assert made.of("default", Interrupted)[0] == Interrupted(
        "default", "paused: spool full, the broker keeps what comes"
    )  # fmt: skip
    assert all(work.opened.resumed for work in made.of("default", Listening)[1:] if isinstance(work, Listening))


def test_clusters_are_apart() -> None:
    """A broker that is lost does not stop the others, and each has coverage of its own."""
    lost, well = StubSource(Promise.COUNTED_LOSS), StubSource(Promise.COUNTED_LOSS)
    lost.refusals.extend([SourceLost("away")] * 100)
    with crowd(lost=lost, well=well) as made:
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(well, range(10))

        def all_there() -> bool:
            made.write()
            return len(numbers(made.works)) == 10

        made.step_until(all_there, "all of it")

    assert made.of("lost", object) == []
    assert {work.cluster for work in made.works} == {"well"}


def test_batches_are_bounded_in_bytes() -> None:
    """A batch is cut when its messages are large, however few they are."""
    source = StubSource(Promise.COUNTED_LOSS)
    with crowd(default=source) as made:
        body = json.dumps({"type": "x", "timestamp": 1, "pad": "x" * (MAX_BATCH_BYTES // 3)}).encode()
        made.step_until(lambda: made.gatherer._promises, "listening")
        for _ in range(4):
            source.send(body)

        def all_there() -> bool:
            made.write()
            return made.gatherer.dropped + len(made.of("default", Gathered)) >= 2

        made.step_until(all_there, "both batches")
        largest = max(len(work.events) for work in made.of("default", Gathered) if isinstance(work, Gathered))

    assert largest <= 3


@pytest.mark.parametrize("promise", Promise)
def test_halted(promise: Promise) -> None:
    """When all readers have halted it is done, and that is the last that the writer hears."""
    source = StubSource(promise)
    with crowd(default=source) as made:
        made.step_until(lambda: made.gatherer._promises, "listening")
        send(source, range(10))
        made.stop.set()
        made.step_until(lambda: made.gatherer.is_done, "the end")
        made.write()

    assert made.works[-1] == Halted("default")


def test_kept_in_part() -> None:
    """Of a broker that keeps a part, what has a tag comes again after there was no room: its reader begins anew."""
    made = Crowd(default=StubSource(Promise.DURABLE_IN_PART))
    reader = made.readers["default"]
    body = json.dumps([{"type": "task-sent", "uuid": "a", "timestamp": 7.0, "pad": "x" * 40_000}]).encode()
    untagged, tagged = (Delivery(body, "application/json", "utf-8", tag, 7_000_000) for tag in (None, Tag(1, 1)))
    made.waiting.put(Listening("default", Opened(resumed=False, promise=Promise.DURABLE_IN_PART), 1))
    for deliveries in ((untagged,), (untagged,), (tagged,)):
        made.waiting.put(Heard("default", deliveries))
        for _ in range(3):
            made.gatherer.step()
    dropped, before = made.gatherer.dropped, reader._breaks_because
    made.write()
    made.gatherer.step()
    told = reader._breaks_because
    made.waiting.put(Interrupted("default", told or ""))
    made.gatherer.step()
    made.write()

    assert (dropped, before) == (1, None)
    assert told == "messages dropped: spool full (1 events)"
    assert made.works[-1] == Interrupted("default", told, 7_000_000)

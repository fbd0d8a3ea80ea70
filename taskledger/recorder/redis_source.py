"""Redis: what it publishes, heard while we listen; and the stream into which workers may append the same events."""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import redis
from kombu import Connection, Exchange
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskledger.errors import SourceLost
from taskledger.recorder import trouble
from taskledger.recorder.kombu_source import READY_S, KombuSource
from taskledger.recorder.raw import RawMessage, VirtualMessage, published
from taskledger.recorder.source import Delivery, Promise, Tag, now_at
from taskledger.recorder.stream import HEADER, PREFIX, Entry, Stream
from taskledger.recorder.subscriber import Subscriber

log = logging.getLogger(__name__)

T = TypeVar("T")

#: how many batches of unacknowledged entries are read ahead, and how many entries at most
PREFETCH_BATCHES, MAX_PREFETCH = 4, 10_000
#: seconds between two looks: for a stream that is not there, for what the dead left, for what was cut off
LOOK_EVERY_S, CLAIM_EVERY_S, COUNT_EVERY_S = 5.0, 10.0, 5.0
#: messages read at once to see whether anything is waiting
LOOK = 100
#: times that it is looked before something is taken to be waiting still
LOOKS = 5
#: senders that are remembered as not writing to the stream
MAX_OUTSIDERS = 100
OUTSIDER_ADVICE = "they are lost while no recorder listens; install taskledger.integrations.durable there"


class StreamUse(NamedTuple):
    """How the stream is to be used."""

    #: "auto": if it is there; "on": all workers write to it, so it is made if it is not there; "off"
    mode: str
    #: empty: that of the event exchange
    name: str
    group: str
    consumer: str
    batch_size: int


class RedisSource(KombuSource):
    """kombu finds the server as the Celery app would (TLS, Sentinel, prefixes); the reading is done here.

    kombu's own drops what is no JSON without counting it, takes a broken envelope for a lost connection, and needs
    several times as long.

    What is published with the mark that it is in the stream as well is not read twice. The rest is heard from all
    workers, whether they write to the stream or not.
    """

    message_class = VirtualMessage

    def __init__(
        self, connect: Callable[[], Connection], address: str, exchange: Exchange, queue: str, use: StreamUse
    ) -> None:
        super().__init__(connect, address, exchange, queue)
        self._use = use
        self._prefetch = min(PREFETCH_BATCHES * use.batch_size, MAX_PREFETCH)
        self._subscriber: Subscriber | None = None
        self._client: Any = None
        self._key = ""
        self._stream: Stream | None = None
        #: number of the delivery and id of the entry, in order
        self._unacknowledged: deque[tuple[int, bytes]] = deque()
        self._number = 0
        self._outsiders: set[str] = set()
        #: something was published since we last looked
        self._is_silent = False
        #: messages are known to be lost, and the next opening must not bridge that
        self._has_gap = False
        self._look_at_s = self._claim_at_s = self._count_at_s = 0.0

    @property
    def promise(self) -> Promise:  # type: ignore[override] # it depends on what is found
        if self._use.mode == "on":
            return Promise.DURABLE_IN_PART if self._outsiders else Promise.DURABLE_STREAM
        return Promise.COUNTED_LOSS if self._stream is None else Promise.DURABLE_IN_PART

    def is_drained(self) -> bool:
        self._is_silent = False
        for _ in range(LOOKS):
            # Copies of what the stream has may be all that comes for a while.
            if self._heard or self._lost or self._is_silent:
                break
            self._limit = LOOK
            self._read(READY_S)
        subscriber, stream = self._subscriber, self._stream
        if self._heard or self._lost or not self._is_silent or self._is_full() or subscriber is None:
            return False
        return self._ask(subscriber.is_caught_up) and (stream is None or self._ask(stream.is_drained))

    def acknowledge(self, tag: Tag) -> None:
        stream, done = self._stream, []
        if stream is None or tag.opening != self._opening:
            return
        while self._unacknowledged and self._unacknowledged[0][0] <= tag.number:
            done.append(self._unacknowledged.popleft()[1])
        self._ask(lambda: stream.acknowledge(done))

    def _listen(self) -> bool:
        self._unacknowledged.clear()
        self._number = 0
        pool = pool_of(self._channel)
        self._client = redis.Redis(connection_pool=pool)
        # Subscribed first: what is appended from now on is published as well, should the stream not be there yet.
        line = pool.connection_class(**{**pool.connection_kwargs, "protocol": 2})
        self._subscriber = Subscriber(line, self._patterns())
        self._stream = None
        self._key = key_of(self._channel, self._exchange.name, self._use)
        return self._join()

    def _patterns(self) -> list[str]:
        """Where kombu publishes the events (kombu/transport/redis.py)."""
        channel, name = self._channel, self._exchange.name
        several = getattr(channel, "_get_publish_topics", None)  # kombu 5.7 has them, for Sentinel
        topics = several(name, "*") if several else [channel._get_publish_topic(name, "*")]  # noqa: SLF001 - as in pool_of
        return [getattr(channel, "global_keyprefix", "") + topic for topic in topics]

    def _join(self) -> bool:
        """Whether nothing can have been missed: all workers write to a stream that has a group of ours."""
        stream = Stream(self._client, self._key, self._use.group, self._use.consumer)
        now_s = time.monotonic()
        self._look_at_s = now_s + LOOK_EVERY_S
        if self._use.mode == "off" or (self._use.mode == "auto" and not stream.is_there()):
            return False
        was_there, had_gap = stream.join(), self._has_gap
        self._stream, self._claim_at_s, self._count_at_s = stream, now_s, now_s + COUNT_EVERY_S
        log.info("reading the stream %s as %s of %s", self._key, self._use.consumer, self._use.group)
        if lost := self._count_lost(stream) if was_there else 0:
            log.error("%d messages were cut off the stream %s while nobody read it", lost, self._key)
        self._has_gap = False
        return was_there and self.promise.keeps and not lost and not had_gap

    def _fill(self, timeout_s: float) -> None:
        if self._subscriber is None:
            raise SourceLost("the connection is not open")
        # Half of the room each, so that neither waits for the other.
        if not self._heard:
            self._read_stream(max(1, self._limit // 2))
        room = max(1, self._limit - len(self._heard))
        heard = self._subscriber.hear(room, 0.0 if self._heard else timeout_s)
        self._is_silent = not heard
        if self._stream is None and self._use.mode != "on":
            # Nothing depends on what the envelope says: it is opened where the rest is decoded.
            received_at, accept = now_at(), self.accept
            self._heard += [Delivery(data, "", "", None, received_at, None, accept, True) for data in heard]
            return
        for data in heard:
            self._hear_published(published(data))

    def _read_stream(self, limit: int) -> None:
        room = min(limit, self._prefetch - len(self._unacknowledged))
        if self._stream is not None and room > 0:
            self._hear_entries(self._stream.read(room))

    def _hear_published(self, message: RawMessage) -> None:
        if self._stream is not None and message.headers.get(HEADER) == self._key:
            return
        if self._use.mode == "on":
            self._note_outsider(str(message.headers.get("hostname"))[:255])
        self._hear(message)

    def _hear_entries(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._number += 1
            self._unacknowledged.append((self._number, entry.id))
            tag = Tag(self._opening, self._number)
            said = entry.content_type, entry.content_encoding
            self._heard.append(Delivery(entry.body, *said, tag, now_at(), accept=self.accept))

    def _note_outsider(self, name: str) -> None:
        if name in self._outsiders or len(self._outsiders) >= MAX_OUTSIDERS:
            return
        self._outsiders.add(name)
        log.warning("%s publishes events without writing them to the stream %s: %s", name, self._key, OUTSIDER_ADVICE)

    def _check_health(self) -> None:
        if self._subscriber is not None:
            self._subscriber.check_health()
        now_s = time.monotonic()
        if self._stream is None:
            if self._use.mode == "auto" and now_s >= self._look_at_s:
                self._join()
            return
        if now_s >= self._claim_at_s:
            self._claim_at_s = now_s + CLAIM_EVERY_S
            self._claim(self._stream)
        if now_s >= self._count_at_s:
            self._count_at_s = now_s + COUNT_EVERY_S
            self._count(self._stream)

    def _claim(self, stream: Stream) -> None:
        room = self._prefetch - len(self._unacknowledged)
        entries = stream.claim(min(room, self._use.batch_size)) if room > 0 else []
        if entries:
            log.info("%d messages of the stream %s come from a recorder that is gone", len(entries), self._key)
        self._hear_entries(entries)

    def _count(self, stream: Stream) -> None:
        """What was cut off is told by losing the connection: the next opening then begins a new coverage."""
        if lost := self._count_lost(stream):
            self._has_gap = True
            raise SourceLost(f"{lost:,} messages were cut off the stream before anybody read them")

    def _count_lost(self, stream: Stream) -> int:
        lost = stream.lost()
        self.lost += lost
        return lost

    def _is_full(self) -> bool:
        return len(self._unacknowledged) >= self._prefetch

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:  # Whatever a driver raises is translated here, at the edge.
            raise trouble.of_reading(error) from error

    def _leave(self) -> None:
        """Nothing is left behind: what is not acknowledged stays with the stream."""

    def _drop(self) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
        if self._client is not None:
            with suppress(Exception):  # As in close.
                self._client.connection_pool.disconnect()
        self._subscriber = self._client = self._stream = None
        super()._drop()


def pool_of(channel: Any) -> Any:
    """Connections to Redis as kombu's channel would make them, but for one thing: none mends itself in secret."""
    pool = channel._get_pool()  # noqa: SLF001 - the only place where kombu puts all of its options together
    pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
    return pool


def key_of(channel: Any, exchange: str, use: StreamUse) -> str:
    """The stream's key, which the app's prefix is put before, as before all of its keys."""
    return (getattr(channel, "global_keyprefix", "") or "") + (use.name or PREFIX + exchange)

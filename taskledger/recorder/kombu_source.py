"""Any broker that kombu can talk to, read raw: what DurableQueue, RedisSource and Subscription have in common."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kombu import Connection, Consumer, Exchange, Queue

from taskledger.errors import SourceLost
from taskledger.events import JSON_ONLY
from taskledger.recorder import trouble
from taskledger.recorder.raw import RawMessage
from taskledger.recorder.source import Delivery, Opened, Promise, Tag, now_at

#: seconds between two looks at the health of the connection
PULSE_S = 1.0
#: seconds; how long "is anything ready?" waits. Not 0: py-amqp then spins on a frame that is only half there
READY_S = 0.001


class KombuSource(ABC):
    """A Source on a kombu connection. Used by one thread only.

    kombu neither decompresses nor deserializes nor acknowledges here, and Celery's EventReceiver is not involved: that
    one acknowledges before processing, shifts timestamps, rewrites clocks and ends on odd input.
    """

    promise: Promise
    #: what the transport's channels must make messages with
    message_class: type[RawMessage]

    def __init__(self, connect: Callable[[], Connection], address: str, exchange: Exchange, queue: str) -> None:
        """`connect` makes a new connection that is not connected yet; `address` is its URL, masked."""
        self.address = address
        self.queue = queue
        self._connect = connect
        self._exchange = exchange
        self._connection: Any = None
        self._channel: Any = None
        self._opening = 0
        #: what bodies may be written in
        self.accept: frozenset[str] = JSON_ONLY
        #: messages that wait at the broker, when last asked; None where that cannot be known
        self.backlog: int | None = None
        #: messages that the broker is known to have thrown away unread, since the start
        self.lost = 0
        self._heard: list[Delivery] = []
        self._limit = 1
        self._lost: SourceLost | None = None
        self._pulse_at_s = 0.0

    def open(self) -> Opened:
        self.close()
        self._opening += 1
        try:
            self._dial()
            return Opened(resumed=self._listen(), promise=self.promise)
        except Exception as error:  # Whatever a driver raises is translated here, at the edge.
            self._drop()
            raise trouble.of_opening(error, self.address) from error

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        self._limit = limit
        if self._lost is None:
            self._read(timeout_s)
        # What came before the connection broke comes first.
        if self._lost is not None and not self._heard:
            raise self._lost
        heard, self._heard = self._heard[:limit], self._heard[limit:]
        return heard

    @abstractmethod
    def is_drained(self) -> bool:
        """As Source.is_drained."""

    @abstractmethod
    def acknowledge(self, tag: Tag) -> None:
        """As Source.acknowledge."""

    def close(self) -> None:
        if self._connection is None:
            return
        with suppress(Exception):  # A broken connection cannot be closed politely, and need not be.
            if self._lost is None:
                self._leave()
        self._drop()

    @abstractmethod
    def _listen(self) -> bool:
        """Declare the queue and start to consume; whether a durable queue was there already."""

    @abstractmethod
    def _leave(self) -> None:
        """Say goodbye to a broker that is there."""

    @abstractmethod
    def _check_health(self) -> None:
        """Raises when the broker does not answer any more."""

    def _dial(self) -> None:
        self._heard, self._lost = [], None
        self._connection = self._connect()
        # Every host of a failover list is tried once, without kombu's own pauses.
        self._connection.ensure_connection(
            max_retries=(len(self._connection.alt) or 1) - 1,
            interval_start=0,
            interval_step=0,
            reraise_as_library_errors=False,
        )
        self._channel = self._connection.channel()
        self._channel.Message = self.message_class
        # py-amqp would turn bodies into text.
        self._channel.auto_decode = False

    def _consume(self, queue: Queue, *, no_ack: bool) -> None:
        Consumer(self._channel, [queue], no_ack=no_ack, auto_declare=False, on_message=self._hear).consume()

    def _hear(self, message: RawMessage) -> None:
        number = message.delivery_tag
        tag = None if number is None else Tag(self._opening, number)
        said = message.content_type, message.content_encoding
        self._heard.append(Delivery(message.body, *said, tag, now_at(), message.refused, self.accept))

    def _read(self, timeout_s: float) -> None:
        """Fill `_heard`, or set `_lost`."""
        try:
            self._keep_alive()
            self._fill(timeout_s)
        except Exception as error:  # noqa: BLE001 - as in open
            if not trouble.is_quiet(error):
                self._lost = trouble.of_reading(error)

    def _fill(self, timeout_s: float) -> None:
        """Hear what is ready; TimeoutError when nothing came, or nothing more."""
        if not self._heard:
            self._wait(timeout_s)
        while len(self._heard) < self._limit:
            self._drain(READY_S)

    def _wait(self, timeout_s: float) -> None:
        """Until something is there; TimeoutError when nothing came."""
        self._drain(timeout_s)

    def _drain(self, timeout_s: float) -> None:
        if self._connection is None:
            raise SourceLost("the connection is not open")
        self._connection.drain_events(timeout=timeout_s)

    def _keep_alive(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._pulse_at_s and self._connection is not None:
            self._pulse_at_s = now_s + PULSE_S
            self._check_health()

    def _drop(self) -> None:
        """Forget the connection; `collect` closes its sockets without a talk with the other side."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(Exception):  # As in close.
                connection.collect()

"""Brokers that keep nothing for us, and that are not Redis: the in-process transport, and whatever else kombu knows."""

import time
import uuid
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu import Connection, Exchange, Queue

from taskledger.errors import SourceLost
from taskledger.recorder.kombu_source import READY_S, KombuSource
from taskledger.recorder.raw import BrokenEnvelope, RawMessage, VirtualMessage
from taskledger.recorder.source import Promise, Tag

#: seconds; kombu's in-process transport sleeps between looks, so the looks are short
SHORT_LOOK_S = 0.02
#: seconds after which a queue that a killed recorder left behind may be removed (Celery's own, celery/app/defaults.py)
EXPIRES_S = 60.0
#: broken envelopes in a row after which it must be the connection that is broken
MAX_BROKEN = 1000


class Subscription(KombuSource):
    """Hears what is sent while it listens; there is nothing to acknowledge."""

    message_class = VirtualMessage

    def __init__(
        self, connect: Callable[[], Connection], address: str, exchange: Exchange, queue: str, *, driver: str
    ) -> None:
        """`driver` is the transport's driver_type: "memory", …"""
        super().__init__(connect, address, exchange, f"{queue}.{uuid.uuid4()}")
        self._driver = driver
        self.promise = Promise.IN_PROCESS if driver == "memory" else Promise.COUNTED_LOSS
        self._broken = 0
        self._bound: Any = None

    def is_drained(self) -> bool:
        if not self._heard and not self._lost:
            self._limit = 1
            self._read(READY_S)
        return not self._heard and not self._lost

    def acknowledge(self, tag: Tag) -> None:
        """Nothing to do: the broker keeps nothing."""

    def _listen(self) -> bool:
        self._broken = 0
        queue = Queue(
            self.queue, self._exchange, "#", durable=False, auto_delete=True, exclusive=False, expires=EXPIRES_S
        )
        self._bound = queue.bind(self._channel)
        self._bound.declare()
        self._consume(self._bound, no_ack=True)
        return False

    def _hear(self, message: RawMessage) -> None:
        super()._hear(message)
        self._broken = 0

    def _wait(self, timeout_s: float) -> None:
        if self._driver != "memory":
            return super()._wait(timeout_s)
        until_s = time.monotonic() + timeout_s
        while True:
            try:
                return super()._wait(SHORT_LOOK_S)
            except TimeoutError:
                if time.monotonic() >= until_s:
                    raise

    def _drain(self, timeout_s: float) -> None:
        try:
            super()._drain(timeout_s)
        except Empty:
            pass  # kombu goes on, and so do we
        except Exception as error:  # A hostile envelope makes kombu raise anything.
            if self._is_of_connection(error):
                raise
            self._hear_broken(error)

    def _is_of_connection(self, error: Exception) -> bool:
        known = (OSError, SourceLost, *self._connection.connection_errors, *self._connection.channel_errors)
        return isinstance(error, known) and not isinstance(error, KeyError)

    def _hear_broken(self, error: Exception) -> None:
        broken = self._broken + 1
        if broken > MAX_BROKEN:
            raise SourceLost(f"{MAX_BROKEN} unreadable messages in a row, the last with {error!r}") from error
        try:
            self._hear(BrokenEnvelope(error))
        finally:
            self._broken = broken

    def _leave(self) -> None:
        self._bound.delete()
        if self._driver == "memory":
            # Bindings stay otherwise, and a message for one makes its queue anew (kombu/transport/memory.py).
            self._bound.unbind_from(self._exchange, "#")
            self._channel.queues.pop(self.queue, None)
        self._connection.release()

    def _check_health(self) -> None:
        """Nothing to look at: these transports ask their broker anew for each message."""

"""A source without a broker: a list of messages that disconnects on demand, for tests."""

import threading
from collections import deque
from typing import NamedTuple

from taskledger.errors import SourceLost, TaskledgerError
from taskledger.recorder.source import Delivery, Opened, Promise, Tag, now_at


class _Message(NamedTuple):
    body: bytes
    content_type: str
    content_encoding: str
    refused: str | None


class StubSource:
    """Behaves as its promise says; unlike other sources, `send` and `disconnect` may be called from any thread."""

    address = "stub://"

    def __init__(self, promise: Promise = Promise.DURABLE_QUEUE, queue: str = "taskledger") -> None:
        self.promise = promise
        self.queue = queue
        self.backlog: int | None = None
        #: what the broker is said to have thrown away
        self.lost = 0
        #: how many messages the ledger is said to have
        self.acknowledged = 0
        #: what the next attempts to open fail with
        self.refusals: deque[TaskledgerError] = deque()
        self._changed = threading.Condition()
        self._ready: deque[_Message] = deque()
        self._unacknowledged: deque[tuple[int, _Message]] = deque()
        self._opening = self._number = 0
        self._is_open = False

    def send(
        self,
        body: bytes,
        content_type: str = "application/json",
        content_encoding: str = "utf-8",
        refused: str | None = None,
    ) -> None:
        """What a worker does; lost when nobody listens and the promise is not to keep it."""
        with self._changed:
            if self._is_open or self._keeps_all(was_opened=self._opening > 0):
                self._ready.append(_Message(body, content_type, content_encoding, refused))
                self._changed.notify_all()

    def disconnect(self) -> None:
        """The broker hangs up."""
        with self._changed:
            self._let_go()
            self._changed.notify_all()

    def open(self) -> Opened:
        with self._changed:
            self._let_go()
            if self.refusals:
                raise self.refusals.popleft()
            resumed = self._keeps_all(was_opened=self._opening > 0)
            self._opening += 1
            self._number = 0
            self._is_open = True
            return Opened(resumed, self.promise)

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._is_open, timeout_s)
            if not self._is_open:
                raise SourceLost("the stub was disconnected")
            return [self._deliver(self._ready.popleft()) for _ in range(min(limit, len(self._ready)))]

    def is_drained(self) -> bool:
        with self._changed:
            return self._is_open and not self._ready

    def acknowledge(self, tag: Tag) -> None:
        with self._changed:
            if tag.opening != self._opening:
                return
            while self._unacknowledged and self._unacknowledged[0][0] <= tag.number:
                self._unacknowledged.popleft()
                self.acknowledged += 1

    def close(self) -> None:
        self.disconnect()

    def _keeps_all(self, *, was_opened: bool) -> bool:
        return was_opened and self.promise.keeps

    def _deliver(self, message: _Message) -> Delivery:
        tag = None
        if self.promise.keeps:
            self._number += 1
            tag = Tag(self._opening, self._number)
            self._unacknowledged.append((self._number, message))
        return Delivery(
            message.body, message.content_type, message.content_encoding, tag, now_at(), message.refused
        )  # fmt: skip

    def _let_go(self) -> None:
        """What was delivered and not acknowledged is delivered again, before the rest."""
        self._is_open = False
        self._ready.extendleft(message for _, message in reversed(self._unacknowledged))
        self._unacknowledged.clear()
        if not self.promise.keeps:
            self._ready.clear()

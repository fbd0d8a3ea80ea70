"""What lies between the threads: readers put in what they heard, the writer takes it out, and the room is bounded."""

import threading
from collections import deque
from typing import NamedTuple

from taskledger.errors import TaskledgerError
from taskledger.recorder.source import Delivery, Opened

#: bytes of message bodies that may wait to be decoded
MAX_WAITING_BYTES = 32 * 1024 * 1024
#: bytes that a message costs beside its body, about
MESSAGE_OVERHEAD_BYTES = 400


class Heard(NamedTuple):
    """Messages in the order received."""

    cluster: str
    deliveries: tuple[Delivery, ...]
    #: when nothing was waiting at the broker any more; 0 when something was, or it was not asked
    drained_at: int = 0

    @property
    def size(self) -> int:
        return sum([len(delivery.body) for delivery in self.deliveries]) + MESSAGE_OVERHEAD_BYTES * len(self.deliveries)


class Listening(NamedTuple):
    """From that moment on, nothing is missed; or, if `opened` resumes, from where the last coverage ended."""

    cluster: str
    opened: Opened
    from_at: int


class Interrupted(NamedTuple):
    """Something may have been missed after what came before this."""

    cluster: str
    cause: str
    #: the oldest moment of what is known to be lost; 0 when it is not known: the coverage ends there
    lost_from_at: int = 0


class Reached(NamedTuple):
    """Nothing older than that moment is still to come."""

    cluster: str
    until_at: int


class Halted(NamedTuple):
    """The reader reads no more: because it was told to, or because of an error that retrying cannot mend."""

    cluster: str
    error: TaskledgerError | None = None


Item = Heard | Listening | Interrupted | Halted


class Waiting:
    """A queue in order of arrival. `put` never blocks: a reader that may drop messages asks `has_room` before."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._messages = 0
        self._was_full = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        with self._changed:
            if isinstance(item, Heard):
                self._put_heard(item)
            else:
                self._items.append(item)
            self._changed.notify()

    def get(self, timeout_s: float) -> Item | None:
        """The oldest item; None when none came in time."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._count(item, -1)
            return item

    def discard(self, cluster: str) -> None:
        """Forget the messages of a cluster whose broker will deliver them again."""
        with self._changed:
            kept = deque[Item]()
            for item in self._items:
                if isinstance(item, Heard) and item.cluster == cluster:
                    self._count(item, -1)
                else:
                    kept.append(item)
            self._items = kept

    @property
    def messages(self) -> int:
        return self._messages

    @property
    def bytes(self) -> int:
        return self._bytes

    def has_room(self) -> bool:
        """Once full, there is room again when half is free: else it would be full and not full by turns."""
        with self._changed:
            self._was_full = self._bytes > (self._max_bytes // 2 if self._was_full else self._max_bytes)
            return not self._was_full

    def _put_heard(self, item: Heard) -> None:
        """A tick that nobody has taken yet is replaced by the next, so that ticks do not pile up."""
        last = self._items[-1] if self._items else None
        if not item.deliveries and isinstance(last, Heard) and last.cluster == item.cluster and not last.deliveries:
            self._items[-1] = item
            return
        self._items.append(item)
        self._count(item, +1)

    def _count(self, item: Item, sign: int) -> None:
        if isinstance(item, Heard):
            self._bytes += sign * item.size
            self._messages += sign * len(item.deliveries)

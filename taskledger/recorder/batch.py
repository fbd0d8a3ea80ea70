"""From messages to batches: decode what was received, and cut when there is enough or it has waited long enough."""

from collections.abc import Sequence
from typing import NamedTuple

from taskledger.events import Event, Malformed, decode, refuse
from taskledger.recorder.raw import plainly_published, published
from taskledger.recorder.source import REFUSALS, Delivery, Tag

#: bytes of bodies after which a batch is full, however few events these are
MAX_BATCH_BYTES = 8 * 1024 * 1024
#: bytes of memory: of a batch, and of a decoded event beside its body (measured)
BATCH_BYTES, EVENT_BYTES = 500, 450


class Gathered(NamedTuple):
    """What goes into one transaction, and how far its coverage reaches."""

    cluster: str
    events: tuple[Event, ...]
    malformed: tuple[Malformed, ...]
    #: acknowledges all of it; None where nothing is acknowledged
    tag: Tag | None
    #: arrival of its oldest and of its newest message, microseconds since the epoch
    received_from_at: int
    received_at: int
    #: nothing older is still to come: microseconds since the epoch; 0 when it cannot be told
    until_at: int
    #: how many of its events the broker does not keep: gone, if they are not written
    unkept: int = 0

    @property
    def number(self) -> int:
        """How many events these are, usable or not."""
        return len(self.events) + len(self.malformed)

    def forget(self) -> None:
        """Give the memory of what its events say back: it is a third."""
        for event in self.events:
            event.forget()

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about, without what its events say."""
        bodies = sum([len(event.body) for event in self.events])
        kept = sum(len(item.body) for item in self.malformed)
        return BATCH_BYTES + self.number * EVENT_BYTES + bodies + kept

    def followed_by(self, later: "Gathered") -> "Gathered":
        """Both as one."""
        return Gathered(
            self.cluster,
            self.events + later.events,
            self.malformed + later.malformed,
            later.tag or self.tag,
            self.received_from_at or later.received_from_at,
            later.received_at or self.received_at,
            max(self.until_at, later.until_at),
            self.unkept + later.unkept,
        )


class Gathering:
    """What was received from one cluster and is not written yet. Pure: it is told what time it is."""

    _messages: int
    _bytes: int
    _from_s: float
    _events: list[Event]
    _malformed: list[Malformed]
    _tag: Tag | None
    _received_from_at: int
    _received_at: int
    _drained_at: int
    _unkept: int

    def __init__(self, cluster: str, size: int, wait_s: float) -> None:
        """Full at `size` events or messages; due when its first message has waited `wait_s`."""
        self._cluster = cluster
        self._size = size
        self._wait_s = wait_s
        self._start()

    def add(self, delivery: Delivery, items: Sequence[Event | Malformed], now_s: float) -> None:
        """Take in all that one message holds, decoded and redacted: its acknowledgement covers all of it."""
        self._messages += 1
        self._bytes += len(delivery.body)
        self._from_s = min(self._from_s, now_s)
        self._tag = delivery.tag or self._tag
        self._received_from_at = self._received_from_at or delivery.received_at
        self._received_at = delivery.received_at
        self._drained_at = 0
        self._unkept += 0 if delivery.tag else len(items)
        for item in items:
            if isinstance(item, Event):
                self._events.append(item)
            else:
                self._malformed.append(item)

    def settle(self, drained_at: int) -> None:
        """At that moment nothing was waiting at the broker, and all that was received has been added."""
        self._drained_at = drained_at

    @property
    def messages(self) -> int:
        return self._messages

    @property
    def is_full(self) -> bool:
        return max(len(self._events), self._messages) >= self._size or self._bytes >= MAX_BATCH_BYTES

    def waits_until_s(self) -> float:
        """When it is due, on the clock of `add`; infinity while it is empty."""
        return self._from_s + self._wait_s

    def cut(self) -> Gathered:
        """All of it; then it is empty."""
        gathered = Gathered(
            self._cluster,
            tuple(self._events),
            tuple(self._malformed),
            self._tag,
            self._received_from_at,
            self._received_at,
            self._until_at(),
            self._unkept,
        )
        self._start()
        return gathered

    def _until_at(self) -> int:
        """Sure only up to a drained moment; else up to the newest event, since brokers hand over in order.

        A sender's clock that is ahead must not vouch for the future, so the arrival bounds it.
        """
        newest = max([event.at for event in self._events], default=0)
        return max(self._drained_at, min(newest, self._received_at))

    def _start(self) -> None:
        self._messages = self._bytes = 0
        self._from_s = float("inf")
        self._events = []
        self._malformed = []
        self._tag = None
        self._received_from_at = self._received_at = self._drained_at = self._unkept = 0


def read(delivery: Delivery) -> list[Event | Malformed]:
    """The events of one message; what must not be decoded is set aside as it is."""
    if delivery.is_enveloped:
        plain = plainly_published(delivery.body)
        if plain is not None:
            return decode(*plain, delivery.accept)
        delivery = opened(delivery)
    if delivery.refused is not None:
        return [refuse(delivery.body, delivery.refused, REFUSALS[delivery.refused])]
    return decode(delivery.body, delivery.content_type, delivery.content_encoding, delivery.accept)


def opened(delivery: Delivery) -> Delivery:
    """The message in the envelope, where there is one around it."""
    if not delivery.is_enveloped:
        return delivery
    message = published(delivery.body)
    # In order: _replace takes as long as half of all else that is done here.
    said = message.content_type, message.content_encoding
    return Delivery(message.body, *said, delivery.tag, delivery.received_at, message.refused, delivery.accept)

"""What a broker must offer to be recorded: raw messages, and an acknowledgement once they are in the ledger."""

import time
from enum import StrEnum
from typing import NamedTuple, Protocol

from taskledger.events import JSON_ONLY


class Promise(StrEnum):
    """What a way of reading can promise about events that nobody read, or that were read and not yet written."""

    DURABLE_QUEUE = "durable queue"
    DURABLE_STREAM = "durable stream"
    DURABLE_IN_PART = "durable stream in part"
    COUNTED_LOSS = "counted loss"
    IN_PROCESS = "in process"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]

    @property
    def keeps(self) -> bool:
        """Whether the broker delivers all again that was not acknowledged, so that nobody needs to take it at once.

        Where it does so in part, the deliveries that have a tag are those.
        """
        return self in {Promise.DURABLE_QUEUE, Promise.DURABLE_STREAM}


_SENTENCES = {
    Promise.DURABLE_QUEUE: "The broker keeps every event until the ledger has it, also while no recorder runs.",
    Promise.DURABLE_STREAM: "Redis keeps every event in a stream until the ledger has it, also while no recorder runs.",
    Promise.DURABLE_IN_PART: (
        "Redis keeps the events of the workers that write to its stream; those of the others are lost while nobody"
        " listens, and the time is shown as a gap."
    ),
    Promise.COUNTED_LOSS: "The broker keeps nothing: what it sends while nobody listens is lost, and shown as a gap.",
    Promise.IN_PROCESS: "Events pass through the memory of this process, and end with it.",
}

#: reason of a refused message -> the sentence that is kept with it
REFUSALS = {
    "compressed": "the body is compressed; only plain JSON is read, because a small body can inflate without bound",
    "bad-envelope": "the transport's envelope around the event cannot be read",
}


class Tag(NamedTuple):
    """Names a delivery for its acknowledgement; worth nothing once its connection is gone."""

    #: which opening of the source it came by, counted from 1
    opening: int
    #: its number within that opening; grows
    number: int


class Delivery(NamedTuple):
    """A message as it came: neither decompressed nor deserialized nor acknowledged."""

    body: bytes
    content_type: str
    content_encoding: str
    #: None where the broker does not keep it. What has a tag comes again after the connection broke, and must not be
    #: thrown away meanwhile: a later tag acknowledges it as well
    tag: Tag | None
    #: when it reached this process; microseconds since the epoch
    received_at: int
    #: a key of REFUSALS when the body must not be decoded
    refused: str | None = None
    #: what its body may be written in, in words of `unpacking.WORDS`
    accept: frozenset[str] = JSON_ONLY
    #: the body is an envelope of kombu's, as it was published on Redis: `raw.published` reads it
    is_enveloped: bool = False


class Opened(NamedTuple):
    """What opening a source found. `resumed`: the broker kept everything meanwhile, so nothing was missed."""

    resumed: bool
    promise: Promise


class Source(Protocol):
    """One broker. Used by one thread only.

    `open`, `receive`, `is_drained` and `acknowledge` raise SourceLost when the connection broke: close, and open again.
    `open` raises SettingsError when the broker refuses what the settings say, so that trying again is useless.
    """

    @property
    def address(self) -> str:
        """Where it is, for people: the URL without its password."""

    @property
    def queue(self) -> str:
        """The name of the queue it reads."""

    @property
    def promise(self) -> Promise:
        """What it can promise now; what `open` says counts for what comes over that opening."""

    @property
    def backlog(self) -> int | None:
        """Messages that wait at the broker, when it was last asked; None where that cannot be known."""

    @property
    def lost(self) -> int:
        """Messages that the broker is known to have thrown away unread since the start of this process."""

    def open(self) -> Opened:
        """Connect and listen: what is sent from the return on is received."""

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Whatever is ready, up to `limit` messages, in the broker's order; waits for the first at most `timeout_s`."""

    def is_drained(self) -> bool:
        """Whether all that was sent before the call was received; may ask the broker, so call it seldom."""

    def acknowledge(self, tag: Tag) -> None:
        """Everything up to and including `tag` is in the ledger. A tag of an earlier opening is ignored."""

    def close(self) -> None:
        """Let go of the connection, broken or not; never raises. What was not acknowledged stays with the broker."""


def now_at() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000

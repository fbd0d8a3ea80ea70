"""RabbitMQ and other AMQP 0.9.1 brokers: a durable queue of our own, acknowledged once the ledger has its events."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import amqp
from kombu import Connection, Exchange, Queue

from taskledger.recorder import trouble
from taskledger.recorder.amqp_frames import Frames
from taskledger.recorder.kombu_source import KombuSource
from taskledger.recorder.raw import AMQPMessage, RawMessage
from taskledger.recorder.source import Promise, Tag

log = logging.getLogger(__name__)

#: how many batches of unacknowledged messages the broker pushes ahead
PREFETCH_BATCHES = 4
#: messages; bounds memory whatever the batch size, and AMQP's own limit is 65,535
MAX_PREFETCH = 10_000
#: seconds that a message may be on its way within the broker
SETTLE_S = 0.05
#: a queue has at most about that many arguments that we may guess wrong
MAX_GUESSES = 12


_DIFFERS = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for queue .*: received (?P<ours>.*) but current is (?P<value>.*)"
)
_VALUE = re.compile(r"(?:the value )?'(?P<text>.*?)'")


class Wanted(NamedTuple):
    """What our queue is declared with when it is not there yet."""

    #: "quorum" or "classic"
    type: str
    #: the oldest messages go when more wait; 0: no bound
    max_bytes: int
    #: the broker removes the queue when nobody has read it for so long; 0: never
    expires_s: int

    def arguments(self, connection: Any) -> dict[str, Any]:
        """As the broker on the other side of py-amqp's connection understands them."""
        found: dict[str, Any] = {"x-queue-type": self.type}
        if self.type == "quorum" and _limits_deliveries(connection):
            found["x-delivery-limit"] = -1
        if self.max_bytes:
            found |= {"x-max-length-bytes": self.max_bytes, "x-overflow": "drop-head"}
        if self.expires_s:
            found["x-expires"] = self.expires_s * 1000
        return found


class DurableQueue(KombuSource):
    """Loses nothing: the queue outlives the recorder, and a message leaves it only after the commit.

    The queue is neither exclusive nor auto-delete, unlike the one that Celery's receiver declares
    (celery/events/receiver.py), and is used as it is when it exists: its type and limits are its declarer's. Several
    recorders on it share the work.
    """

    promise = Promise.DURABLE_QUEUE
    message_class = AMQPMessage

    def __init__(
        self,
        connect: Callable[[], Connection],
        address: str,
        exchange: Exchange,
        queue: str,
        wanted: Wanted,
        *,
        batch_size: int,
    ) -> None:
        super().__init__(connect, address, exchange, queue)
        self._wanted = wanted
        self._is_compared = False
        self._prefetch = min(PREFETCH_BATCHES * batch_size, MAX_PREFETCH)
        self._delivered = self._acknowledged = 0
        self._frames: Frames | None = None

    def is_drained(self) -> bool:
        if self._heard or self._lost or self._delivered - self._acknowledged >= self._prefetch:
            return False
        try:
            # Deliveries pushed before the answer come before it, so they are heard when it is here.
            ready = self._channel.queue_declare(self.queue, passive=True).message_count
        except Exception as error:  # Whatever a driver raises is translated here, at the edge.
            raise trouble.of_reading(error) from error
        self.backlog = int(ready)
        if not ready and not self._heard:
            # The nodes of a quorum queue agree on a message before it is counted, or delivered.
            self._limit = 1
            self._read(SETTLE_S)
        return not ready and not self._heard and not self._lost

    def acknowledge(self, tag: Tag) -> None:
        if self._channel is None or tag.opening != self._opening or tag.number <= self._acknowledged:
            return
        try:
            self._channel.basic_ack(tag.number, multiple=True)
        except Exception as error:  # As in is_drained.
            raise trouble.of_reading(error) from error
        self._acknowledged = tag.number

    def _listen(self) -> bool:
        self._delivered = self._acknowledged = 0
        self._channel.basic_qos(0, self._prefetch, a_global=False)
        queue = Queue(self.queue, self._exchange, "#", durable=True, exclusive=False, auto_delete=False)
        bound: Any = queue.bind(self._channel)
        bound.exchange.declare()
        connection = self._connection.connection
        is_there = exists(connection, self.queue)
        if is_there:
            self._compare(connection)
        else:
            declare(connection, self.queue, self._wanted)
        bound.queue_bind()
        self._consume(bound, no_ack=False)
        self._frames = Frames(connection, self._channel.channel_id) if Frames.can_read(connection) else None
        return is_there

    def _drain(self, timeout_s: float) -> None:
        if self._frames is None or self._connection is None:
            super()._drain(timeout_s)
            return
        for each in self._frames.read(timeout_s):
            self._hear(AMQPMessage(each))

    def _compare(self, connection: Any) -> None:
        """Say once how the queue differs from what the settings would make of it."""
        if self._is_compared:
            return
        self._is_compared = True
        if differs := difference(connection, self.queue, self._wanted.arguments(connection)):
            log.warning(
                "the queue %s is used as it is, though its %s is %s and the settings say %s;"
                " `taskledger queue remove` makes room for a new one",
                self.queue, differs.name, differs.value or "not set", differs.ours or "none",
                extra={"action": "queue_differs", "queue": self.queue, "argument": differs.name},
            )  # fmt: skip

    def _hear(self, message: RawMessage) -> None:
        self._delivered = message.delivery_tag
        super()._hear(message)

    def _leave(self) -> None:
        self._connection.release()

    def _drop(self) -> None:
        self._frames = None
        super()._drop()

    def _check_health(self) -> None:
        self._connection.heartbeat_check()


def exists(connection: Any, name: str) -> bool:
    """Whether there is such a queue; `connection` is py-amqp's."""
    # The broker closes a channel on which one asks for a queue that is not there: hence one of its own.
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
    except amqp.NotFound:
        return False
    channel.close()
    return True


def declare(connection: Any, name: str, wanted: Wanted) -> None:
    """Make the queue; a classic one where the broker has no other. One that came into being meanwhile is left alone."""
    trial = connection.channel()
    try:
        trial.queue_declare(name, durable=True, auto_delete=False, arguments=wanted.arguments(connection))
    except (amqp.PreconditionFailed, amqp.AMQPNotImplementedError) as error:
        if _DIFFERS.search(str(error.reply_text)):
            return
        if wanted.type == "classic":
            raise
        log.warning("the broker has no %s queue (%s); a classic one it is", wanted.type, trouble.told(error))
        declare(connection, name, wanted._replace(type="classic"))
    else:
        trial.close()


def _limits_deliveries(connection: Any) -> bool:
    """RabbitMQ 4 drops a message that twenty recorders in a row did not acknowledge, unless told not to.

    Before, there was no limit; and 3.x takes the same -1 for a limit that the first redelivery is beyond, and drops it.
    """
    said = connection.server_properties
    version = str(said.get("version", "")).partition(".")[0]
    return said.get("product") == "RabbitMQ" and version.isdigit() and int(version) >= 4


class Difference(NamedTuple):
    """What a queue has, and what was asked of it. None stands for "not set"."""

    name: str
    value: str | int | None
    ours: str | int | None


def difference(connection: Any, name: str, arguments: Mapping[str, Any]) -> Difference | None:
    """Where the queue, which must be there, is not what these arguments say. RabbitMQ tells one at a time."""
    trial = connection.channel()
    try:
        trial.queue_declare(name, durable=True, auto_delete=False, arguments=dict(arguments))
    except amqp.PreconditionFailed as error:
        found = _DIFFERS.search(str(error.reply_text))
        if found is None:
            raise
        return Difference(found["name"], _said(found["value"]), _said(found["ours"]))
    trial.close()
    return None


def arguments_of(connection: Any, name: str, guess: Mapping[str, Any]) -> dict[str, str | int]:
    """The arguments of a queue that is there. AMQP cannot be asked for them, but it tells how a guess differs."""
    known = dict(guess)
    for _ in range(MAX_GUESSES):
        differs = difference(connection, name, known)
        if differs is None or not differs.name.startswith("x-"):
            break
        known[differs.name] = differs.value
        known = {key: value for key, value in known.items() if value is not None}
    return known


def _said(text: str) -> str | int | None:
    """`the value '7' of type 'signedint'`, `'7'` and `none`, as RabbitMQ says them, as 7, 7 and None."""
    value = _VALUE.match(text.strip())
    if value is None:
        return None
    return int(value["text"]) if re.fullmatch(r"-?[0-9]+", value["text"]) else value["text"]

"""RabbitMQ and other AMQP 0.9.1 brokers: a durable queue of our own, acknowledged once the ledger has its events."""

from collections.abc import Callable
from typing import Any

import amqp
from kombu import Connection, Exchange, Queue

from taskledger.recorder import trouble
from taskledger.recorder.kombu_source import KombuSource
from taskledger.recorder.raw import AMQPMessage, RawMessage
from taskledger.recorder.source import Promise, Tag

#: how many batches of unacknowledged messages the broker pushes ahead
PREFETCH_BATCHES = 4
#: messages; bounds memory whatever the batch size, and AMQP's own limit is 65,535
MAX_PREFETCH = 10_000


class DurableQueue(KombuSource):
    """Loses nothing: the queue outlives the recorder, and a message leaves it only after the commit.

    The queue is neither exclusive nor auto-delete, unlike the one that Celery's receiver declares
    (celery/events/receiver.py), and is used as it is when it exists: its type and limits are its declarer's.
    """

    promise = Promise.DURABLE_QUEUE
    message_class = AMQPMessage

    def __init__(
        self, connect: Callable[[], Connection], address: str, exchange: Exchange, queue: str, *, batch_size: int
    ) -> None:
        super().__init__(connect, address, exchange, queue)
        self._prefetch = min(PREFETCH_BATCHES * batch_size, MAX_PREFETCH)
        self._delivered = self._acknowledged = 0

    def is_drained(self) -> bool:
        if self._heard or self._lost or self._delivered - self._acknowledged >= self._prefetch:
            return False
        try:
            # Deliveries pushed before the answer come before it, so they are heard when it is here.
            ready = self._channel.queue_declare(self.queue, passive=True).message_count
        except Exception as error:  # Whatever a driver raises is translated here, at the edge.
            raise trouble.of_reading(error) from error
        return not ready and not self._heard

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
        is_there = self._is_there()
        bound.exchange.declare()
        if not is_there:
            bound.queue_declare()
        bound.queue_bind()
        self._consume(bound, no_ack=False)
        return is_there

    def _is_there(self) -> bool:
        # The broker closes a channel on which one asks for a queue that is not there: hence one of its own.
        channel = self._connection.channel()
        try:
            channel.queue_declare(self.queue, passive=True)
        except amqp.NotFound:
            return False
        channel.close()
        return True

    def _hear(self, message: RawMessage) -> None:
        self._delivered = message.delivery_tag
        super()._hear(message)

    def _leave(self) -> None:
        self._connection.release()

    def _check_health(self) -> None:
        self._connection.heartbeat_check()

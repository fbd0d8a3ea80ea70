"""The brokers of the contract: for each, a source to test, what workers send, what strangers send, and a way to cut."""

import copy
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.events.event import get_exchange
from proxy import Proxy
from redis import Redis

from taskledger.config import Settings
from taskledger.integrations import durable
from taskledger.recorder import brokers
from taskledger.recorder.batch import opened
from taskledger.recorder.source import Delivery, Source
from taskledger.recorder.stub import StubSource


class Keeping:
    """What is put before an app's dispatcher: it also keeps every event that is sent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__(*args, **options)

    def _publish(self, event: Any, *args: Any, **options: Any) -> Any:
        self.sent += copy.deepcopy(event if isinstance(event, list) else [event])
        return super()._publish(event, *args, **options)


def keeping(app: Celery, connection: Any, **options: Any) -> Any:
    """The app's own dispatcher; it also keeps every event that it sends."""
    return type("KeepingDispatcher", (Keeping, app.events.Dispatcher), {})(connection, **options)


class Wire:
    """One kind of broker: `keeps` says whether it keeps what nobody read; `cut` breaks every connection of sources."""

    def __init__(
        self,
        source: Callable[[], Source],
        publish: Callable[..., None],
        dispatcher: Callable[..., Any],
        *,
        keeps: bool,
        cut: Callable[[], None] | None = None,
    ) -> None:
        self.source, self.publish, self.dispatcher, self.keeps, self.cut = source, publish, dispatcher, keeps, cut

    def send(self, *types: str) -> list[dict[str, Any]]:
        """Send an event of each type, one message each; what was sent."""
        with self.dispatcher() as dispatcher:
            for kind in types:
                dispatcher.send(kind, uuid=str(uuid.uuid4()))
            return dispatcher.sent


@contextmanager
def stub() -> Iterator[Wire]:
    source = StubSource()
    app = Celery("stub", broker="memory://", set_as_current=False)

    class Producer:
        def publish(self, event: Any, **_: Any) -> None:
            source.send(json.dumps(event).encode())

    @contextmanager
    def dispatcher(**options: Any) -> Iterator[Any]:
        with app.connection_for_write() as connection:
            made = keeping(app, connection, hostname="worker@stub", **options)
            made.producer = Producer()
            yield made

    def publish(body: bytes, content_type: str = "application/json", encoding: str = "utf-8", **headers: Any) -> None:
        source.send(body, content_type, encoding, "compressed" if headers else None)

    yield Wire(lambda: source, publish, dispatcher, keeps=True, cut=source.disconnect)


@contextmanager
def memory() -> Iterator[Wire]:
    with _kombu("memory://", "memory://") as wire:
        yield wire


@contextmanager
def redis(url: str) -> Iterator[Wire]:
    with Proxy(url, 6379) as proxy, _kombu(url, proxy.url, cut=proxy.cut) as wire:
        yield wire


@contextmanager
def stream(url: str) -> Iterator[Wire]:
    """Redis, with workers that all write to the stream."""
    with Proxy(url, 6379) as proxy, _kombu(url, proxy.url, cut=proxy.cut, keeps=True, is_durable=True) as wire:
        yield wire


@contextmanager
def rabbitmq(url: str, queue_name: str) -> Iterator[Wire]:
    with Proxy(url, 5672) as proxy, _kombu(url, proxy.url, queue_name, cut=proxy.cut, keeps=True) as wire:
        yield wire


@contextmanager
def _kombu(
    worker_url: str,
    source_url: str,
    queue_name: str = "taskledger",
    *,
    keeps: bool = False,
    is_durable: bool = False,
    cut: Any = None,
) -> Iterator[Wire]:
    """Workers and source share an exchange of their own, so that tests do not hear one another."""
    app = Celery("wire", broker=worker_url, set_as_current=False)
    app.conf.event_exchange = f"celeryev-{uuid.uuid4().hex}"
    if worker_url.startswith("amqp"):
        # As in test_rabbitmq.send.
        app.conf.broker_transport_options = {"confirm_publish": True}
    if is_durable:
        durable.install(app)
    settings = Settings(
        broker_url=source_url,
        celery_app=app,
        queue_name=queue_name,
        recorder_name=app.conf.event_exchange,
        durable_stream="on" if is_durable else "auto",
    )

    @contextmanager
    def dispatcher(**options: Any) -> Iterator[Any]:
        with app.connection_for_write() as connection:
            yield keeping(app, connection, hostname="worker@wire", **options)

    def publish(body: bytes, content_type: str = "application/json", encoding: str = "utf-8", **headers: Any) -> None:
        if is_durable and not headers:
            # Order holds within the stream, not between it and what is published beside it.
            append(worker_url, app.conf.event_exchange, body, content_type, encoding)
            return
        with app.connection_for_write() as connection:
            connection.Producer(exchange=get_exchange(connection, app.conf.event_exchange)).publish(
                body, "task.sent", content_type=content_type, content_encoding=encoding, headers=headers
            )

    with ExitStack() as stack:

        def source() -> Source:
            made = brokers.source(settings, source_url)
            stack.callback(made.close)
            return made

        yield Wire(source, publish, dispatcher, keeps=keeps, cut=cut)
    app.close()


def append(url: str, exchange: str, body: bytes, content_type: str, encoding: str) -> None:
    """What a stranger may append to the stream of that exchange."""
    with Redis.from_url(url) as client:
        fields = {"body": body, "content-type": content_type, "content-encoding": encoding}
        client.xadd(durable.stream_name(exchange), fields)


def hear(source: Source, number: int, *, limit: int = 1000) -> list[Delivery]:
    """The next so many deliveries; fails when they do not come."""
    heard: list[Delivery] = []
    for _ in range(600):
        heard += map(opened, source.receive(min(limit, number - len(heard)), 0.05))
        if len(heard) >= number:
            return heard
    pytest.fail(f"only {len(heard)} of {number} messages came")

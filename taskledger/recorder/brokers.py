"""From settings to sources: which kind of broker a URL names, and how to connect to it as the Celery app would."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celery.events.event import EVENT_EXCHANGE_NAME, get_exchange
from kombu import Connection, Exchange

from taskledger import unpacking
from taskledger.config import Settings, mask_url
from taskledger.errors import SettingsError
from taskledger.recorder import trouble
from taskledger.recorder.kombu_source import KombuSource
from taskledger.recorder.rabbitmq import DurableQueue, Wanted
from taskledger.recorder.redis_source import RedisSource, StreamUse
from taskledger.recorder.source import Source
from taskledger.recorder.subscription import Subscription

#: seconds; a dead AMQP broker is noticed after two of them
HEARTBEAT_S = 10
#: seconds to connect
CONNECT_S = 5
#: seconds that a broker may take to answer a question
ANSWER_S = 15
#: seconds between two pings on an idle Redis subscription
PING_S = 10
#: transports over which Celery sends no events (celery/events/dispatcher.py, DISABLED_TRANSPORTS)
WITHOUT_EVENTS = frozenset({"sql"})


def sources(settings: Settings) -> Mapping[str, Source]:
    """Cluster -> where to read its events; nothing is connected yet. SettingsError for a URL that cannot be meant."""
    return {cluster: source(settings, url) for cluster, url in settings.brokers}


def source(settings: Settings, url: str) -> KombuSource:
    """As sources, for one of the URLs."""
    accept = frozenset(settings.accept.split(","))
    unpacking.check(accept)
    made = _source(settings, place(settings, url))
    made.accept = accept
    return made


def _source(settings: Settings, where: "Place") -> KombuSource:
    at = (where.connect, where.address, where.exchange)
    if where.driver == "amqp":
        return DurableQueue(*at, settings.queue_name, wanted(settings), batch_size=settings.batch_size)
    if where.driver == "redis":
        return RedisSource(*at, settings.queue_name, stream_use(settings))
    return Subscription(*at, settings.queue_name, driver=where.driver)


class Place(NamedTuple):
    """A broker: how to connect to it, and where Celery's events are on it."""

    #: makes a connection that is not connected yet
    connect: Callable[[], Connection]
    #: its URL, masked
    address: str
    exchange: Exchange
    #: kombu's name for the kind: "amqp", "redis", "memory", …
    driver: str


def place(settings: Settings, url: str) -> Place:
    """What kombu makes of the URL. SettingsError when it makes no sense, or when Celery sends no events there."""
    address = mask_url(url)
    try:
        probe = _connection(settings, url)
        driver = probe.transport.driver_type
        exchange = get_exchange(probe, name=_exchange_name(settings.celery_app))
    except Exception as error:  # kombu imports drivers here, and each says in its own way that it is missing.
        raise trouble.of_url(error, address) from error
    if driver in WITHOUT_EVENTS:
        raise SettingsError(f"Celery sends no events over {address}; it does over Redis and RabbitMQ.")
    return Place(lambda: _connection(settings, url), address, exchange, driver)


def wanted(settings: Settings) -> Wanted:
    """How the settings would have the queue on RabbitMQ."""
    return Wanted(settings.queue_type, settings.queue_bytes, settings.queue_days * 86_400)


def stream_use(settings: Settings) -> StreamUse:
    """How the settings would have the stream on Redis used."""
    return StreamUse(
        settings.durable_stream, settings.stream_name or "", settings.queue_name, settings.recorder_name,
        settings.batch_size,
    )  # fmt: skip


def _exchange_name(app: Any) -> str:
    return EVENT_EXCHANGE_NAME if app is None else str(app.conf.event_exchange)


def _connection(settings: Settings, url: str) -> Connection:
    """Not connected yet. With an app: its TLS, transport options, login method and so on."""
    app = settings.celery_app
    if app is None:
        connection = Connection(url, heartbeat=HEARTBEAT_S, connect_timeout=CONNECT_S, transport_options={})
    else:
        connection = app.connection_for_read(url, heartbeat=HEARTBEAT_S)
    _adjust(connection.transport_options, connection.transport.driver_type, f"taskledger {settings.recorder_name}")
    return connection


def _adjust(options: dict[str, Any], driver: str, name: str) -> None:
    """Options of our own, where the app has none: to be recognised at the broker, and never to wait for ever."""
    if driver == "redis":
        options.setdefault("socket_connect_timeout", CONNECT_S)
        options.setdefault("health_check_interval", PING_S)
        options.setdefault("socket_timeout", ANSWER_S)
        # Redis takes no spaces in names.
        options.setdefault("client_name", name.replace(" ", "-"))
        # redis-py would reconnect and subscribe anew without a word, and nobody would know of the gap.
        options["retry_on_timeout"] = False
    elif driver == "amqp":
        options.setdefault("read_timeout", ANSWER_S)
        options.setdefault("client_properties", {"connection_name": name})

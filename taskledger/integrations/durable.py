"""Inside a Celery app on Redis: each event that is published is also appended to a bounded stream on the same Redis.

Redis forgets at once what it publishes; a stream keeps it until a recorder has read it. One line in the app's module
(it covers workers and whoever sends tasks, because both import it):

    import taskledger.integrations.durable
    taskledger.integrations.durable.install(app)

or the settings `imports = ("taskledger.integrations.durable",)` and `taskledger_durable_events = True`, which cover the
workers. Works in every pool, because it sits in the one place that all of Celery's events pass:
`EventDispatcher._publish` (celery/events/dispatcher.py), single events and batches, workers and clients alike.

It never breaks the app: an event that cannot be appended is published as before, and after a failure no further
attempt is made for a while. What was missed meanwhile is kept, within bounds, and appended as soon as that works
again: a Redis that was slow for a moment costs the stream nothing.
"""

import logging
import os
import time
from collections import deque
from itertools import islice
from typing import Any, NamedTuple

from celery._state import _get_active_apps, connect_on_app_finalize
from kombu.serialization import dumps
from kombu.utils.imports import symbol_by_name

log = logging.getLogger(__name__)

#: settings of the Celery app: on or off, the stream's name, and how many messages it keeps
SETTING, NAME_SETTING, LENGTH_SETTING = (
    "taskledger_durable_events",
    "taskledger_stream_name",
    "taskledger_stream_length",
)
#: messages, about: an event takes 0.3 to 1 kB of Redis' memory, a batch of a busy prefork worker up to 15 kB
DEFAULT_LENGTH = 200_000
#: header of a published message that says in which stream it is as well, so that a recorder need not read it twice
HEADER = "taskledger-stream"
#: seconds that connecting, or one append, may take
TIMEOUT_S = 0.25
#: seconds without a further attempt, after the first failure and at most
FIRST_REST_S, LONGEST_REST_S = 1.0, 30.0
#: bytes of bodies that are kept until they can be appended, and messages of them that go with one event
KEPT_BYTES, AT_ONCE = 4 * 1024 * 1024, 100


def install(app: Any) -> None:
    """From now on the app's events are also appended. May be called at any time, and more than once."""
    base = symbol_by_name(app.events.dispatcher_cls)
    if issubclass(base, Durable):
        return
    app.events.dispatcher_cls = type("DurableDispatcher", (Durable, base), {"appender": Appender(app)})
    # Celery keeps what it made of the class before.
    app.events.__dict__.pop("Dispatcher", None)
    for name in ("_event_dispatcher", "send_task_message"):
        app.amqp.__dict__.pop(name, None)


def stream_name(exchange: str) -> str:
    """The stream that belongs to an event exchange, on the same Redis database."""
    return f"taskledger.{exchange}"


class Durable:
    """What is put before the app's own dispatcher class."""

    appender: "Appender"
    headers: Any
    serializer: Any
    exchange: Any
    mutex: Any
    producer: Any
    _group_buffer: Any
    _closed = False

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """As Celery 5.7 does it. Before, events that other threads added meanwhile were thrown away unpublished."""
        super().flush(errors=errors, groups=False)  # type: ignore[misc]
        if not groups:
            return
        with self.mutex:
            for group, events in list(self._group_buffer.items()):
                batch = list(events)
                if batch and not self._closed:
                    self._publish(batch, self.producer, f"{group}.multi")
                    del events[: len(batch)]

    def _publish(self, event: Any, producer: Any, routing_key: str, *args: Any, **options: Any) -> Any:
        # Called with the dispatcher's lock held, so nobody else changes the headers meanwhile. Appended first: who
        # hears the published copy finds the other one in the stream.
        name = None
        if producer is not None:
            name = self.appender.append(event, self.serializer, producer, self.exchange.name)
        self.headers = {key: value for key, value in self.headers.items() if key != HEADER}
        if name is not None:
            self.headers[HEADER] = name
        return super()._publish(event, producer, routing_key, *args, **options)  # type: ignore[misc]


class Message(NamedTuple):
    """What is to be appended, and the name of the stream without the channel's prefix."""

    stream: str
    fields: dict[str, Any]


class Appender:
    """The connection that appends, one for each app and process; opened with the first event."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._client: Any = None
        self._prefix = ""
        self._pid = 0
        self._is_of_no_use = False
        self._rest_until_s = 0.0
        self._rest_s = FIRST_REST_S
        self._kept: deque[Message] = deque()
        self._kept_bytes = self._missed = 0
        self._is_in_trouble = False

    def append(self, event: Any, serializer: Any, producer: Any, exchange: str) -> str | None:
        """The stream's key when the event is in it; None when it is not, for whatever reason. Never raises."""
        if self._is_of_no_use:
            return None
        try:
            self._keep(event, serializer, exchange)
            if time.monotonic() < self._rest_until_s:
                return None
            return self._append_kept(producer)
        except Exception as error:  # noqa: BLE001 - the app must go on, whatever happens here
            self._rest(error)
            return None

    def _keep(self, event: Any, serializer: Any, exchange: str) -> None:
        """Put it behind what waits; if that is too much, the oldest was published and no more."""
        content_type, encoding, body = dumps(event, serializer=serializer)
        fields = {"body": body, "content-type": content_type, "content-encoding": encoding}
        self._kept.append(Message(self._app.conf.get(NAME_SETTING) or stream_name(exchange), fields))
        self._kept_bytes += len(body)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().fields["body"])
            self._missed += 1

    def _append_kept(self, producer: Any) -> str | None:
        """The key where the newest is now; None when others had to go first, or when there is no stream here."""
        client = self._connected(producer)
        if client is None or not self._kept:
            return None
        messages = list(islice(self._kept, AT_ONCE))
        length = int(self._app.conf.get(LENGTH_SETTING) or DEFAULT_LENGTH)
        with client.pipeline(transaction=False) as pipeline:
            for stream, fields in messages:
                pipeline.xadd(f"{self._prefix}{stream}", fields, maxlen=length, approximate=True)
            pipeline.execute()
        # An answer that came too late leaves them here: appended twice they are the same events all the same.
        for _ in messages:
            self._kept_bytes -= len(self._kept.popleft().fields["body"])
        if self._kept:
            return None
        self._recover()
        return f"{self._prefix}{messages[-1].stream}"

    def _recover(self) -> None:
        if self._is_in_trouble:
            log.warning("events are appended again; %d messages were only published", self._missed)
        self._missed, self._rest_s, self._is_in_trouble = 0, FIRST_REST_S, False

    def _connected(self, producer: Any) -> Any:
        """The client; None where there can be none."""
        if self._client is not None and self._pid == os.getpid():
            return self._client
        if producer.connection.transport.driver_type != "redis":
            self._is_of_no_use = True
            self._kept.clear()
            log.info("the broker is not Redis: its events are published as ever, and no stream is written")
            return None
        if self._pid not in (0, os.getpid()):
            # What waits in the process that we were forked from is its to append.
            while len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popleft().fields["body"])
        self._client = _connect(producer.channel)
        self._prefix = getattr(producer.channel, "global_keyprefix", "") or ""
        self._pid = os.getpid()
        return self._client

    def _rest(self, error: Exception) -> None:
        if not self._is_in_trouble:
            log.warning("events are not appended to the stream for now: %s: %s", type(error).__name__, error)
        self._is_in_trouble = True
        self._rest_until_s = time.monotonic() + self._rest_s
        self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)
        # The app may have moved on to another server of its list.
        self._client = None


def _connect(channel: Any) -> Any:
    """A client like those that the app publishes with (address, TLS, database), but it never waits for long."""
    # Only where the broker is Redis: elsewhere the package need not be there.
    from redis import Redis  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.exceptions import ConnectionError as ConnectionLostError  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    pool = channel._get_pool()  # noqa: SLF001 - as the channel makes its own; it connects with the first command
    # Redis hangs up on who was silent for long: once more, at once; but never wait a second time.
    retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionLostError,))
    pool.connection_kwargs |= {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": retry}
    return Redis(connection_pool=pool)


def _consider(app: Any) -> None:
    """Install where the app's settings ask for it."""
    if app.conf.get(SETTING):
        install(app)


for _app in list(_get_active_apps()):
    if _app.configured:
        _consider(_app)
connect_on_app_finalize(_consider)

"""What waits at the brokers for a recorder: looked at, and removed when nobody will record any more."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from taskledger.config import Settings
from taskledger.errors import SourceLost
from taskledger.recorder import brokers, rabbitmq, redis_source, trouble


@dataclass(frozen=True, slots=True)
class Kept:
    """A queue or stream, as its broker tells; None where it does not tell."""

    cluster: str
    address: str
    name: str
    #: "quorum queue", "classic queue", "stream"; "" where a broker keeps nothing
    type: str
    is_there: bool
    #: not read yet, and read but not acknowledged
    messages: int | None = None
    unacknowledged: int | None = None
    bytes: int | None = None
    #: recorders that read it now; of a stream, those that ever did
    consumers: int | None = None
    arguments: Mapping[str, str | int] | None = None


def look(settings: Settings) -> list[Kept]:
    """What each broker of the settings keeps. Raises SourceLost when one is away, SettingsError when it refuses."""
    return [_at_each(settings, cluster, url, _LOOKS) for cluster, url in settings.brokers]


def remove(settings: Settings) -> list[Kept]:
    """Remove it, with all that waits in it; what it was. Raises as look."""
    return [_at_each(settings, cluster, url, _REMOVALS) for cluster, url in settings.brokers]


def _at_each(settings: Settings, cluster: str, url: str, acts: Mapping[str, Any]) -> Kept:
    place = brokers.place(settings, url)
    act = acts.get(place.driver)
    if act is None:
        return Kept(cluster, place.address, "", "", is_there=False)
    try:
        with _channel(place) as channel:
            found: Kept = act(settings, place, cluster, channel)
            return found
    except Exception as error:  # Whatever a driver raises is translated here, at the edge.
        told = trouble.of_opening(error, place.address)
        if isinstance(told, SourceLost):
            told = SourceLost(f"The broker {place.address} cannot be reached: {told}")
        raise told from error


@contextmanager
def _channel(place: brokers.Place) -> Iterator[Any]:
    with place.connect() as connection:
        connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        yield connection.channel()


def _look_at_queue(settings: Settings, place: brokers.Place, cluster: str, channel: Any) -> Kept:
    connection, name = channel.connection, settings.queue_name
    if not rabbitmq.exists(connection, name):
        return Kept(cluster, place.address, name, f"{settings.queue_type} queue", is_there=False)
    said = channel.queue_declare(name, passive=True)
    arguments = rabbitmq.arguments_of(connection, name, brokers.wanted(settings).arguments(connection))
    kind = f"{arguments.get('x-queue-type', 'classic')} queue"
    counts = {"messages": said.message_count, "consumers": said.consumer_count}
    return Kept(cluster, place.address, name, kind, is_there=True, arguments=arguments, **counts)


def _remove_queue(settings: Settings, place: brokers.Place, cluster: str, channel: Any) -> Kept:
    found = _look_at_queue(settings, place, cluster, channel)
    channel.queue_delete(found.name)
    return found


def _look_at_stream(settings: Settings, place: brokers.Place, cluster: str, channel: Any) -> Kept:
    client, key = _stream(settings, place, channel)
    try:
        said, groups = client.xinfo_stream(key), client.xinfo_groups(key)
    except redis.ResponseError as error:
        if "no such key" not in str(error):
            raise
        return Kept(cluster, place.address, key, "stream", is_there=False)
    ours: dict[str, Any] = next((each for each in groups if each["name"] == settings.queue_name.encode()), {})
    return Kept(
        cluster,
        place.address,
        key,
        "stream",
        is_there=True,
        messages=ours.get("lag") if ours else said["length"],
        unacknowledged=ours.get("pending", 0),
        bytes=client.memory_usage(key),
        consumers=ours.get("consumers", 0),
        arguments={"group": settings.queue_name, "length": said["length"]},
    )


def _remove_stream(settings: Settings, place: brokers.Place, cluster: str, channel: Any) -> Kept:
    found = _look_at_stream(settings, place, cluster, channel)
    client, key = _stream(settings, place, channel)
    client.delete(key)
    return found


def _stream(settings: Settings, place: brokers.Place, channel: Any) -> tuple[Any, str]:
    client = redis.Redis(connection_pool=redis_source.pool_of(channel))
    return client, redis_source.key_of(channel, place.exchange.name, brokers.stream_use(settings))


_LOOKS = {"amqp": _look_at_queue, "redis": _look_at_stream}
_REMOVALS = {"amqp": _remove_queue, "redis": _remove_stream}

"""When a silent Redis is given up, and when not."""

import time
from typing import Any

import pytest
import redis
from proxy import Proxy
from wires import hear

from taskledger.config import Settings
from taskledger.errors import SourceLost
from taskledger.recorder import brokers, kombu_source, subscriber
from taskledger.recorder.source import Source


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clockwork, faster."""
    monkeypatch.setattr(subscriber, "PING_S", 0.1)
    monkeypatch.setattr(subscriber, "ANSWER_S", 0.4)
    monkeypatch.setattr(kombu_source, "PULSE_S", 0.05)


def opened(url: str) -> Source:
    source = brokers.source(Settings(broker_url=url, durable_stream="off"), url)
    source.open()
    return source


def test_silence_is_no_loss(redis_url: str) -> None:
    """A Redis on which nothing happens answers the pings, and stays."""
    source = opened(redis_url)
    until_s = time.monotonic() + 1.5
    while time.monotonic() < until_s:
        assert source.receive(10, 0.05) == []
    source.close()


def test_not_looking_is_no_loss(redis_url: str) -> None:
    """Whoever did not look for long, with a ping on its way, finds all that came meanwhile."""
    source = opened(redis_url)
    for _ in range(6):
        source.receive(10, 0.05)
    time.sleep(1.0)
    with redis.Redis.from_url(redis_url) as client:
        client.publish(f"/{redis_url.rpartition('/')[2]}.celeryev/x", b"anything")

    assert hear(source, 1)[0].body == b"anything"

    source.close()


def test_silence_is_no_proof(redis_url: str) -> None:
    """Over a connection that is dead without a word nothing counts as read up to now; over a live one it does."""
    with Proxy(redis_url, 6379) as proxy:
        source = opened(proxy.url)
        alive = source.is_drained()
        proxy.swallow(True)
        source.receive(10, 0.05)

        assert (alive, source.is_drained()) == (True, False)

        source.close()


def test_published_before_the_answer(redis_url: str) -> None:
    """What comes while Redis is asked whether there is more is not lost, and means that there was more."""
    source = opened(redis_url)
    line: Any = source._subscriber  # type: ignore[attr-defined] # the moment between two reads cannot be hit from outside
    with redis.Redis.from_url(redis_url) as client:
        client.publish(f"/{redis_url.rpartition('/')[2]}.celeryev/x", b"anything")

        assert not line.is_caught_up()
        assert [each.body for each in hear(source, 1)] == [b"anything"]
        assert source.is_drained()

    source.close()


def test_unanswered_ping(redis_url: str) -> None:
    """A connection over which nothing comes any more, though it is open, is lost."""
    with Proxy(redis_url, 6379) as proxy:
        source = opened(proxy.url)
        proxy.swallow(True)
        with pytest.raises(SourceLost, match="did not answer a ping"):
            hear(source, 1)
        source.close()

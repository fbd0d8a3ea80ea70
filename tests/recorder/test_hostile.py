"""The hostile corpus, over real brokers into every database: each message ends as its case says, and nothing stops."""

import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_corpus
import pytest
import redis
from celery import Celery
from celery.events.event import get_exchange
from hostile_corpus import ENVELOPES, STORED, Case
from recording import Read, recording, until
from sqlalchemy import select
from wires import append

from taskledger.config import Settings
from taskledger.events import Event, Malformed
from taskledger.integrations import durable
from taskledger.ledger import open_ledger
from taskledger.ledger.schema import event, quarantine
from taskledger.recorder.batch import read
from taskledger.recorder.source import Delivery

#: seconds within which a good event must be stored that comes after all the bad ones
AFTER_S = 5.0
Publish = Callable[[Case], None]


def decoded(case: Case) -> list[Event | Malformed]:
    refused = "compressed" if case.compression else None
    return read(Delivery(case.body, case.content_type, case.encoding, None, 1, refused))


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that is there when something was unpickled, or run."""
    return tmp_path_factory.mktemp("hostile") / "executed"


@pytest.fixture(scope="module")
def corpus(marker: Path) -> list[Case]:
    """All cases."""
    return hostile_corpus.cases(str(marker))


def test_corpus_is_large(corpus: list[Case]) -> None:
    """The corpus has at least 150 cases, of which every reason for quarantine is one."""
    reasons = {word for case in corpus for word in case.expect} | set(ENVELOPES.values())

    assert len(corpus) >= 150
    assert reasons == {
        STORED, "bad-envelope", "bad-task-id", "bad-timestamp", "bad-type", "compressed", "content-type",
        "not-an-object", "not-json", "too-large",
    }  # fmt: skip


def test_decoded(corpus: list[Case], marker: Path) -> None:
    """Each case is decoded as it says, event by event, and nothing in it is executed."""
    found = {case.id: tuple(_word(item) for item in decoded(case)) for case in corpus}

    assert found == {case.id: case.expect for case in corpus}
    assert not marker.exists()


def _word(item: Event | Malformed) -> str:
    return STORED if isinstance(item, Event) else item.reason


@contextmanager
def publishing(url: str, exchange: str, with_stream: bool = False) -> Iterator[Publish]:
    """Publishes as kombu does, whatever the message is."""
    app = Celery("stranger", broker=url, set_as_current=False)
    with app.connection_for_write() as connection:
        producer = connection.Producer(exchange=get_exchange(connection, exchange))

        def publish(case: Case) -> None:
            if with_stream and case.compression is None:
                append(url, exchange, case.body, case.content_type, case.encoding)
                return
            headers = {} if case.compression is None else {"compression": case.compression}
            producer.publish(
                case.body, "task.sent", content_type=case.content_type, content_encoding=case.encoding, headers=headers
            )

        yield publish
    app.close()


GOOD = hostile_corpus.written(hostile_corpus.event(uuid="good", name="after.all"))


def run(settings: Settings, corpus: Sequence[Case], before: Callable[[], None] = lambda: None) -> None:
    """All cases, `before`, and then a good event, which must be there in time."""
    ledger = Read(settings.database_url)
    with recording(settings):
        until(ledger.is_listening, "coverage")
        with publishing(settings.broker_url or "", "celeryev", settings.durable_stream == "on") as publish:
            for case in corpus:
                publish(case)
            before()
            from_s = time.monotonic()
            publish(Case("good", GOOD))
            until(lambda: "good" in ledger.task_ids(), "the good event", 60)
            took_s = time.monotonic() - from_s

    assert took_s <= AFTER_S


def rows(url: str) -> tuple[set[bytes], dict[bytes, str]]:
    """Ids of the events, and the reasons of what is in quarantine."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        ids = set(connection.scalars(select(event.c.id)))
        reasons = {row.id: row.reason for row in connection.execute(select(quarantine.c.id, quarantine.c.reason))}
    return ids, reasons


def became(url: str, corpus: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    """What became of each case, in that database; under "", of what no case is."""
    ids, reasons = rows(url)
    found, known = {}, set()
    for case in [*corpus, Case("good", GOOD)]:
        items = decoded(case)
        known |= {item.id for item in items}
        found[case.id] = tuple(STORED if item.id in ids else reasons.get(item.id, "missing") for item in items)
    strangers = [word for number, word in [*((each, STORED) for each in ids), *reasons.items()] if number not in known]
    return found | {"": tuple(strangers)}


def meant(corpus: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    return {case.id: case.expect for case in corpus} | {"good": (STORED,), "": ()}


class TestCorpus:
    @pytest.mark.parametrize("mode", ["off", "on"])
    def test_redis(self, redis_url: str, database_url: str, corpus: list[Case], marker: Path, mode: str) -> None:
        """Over Redis, published or appended, each case ends as it says, in every database."""
        run(Settings(broker_url=redis_url, database_url=database_url, durable_stream=mode, batch_wait_s=0.05), corpus)

        assert became(database_url, corpus) == meant(corpus)
        assert not marker.exists()

    def test_rabbitmq(
        self, rabbitmq_url: str, queue_name: str, database_url: str, corpus: list[Case], marker: Path
    ) -> None:
        """Over RabbitMQ each case ends as it says, in every database."""
        settings = Settings(
            broker_url=rabbitmq_url, database_url=database_url, queue_name=queue_name, batch_wait_s=0.05
        )
        run(settings, corpus)

        assert became(database_url, corpus) == meant(corpus)
        assert not marker.exists()

    def test_envelopes(self, redis_url: str, database_url: str) -> None:
        """Whatever is published on Redis' channel instead of an envelope is counted, with its bytes and its reason."""

        def publish() -> None:
            with redis.Redis.from_url(redis_url) as client:
                channel = f"/{redis_url.rpartition('/')[2]}.celeryev/task.sent"
                for data in ENVELOPES:
                    client.publish(channel, data)

        run(Settings(broker_url=redis_url, database_url=database_url, batch_wait_s=0.05), [], publish)
        _, reasons = rows(database_url)

        assert sorted(reasons.values()) == sorted(ENVELOPES.values())


class TestEntries:
    def test_strange_entries(self, redis_url: str, sqlite_url: str) -> None:
        """What a stranger appends to the stream, without a body or with strange fields, is set aside."""
        with redis.Redis.from_url(redis_url) as client:
            for fields in ({"x": "y"}, {"body": ""}, {"body": "e30=", "content-type": "\xff"}, {"": ""}):
                client.xadd(durable.stream_name("celeryev"), fields)
        run(Settings(broker_url=redis_url, database_url=sqlite_url, durable_stream="on", batch_wait_s=0.05), [])
        _, reasons = rows(sqlite_url)

        assert set(reasons.values()) == {"content-type"}


@pytest.mark.parametrize("compression", ["application/x-gzip", None])
def test_bomb(redis_url: str, sqlite_url: str, compression: str | None) -> None:
    """A body of a megabyte that would be 200 MB inflated costs the recorder no more than 50 MB."""
    bomb = zlib.compress(bytes(200_000_000), 9) + os.urandom(800_000)
    ledger = Read(sqlite_url)
    settings = Settings(broker_url=redis_url, database_url=sqlite_url, batch_wait_s=0.05)
    with recording(settings), publishing(redis_url, "celeryev") as publish, watching_memory() as grown:
        until(ledger.is_listening, "coverage")
        publish(Case("bomb", bomb, (), compression=compression))
        until(lambda: len(ledger.reasons()) == 1, "the bomb in quarantine")

    assert len(bomb) > 900_000
    assert max(grown) < 50 * 1024


@contextmanager
def watching_memory() -> Iterator[list[int]]:
    """How many kB this process, which the recorder is a thread of, has grown by, looked at all the time."""
    grown, stop, before = [0], threading.Event(), _resident_kb()

    def watch() -> None:
        while not stop.wait(0.002):
            grown.append(_resident_kb() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        stop.set()
        thread.join()


def _resident_kb() -> int:
    status: Any = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

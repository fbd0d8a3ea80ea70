"""The hostile corpus, over real brokers into every database: each message ends as its case says, and nothing stops."""

import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hostile_corpus
import pytest
import redis
from celery import Celery
from celery.events.event import get_exchange
from hostile_corpus import ENVELOPES, STORED, Case
from recording import Read, recording, until
from sqlalchemy import select
from wires import append

from benchmarks.campaigns import stage
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


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
@pytest.mark.parametrize("compression", ["application/x-gzip", None])
def test_bomb(
    request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path, broker: str, compression: str | None
) -> None:
    """A body of a megabyte that would be 200 MB inflated costs a recorder at most 50 MB, whatever it says it is."""
    url = request.getfixturevalue(f"{broker}_url")
    queue = request.getfixturevalue("queue_name") if broker == "rabbitmq" else "taskledger"
    bomb = zlib.compress(bytes(200_000_000), 9) + os.urandom(800_000)
    read = Read(sqlite_url)
    with stage.recorder(tmp_path, url, sqlite_url, "--queue-name", queue) as running:
        until(read.is_listening, "coverage", 60)
        with publishing(url, "celeryev") as publish:
            publish(Case("good", GOOD))
            until(lambda: read.events() == 1, "a good event")
            before = _forget_peak(running.pid)
            publish(Case("bomb", bomb, (), compression=compression))
            until(lambda: len(read.reasons()) == 1, "the bomb in quarantine")
            peak = _kb(running.pid, "VmHWM")

    assert len(bomb) > 900_000
    assert peak - before < 50 * 1024


def test_pickle_in_a_process(redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    """A recorder in a process of its own, told to accept all that can be accepted, never executes a pickle."""
    marker, read = tmp_path / "executed", Read(sqlite_url)
    pickles = [case for case in hostile_corpus.cases(str(marker)) if "pickle" in case.id]
    with stage.recorder(tmp_path, redis_url, sqlite_url, "--accept", "json,msgpack,yaml") as running:
        until(read.is_listening, "coverage", 60)
        with publishing(redis_url, "celeryev") as publish:
            for case in pickles:
                publish(case)
            publish(Case("good", GOOD))
            until(lambda: "good" in read.task_ids(), "a good event after them")
        running.terminate()
        running.wait(15)

    assert len(read.reasons()) == len(pickles) > 1
    assert not marker.exists()


def _forget_peak(pid: int) -> int:
    """From now on the peak is that of what comes; how many kB the process has now (see proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _kb(pid, "VmRSS")


def _kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])

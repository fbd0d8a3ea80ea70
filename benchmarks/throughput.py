"""How many events a second are stored, beside Flower on the same events in the same run.

    python benchmarks/throughput.py [--tasks 60000] [--rounds 3] [--only redis-sqlite,redis-flower,…]

Each contender hears the same corpus (benchmarks/corpus.py) from the same broker, in turns; the median of the rounds
counts. A window of unanswered messages keeps Redis from cutting a slow subscriber: what is measured is the rate that a
contender sustains, with the publisher and the broker on the same machine. taskledger stores every event (rows, tasks,
runs, counters, indexes); Flower keeps its tasks in memory.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import amqp
import corpus
import orjson
import redis
from sqlalchemy import create_engine, func, select, text

from taskledger.ledger import migrate, open_ledger, schema
from taskledger.ledger.query import stats

REDIS_URL = os.environ.get("TASKLEDGER_BENCH_REDIS_URL", "redis://127.0.0.1:6379/13")
RABBITMQ_URL = os.environ.get("TASKLEDGER_BENCH_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
POSTGRESQL_URL = os.environ.get("TASKLEDGER_BENCH_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1/postgres")
#: events that may be on their way: below the 8 MB behind which Redis begins to count
WINDOW = 12_000
#: events before the clock starts, at most: what is measured is a rate that goes on, and not how a program starts
WARM_UP = 40_000
QUEUE = "taskledger-benchmark"


class Contender:
    """A program under test: started, asked how many events it has, and stopped."""

    def __init__(
        self, command: list[str], count: Callable[[], int], environ: dict[str, str], *, ask_every_s: float = 0.05
    ) -> None:
        self.count, self.ask_every_s = count, ask_every_s
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=os.environ | environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def peak_mb(self) -> float:
        """The largest resident size so far, its own and that of the processes it started."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(_peak_mb(each) for each in (pid, *children))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _peak_mb(pid: int | str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


@contextlib.contextmanager
def taskledger(broker: str, database: str) -> Iterator[Contender]:
    migrate.upgrade(database)
    environ = {"TASKLEDGER_DATABASE_URL": database, "TASKLEDGER_BROKER_URL": broker, "TASKLEDGER_QUEUE_NAME": QUEUE}
    with open_ledger(database) as ledger:

        def count() -> int:
            with ledger.read() as connection:
                return connection.scalar(select(func.sum(schema.event_count.c.number))) or 0

        contender = Contender(["taskledger", "record", "--no-jobs"], count, environ)
        try:
            _until(lambda: _is_covered(ledger), "taskledger listens")
            yield contender
        finally:
            contender.stop()


def _is_covered(ledger) -> bool:
    with ledger.read() as connection:
        return bool(connection.scalar(select(func.count()).select_from(schema.coverage)))


@contextlib.contextmanager
def flower(broker: str) -> Iterator[Contender]:
    port = _free_port()

    def count() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            found = re.findall(r"^flower_events_total\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        return int(sum(map(float, found)))

    # Its metrics cost it 8 ms each time: asked as often as we are, it would be a sixth slower.
    command = ["celery", "--broker", broker, "flower", f"--port={port}", "--logging=ERROR"]
    contender = Contender(command, count, {}, ask_every_s=0.25)
    try:
        _until(lambda: _answers(count), "Flower answers")
        time.sleep(2)
        yield contender
    finally:
        contender.stop()


#: (message as it goes over the wire, events in it)
Encoded = list[tuple[bytes, int]]


class RedisPublisher:
    """Publishes what kombu would: an envelope with the body in base64 (kombu/transport/virtual/base.py).

    All is encoded beforehand, since the machine's time is for the contender.
    """

    def __init__(self) -> None:
        self._connection = redis.Redis.from_url(REDIS_URL).connection_pool.get_connection()
        self._connection.connect()
        self._prefix = f"/{REDIS_URL.rpartition('/')[2]}.celeryev/"

    def encode(self, messages: list[tuple[str, bytes, int]]) -> Encoded:
        pack = self._connection.pack_command
        return [
            (b"".join(pack("PUBLISH", self._prefix + key, self._envelope(key, body))), number)
            for key, body, number in messages
        ]

    def publish(self, chunk: Encoded) -> None:
        self._connection.send_packed_command([b"".join(message for message, _ in chunk)])
        for _ in chunk:
            self._connection.read_response()

    def remove_queue(self) -> None:
        """Nothing is kept."""

    def _envelope(self, key: str, body: bytes) -> bytes:
        info = {"exchange": "celeryev", "routing_key": key}
        properties = {
            "delivery_mode": 1,
            "delivery_info": info,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "x",
        }
        envelope = {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
        }
        return orjson.dumps(envelope | {"headers": {"hostname": "w1@vm"}, "properties": properties})


class RabbitPublisher:
    """Publishes transient messages to the topic exchange, as workers do; encoded beforehand as well."""

    def __init__(self) -> None:
        user, _, password = RABBITMQ_URL.partition("://")[2].rpartition("@")[0].partition(":")
        host, _, vhost = RABBITMQ_URL.rpartition("@")[2].partition("/")
        self._connection = amqp.Connection(host, user, password, virtual_host=vhost or "/")
        self._connection.connect()
        self._channel = self._connection.channel()
        self._channel.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)

    def encode(self, messages: list[tuple[str, bytes, int]]) -> Encoded:
        said = amqp.Message(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=1,
            application_headers={"hostname": "w1@vm"},
        )
        properties = said._serialize_properties()  # noqa: SLF001 - there is no public way
        return [(self._frames(key.encode(), body, properties), number) for key, body, number in messages]

    def publish(self, chunk: Encoded) -> None:
        self._connection.transport.sock.sendall(b"".join(message for message, _ in chunk))

    def remove_queue(self) -> None:
        """The recorder's queue outlives it, and would hear what is published for Flower as well."""
        self._channel.queue_delete(QUEUE)

    def _frames(self, key: bytes, body: bytes, properties: bytes) -> bytes:
        """Basic.Publish, a header and a body (AMQP 0-9-1, 2.3.5)."""
        method = pack(">HHH", 60, 40, 0) + b"\x08celeryev" + bytes([len(key)]) + key + b"\0"
        payloads = ((1, method), (2, pack(">HHQ", 60, 0, len(body)) + properties), (3, body))
        channel = self._channel.channel_id
        return b"".join(pack(">BHI", kind, channel, len(data)) + data + b"\xce" for kind, data in payloads)


def measure(contender: Contender, publisher, messages: Encoded) -> float:
    """Events a second, from the end of the warm-up to the last counted."""
    total, sent_events, position = sum(number for _, number in messages), 0, 0
    begun, moved_at, seen, first = None, time.perf_counter(), 0, 0
    warm_up = min(WARM_UP, total // 4)
    while seen < total:
        while position < len(messages) and sent_events - seen < WINDOW:
            chunk = messages[position : position + 500]
            publisher.publish(chunk)
            position, sent_events = position + len(chunk), sent_events + sum(number for _, number in chunk)
        now = int(contender.count())
        if now > seen:
            seen, moved_at = now, time.perf_counter()
            if begun is None and seen >= warm_up:
                begun, first = moved_at, seen
        elif time.perf_counter() - moved_at > 20:
            raise RuntimeError(f"only {seen:,} of {total:,} events arrived")
        time.sleep(contender.ask_every_s)
    return (total - first) / (moved_at - begun)


@contextlib.contextmanager
def fresh_postgresql() -> Iterator[str]:
    name = f"taskledger_bench_{random.randrange(10**6)}"
    engine = create_engine(POSTGRESQL_URL, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield POSTGRESQL_URL.rpartition("/")[0] + f"/{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@contextlib.contextmanager
def fresh_sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/bench.sqlite3"


def _bytes_a_task(database: str, tasks: int) -> float:
    """Tables and indexes of events, tasks and runs."""
    with open_ledger(database) as ledger:
        found = stats(ledger)
    sizes = [table.bytes for table in found.tables if table.name in ("event", "task", "run")]
    return (sum(sizes) if None not in sizes else found.bytes) / tasks


def run_once(name: str, messages: list[tuple[str, bytes, int]], tasks: int) -> dict[str, float]:
    """One round of one contender."""
    broker, _, sort = name.partition("-")
    url = REDIS_URL if broker == "redis" else RABBITMQ_URL
    publisher = RedisPublisher() if broker == "redis" else RabbitPublisher()
    encoded = publisher.encode(messages)
    publisher.remove_queue()
    with contextlib.ExitStack() as stack:
        if sort == "flower":
            contender, database = stack.enter_context(flower(url)), None
        else:
            database = stack.enter_context(fresh_sqlite() if sort == "sqlite" else fresh_postgresql())
            contender = stack.enter_context(taskledger(url, database))
        rate = measure(contender, publisher, encoded)
        size = _bytes_a_task(database, tasks) if database else 0.0
        found = {"events/s": rate, "peak MB": contender.peak_mb(), "bytes/task": size}
    publisher.remove_queue()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tasks", type=int, default=60_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument(
        "--only",
        default="redis-flower,redis-sqlite,redis-postgresql,rabbitmq-flower,rabbitmq-sqlite,rabbitmq-postgresql",
    )
    chosen = arguments.parse_args()
    made = corpus.events(chosen.tasks, chosen.seed)
    messages = [
        (key, json.dumps(items if key == "task.multi" else items[0]).encode(), len(items))
        for key, items in corpus.messages(made, chosen.seed)
    ]
    names = chosen.only.split(",")
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(chosen.rounds):
        for name in names:
            rounds[name].append(run_once(name, messages, chosen.tasks))
            print(f"round {number + 1} {name}: {rounds[name][-1]['events/s']:,.0f} events/s", file=sys.stderr)
    _print_table(rounds)


def _print_table(rounds: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in rounds.items()
    }
    print(f"{'broker, store':<22}{'events/s':>10}{'x Flower':>10}{'peak MB':>9}{'bytes/task':>12}")
    for name, found in medians.items():
        rival = medians.get(f"{name.partition('-')[0]}-flower")
        ratio = f"{found['events/s'] / rival['events/s']:.1f}" if rival else ""
        size = f"{found['bytes/task']:,.0f}" if found["bytes/task"] else ""
        print(f"{name.replace('-', ', '):<22}{found['events/s']:>10,.0f}{ratio:>10}{found['peak MB']:>9.0f}{size:>12}")


def _until(holds: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited in vain until {what}")
        time.sleep(0.2)


def _answers(count: Callable[[], int]) -> bool:
    with contextlib.suppress(OSError):
        count()
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()

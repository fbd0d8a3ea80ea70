"""Real workers, and a recorder on Redis pub/sub that is killed again and again: is what it reports missing the truth?

Another subscriber, which nobody interrupts, hears every event. What it heard of starts and ends, and the ledger does
not have, is the truth; the gaps that the ledger found from the workers' heartbeats must say the same of each outage,
start by start and end by end.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
from celery import Celery
from sqlalchemy import select

from benchmarks.campaigns import stage
from taskledger.ledger import migrate, open_ledger, query, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.fold import event_of
from taskledger.ledger.types import pack_task_id
from taskledger.states import ENDS

POOLS = {"prefork": ("-P", "prefork", "-c", "3"), "threads": ("-P", "threads", "-c", "4"), "solo": ("-P", "solo")}
#: seconds between two outages: some heartbeats must come before and after each
BETWEEN_S = (7.0, 11.0)
#: seconds of an outage
AWAY_S = (1.0, 10.0)
#: seconds after the last outage that are compared too: some heartbeats, and a second look at what was found
AFTER_S = 8.0
#: seconds until that much is compared, at most: a recorder that was killed is waited for before
SETTLE_S = 60.0
START_S = 60.0

PROJECT = """
import os, random, time
from celery import Celery
app = Celery("busy", broker=os.environ["BUSY_BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)

@app.task(bind=True, max_retries=1)
def work(self, number):
    time.sleep(random.uniform(0.0, 0.25))
    if number % 11 == 0:
        raise ValueError("declined")
    if number % 13 == 0 and not self.request.retries:
        raise self.retry(countdown=0)
    return number
"""


class Heard(NamedTuple):
    """A start or an end of a task, as the subscriber heard it."""

    key: str
    is_start: bool
    at: float


class Ear(threading.Thread):
    """Hears every event on Redis, whoever else does."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.heard: list[Heard] = []
        self._listener = redis.Redis.from_url(url).pubsub()
        self._listener.psubscribe(f"/{url.rpartition('/')[2]}.celeryev/*")
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            message = self._listener.get_message(timeout=0.2)
            if message is not None and message["type"] == "pmessage":
                self._take(json.loads(message["data"]))

    def _take(self, envelope: dict[str, Any]) -> None:
        body = json.loads(b64decode(envelope["body"]))
        for event in body if isinstance(body, list) else [body]:
            if event["type"] == "task-started" or event["type"] in ENDS:
                key = f"{event['hostname']} {event['type']} {event['uuid']} {event['clock']}"
                self.heard.append(Heard(key, event["type"] == "task-started", event["timestamp"]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(5)
        self._listener.close()


class Outage(NamedTuple):
    """When nobody recorded, about; seconds since the epoch."""

    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found of each outage: (starts, ends) that were truly lost, and that the gaps say."""

    pool: str
    true: list[tuple[int, int]]
    reported: list[tuple[int, int]]
    #: events that gaps outside of all outages say were lost
    elsewhere: int
    heard: int

    @property
    def exact(self) -> int:
        return sum(true == reported for true, reported in zip(self.true, self.reported, strict=True))

    @property
    def is_well(self) -> bool:
        return self.exact == len(self.true) and not self.elsewhere

    def __str__(self) -> str:
        starts, ends = (sum(pair[n] for pair in self.true) for n in (0, 1))
        wrong = [pair for pair in zip(self.true, self.reported, strict=True) if pair[0] != pair[1]]
        return (
            f"{self.exact} of {len(self.true)} outages reported exactly; {self.heard:,} starts and ends heard,"
            f" {starts:,} starts and {ends:,} ends lost; said lost elsewhere {self.elsewhere}"
            + (f"; (true, reported) where they differ: {wrong[:5]}" if wrong else "")
        )


def run(pool: str, outages: int, seed: int, rate: float = 12.0, still_s: float = 0.0) -> Outcome:
    """So many outages under load; with none, `still_s` seconds of load and worker restarts instead."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, stage.broker("redis") as broker_url, Ear(broker_url) as ear:
        folder, database_url = Path(name), f"sqlite:///{name}/ledger.sqlite3"
        migrate.upgrade(database_url)
        with working(pool, folder, broker_url) as workers, feeding(broker_url, rate, seed):
            spans = _disturb(folder, broker_url, database_url, outages, chance)
            if not outages:
                _restart(workers, still_s, chance, folder, broker_url, database_url)
        return _judge(pool, spans, ear.heard, database_url)


def _disturb(folder: Path, broker_url: str, database_url: str, outages: int, chance: random.Random) -> list[Outage]:
    """Kill the recorder so often, each time while it listens."""
    spans: list[Outage] = []
    for number in range(outages + 1 if outages else 0):
        with recording(folder, broker_url, database_url, number + 1) as running:
            if spans:
                spans[-1] = spans[-1]._replace(to_s=time.time())
            is_last = number == outages
            if is_last:
                _wait_until_compared(database_url, time.time() + AFTER_S)
                running.terminate()
                running.wait(20)
                break
            time.sleep(chance.uniform(*BETWEEN_S))
            running.kill()
            running.wait(10)
            spans.append(Outage(time.time(), 0.0))
        time.sleep(chance.uniform(*AWAY_S))
    return spans


def _restart(
    workers: list[Any], still_s: float, chance: random.Random, folder: Path, broker_url: str, database_url: str
) -> None:
    """Load without an outage, and workers that stop, or are killed, and start again."""
    with recording(folder, broker_url, database_url, 1) as running:
        until_s, number = time.monotonic() + still_s, 0
        while time.monotonic() < until_s:
            time.sleep(chance.uniform(15, 30))
            worker = workers[number % len(workers)]
            worker.restart(at_once=chance.random() < 0.3)
            number += 1
        _wait_until_compared(database_url, time.time() + AFTER_S)
        running.terminate()
        running.wait(20)


def _wait_until_compared(database_url: str, to_s: float) -> None:
    def is_compared() -> bool:
        with open_ledger(database_url) as ledger:
            proof = query.completeness(ledger, Span(0, 2**62), time.time_ns() // 1000)
        return (proof.compared_at or 0) > to_s * 1e6

    stage.until(is_compared, "the comparison", SETTLE_S, every_s=0.5)


@contextmanager
def recording(folder: Path, broker_url: str, database_url: str, listeners: int) -> Iterator[subprocess.Popen[bytes]]:
    """A recorder that has begun to listen, with its periodic jobs; killed at the end."""
    command = [word for word in stage.command(folder, broker_url, database_url) if word != "--no-jobs"]
    with (folder / "record.log").open("ab") as lines, subprocess.Popen(command, stderr=lines) as running:
        try:
            stage.until(lambda: stage.coverages(database_url) >= listeners, "the recorder", START_S, every_s=0.05)
            yield running
        finally:
            running.kill()


class Worker:
    """A real worker of that pool, in a process group of its own."""

    def __init__(self, name: str, pool: str, folder: Path, environ: dict[str, str]) -> None:
        self._command = [
            sys.executable, "-m", "celery", "-A", "busy", "worker", "-E", "-l", "WARNING", "-n", name, *POOLS[pool]
        ]  # fmt: skip
        self._folder, self._environ = folder, environ
        self.start()

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, *, at_once: bool = False) -> None:
        if not at_once:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                at_once = True
        if at_once:
            os.killpg(self._process.pid, 9)
            self._process.wait(10)

    def restart(self, *, at_once: bool) -> None:
        self.stop(at_once=at_once)
        self.start()


@contextmanager
def working(pool: str, folder: Path, broker_url: str) -> Iterator[list[Worker]]:
    """Two workers of that pool that have said that they are there."""
    (folder / "busy.py").write_text(PROJECT)
    environ = os.environ | {"BUSY_BROKER": broker_url, "PYTHONPATH": str(folder)}
    with ExitStack() as stack:
        workers = [Worker(f"{pool}{number}@campaign", pool, folder, environ) for number in (1, 2)]
        for worker in workers:
            stack.callback(worker.stop, at_once=True)
        app = Celery("busy", broker=broker_url, set_as_current=False)
        stage.until(lambda: len(app.control.ping(timeout=1.0)) == len(workers), "the workers", START_S)
        app.close()
        yield workers


@contextmanager
def feeding(broker_url: str, rate: float, seed: int) -> Iterator[None]:
    """Sends so many tasks a second meanwhile, in bursts."""
    ended = threading.Event()

    def feed() -> None:
        chance, number = random.Random(seed), 0
        app = Celery("busy", broker=broker_url, set_as_current=False)
        while not ended.wait(chance.expovariate(rate / 4)):
            for _ in range(chance.randint(1, 7)):
                app.send_task("busy.work", (number,))
                number += 1
        app.close()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


def _judge(pool: str, spans: list[Outage], heard: list[Heard], database_url: str) -> Outcome:
    with open_ledger(database_url) as ledger:
        proof = query.completeness(ledger, Span(0, 2**62), time.time_ns() // 1000)
        gaps = [gap for gap in query.gaps(ledger, Span(0, 2**62)) if gap.kind == "lost"]
        stored = _stored(ledger)
    # What happened before anybody recorded is not promised.
    began_at = proof.coverage.began_at or 0
    known = [one for one in heard if began_at < one.at * 1e6 < (proof.compared_at or 0)]
    lost = [one for one in known if one.key not in stored]
    # An event belongs to the outage that began last before it, or within two heartbeats after.
    true = [[0, 0] for _ in spans]
    for one in lost:
        if spans:
            true[_index(spans, one.at)][0 if one.is_start else 1] += 1
    said = [[0, 0] for _ in spans]
    elsewhere = 0
    for gap in gaps:
        touched = [n for n, span in enumerate(spans) if gap.from_at < span.to_s * 1e6 and gap.to_at > span.from_s * 1e6]
        if not touched:
            elsewhere += gap.events
            continue
        said[touched[0]][0] += gap.starts
        said[touched[0]][1] += gap.ends
    pairs = [(starts, ends) for starts, ends in true], [(starts, ends) for starts, ends in said]
    return Outcome(pool, *pairs, elsewhere, len(known))


def _index(spans: list[Outage], at: float) -> int:
    """The outage that an event was lost in: the nearest."""
    return min(range(len(spans)), key=lambda n: max(spans[n].from_s - at, at - spans[n].to_s, 0.0))


def _stored(ledger: Any) -> set[str]:
    columns = select(
        schema.event.c.task_id, schema.event.c.id, schema.event.c.at, schema.event.c.codec, schema.event.c.body
    )
    found = set()
    with ledger.read() as connection:
        for row in connection.execute(columns.where(schema.event.c.task_id.is_not(None))):
            one = event_of(pack_task_id(row.task_id), bytes(row.id), row.at, row.codec, row.body)
            found.add(f"{one.hostname} {one.type} {one.task_id} {one.clock}")
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns losses", description=__doc__)
    parser.add_argument("--pool", choices=list(POOLS), action="append", help="may be given more than once; else all")
    parser.add_argument("--outages", type=int, default=17, help="for each pool")
    parser.add_argument("--still", type=float, default=0.0, metavar="SECONDS", help="no outage, but worker restarts")
    parser.add_argument("--rate", type=float, default=12.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcomes = []
    for pool in chosen.pool or POOLS:
        outages = 0 if chosen.still else chosen.outages
        outcomes.append(run(pool, outages, chosen.seed, chosen.rate, chosen.still))
        print(f"losses {pool}, seed {chosen.seed}: {outcomes[-1]}", flush=True)
    return int(not all(outcome.is_well for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

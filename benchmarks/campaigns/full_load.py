"""Several recorders on one queue at full load, and every few seconds one of them is killed: none is in another's way.

The events are those of whole tasks, in batches as prefork workers send them, so that two recorders always have events
of the same tasks in hand. They come as fast as they are sent, up to a bound on what waits.
"""

import argparse
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from celery import Celery
from sqlalchemy import func, select, text

from benchmarks import corpus
from benchmarks.campaigns import kills, stage
from taskledger.integrations import durable
from taskledger.ledger import migrate, open_ledger
from taskledger.ledger.schema import event, event_count, label, task
from taskledger.states import ENDS

TRANSPORTS = ("rabbitmq", "stream")
#: tasks of which the corpus is made at once, how many begin in a second of its own time, and where that begins
TASKS, TASKS_A_S, BEGIN_S = 1000, 200.0, 1_795_262_400.0
#: events that were sent and are not stored, beyond which senders wait: enough for several batches of each recorder,
#: and well below what the broker keeps
WINDOW = 50_000
#: what the log of a recorder may say for no other reason than that it, or one of its name, was killed
EXPLAINED = {"spool_cut"}
#: complaints that are told in full
TOLD = 5
LOUD = {"warning", "error", "critical"}


class Said(NamedTuple):
    """One event as the ledger can be asked for it: a task has one of each type."""

    task_id: str
    type: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen."""

    kills: int
    sent: int
    stored: int
    lost: int
    duplicate: int
    #: rows of counters that a recount does not agree with, and tasks that are not in the state that their story ends in
    miscounted: int
    #: messages that the broker still keeps for somebody
    left: int
    #: how often PostgreSQL ended a transaction because two waited for one another; tried again, no harm is done
    deadlocks: int
    events_a_s: float
    #: events that were sent and not stored, in the middle of all looks: whether it was full load
    waiting: int
    #: lines of the recorders' logs from "warning" on, and whatever else they wrote, that no kill explains
    complaints: list[str]

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.duplicate or self.miscounted or self.left or self.complaints)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.events_a_s:,.0f} events/s with {self.waiting:,} waiting; sent {self.sent:,}, stored {self.stored:,},"
            f" lost {self.lost:,}, duplicate {self.duplicate:,}, miscounted {self.miscounted:,},"
            f" left at the broker {self.left:,}; deadlocks {self.deadlocks:,}, complaints {len(self.complaints):,}"
        )


class FullLoad:
    """Processes that send as fast as they can, but never more than WINDOW ahead of what is stored."""

    def __init__(self, broker_url: str, database_url: str, seed: int, senders: int) -> None:
        # Not forked: the campaign has threads.
        context = multiprocessing.get_context("spawn")
        self._seed, self._database_url = seed, database_url
        self._ended, self._stored = context.Event(), context.Value("q", 0)
        self._sent = [context.Value("q", 0) for _ in range(senders)]
        self._processes = [
            context.Process(
                target=_send, args=(broker_url, (seed, each), sent, self._stored, WINDOW // senders, self._ended), daemon=True
            )
            for each, sent in enumerate(self._sent)
        ]  # fmt: skip
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._waiting: list[int] = []

    @property
    def number(self) -> int:
        """How many were sent so far."""
        return sum(int(sent.value) for sent in self._sent)

    @property
    def waiting(self) -> int:
        """How many were sent and not stored, most of the time."""
        return round(statistics.median(self._waiting or [0]))

    def said(self) -> Iterator[Said]:
        """What was sent, made once more from the seed."""
        for each, sent in enumerate(self._sent):
            items = (item for _, items in _messages((self._seed, each)) for item in items)
            for item in itertools.islice(items, int(sent.value)):
                yield Said(item["uuid"], item["type"])

    def _look(self) -> None:
        while not self._ended.wait(0.3):
            stored = _counted(self._database_url)
            self._stored.value = stored // len(self._sent)
            self._waiting.append(self.number - stored)

    def __enter__(self) -> Self:
        for each in (*self._processes, self._looking):
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for each in (*self._processes, self._looking):
            each.join(60)


def _messages(seed: tuple[int, int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Without end: (routing key, events of one message)."""
    for chunk in itertools.count():
        chance = random.Random(f"{seed} {chunk}").randrange(2**32)
        begin_s = BEGIN_S + chunk * TASKS / TASKS_A_S
        yield from corpus.messages(corpus.events(TASKS, chance, begin_s=begin_s, rate=TASKS_A_S), chance)


def _send(url: str, seed: tuple[int, int], sent: Any, stored: Any, window: int, ended: Any) -> None:
    app = Celery("campaign", broker=url, set_as_current=False)
    if url.startswith("redis"):
        durable.install(app)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        for key, items in _messages(seed):
            while sent.value - stored.value > window and not ended.is_set():
                time.sleep(0.02)
            if ended.is_set():
                break
            _publish(dispatcher, key, items)
            sent.value += len(items)
    app.close()


def _publish(dispatcher: Any, key: str, items: list[dict[str, Any]]) -> None:
    """As a dispatcher does with what it has gathered (celery/events/dispatcher.py)."""
    while True:
        dispatcher._publish(items if key == "task.multi" else items[0], dispatcher.producer, key)  # noqa: SLF001 - as it says
        # A machine that is this busy may make an append too slow; only what is in the stream is promised.
        if not hasattr(dispatcher, "appender") or durable.HEADER in dispatcher.headers:
            return
        time.sleep(0.1)


def run(transport: str, kill_number: int, every_s: float, seed: int, recorders: int = 2, senders: int = 1) -> Outcome:
    """So many kills of recorders that write into one PostgreSQL, one about every so many seconds."""
    kind, _, flags = kills.TRANSPORTS[transport]
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.broker(kind) as broker_url,
        stage.services.database("postgresql") as database_url,
    ):
        migrate.upgrade(database_url)
        lives = kills.Lives(Path(folder), broker_url, database_url, (*flags, "--log-format", "json"), recorders)
        stage.until(lambda: stage.coverages(database_url) == recorders, "the first recorders", kills.START_S)
        with FullLoad(broker_url, database_url, seed, senders) as load:
            begun_s, begun = time.monotonic(), _counted(database_url)
            for _ in range(kill_number):
                time.sleep(chance.uniform(0.5, 1.5) * every_s)
                # Only then the next, so that most of the time all of them are at work.
                lives.kill_and_start(chance.choice(lives.names), database_url)
            time.sleep(every_s)
            events_a_s = (_counted(database_url) - begun) / (time.monotonic() - begun_s)
        stage.wait_for_rows(database_url, load.number, kills.PATIENCE_S)
        lives.end()
        left = kills.unacknowledged(kind, broker_url)
        return _judge(kill_number, load, database_url, left, events_a_s, _complaints(Path(folder)))


def _judge(
    kill_number: int, load: FullLoad, database_url: str, left: int, events_a_s: float, complaints: list[str]
) -> Outcome:
    said, stored = set(load.said()), _stored(database_url)
    miscounted = kills.miscounted(database_url) + _half_told(database_url, said)
    return Outcome(
        kill_number, load.number, len(stored), len(said - set(stored)), len(stored) - len(set(stored)),
        miscounted, left, _deadlocks(database_url), events_a_s, load.waiting, complaints,
    )  # fmt: skip


def _stored(url: str) -> list[Said]:
    rows = select(event.c.task_id, label.c.value).join(label, label.c.id == event.c.type_id)
    with open_ledger(url) as ledger, ledger.read() as connection:
        return [Said(*row) for row in connection.execute(rows)]


def _half_told(url: str, said: set[Said]) -> int:
    """Tasks of which all was sent, and that do not look like it."""
    numbers = Counter(each.task_id for each in said)
    ends = {each.task_id: int(ENDS[each.type]) for each in said if each.type in ENDS}
    with open_ledger(url) as ledger, ledger.read() as connection:
        found = {row[0]: tuple(row[1:]) for row in connection.execute(select(task.c.id, task.c.state, task.c.events))}
    return sum(found.get(task_id) != (end, numbers[task_id]) for task_id, end in ends.items() if numbers[task_id] == 4)


def _counted(url: str) -> int:
    """Events that are stored, by the counters: they are faster than counting."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        return int(connection.scalar(select(func.sum(event_count.c.number))) or 0)


def _deadlocks(url: str) -> int:
    asked = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with open_ledger(url) as ledger, ledger.read() as connection:
        return int(connection.scalar(asked) or 0)


def _complaints(folder: Path) -> list[str]:
    found = []
    for log in sorted(folder.rglob("record.log")):
        for line in log.read_text(errors="replace").splitlines():
            told: dict[str, Any] = {"level": "error"}  # what is no record is what Python says of its own accord
            with suppress(ValueError):
                told = json.loads(line)
            if told["level"] in LOUD and told.get("action") not in EXPLAINED:
                found.append(f"{log.parent.name}: {line}")
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns full-load", description=__doc__)
    parser.add_argument("--transport", choices=TRANSPORTS, default="rabbitmq")
    parser.add_argument("--recorders", type=int, default=2)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--every", type=float, default=3, metavar="SECONDS", help="between two kills, about")
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcome = run(chosen.transport, chosen.kills, chosen.every, chosen.seed, chosen.recorders, chosen.senders)
    for complaint in outcome.complaints[:TOLD]:
        print(complaint[:2000], file=sys.stderr)
    print(f"full-load {chosen.transport}, {chosen.recorders} recorders, seed {chosen.seed}: {outcome}")
    return int(not outcome.is_well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

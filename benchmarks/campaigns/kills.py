"""Recorders are killed with SIGKILL at random moments, again and again, under load: nothing lost, nothing twice."""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from sqlalchemy import func, select

from benchmarks.campaigns import stage
from taskledger.integrations import durable
from taskledger.ledger import migrate, open_ledger
from taskledger.ledger.schema import event, event_count, task

#: transport -> the kind of broker, how many recorders without a word said, and flags of the recorder
TRANSPORTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "rabbitmq": ("rabbitmq", 1, ()),
    "stream": ("redis", 1, ("--durable-stream", "on")),
    "pubsub2": ("redis", 2, ("--durable-stream", "off")),
}
#: seconds that a recorder lives
SHORTEST_S, LONGEST_S = 0.2, 2.0
#: seconds to come up on a busy machine; without a new event, after which what is missing counts as lost
START_S, PATIENCE_S = 60.0, 45.0
#: seconds; about what one kill takes, start of the next recorder included
ROUND_S = 2.0
HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen. `miscounted`: rows of counters that a recount does not agree with."""

    kills: int
    sent: int
    stored: int
    lost: int
    duplicate: int
    miscounted: int
    #: messages that the broker still keeps for somebody
    left: int
    #: errors that recorders told of that no kill explains
    complaints: int

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.duplicate or self.miscounted or self.left or self.complaints)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, sent {self.sent:,}, stored {self.stored:,}, lost {self.lost:,},"
            f" duplicate {self.duplicate:,}, miscounted {self.miscounted:,}, left at the broker {self.left:,},"
            f" complaints {self.complaints:,}"
        )


class Sender(stage.Sender):
    """Sends so many events, and no more; into the stream as well."""

    def __init__(self, url: str, rate: int, seed: int, number: int) -> None:
        super().__init__(url, rate, seed)
        self._number = number

    def run(self) -> None:
        app = Celery("campaign", broker=self._url, set_as_current=False)
        durable.install(app)
        with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
            begun_s = time.monotonic()
            for number in range(self._number):
                self._send(dispatcher, f"task-{number}")
                ahead_s = begun_s + number / self._rate - time.monotonic()
                if ahead_s > 0 and self._ended.wait(ahead_s):
                    break
        app.close()


class Lives:
    """Recorders by name; each is a process that is started again when it was killed."""

    def __init__(self, folder: Path, broker_url: str, database_url: str, flags: tuple[str, ...], number: int) -> None:
        self._folder, self._urls, self._flags = folder, (broker_url, database_url), flags
        self._running: dict[str, tuple[Any, ExitStack]] = {}
        for each in range(number):
            self.start(f"recorder-{each}")

    @property
    def names(self) -> list[str]:
        return sorted(self._running)

    def start(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        stack = ExitStack()
        process = stack.enter_context(stage.recorder(folder, *self._urls, "--recorder-name", name, *self._flags))
        self._running[name] = process, stack

    def kill(self, name: str) -> None:
        _, stack = self._running.pop(name)
        stack.close()

    def kill_and_start(self, name: str, database_url: str) -> None:
        """Kill one and wait until it listens again; TimeoutError with the end of its log when it does not."""
        known = stage.coverages(database_url)
        self.kill(name)
        self.start(name)
        try:
            stage.until(lambda: stage.coverages(database_url) > known, f"{name} listens again", START_S)
        except TimeoutError as error:
            process, _ = self._running[name]
            log = (self._folder / name / "record.log").read_text(errors="replace")
            error.add_note(f"its exit code is {process.poll()}; it said: {log[-4000:]}")
            raise

    def end(self) -> None:
        """As an operator would."""
        for process, _ in self._running.values():
            process.terminate()
        for process, stack in self._running.values():
            process.wait(20)
            stack.close()

    def complaints(self) -> int:
        """Lines of their logs that tell of an error of ours, or of a database's that was not mended in silence."""
        found = re.compile(r"Traceback|deadlock|writing failed|reading .* failed", re.IGNORECASE)
        return sum(len(found.findall(log.read_text(errors="replace"))) for log in self._folder.rglob("record.log"))


def run(transport: str, kills: int, events: int, seed: int, recorders: int = 0) -> Outcome:
    """So many kills of recorders that write into one PostgreSQL, while so many events are sent."""
    kind, usual, flags = TRANSPORTS[transport]
    recorders = recorders or usual
    chance = random.Random(seed)
    rate = max(20, round(events / (kills * ROUND_S)))
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.broker(kind) as broker_url,
        stage.services.database("postgresql") as database_url,
    ):
        migrate.upgrade(database_url)
        lives = Lives(Path(folder), broker_url, database_url, flags, recorders)
        stage.until(lambda: stage.coverages(database_url) == recorders, "the first recorders", START_S)
        with Sender(broker_url, rate, seed, events) as sender:
            for number in range(kills):
                _kill_one(lives, number, chance, database_url, sender, is_alternating=transport == "pubsub2")
            sender.join()
        stage.wait_for_rows(database_url, len(sender.sent), PATIENCE_S)
        lives.end()
        left = unacknowledged(kind, broker_url)
        return _judge(kills, sender.sent, database_url, left, lives.complaints())


def _kill_one(
    lives: Lives, number: int, chance: random.Random, database_url: str, sender: Sender, *, is_alternating: bool
) -> None:
    if is_alternating:
        # Two that are redundant lose nothing as long as the one that stays has heard all that the other has not written.
        name = lives.names[number % len(lives.names)]
        due = len(sender.sent)
        stage.until(lambda: stage.rows(database_url) >= due, "all that was sent before", START_S)
        time.sleep(chance.uniform(0, LONGEST_S))
    else:
        name = chance.choice(lives.names)
        time.sleep(chance.uniform(SHORTEST_S, LONGEST_S))
    known = stage.coverages(database_url)
    lives.kill(name)
    lives.start(name)
    # Every other one is killed while it starts.
    if is_alternating or number % 2:
        stage.until(lambda: stage.coverages(database_url) > known, f"{name} listens again", START_S)


def _judge(kills: int, sent: list[str], database_url: str, left: int, complaints: int) -> Outcome:
    stored = stage.task_ids(database_url)
    return Outcome(
        kills, len(sent), len(stored), len(set(sent) - set(stored)), len(stored) - len(set(stored)),
        miscounted(database_url), left, complaints,
    )  # fmt: skip


def miscounted(url: str) -> int:
    """Hours in which the counter is not the number of rows, and tasks that do not know all of their events."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        hours = Counter(
            int.from_bytes(each[:6], "big") * 1000 // HOUR for each in connection.scalars(select(event.c.id))
        )
        counted = select(event_count.c.hour_at, func.sum(event_count.c.number)).group_by(event_count.c.hour_at)
        told = {row[0] // HOUR: int(row[1]) for row in connection.execute(counted)}
        events_of_tasks = int(connection.scalar(select(func.sum(task.c.events))) or 0)
    wrong = sum(hours[hour] != told.get(hour, 0) for hour in hours.keys() | told.keys())
    return wrong + int(events_of_tasks != hours.total())


def unacknowledged(kind: str, url: str) -> int:
    """Messages that nobody acknowledged."""
    if kind == "rabbitmq":
        with Celery("campaign", broker=url, set_as_current=False).connection_for_read() as connection:
            return int(connection.channel().queue_declare("taskledger", passive=True).message_count)
    with redis.Redis.from_url(url) as client:
        groups = client.xinfo_groups(durable.stream_name("celeryev"))
        return sum(int(each["pending"]) for each in groups)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns kills", description=__doc__)
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="rabbitmq")
    parser.add_argument("--recorders", type=int, default=0, help="0: as many as the transport needs")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcome = run(chosen.transport, chosen.kills, chosen.events, chosen.seed, chosen.recorders)
    print(f"kills {chosen.transport}, recorders {chosen.recorders or 'as usual'}, seed {chosen.seed}: {outcome}")
    return int(not outcome.is_well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

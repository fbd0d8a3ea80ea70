"""Redis is restarted, hangs up on its subscribers, or falls silent: soon recorded again, with a gap that says why.

What is published meanwhile is lost, as Redis keeps nothing: but never within the time that the coverage vouches for.
"""

import argparse
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
from celery import Celery
from sqlalchemy import func, select

from benchmarks.campaigns import stage
from taskledger.ledger import migrate, open_ledger
from taskledger.ledger.schema import coverage, event

#: kind -> seconds until it must be recorded again, and what the cause of the gap says
KINDS: dict[str, tuple[float, str]] = {
    "restart": (5.0, r"broker lost: .*(closed|reset)"),
    "kill": (5.0, r"broker lost: .*(closed|reset)"),
    "silence": (30.0, r"broker lost: Redis did not answer a ping"),
}
#: seconds of recording between two interruptions, at least and at most
SHORTEST_S, LONGEST_S = 1.0, 6.0
#: seconds between two events
EVERY_S = 0.05
#: seconds to come up on a busy machine, and after which a recorder counts as one that never comes back
START_S, PATIENCE_S = 60.0, 120.0


class Told(NamedTuple):
    """An event, and between which moments it was published; microseconds since the epoch."""

    task_id: str
    before_at: int
    after_at: int


class Beats(threading.Thread):
    """Publishes event after event, whenever Redis is there: `told` are those that it took."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.told: list[Told] = []
        self._app = Celery("campaign", broker=url, set_as_current=False)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            with suppress(Exception):  # Redis is away; what it does not take is not counted.
                self._send()
        self._app.close()

    def _send(self) -> None:
        with self._app.connection_for_write() as connection, self._app.events.Dispatcher(connection) as dispatcher:
            while not self._ended.wait(EVERY_S):
                task_id, before_at = f"task-{len(self.told)}", _now_at()
                dispatcher.send("task-received", uuid=task_id, name="shop.tasks.pack", retries=0)
                self.told.append(Told(task_id, before_at, _now_at()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(30)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; `waits_s` are the seconds until an event was committed that was sent after each return."""

    kind: str
    waits_s: list[float]
    #: gaps that have the right cause
    gaps: int
    sent: int
    lost: int
    #: events that are lost though the coverage says that somebody listened
    covered: int

    @property
    def is_well(self) -> bool:
        is_soon = max(self.waits_s) <= KINDS[self.kind][0]
        return is_soon and self.gaps == len(self.waits_s) and not self.covered

    def __str__(self) -> str:
        return (
            f"{len(self.waits_s)} rounds; recording again after at most {max(self.waits_s):.1f} s,"
            f" median {statistics.median(self.waits_s):.1f} s (promised: {KINDS[self.kind][0]:.0f} s);"
            f" gaps with the cause {self.gaps}; sent {self.sent:,}, lost {self.lost:,}, in no gap {self.covered:,}"
        )


class Scene(NamedTuple):
    """What an interruption needs."""

    server: stage.RedisServer
    proxy: stage.Proxy
    chance: random.Random
    away_s: float


def run(kind: str, rounds: int, seed: int, away_s: float = 20.0) -> Outcome:
    """So many interruptions of one recorder; after a stop Redis is away for at most that long."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, stage.RedisServer(Path(name)) as server:
        folder, database_url = Path(name), f"sqlite:///{name}/ledger.sqlite3"
        migrate.upgrade(database_url)
        with stage.Proxy(server.url, 6379) as proxy:
            scene = Scene(server, proxy, chance, away_s)
            broker_url = proxy.url if kind == "silence" else server.url
            with stage.recorder(folder, broker_url, database_url, "--durable-stream", "off") as running:
                stage.until(lambda: stage.coverages(database_url), "the recorder", START_S)
                with Beats(server.url) as beats:
                    waits_s = [_round(kind, scene, database_url) for _ in range(rounds)]
                time.sleep(1)
                running.terminate()
                running.wait(15)
        return _judge(kind, waits_s, beats.told, database_url)


def _round(kind: str, scene: Scene, database_url: str) -> float:
    time.sleep(scene.chance.uniform(SHORTEST_S, LONGEST_S))
    _interrupt(kind, scene)
    back_at, back_s = _now_at(), time.monotonic()
    stage.until(lambda: _newest_at(database_url) > back_at, "recording to go on", PATIENCE_S, every_s=0.05)
    return time.monotonic() - back_s


def _interrupt(kind: str, scene: Scene) -> None:
    """It is over when this returns; only of a silence nobody knows but who waits for something."""
    if kind == "silence":
        scene.proxy.mute()
    elif kind == "kill":
        with redis.Redis.from_url(scene.server.url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    else:
        scene.server.stop(at_once=scene.chance.random() < 0.5)
        time.sleep(scene.chance.uniform(0, scene.away_s))
        scene.server.start()


def _judge(kind: str, waits_s: list[float], told: list[Told], database_url: str) -> Outcome:
    stored, stretches = set(stage.task_ids(database_url)), _stretches(database_url)
    lost = [each for each in told if each.task_id not in stored]
    covered = sum(
        any(row.from_at <= each.before_at and each.after_at <= row.until_at for row in stretches) for each in lost
    )
    gaps = sum(bool(re.match(KINDS[kind][1], row.cause or "")) for row in stretches)
    return Outcome(kind, waits_s, gaps, len(told), len(lost), covered)


def _newest_at(url: str) -> int:
    with open_ledger(url) as ledger, ledger.read() as connection:
        return connection.scalar(select(func.max(event.c.at))) or 0


def _stretches(url: str) -> list[Any]:
    with open_ledger(url) as ledger, ledger.read() as connection:
        return list(connection.execute(select(coverage)))


def _now_at() -> int:
    return time.time_ns() // 1000


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns interruptions", description=__doc__)
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="may be given more than once; else all")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--away", type=float, default=60, metavar="SECONDS", help="longest that Redis is away")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcomes = []
    for kind in chosen.kind or KINDS:
        outcomes.append(run(kind, chosen.rounds, chosen.seed, chosen.away))
        print(f"interruptions {kind}, seed {chosen.seed}: {outcomes[-1]}", flush=True)
    return int(not all(outcome.is_well for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""kill -9 at random moments while the recorder spools what RabbitMQ delivers: each event is stored once in the end.

Several recorders run beside each other, each with a queue, a spool and an SQLite file of its own; the file is locked, the
recorder begins to spool, is killed, the file is unlocked, and the next recorder goes on.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.campaigns import stage
from taskledger.config import Settings
from taskledger.ledger import migrate, open_ledger
from taskledger.recorder import brokers

#: recorders at the same time
LANES = 5
#: seconds of spooling after which a recorder is killed at the latest
SPOOLS_S = 1.5
#: seconds without a new event after which what is missing counts as lost
QUIET_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen, over all recorders."""

    sent: int
    kills: int
    lost: int
    duplicate: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills; sent {self.sent:,} to each of {LANES} queues,"
            f" lost {self.lost:,}, duplicate {self.duplicate:,}"
        )


class Lane(threading.Thread):
    """One queue and what happens to its recorders."""

    def __init__(self, folder: Path, broker_url: str, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        folder.mkdir()
        self.database_url = f"sqlite:///{folder / 'ledger.sqlite3'}"
        self.queue = stage.services.unique("taskledger-campaign")
        self.kills = kills
        self.error: Exception | None = None
        self._folder, self._broker_url, self._chance = folder, broker_url, random.Random(seed)

    def run(self) -> None:
        try:
            for _ in range(self.kills):
                self._record_and_kill()
        except Exception as error:  # noqa: BLE001 - The campaign raises it again in its own thread.
            self.error = error

    def declare(self) -> None:
        """Make its queue, so that it gets all that is sent."""
        source = brokers.source(Settings(broker_url=self._broker_url, queue_name=self.queue), self._broker_url)
        source.open()
        source.close()

    def finish(self, number: int) -> list[str]:
        """One more recorder, that is left in peace; the ids of all that is stored then."""
        with self.record() as running:
            stage.wait_for_rows(self.database_url, number, QUIET_S)
            running.terminate()
            running.wait(15)
        return stage.task_ids(self.database_url)

    def record(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return stage.recorder(self._folder, self._broker_url, self.database_url, "--queue-name", self.queue)

    def _record_and_kill(self) -> None:
        before = stage.coverages(self.database_url)
        with self.record() as running:
            stage.until(lambda: stage.coverages(self.database_url) > before, "the recorder", 60)
            with open_ledger(self.database_url) as other, other.write():
                stage.until(lambda: self._spooled_bytes() > 0, "the spool", 60)
                time.sleep(self._chance.uniform(0, SPOOLS_S))
                running.kill()
                running.wait()

    def _spooled_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.rglob("*.spool"))


def run(kills: int, rate: int, seed: int) -> Outcome:
    """So many kills in all, while so many events a second go to each of the queues."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker_url = stack.enter_context(stage.broker("rabbitmq"))
        lanes = _lanes(folder, broker_url, kills, seed)
        for lane in lanes:
            stack.callback(stage.services.delete_queue, broker_url, lane.queue)
            lane.declare()
        with stage.Load(broker_url, rate, seed) as sender:
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join()
        for error in filter(None, (lane.error for lane in lanes)):
            raise error
        with ThreadPoolExecutor() as threads:
            stored = list(threads.map(lambda lane: lane.finish(sender.number), lanes))
    lost = sum(len(sender.ids - set(found)) for found in stored)
    duplicate = sum(len(found) - len(set(found)) for found in stored)
    return Outcome(sender.number, kills, lost, duplicate)


def _lanes(folder: Path, broker_url: str, kills: int, seed: int) -> list[Lane]:
    template = folder / "template.sqlite3"
    migrate.upgrade(f"sqlite:///{template}")
    shares = [kills // LANES + (number < kills % LANES) for number in range(LANES)]
    lanes = [Lane(folder / str(number), broker_url, share, seed + number) for number, share in enumerate(shares)]
    for lane in lanes:
        shutil.copyfile(template, lane.database_url.removeprefix("sqlite:///"))
    return lanes


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns spool-kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcome = run(chosen.kills, chosen.rate, chosen.seed)
    print(f"spool-kills, seed {chosen.seed}: {outcome}")
    return int(bool(outcome.lost or outcome.duplicate))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

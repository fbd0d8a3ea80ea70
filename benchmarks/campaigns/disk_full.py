"""The disk is full under the SQLite file, under the spool, or under both: nothing broken, and what is lost is counted.

The disk is a small file system in memory, so this needs root. Under the spool, PostgreSQL is away meanwhile.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text

from benchmarks.campaigns import stage
from taskledger.ledger import migrate, open_ledger

UNDER = ("ledger", "spool", "both")
#: transport -> the kind of broker, and flags of the recorder
TRANSPORTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rabbitmq": ("rabbitmq", ()),
    "redis": ("redis", ("--durable-stream", "off")),
}
#: what is promised: seconds after space is back until recording goes on
RESUMED_S = 10.0
#: characters of an event's arguments: memory is full sooner than with the usual ones
SIZE = 2000
#: megabytes of the disk under the spool; what an event takes of it under the ledger, in times of its size, and to spare
SPOOL_MB, EVENT_FACTOR, SPARE_MB = 8, 6, 32
#: seconds of recording before, of using the space that is back while PostgreSQL is still away, and of recording after
BEFORE_S, BETWEEN_S, AFTER_S = 3.0, 3.0, 3.0
#: seconds to come up on a busy machine; without anything new, after which what is missing counts as lost
START_S, PATIENCE_S = 60.0, 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen."""

    sent: int
    stored: int
    lost: int
    duplicate: int
    #: as the coverage counts it
    dropped: int
    #: what SQLite says of its file; of PostgreSQL's nothing is asked
    integrity: str
    #: whether nothing could be written, in the end, while the disk was full
    was_stuck: bool
    #: seconds after space is back: until something new is in the ledger, or in the spool
    resumed_s: float
    #: whether the broker keeps what is not acknowledged
    is_durable: bool

    @property
    def is_well(self) -> bool:
        is_counted = self.lost == self.dropped and not (self.is_durable and self.lost)
        return (
            is_counted
            and not self.duplicate
            and self.integrity == "ok"
            and self.was_stuck
            and self.resumed_s <= RESUMED_S
        )

    def __str__(self) -> str:
        return (
            f"sent {self.sent:,}, stored {self.stored:,}, lost {self.lost:,}, counted as dropped {self.dropped:,},"
            f" duplicate {self.duplicate:,}; integrity {self.integrity}; {'' if self.was_stuck else 'never '}stuck;"
            f" went on {self.resumed_s:.1f} s after space was back (promised: {RESUMED_S:.0f} s)"
        )


class Scene(NamedTuple):
    """Where everything is. `recorded_url` is what the recorder is told."""

    disk: Path
    spool: Path
    database_url: str
    recorded_url: str
    proxy: stage.Proxy | None


def run(under: str, transport: str, seconds: float, rate: int, seed: int) -> Outcome:
    """The disk is full for that long, while so many events come a second."""
    kind, flags = TRANSPORTS[transport]
    with tempfile.TemporaryDirectory() as name, stage.broker(kind) as broker_url:
        room = SPOOL_MB if under == "spool" else _ledger_mb(seconds, rate)
        with _scene(under, Path(name), room) as scene:
            migrate.upgrade(scene.database_url)
            more = ("--spool-folder", str(scene.spool), *flags)
            with stage.recorder(Path(name), broker_url, scene.recorded_url, *more) as running:
                stage.until(lambda: stage.coverages(scene.database_url), "the recorder", START_S)
                with stage.Load(broker_url, rate, seed, SIZE) as sender:
                    time.sleep(BEFORE_S)
                    was_stuck, resumed_s = _fill_and_free(scene, seconds)
                    time.sleep(AFTER_S)
                _settle(scene.database_url, sender.number)
                running.terminate()
                running.wait(30)
            stored, dropped, integrity = _stored(scene)
    lost, duplicate = len(sender.ids - set(stored)), len(stored) - len(set(stored))
    return Outcome(
        sender.number, len(stored), lost, duplicate, dropped, integrity, was_stuck, resumed_s, kind == "rabbitmq"
    )  # fmt: skip


def _ledger_mb(seconds: float, rate: int) -> int:
    """Room for all that will be recorded."""
    events = rate * (BEFORE_S + seconds + AFTER_S + RESUMED_S)
    return SPARE_MB + round(EVENT_FACTOR * SIZE * events / 1e6)


@contextmanager
def _scene(under: str, folder: Path, megabytes: int) -> Iterator[Scene]:
    with ExitStack() as stack:
        disk = stack.enter_context(stage.services.small_disk(folder / "disk", megabytes))
        spool = folder / "spool" if under == "ledger" else disk / "spool"
        if under == "spool":
            database_url = stack.enter_context(stage.services.database("postgresql"))
            proxy = stack.enter_context(stage.Proxy(database_url, 5432))
            yield Scene(disk, spool, database_url, proxy.url, proxy)
        else:
            database_url = f"sqlite:///{disk / 'ledger.sqlite3'}"
            yield Scene(disk, spool, database_url, database_url, None)


def _fill_and_free(scene: Scene, seconds: float) -> tuple[bool, float]:
    """Whether nothing could be written in the end, and how long after space was back something could."""
    written = (lambda: _bytes(scene.spool)) if scene.proxy else (lambda: stage.rows(scene.database_url))
    if scene.proxy:
        stage.services.fill(scene.disk)
        scene.proxy.refuse(refusing=True)
    was_stuck = _keep_full(scene.disk, written, seconds)
    resumed_s = _free(scene.disk, written)
    if scene.proxy:
        time.sleep(BETWEEN_S)
        scene.proxy.refuse(refusing=False)
        resumed_s = max(resumed_s, _seconds_until_more(lambda: stage.rows(scene.database_url)))
    return was_stuck, resumed_s


def _keep_full(disk: Path, written: Callable[[], int], seconds: float) -> bool:
    """Full for that long, whatever is given back meanwhile; whether nothing moved in the last third of the time."""
    begun_s, middle = time.monotonic(), -1
    while (passed_s := time.monotonic() - begun_s) < seconds:
        stage.services.fill(disk)
        if passed_s > seconds * 2 / 3 and middle < 0:
            middle = written()
        time.sleep(0.2)
    return written() == middle


def _free(disk: Path, written: Callable[[], int]) -> float:
    (disk / "ballast").unlink()
    return _seconds_until_more(written)


def _seconds_until_more(written: Callable[[], int]) -> float:
    from_s, known = time.monotonic(), written()
    stage.until(lambda: written() > known, "recording to go on", START_S, every_s=0.1)
    return time.monotonic() - from_s


def _bytes(spool: Path) -> int:
    return sum(path.stat().st_size for path in spool.rglob("*.spool"))


def _settle(url: str, sent: int) -> None:
    """Until all is stored or counted, or nothing moves."""
    known, since_s = -1, time.monotonic()
    while known < sent and time.monotonic() - since_s < PATIENCE_S:
        now = stage.rows(url) + stage.dropped(url)
        if now != known:
            known, since_s = now, time.monotonic()
        time.sleep(1)


def _stored(scene: Scene) -> tuple[list[str], int, str]:
    """Ids of what is stored, how many count as dropped, and what SQLite says of the file."""
    integrity = "ok"
    if scene.proxy is None:
        with open_ledger(scene.database_url) as ledger, ledger.read() as connection:
            integrity = str(connection.scalar(text("PRAGMA integrity_check")))
    return stage.task_ids(scene.database_url), stage.dropped(scene.database_url), integrity


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns disk-full", description=__doc__)
    parser.add_argument("--under", choices=UNDER, action="append", help="may be given more than once; else all")
    parser.add_argument("--transport", choices=list(TRANSPORTS), action="append", help="as --under")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcomes = []
    for under in chosen.under or UNDER:
        for transport in chosen.transport or TRANSPORTS:
            outcomes.append(run(under, transport, chosen.seconds, chosen.rate, chosen.seed))
            said = f"under {under}, {transport} {chosen.seconds:.0f} s at {chosen.rate}/s, seed {chosen.seed}"
            print(f"disk-full {said}: {outcomes[-1]}", flush=True)
    return int(not all(outcome.is_well for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

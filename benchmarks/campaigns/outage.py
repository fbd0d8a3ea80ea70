"""PostgreSQL goes away for a while under load: nothing is lost, memory stays bounded, the backlog goes."""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.campaigns import stage
from taskledger.ledger import migrate

#: transport -> the kind of broker, and flags of the recorder
TRANSPORTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rabbitmq": ("rabbitmq", ()),
    "redis": ("redis", ("--durable-stream", "off")),
    "stream": ("redis", ("--durable-stream", "on")),
}
#: what is promised: megabytes that memory may grow by, and seconds until the backlog is gone
MEMORY_MB, DRAINED_S = 100.0, 120.0
#: seconds that a recorder is behind who is not behind: events wait for others
USUAL_S = 1.0
#: seconds of recording before the database goes away
BEFORE_S = 3.0
#: seconds without a new event after which what is missing counts as lost
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; memory in megabytes."""

    sent: int
    stored: int
    lost: int
    duplicate: int
    memory_before: float
    memory_peak: float
    spool_peak: float
    drained_s: float

    @property
    def is_well(self) -> bool:
        is_bounded = self.memory_peak - self.memory_before <= MEMORY_MB and self.drained_s <= DRAINED_S
        return is_bounded and not (self.lost or self.duplicate)

    def __str__(self) -> str:
        return (
            f"sent {self.sent:,}, stored {self.stored:,}, lost {self.lost:,}, duplicate {self.duplicate:,};"
            f" memory {self.memory_before:.0f} MB, at most +{self.memory_peak - self.memory_before:.0f} MB;"
            f" spool at most {self.spool_peak:.0f} MB; drained in {self.drained_s:.1f} s"
        )


def run(seconds: float, rate: int, transport: str, seed: int) -> Outcome:
    """An outage of that length, at that many events a second, which go on until the backlog is gone."""
    kind, flags = TRANSPORTS[transport]
    with (
        tempfile.TemporaryDirectory() as folder,
        stage.broker(kind) as broker_url,
        stage.services.database("postgresql") as database_url,
        stage.Proxy(database_url, 5432) as proxy,
    ):
        migrate.upgrade(database_url)
        with stage.recorder(Path(folder), broker_url, proxy.url, *flags) as running:
            stage.until(lambda: stage.coverages(database_url), "the recorder", 60)
            with stage.Load(broker_url, rate, seed) as sender:
                time.sleep(BEFORE_S)
                memory = stage.Memory(running.pid)
                proxy.refuse(refusing=True)
                time.sleep(seconds)
                spool_peak = sum(path.stat().st_size for path in Path(folder).rglob("*.spool")) / 1e6
                proxy.refuse(refusing=False)
                drained_s = _drained_s(database_url, sender, round(rate * USUAL_S))
            stage.wait_for_rows(database_url, sender.number, PATIENCE_S)
            running.terminate()
            running.wait(15)
        stored = stage.task_ids(database_url)
    return Outcome(
        sender.number, len(stored), len(sender.ids - set(stored)), len(stored) - len(set(stored)),
        memory.first, memory.peak, spool_peak, drained_s,
    )  # fmt: skip


def _drained_s(database_url: str, sender: stage.Load, usual: int) -> float:
    """Seconds until no more than `usual` events are missing of all that was sent until then; or nothing moves."""
    from_s = moved_s = time.monotonic()
    known, due = -1, sender.number
    while (stored := stage.rows(database_url)) < due - usual and time.monotonic() - moved_s < PATIENCE_S:
        known, moved_s = stored, time.monotonic() if stored != known else moved_s
        time.sleep(stage.LOOK_EVERY_S / 2)
        due = sender.number
    return time.monotonic() - from_s


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="rabbitmq")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    outcome = run(chosen.seconds, chosen.rate, chosen.transport, chosen.seed)
    print(f"outage {chosen.transport} {chosen.seconds:.0f} s at {chosen.rate}/s, seed {chosen.seed}: {outcome}")
    return int(not outcome.is_well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

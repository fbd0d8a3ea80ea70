"""Whether `taskledger rebuild` changes nothing, row by row, and how fast it is beside what recorded the same events.

    python benchmarks/rebuild.py [--tasks 1000000] [--on sqlite] [--on postgresql] [--damaged 0.01]

Tasks of benchmarks/corpus.py and some that retry and fail twice, with the heartbeats of their workers, are decoded and
recorded in batches, as a recorder does; both are in its rate, the broker is not. Then all is rebuilt and every row of
every table that is made from events is compared with a copy from before: once as it is, and once after a part of the
tasks, all sessions and all counts were damaged. Ends with 1 when a row differs.
"""

import argparse
import contextlib
import random
import re
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import corpus
import orjson
import throughput
from sqlalchemy import text

from taskledger.events import decode
from taskledger.ledger import Ledger, migrate, open_ledger, rebuild
from taskledger.ledger.record import Batch, record
from taskledger.recorder import runtime

#: tasks that are made at once; events of a batch
SLICE, BATCH = 10_000, 5_000
#: tasks a second in the corpus, and its first moment, seconds since the epoch
RATE, BEGIN_S = 200.0, 1_795_262_400.0
TABLES = ("task", "run", "failure_group", "worker", "worker_session", "event_count")
DAMAGES = (
    "UPDATE task SET state = 30, ended_at = NULL, args = 'damaged' WHERE (first_at / 5000) % 1000 < {permille}",
    "DELETE FROM run WHERE (received_at / 5000) % 1000 < {permille}",
    "UPDATE worker_session SET last_at = last_at + 1, processed = 0",
    "UPDATE worker SET task_event_at = NULL",
    "UPDATE event_count SET number = number + 1",
)


@dataclass(frozen=True)
class Took:
    """Seconds for so many events."""

    events: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def told(tasks: int, seed: int) -> Iterator[list[corpus.Raw]]:
    """The events of so many tasks, and the heartbeats of that time, a slice at a time, in the order of their time."""
    for start in range(0, tasks, SLICE):
        number, begin_s = min(SLICE, tasks - start), BEGIN_S + start / RATE
        made = corpus.events(number, seed + start, begin_s=begin_s, rate=RATE)
        made += _unlucky(number // 20, seed + start, begin_s, number / RATE)
        made += _heartbeats(begin_s, number / RATE, is_first=start == 0)
        yield sorted(made, key=lambda event: event["timestamp"])


def _unlucky(number: int, seed: int, begin_s: float, span_s: float) -> Iterator[corpus.Raw]:
    """Tasks that retry, on another worker and long after, and fail in the end, which is told twice."""
    rng = random.Random(seed + 1)
    for _ in range(number):
        uid, at_s = str(uuid.UUID(int=rng.getrandbits(128), version=4)), begin_s + rng.random() * span_s
        about = {"uuid": uid, "name": "shop.mail.tasks.send_mail", "args": "(1,)", "kwargs": "{}", "root_id": uid}
        for retries, end in enumerate(("retried", "retried", "failed")):
            (host, pid), at_s = rng.choice(corpus.WORKERS), at_s + rng.expovariate(1 / 30)
            base = {"hostname": host, "pid": pid, "clock": rng.randrange(1_000_000), "utcoffset": 0}
            error = {"exception": f"ConnectionError('{retries}')", "traceback": f"ConnectionError: {retries}\n"}
            yield base | about | {"type": "task-received", "timestamp": at_s, "retries": retries}
            yield base | {"type": "task-started", "uuid": uid, "timestamp": at_s + 0.1}
            for _ in range(2 if end == "failed" else 1):
                at_s += rng.random()
                yield base | {"type": f"task-{end}", "uuid": uid, "timestamp": at_s + 0.1} | error


def _heartbeats(begin_s: float, span_s: float, *, is_first: bool) -> Iterator[corpus.Raw]:
    for number, (host, pid) in enumerate(corpus.WORKERS):
        base = {"hostname": host, "pid": pid, "utcoffset": 0, "freq": 2.0, "active": 2, "loadavg": [0.1, 0.2, 0.3]}
        if is_first:
            yield base | {"type": "worker-online", "timestamp": begin_s + number / 100, "clock": 1}
        for beat in range(int(span_s / 2)):
            at_s = begin_s + 0.5 + number / 100 + beat * 2
            yield base | {
                "type": "worker-heartbeat",
                "timestamp": at_s,
                "clock": beat,
                "processed": int(at_s - BEGIN_S),
            }


def recorded(ledger: Ledger, tasks: int, seed: int) -> Took:
    """Record them as a recorder does; seconds of decoding and writing alone."""
    number, took_s = 0, 0.0
    for events in told(tasks, seed):
        for start in range(0, len(events), BATCH):
            few = events[start : start + BATCH]
            message = orjson.dumps(few)
            begun_s = time.perf_counter()
            received_at = round(few[-1]["timestamp"] * 1_000_000) + 200_000
            number += record(ledger, Batch("default", decode(message), received_at=received_at)).new
            took_s += time.perf_counter() - begun_s
        print(f"\rrecorded {number:,} events, {number / took_s:,.0f} a second", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return Took(number, took_s)


def rebuilt(ledger: Ledger) -> tuple[Took, rebuild.Rebuilt]:
    begun_s = time.perf_counter()
    done = rebuild.rebuild(ledger, progress=_say)
    took_s = time.perf_counter() - begun_s
    print(file=sys.stderr)
    return Took(done.events, took_s), done


def _say(done: int, total: int) -> None:
    print(f"\rread {done:,} of {total:,}", end="", file=sys.stderr, flush=True)


def copy(ledger: Ledger) -> None:
    for table in TABLES:
        _do(ledger, f"CREATE TABLE before_{table} AS SELECT * FROM {table}")


def differing(ledger: Ledger) -> dict[str, int]:
    """Rows of each table that were not there before, or are not there any more."""
    both = "SELECT count(*) FROM (SELECT * FROM {0} EXCEPT SELECT * FROM {1}) AS rows_of_one"
    found = {}
    with ledger.read() as connection:
        for table in TABLES:
            sides = ((table, f"before_{table}"), (f"before_{table}", table))
            found[table] = sum(connection.scalar(text(both.format(*names))) or 0 for names in sides)
    return {table: number for table, number in found.items() if number}


def counted(ledger: Ledger) -> dict[str, int]:
    with ledger.read() as connection:
        return {table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in TABLES}


def _do(ledger: Ledger, *statements: str) -> None:
    with ledger.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


def run(name: str, url: str, tasks: int, seed: int, damaged: float) -> bool:
    """One database: prints a line for each rebuild; whether nothing differed."""
    migrate.upgrade(url)
    with open_ledger(url) as ledger:
        ingest = recorded(ledger, tasks, seed)
        copy(ledger)
        print(f"{name}: {ingest.events:,} events recorded at {ingest.rate:,.0f} a second; rows: {counted(ledger)}")
        is_well = report(f"{name}, as it is", ledger, ingest)
        _do(ledger, *(statement.format(permille=round(damaged * 1000)) for statement in DAMAGES))
        return report(f"{name}, {damaged:.1%} damaged", ledger, ingest) and is_well


def report(what: str, ledger: Ledger, ingest: Took) -> bool:
    wrong_before = sum(differing(ledger).values())
    # From here on the highest is counted anew (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before_mb = _resident_mb("VmRSS")
    took, done = rebuilt(ledger)
    peak_mb = _resident_mb("VmHWM")
    wrong = differing(ledger)
    print(
        f"{what}: {wrong_before:,} rows differed; {took.events:,} events folded in {took.seconds:.1f} s,"
        f" {took.rate:,.0f} a second, {took.rate / ingest.rate:.2f} of recording; memory {before_mb:.0f} MB, at most"
        f" {peak_mb:.0f}; put right: {done}; left: {done.left}; rows that differ now: {wrong or 'none'}"
    )
    return not wrong and done.events == ingest.events


def _resident_mb(name: str) -> float:
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--on", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--damaged", type=float, default=0.01, help="part of the tasks, 0 to 1")
    chosen = parser.parse_args()
    runtime.tune()
    is_well = True
    for name in chosen.on or ("sqlite", "postgresql"):
        with contextlib.ExitStack() as stack:
            fresh = throughput.fresh_sqlite if name == "sqlite" else throughput.fresh_postgresql
            is_well &= run(name, stack.enter_context(fresh()), chosen.tasks, chosen.seed, chosen.damaged)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())

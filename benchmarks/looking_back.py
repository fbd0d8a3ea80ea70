"""How long the questions about a moment take, and what the marks that find tasks that last cost, on a ledger of the corpus.

`python benchmarks/looking_back.py [--tasks 150000] [--rate 4] [--database sqlite:///…]`: a ledger is made (a new SQLite file, or the
empty database named). One task in five hundred runs for up to six hours, one in two hundred waits for an ETA up to a day away.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from corpus import events
from sqlalchemy import func, select

from taskledger.events import decode
from taskledger.ledger import lasting, migrate, open_ledger, presence, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.query import queues_at, running_at, tasks, workers_at
from taskledger.ledger.record import Batch, record
from taskledger.ledger.search import parse

BATCH = 5_000
BEGIN_S = 1_795_262_400.0
SECOND = 1_000_000


def stretched(made, seed):
    """The corpus with some tasks that last: their later events moved back."""
    rng, moved = random.Random(seed), {}
    for event in made:
        if event["type"] == "task-sent":
            dice = rng.random()
            if dice < 1 / 500:
                moved[event["uuid"]] = ("task-succeeded", "task-failed"), rng.uniform(60, 6 * 3600)
            elif dice < 1 / 500 + 1 / 200:
                wait = rng.uniform(60, 86_400)
                event["eta"] = datetime.fromtimestamp(event["timestamp"] + wait, UTC).isoformat()
                moved[event["uuid"]] = ("task-started", "task-succeeded", "task-failed"), wait
        kinds, by = moved.get(event.get("uuid"), ((), 0))
        if event["type"] in kinds:
            event["timestamp"] += by
    return sorted(made, key=lambda event: event["timestamp"])


def fill(ledger, args):
    presence.begin(ledger, "bench", "1", round(BEGIN_S * SECOND))
    made = stretched(events(args.tasks, 1, begin_s=BEGIN_S, rate=args.rate), 2)
    print(f"{len(made):,} events over {(made[-1]['timestamp'] - BEGIN_S) / 3600:.1f} h")
    spent = 0.0
    for first in range(0, len(made), BATCH):
        chunk = [event for raw in made[first : first + BATCH] for event in decode(json.dumps(raw).encode())]
        began = time.perf_counter()
        record(ledger, Batch("default", chunk, received_at=chunk[-1].at))
        spent += time.perf_counter() - began
    print(f"recorded at {spent / len(made) * 1e6:.1f} µs an event")
    return made[-1]["timestamp"]


def timed(name, question, moments):
    taken, number = [], 0
    for at in moments:
        began = time.perf_counter()
        number = question(at)
        taken.append((time.perf_counter() - began) * 1000)
    print(f"{name:<34} {statistics.median(taken):8.1f} ms median {max(taken):8.1f} ms most   (last: {number})")


def measure(ledger, end_s):
    now_at = round(end_s * SECOND)
    rng = random.Random(3)
    moments = [round(rng.uniform(BEGIN_S + (end_s - BEGIN_S) * 0.3, end_s) * SECOND) for _ in range(15)]
    with ledger.read() as connection:
        marks = connection.scalar(
            select(func.count()).select_from(schema.mark).where(schema.mark.c.name.like("lasting:%"))
        )
        looked = [lasting.places(connection, at) for at in moments]
    minutes = statistics.median(sum(to - begin for begin, to in one.ranges) / SECOND / 60 for one in looked)
    alone = statistics.median(len(one.moments) for one in looked)
    print(f"{marks:,} marks; a question looks at {minutes:.0f} minutes of tasks, and at {alone:.0f} that lasted")
    running = parse("state:running", now_at=now_at, zone=UTC)

    def listed(at, where):
        return len(tasks(ledger, where, Span(at - 86_400 * SECOND, at + 1), at=at).rows)

    timed("running_at", lambda at: len(running_at(ledger, at, now_at).tasks), moments)
    timed(
        "running_at, one worker", lambda at: len(running_at(ledger, at, now_at, worker="worker1@host1").tasks), moments
    )
    timed(
        "queues_at", lambda at: sum(row.waiting + row.scheduled for row in queues_at(ledger, at, now_at).rows), moments
    )
    timed("workers_at", lambda at: len(workers_at(ledger, at, now_at).rows), moments)
    timed("tasks of 24 h, as of", lambda at: listed(at, None), moments)
    timed("tasks state:running of 24 h, as of", lambda at: listed(at, running), moments)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=150_000)
    parser.add_argument("--rate", type=float, default=4.0, help="tasks a second")
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = args.database or f"sqlite:///{Path(folder) / 'ledger.sqlite3'}"
        migrate.upgrade(url)
        with open_ledger(url) as ledger:
            measure(ledger, fill(ledger, args))


if __name__ == "__main__":
    main()

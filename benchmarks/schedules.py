"""How long the schedule page and its questions take, and whether the verdict jobs keep up.

    python benchmarks/schedules.py [--on sqlite] [--on postgresql] [--entries 300] [--days 90] [--rounds 15]
    python benchmarks/schedules.py --kept postgresql+psycopg://postgres@127.0.0.1/kept

First so many hourly entries have a final verdict for each hour of so many days, each with its fire and its task. The
question behind `/schedules` is asked, and then the page itself is, from request to response; the median of the rounds
counts. Then 1,000 entries are due once each minute for ten minutes, all sent by one beat; what is due is judged minute
by minute, as the job does it. `--kept` asks in a database that stays: it is filled where it is empty, and the jobs are
left out.
"""

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from uuid import UUID

from sqlalchemy import Table, create_engine, func, insert, select, text
from sqlalchemy.engine import make_url

from taskledger.config import Settings
from taskledger.crontabs import DAY, SECOND, Crontab
from taskledger.ledger import Ledger, bulk, migrate, open_ledger, presence, query, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.labels import Kind
from taskledger.ledger.record import Position
from taskledger.ledger.schedule_store import judge_due, keep_definitions
from taskledger.ledger.types import TaskId, pack_task_id
from taskledger.schedules import Entry
from taskledger_web import create_app, view
from taskledger_web.server import GARBAGE_AFTER

MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
#: 2026-11-22 10:00:00 UTC
NOW_AT = 1_795_341_600 * SECOND
SUCCESS = 80
#: rows that are written at once
SLICE = 20_000


def main() -> int:
    """Print the figures of each database."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--on", action="append", choices=("sqlite", "postgresql", "mariadb"))
    options.add_argument("--entries", type=int, default=300)
    options.add_argument("--days", type=int, default=90)
    options.add_argument("--due", type=int, default=1000, help="entries that are due once a minute")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--kept", metavar="URL", help="a database that is filled where it is empty, and kept")
    asked = options.parse_args()
    if asked.kept:
        for ledger in opened(asked.kept):
            measure(ledger, asked.entries, asked.days, asked.rounds)
        return 0
    for engine in asked.on or ("sqlite", "postgresql"):
        with ledger_on(engine) as ledger:
            measure(ledger, asked.entries, asked.days, asked.rounds)
        with ledger_on(engine) as ledger:
            took = judged_by_the_minute(ledger, asked.due)
            print(f"{engine}: {asked.due:,} entries due each minute: judged in {statistics.median(took):.2f} s a minute,"
                  f" at most {max(took):.2f} s")  # fmt: skip
    return 0


def measure(ledger: Ledger, entries: int, days: int, rounds: int) -> None:
    """Fill the ledger unless it is filled, and print how long the questions and the page take."""
    with ledger.read() as connection:
        number = connection.scalar(select(func.count()).select_from(schema.tick)) or 0
    number = number or fill(ledger, entries, days)
    print(f"{ledger.dialect}: {number:,} ticks")
    # As the server that we bring has it.
    gc.set_threshold(GARBAGE_AFTER)
    app = create_app(Settings(database_url=ledger.engine.url.render_as_string(hide_password=False)))
    view.now_at = lambda: NOW_AT
    client = app.test_client()
    asked: dict[str, Callable[[], object]] = {
        "what /schedules asks": lambda: questions(ledger),
        "/schedules": lambda: client.get("/schedules").data,
        "/schedules?slots=90": lambda: client.get("/schedules?slots=90").data,
        "/schedules/NAME": lambda: client.get("/schedules/entry%200007").data,
    }
    for name, ask in asked.items():
        took, busy = zip(*[seconds(ask) for _ in range(rounds + 2)][2:], strict=True)
        print(f"  {name}: {statistics.median(took) * 1000:.0f} ms, {min(took) * 1000:.0f} at best, of which"
              f" {min(busy) * 1000:.0f} are our own")  # fmt: skip


def questions(ledger: Ledger) -> None:
    rows, _ = query.schedules_and_findings(ledger, NOW_AT, ticks=30)
    query.coverage(ledger, Span(min(row.ticks[0].due_at for row in rows), NOW_AT), NOW_AT)
    query.beats(ledger, NOW_AT)


def seconds(ask: Callable[[], object]) -> tuple[float, float]:
    """How long it takes, and for how much of that this process was at work."""
    began_s, busy_s = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - began_s, time.process_time() - busy_s


def fill(ledger: Ledger, entries: int, days: int) -> int:
    """Entries with their ticks; how many ticks."""
    begin_at = NOW_AT - days * DAY
    cluster_id, name_id = set_up(
        ledger, [Entry(f"entry {n:04}", "shop.report", Crontab("0"), f"[{n}]") for n in range(entries)], begin_at
    )
    keys = [(entry_id, due_at) for entry_id in range(1, entries + 1) for due_at in range(begin_at, NOW_AT, HOUR)]
    for start in range(0, len(keys), SLICE):
        write(ledger, cluster_id, name_id, keys[start : start + SLICE], start)
    with ledger.write() as connection:
        counts = (
            "INSERT INTO tick_count (entry_id, day_at, fire, number) SELECT entry_id, due_at - due_at % :day, fire,"
            " COUNT(*) FROM tick GROUP BY entry_id, due_at - due_at % :day, fire"
        )
        connection.execute(text(counts.replace(":day", str(DAY))))
        connection.execute(insert(schema.mark), {"name": f"fires_seen_at:{cluster_id}", "value": NOW_AT})
    analyze(ledger)
    return len(keys)


def write(ledger: Ledger, cluster_id: int, name_id: int, keys: list[tuple[int, int]], start: int) -> None:
    """Ticks with their fires and tasks."""
    # As Celery makes them: those of one entry are strewn over the whole table.
    strewn = Random(start)
    ids = [str(UUID(int=strewn.getrandbits(128))) for _ in keys]
    both = list(zip(keys, ids, strict=True))
    on_time = {"fire": "on_time", "version_id": 1}
    rows: dict[Table, list[dict[str, object]]] = {
        schema.tick: [
            on_time | {"entry_id": e, "due_at": at, "fired_at": at + SECOND, "task_id": i} for (e, at), i in both
        ],
        schema.fire: [
            {"entry_id": e, "task_id": i, "fired_at": at + SECOND, "evidence": "task-sent"} for (e, at), i in both
        ],
        schema.task: [task_row(i, at + SECOND, cluster_id, name_id, f"[{e - 1}]") for (e, at), i in both],
    }
    with ledger.write() as connection:
        for table, mine in rows.items():
            bulk.insert(connection, table, [packed(table, row) for row in mine])


def packed(table: Table, row: dict[str, object]) -> tuple[object, ...]:
    """A row in the order of the columns, as drivers take it."""
    values = ((column, row.get(column.name)) for column in table.columns)
    return tuple(
        pack_task_id(str(value)) if isinstance(column.type, TaskId) and value is not None else value
        for column, value in values
    )


def task_row(task_id: str, at: int, cluster_id: int, name_id: int, args: str) -> dict[str, object]:
    times = dict.fromkeys(("first_at", "sent_at", "received_at", "started_at", "ended_at"), at)
    return times | {
        "id": task_id, "cluster_id": cluster_id, "name_id": name_id, "events": 4, "runs": 1, "state": SUCCESS,
        "args": args, "kwargs": "{}",
    }  # fmt: skip


def set_up(ledger: Ledger, entries: list[Entry], begin_at: int) -> tuple[int, int]:
    keep_definitions(ledger, "default", "proj (beat_schedule)", entries, begin_at)
    numbers = ledger.labels.intern([(Kind.CLUSTER, "default"), (Kind.NAME, "shop.report")])
    recorder = presence.begin(ledger, "bench", "1", begin_at)
    coverage_id = presence.listen(ledger, recorder, "default", "pub/sub", begin_at - MINUTE)
    presence.end(ledger, Position(coverage_id, NOW_AT + HOUR), "stopped")
    return numbers[Kind.CLUSTER, "default"], numbers[Kind.NAME, "shop.report"]


def judged_by_the_minute(ledger: Ledger, entries: int) -> list[float]:
    """Seconds of each minute's judging."""
    every = [Entry(f"entry {n:04}", "shop.report", Crontab(), f"[{n}]") for n in range(entries)]
    cluster_id, name_id = set_up(ledger, every, NOW_AT)
    number, took = 0, []
    for minute in range(12):
        at = NOW_AT + minute * MINUTE
        rows = []
        for entry in range(entries):
            number += 1
            rows.append(
                packed(
                    schema.task, task_row(str(UUID(int=number)), at + entry * 1000, cluster_id, name_id, f"[{entry}]")
                )
            )
        with ledger.write() as connection:
            bulk.insert(connection, schema.task, rows)
        if minute == 1:
            analyze(ledger)
        began_s = time.perf_counter()
        made = sum(judge_due(ledger, at + second * SECOND) for second in range(0, 60, 10))
        took.append(time.perf_counter() - began_s)
        if minute > 1 and made != entries:
            raise SystemExit(f"{made} verdicts in a minute, not {entries}")
    return took[2:]


def analyze(ledger: Ledger) -> None:
    names = "tick, fire, task, tick_count, schedule_entry, schedule_version"
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if ledger.dialect == "postgresql":
            connection.execute(text("ANALYZE"))
        elif ledger.dialect != "sqlite":
            connection.execute(text(f"ANALYZE TABLE {names}"))


@contextlib.contextmanager
def ledger_on(engine: str) -> Iterator[Ledger]:
    """A new ledger, dropped afterwards."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield from opened(f"sqlite:///{Path(folder) / 'bench.sqlite3'}")
        return
    variable, default = {
        "postgresql": ("TASKLEDGER_BENCH_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1/postgres"),
        "mariadb": ("TASKLEDGER_BENCH_MARIADB_URL", "mysql+pymysql://root@127.0.0.1/mysql"),
    }[engine]
    server, name = make_url(os.environ.get(variable, default)), f"taskledger_bench_{os.getpid()}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield from opened(server.set(database=name).render_as_string(hide_password=False))
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{' WITH (FORCE)' if engine == 'postgresql' else ''}"))
        admin.dispose()


def opened(url: str) -> Iterator[Ledger]:
    migrate.upgrade(url)
    with open_ledger(url) as ledger:
        yield ledger


if __name__ == "__main__":
    sys.exit(main())

"""Whatever happens between gathering and the ledger, in any order: nothing lost, nothing twice, every row right."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select
from stories import NOON, decoded, failed, raw, retried_twice, succeeded

from taskledger.config import Settings
from taskledger.errors import LedgerError
from taskledger.events import Event, Malformed
from taskledger.ledger import Ledger, open_ledger, rebuild, schema
from taskledger.ledger.record import Batch, record
from taskledger.recorder import writing as module
from taskledger.recorder.backlog import Backlog
from taskledger.recorder.batch import Gathered
from taskledger.recorder.landing import land
from taskledger.recorder.spool import open_spool
from taskledger.recorder.writing import Writing

AT = round(NOON * 1e6)
LIVES = 14


def told() -> list[Event]:
    """Lives of tasks, signs of a worker, and events that nobody knows."""
    lives = [
        one
        for number in range(LIVES)
        for life in (succeeded, failed, retried_twice)
        for one in life(NOON + number, f"{life.__name__}-{number}")
    ]
    others = [
        one
        for number in range(LIVES)
        for one in (
            raw("worker-heartbeat", NOON + number, processed=number, active=1, freq=2.0),
            raw("custom", NOON + number, uuid=f"failed-{number}", name=f"custom{number}"),
        )
    ]
    events = decoded(*lives, *others)
    return list({event.id: event for event in events}.values())


class Course:
    """A backlog, its spool, and whoever writes what is in it; another recorder beside."""

    def __init__(self, ledger: Ledger, beside: Ledger, backlog: Backlog, asked: Writing, rng: random.Random) -> None:
        self.ledger, self.beside, self.backlog, self.asked, self.rng = ledger, beside, backlog, asked, rng
        # About in the order of their times: some are three seconds late.
        self.coming = sorted(told(), key=lambda event: event.at + rng.randrange(3_000_000))
        self.gathered: list[Event] = []
        self.malformed: list[Malformed] = []

    def run(self) -> None:
        steps = [self.gather] * 4 + [self.spill, self.tell_beside, self.kill, self.fail] + [self.write] * 4
        while self.coming:
            self.rng.choice(steps)()
        while self.write():
            pass

    def gather(self) -> None:
        """A few more, some of them once more, and now and then what the database refuses, or what is no event."""
        number = self.rng.randint(0, 7)
        fresh, self.coming = self.coming[:number], self.coming[number:]
        self.gathered += fresh
        few = fresh + self.rng.sample(self.gathered, min(len(self.gathered), self.rng.choice([0, 0, 2])))
        if self.rng.random() < 0.1:
            few.append(Event(self.rng.randbytes(16), "task-sent", 2**63, "h", 1, 1, "poison", b"{}"))
        bad = [Malformed(self.rng.randbytes(16), "no-json", "", b"z", 1)] if self.rng.random() < 0.2 else []
        self.malformed += bad
        self.backlog.put(Gathered("default", tuple(few), tuple(bad), None, AT, AT, AT))

    def write(self) -> bool:
        work = self.backlog.take(0)
        if isinstance(work, Gathered):
            land(self.asked.record, Batch("default", work.events, work.malformed, AT))
        if work is not None:
            self.backlog.written()
        return work is not None

    def spill(self) -> None:
        """The database counts as away for a moment."""
        self.backlog.is_stuck = True
        self.backlog.spill()
        self.backlog.is_stuck = False

    def tell_beside(self) -> None:
        """The other recorder hears some of the same."""
        record(self.beside, Batch("default", self.rng.sample(self.gathered, min(len(self.gathered), 5)), (), AT))

    def kill(self) -> None:
        # Another one takes a second to begin.
        if self.asked.pid is not None and self.rng.random() < 0.2:
            os.kill(self.asked.pid, signal.SIGKILL)

    def fail(self) -> None:
        """A batch cannot be written, and is tried again or spooled."""
        work = self.backlog.take(0)
        if not isinstance(work, Gathered):
            if work is not None:
                self.backlog.written()
            return
        with self.without_runs(), suppress(LedgerError):
            land(self.asked.record, Batch("default", work.events, work.malformed, AT))
        if self.rng.random() < 0.5:
            self.spill()
        land(self.asked.record, Batch("default", work.events, work.malformed, AT))
        self.backlog.written()

    @contextmanager
    def without_runs(self) -> Iterator[None]:
        for before, after in (("run", "gone"), ("gone", "run")):
            with self.ledger.write() as connection:
                connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")
            if after == "gone":
                yield


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["on", "off"])
def test_any_course(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, seed: int) -> None:
    """Through spool, failures, refusals, repetition, another recorder and a killed process, the ledger is right."""
    monkeypatch.setattr(module, "AGAIN_AFTER_S", 0.0)
    rng = random.Random(seed)
    settings = Settings(database_url=sqlite_url, writer=mode)
    spool = open_spool(tmp_path / "spool", "x", 10_000_000)
    backlog = Backlog(spool, rng.choice([8, 20, 60]), patience_s=0.0)
    with open_ledger(sqlite_url) as ledger, open_ledger(sqlite_url) as beside:
        asked = Writing(ledger, settings, backlog.upcoming)
        course = Course(ledger, beside, backlog, asked, rng)
        try:
            course.run()
        finally:
            asked.close()
            spool.close()

        with ledger.read() as connection:
            stored = set(connection.scalars(select(schema.event.c.id)))
            quarantined = set(connection.scalars(select(schema.quarantine.c.id)))
            counted = connection.scalar(select(func.sum(schema.event_count.c.number)))
        assert stored == {event.id for event in course.gathered}
        assert quarantined >= {item.id for item in course.malformed}
        assert counted == len(stored)
        assert str(rebuild.rebuild(ledger, dry_run=True)) == "nothing"

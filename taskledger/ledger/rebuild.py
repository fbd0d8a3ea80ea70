"""Fold all events again beside running recorders, and put right the rows that are not what their events make of them.

All is compared without any lock first, and only what differs is written, under its lock: each row is right, or as it
was, at any moment; nothing is ever half done; and a ledger that is well is only read. It may end after any step, and
goes on from there the next time.
"""

import gc
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from taskledger.errors import LedgerBusy
from taskledger.ledger import leases, rebuild_beats, rebuild_rest, rebuild_tasks, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.rebuilding import MARKS, Progress, Rebuilding

#: new objects after which Python looks for cycles
GARBAGE_AFTER = 200_000
#: the lease of a rebuild; seconds after which one that was killed makes room, and after which it is renewed
LEASE, LEASE_S, RENEW_S = "rebuild", 60.0, 10.0
#: what is counted, by the names of Rebuilt
ROWS = ("tasks", "failure_groups", "workers", "worker_sessions", "event_counts")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many events were folded, how many rows were put right, or would be, and how many cannot be judged."""

    #: where an earlier rebuild had stopped and this one went on; None for one from the start
    from_at: int | None = None
    #: whether it came to the end
    is_whole: bool = True
    #: of tasks and of workers
    events: int = 0
    #: put right, a task with its runs
    tasks: int = 0
    failure_groups: int = 0
    workers: int = 0
    worker_sessions: int = 0
    event_counts: int = 0
    #: left as they are, because they tell of events that the ledger has no more, or that cannot be read
    tasks_left: int = 0
    worker_sessions_left: int = 0
    event_counts_left: int = 0
    #: left as they are, because their events came in an order that could not be followed
    workers_left: int = 0

    def __str__(self) -> str:
        """What was put right, e.g. "3 tasks, 1 worker"; "nothing" when that is so."""
        return _words({name: getattr(self, name) for name in ROWS})

    @property
    def left(self) -> str:
        """What could not be judged, in the same way."""
        return _words({name: getattr(self, f"{name}_left", 0) for name in ROWS})


def rebuild(
    ledger: Ledger,
    *,
    from_start: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Rebuilt:
    """Fold all events again: tasks, runs and failure groups, then workers, their sessions and the counts of events.

    It goes on where an earlier one stopped, unless `from_start`. `dry_run` only counts. `progress` is called with
    (events read, events to read): each is read twice. `stop` ends it between two steps. Raises LedgerBusy when another
    rebuild goes on, LedgerAway when the database is away.
    """
    with _alone(ledger) as renew, _few_collections():
        work = Rebuilding(ledger, renew, progress or (lambda _done, _total: None), stop, dry_run=dry_run)
        return _run(work, from_start=from_start)


def _run(work: Rebuilding, *, from_start: bool) -> Rebuilt:
    reached_at = None if from_start else work.reached_at()
    work.expect(reached_at or 0)
    rebuild_tasks.fold_all(work, reached_at or 0)
    work.number["events"] = work.read
    rebuild_rest.settle(work)
    rebuild_beats.fold_all(work)
    is_whole = not work.is_stopped()
    work.end()
    if is_whole and not work.dry_run:
        work.write(_forget_marks)
    return Rebuilt(reached_at, is_whole, **work.number)


def _forget_marks(connection: Connection) -> None:
    connection.execute(delete(schema.mark).where(schema.mark.c.name.startswith(MARKS, autoescape=True)))


@contextmanager
def _alone(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """The lease of rebuilding; what it yields renews it, and is to be called often."""
    holder = leases.holder_of(platform.node())
    renewed_s = float("-inf")

    def renew() -> None:
        nonlocal renewed_s
        if time.monotonic() - renewed_s < RENEW_S:
            return
        if not leases.take(ledger, LEASE, holder, time.time_ns() // 1000, LEASE_S):
            raise LedgerBusy(_busy(ledger))
        renewed_s = time.monotonic()

    renew()
    try:
        yield renew
    finally:
        leases.give_up(ledger, LEASE, holder)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Python looks for cycles after each few hundred new objects; a page has a hundred thousand, and no cycle."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _busy(ledger: Ledger) -> str:
    with ledger.read() as connection:
        holder = connection.scalar(select(schema.lease.c.holder).where(schema.lease.c.name == LEASE)) or "?:?:"
    machine, pid, _ = holder.rsplit(":", 2)
    return (
        f"a rebuild of this ledger is going on already, in process {pid} on {machine}: wait for its end;"
        f" if it was killed, try again in {LEASE_S:.0f} seconds"
    )


def _words(numbers: Mapping[str, int]) -> str:
    named = {name.replace("_", " "): number for name, number in numbers.items() if number}
    words = [f"{number:,} {name.removesuffix('s') if number == 1 else name}" for name, number in named.items()]
    return ", ".join(words) or "nothing"

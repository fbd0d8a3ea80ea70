"""What the parts of a rebuild share."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, func, select

from taskledger import __version__
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schema, steps
from taskledger.ledger.engine import Ledger

#: seconds between two transactions that write, for whoever else wants to: SQLite lets only one
PAUSE_S = 0.01
#: how far an unfinished rebuild got; of this version, since another one may make other rows of the same events
MARKS = "rebuilt_before_at:"
MARK = f"{MARKS}{__version__}"

#: told (events read, events to read)
Progress = Callable[[int, int], object]


class Rebuilding:
    """One rebuild that goes on: how far it is, what it has put right, and how it writes."""

    def __init__(
        self,
        ledger: Ledger,
        renew: Callable[[], None],
        progress: Progress,
        stop: threading.Event | None,
        *,
        dry_run: bool,
    ) -> None:
        self.ledger, self.dry_run = ledger, dry_run
        #: rows put right or left, by the names of Rebuilt
        self.number: Counter[str] = Counter()
        self._renew, self._progress, self._stop = renew, progress, stop
        #: events read
        self.read = 0
        self._to_read = 0

    def expect(self, from_at: int) -> None:
        """The events from a moment on are to be read, and then all."""
        self._to_read = self._number_of_events(from_at) + self._number_of_events(0)

    def step(self, events: int) -> None:
        """So many more events were read."""
        self._renew()
        self.read += events
        self._progress(self.read, max(self.read, self._to_read))

    def end(self) -> None:
        """All is read that there was to read."""
        self._progress(self.read, self.read)

    def reached(self, at: int) -> None:
        """What is told of by events before that moment is done."""
        if not self.dry_run:
            self.write(lambda connection: facts.set_mark(connection, MARK, at))

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """All that is read in it is of one moment. SQLite's readers are so anyway."""
        with self.ledger.read() as connection:
            if self.ledger.dialect != "sqlite":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def write(self, work: Callable[[Connection], Any]) -> Any:
        """One transaction, tried again when it met another writer; then a pause."""
        return steps.step(self.ledger, work, self._pause)

    def is_stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def reached_at(self) -> int | None:
        """How far one came that did not end; None when there was none."""
        with self.ledger.read() as connection:
            return facts.mark(connection, MARK)

    def _pause(self) -> None:
        if self.ledger.dialect == "sqlite":
            time.sleep(PAUSE_S)

    def _number_of_events(self, from_at: int) -> int:
        """About how many there are from a moment on."""
        columns = schema.event_count.c
        with self.ledger.read() as connection:
            return int(connection.scalar(select(func.sum(columns.number)).where(columns.hour_at >= from_at)) or 0)

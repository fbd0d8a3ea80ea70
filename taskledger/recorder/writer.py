"""The writing half of the recorder: one thread for all brokers."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from taskledger.errors import LedgerError, TaskledgerError
from taskledger.ledger import Ledger, presence
from taskledger.ledger.record import Batch, Position, Recorded
from taskledger.recorder.backlog import Backlog
from taskledger.recorder.backoff import delays
from taskledger.recorder.batch import Gathered
from taskledger.recorder.landing import land
from taskledger.recorder.progress import Progress
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Promise, now_at
from taskledger.recorder.spooled import Work
from taskledger.recorder.waiting import Halted, Interrupted, Listening, Reached
from taskledger.recorder.writing import Writing

log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds; the longest wait for a database, shorter than for a broker because all that is heard piles up meanwhile
LONGEST_S = 5.0
#: seconds between two signs of life in the ledger
SIGN_EVERY_S = 2.0
#: seconds; how long the writer sleeps when there is nothing to do
IDLE_S = 0.1
#: seconds that writing may go on after the order to stop
FINISH_S = 5.0


class OutOfTimeError(TaskledgerError):
    """Stopping took too long; what is not written yet stays with the broker or in the spool, or is lost with a gap."""


class Stretch:
    """One cluster as the writer sees it: the coverage row that counts for what it writes."""

    def __init__(self, cluster: str, promise: Promise) -> None:
        self.cluster = cluster
        self.promise = promise
        self.coverage_id: int | None = None
        self.from_at = 0
        #: all up to here is committed
        self.until_at = 0

    @property
    def position(self) -> Position | None:
        return None if self.coverage_id is None else Position(self.coverage_id, self.until_at)

    def __str__(self) -> str:
        if self.coverage_id is None:
            return f"{self.cluster}: not listening"
        since = datetime.fromtimestamp(self.from_at / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"{self.cluster}: listening since {since} ({self.promise})"


class Writer(threading.Thread):
    """Talks to the database, and to nothing else: no broker is known here but as a reader to send acknowledgements to.

    What cannot be written is tried again until it can: meanwhile the others go on, and `backlog` grows, on disk.
    """

    def __init__(
        self,
        ledger: Ledger,
        recorder_id: int,
        readers: Mapping[str, Reader],
        backlog: Backlog,
        progress: Progress,
        stop: threading.Event,
        *,
        writing: Writing | None = None,
    ) -> None:
        super().__init__(name="writer", daemon=True)
        #: what ended it before its time
        self.error: Exception | None = None
        #: whether all was written, and goodbye said
        self.is_done = False
        self._ledger = ledger
        self._writing = writing or Writing(ledger)
        self._recorder_id = recorder_id
        self._readers = readers
        self._backlog = backlog
        self._progress = progress
        self._stop_writing = stop
        self._stretches = {cluster: Stretch(cluster, reader.source.promise) for cluster, reader in readers.items()}
        self._unhalted = set(readers)
        self._sign_at_s = 0.0
        self._give_up_at_s: float | None = None
        self._is_given_up = False

    def give_up(self) -> None:
        """Write nothing more: what waits is taken care of otherwise. From any thread."""
        self._is_given_up = True

    def run(self) -> None:
        """Until every reader has halted and all before that is written, or until it must stop."""
        try:
            while self._unhalted:
                self._check_time()
                self._step()
            self._give_sign(at_once=True)
            self._insist(lambda: presence.stop(self._ledger, self._recorder_id, now_at()))
            self.is_done = True
        except OutOfTimeError as error:
            log.error("stopped before all was written: %s", error, extra={"action": "stopped_early"})  # noqa: TRY400
            self._leave()
        except Exception as error:  # The thread must never end without a word: whoever started it ends the process.
            log.exception("writing ended", extra={"action": "writer_ended"})
            self.error = error

    @property
    def clusters(self) -> list[str]:
        """A few words on each."""
        return [str(stretch) for stretch in self._stretches.values()]

    def _step(self) -> None:
        self._progress.tally.beat()
        work = self._backlog.take(IDLE_S)
        if work is not None:
            self._write(work)
            self._backlog.written()
        self._give_sign()

    def _write(self, work: Work) -> None:
        # What a spool holds may be of a cluster that the settings do not name any more.
        stretch = self._stretches.setdefault(work.cluster, Stretch(work.cluster, Promise.COUNTED_LOSS))
        match work:
            case Gathered():
                self._commit(stretch, work)
            case Reached(until_at=until_at):
                stretch.until_at = max(stretch.until_at, until_at)
                self._progress.settle()
            case Listening():
                self._begin(stretch, work)
            case Interrupted():
                self._end(stretch, work)
            case Halted(cluster):
                self._end(stretch, Interrupted(cluster, "stopped"))
                self._unhalted.discard(cluster)

    def _begin(self, stretch: Stretch, listening: Listening) -> None:
        self._end(stretch, Interrupted(stretch.cluster, "opened again"))
        stretch.from_at, stretch.promise = listening.from_at, listening.opened.promise
        stretch.coverage_id = self._insist(
            lambda: presence.listen(
                self._ledger,
                self._recorder_id,
                stretch.cluster,
                listening.opened.promise,
                listening.from_at,
                resumed=listening.opened.resumed,
            )
        )

    def _end(self, stretch: Stretch, interrupted: Interrupted) -> None:
        position, cause, lost_from_at = stretch.position, interrupted.cause, interrupted.lost_from_at
        if position is None:
            return
        self._insist(lambda: presence.end(self._ledger, position, cause, lost_from_at=lost_from_at or None))
        stretch.coverage_id, stretch.until_at = None, 0
        log.info(
            "coverage of %s ended: %s",
            stretch.cluster,
            cause,
            extra={"action": "coverage_ended", "cluster": stretch.cluster, "cause": cause},
        )

    def _commit(self, stretch: Stretch, gathered: Gathered) -> None:
        """One transaction, then the acknowledgement."""
        if gathered.number:
            self._record(stretch, gathered)
        stretch.until_at = max(stretch.until_at, gathered.until_at)
        reader = self._readers.get(stretch.cluster)
        if gathered.tag is not None and reader is not None:
            reader.acknowledge(gathered.tag)

    def _record(self, stretch: Stretch, gathered: Gathered) -> None:
        until_at = max(stretch.until_at, gathered.until_at)
        position = None if stretch.coverage_id is None else Position(stretch.coverage_id, until_at)
        batch = Batch(stretch.cluster, gathered.events, gathered.malformed, gathered.received_at, position)
        from_s = time.monotonic()
        recorded = land(self._persist, batch)
        took_s = time.monotonic() - from_s
        self._progress.tally.committed(gathered, recorded, took_s)
        self._progress.count(recorded, max((event.at for event in gathered.events), default=None))
        log.debug(
            "recorded a batch of %s: %d new of %d",
            stretch.cluster,
            recorded.new,
            len(gathered.events),
            extra={
                "action": "batch_recorded",
                "cluster": stretch.cluster,
                "took_s": took_s,
                **recorded._asdict(),
            },
        )

    def _persist(self, batch: Batch) -> Recorded:
        return self._insist(lambda: self._writing.record(batch), may_refuse=True)

    def _give_sign(self, *, at_once: bool = False) -> None:
        if time.monotonic() < self._sign_at_s and not at_once:
            return
        positions = {stretch.position for stretch in self._stretches.values()}
        for position in positions - {None} or {None}:
            self._insist(lambda position=position: self._extend(position))  # type: ignore[misc]
        self._sign_at_s = time.monotonic() + SIGN_EVERY_S

    def _extend(self, position: Position | None) -> None:
        presence.extend(
            self._ledger,
            position,
            recorder_id=self._recorder_id,
            seen_at=now_at(),
            lag_s=self._progress.lag_s,
            recorded=self._progress.recorded,
        )

    def _insist(self, act: Callable[[], T], *, may_refuse: bool = False) -> T:
        """What `act` returns, however often it takes; OutOfTimeError only when stopping.

        With `may_refuse`, what is no fault of the ledger as a whole is raised.
        """
        waits, tally = delays(LONGEST_S), self._progress.tally
        tally.asked()
        while True:
            try:
                done = act()
            except LedgerError as error:
                tally.failed(error)
                log.warning("%s; trying again", error, extra={"action": "ledger_away", "waiting": self._backlog.events})
            except Exception as error:  # What coverage says must not be given up for a fault that nobody thought of.
                if may_refuse:
                    tally.answered()
                    raise
                tally.failed(error)
                log.exception("writing failed; trying again", extra={"action": "writing_failed"})
            else:
                tally.answered()
                self._backlog.is_stuck = False
                return done
            self._backlog.is_stuck = True
            self._pause(next(waits))

    def _pause(self, delay_s: float) -> None:
        if self._stop_writing.wait(delay_s):
            self._check_time()
            time.sleep(min(delay_s, 0.25))

    def _check_time(self) -> None:
        if not self._stop_writing.is_set():
            return
        now_s = time.monotonic()
        self._give_up_at_s = self._give_up_at_s or now_s + FINISH_S
        if self._is_given_up or now_s >= self._give_up_at_s:
            spooled = self._backlog.spooled_bytes
            raise OutOfTimeError(f"{self._backlog.events:,} events in memory and {spooled:,} bytes in the spool wait")

    def _leave(self) -> None:
        """Say goodbye if the database is there; a moment later the process ends."""
        if self._backlog.is_stuck:
            return
        try:
            for position in (stretch.position for stretch in self._stretches.values()):
                if position is not None:
                    presence.end(self._ledger, position, "stopped")
            presence.stop(self._ledger, self._recorder_id, now_at())
        except LedgerError as error:
            log.warning("no goodbye in the ledger: %s", error, extra={"action": "no_goodbye"})

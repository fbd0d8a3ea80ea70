"""The writing half of the recorder: one for all brokers, in the thread that called `daemon.run`."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from taskledger.errors import LedgerError, TaskledgerError
from taskledger.ledger import Ledger, presence
from taskledger.ledger.record import Batch, Position, Recorded, record
from taskledger.recorder.backoff import delays
from taskledger.recorder.batch import Gathered, Gathering
from taskledger.recorder.progress import Progress
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Promise, now_at
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Item, Listening, Waiting

log = logging.getLogger(__name__)

T = TypeVar("T")

#: seconds; the longest wait for a database, shorter than for a broker because all that is heard piles up meanwhile
LONGEST_S = 5.0
#: seconds between two signs of life in the ledger
SIGN_EVERY_S = 2.0
#: seconds; how long the writer sleeps when there is nothing to do
IDLE_S = 0.1
#: seconds that writing may go on after the order to stop
FINISH_S = 6.0


class OutOfTimeError(TaskledgerError):
    """Stopping took too long; what is not written yet stays with the broker, or is lost with a gap."""


class Stretch:
    """One cluster as the writer sees it: what was gathered, and the coverage row that it counts for."""

    def __init__(self, cluster: str, promise: Promise, gathering: Gathering) -> None:
        self.cluster = cluster
        self.promise = promise
        self.gathering = gathering
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


class Writer:
    """Talks to the database, and to nothing else: no broker is known here but as a reader to send acknowledgements to.

    A batch that cannot be written is tried again until it can: meanwhile the readers go on, and `waiting` fills.
    """

    def __init__(
        self,
        ledger: Ledger,
        recorder_id: int,
        readers: Mapping[str, Reader],
        waiting: Waiting,
        stop: threading.Event,
        batch_size: int,
        batch_wait_s: float,
    ) -> None:
        self.progress = Progress()
        self._ledger = ledger
        self._recorder_id = recorder_id
        self._readers = readers
        self._waiting = waiting
        self._stop = stop
        self._stretches = {
            cluster: Stretch(cluster, reader.source.promise, Gathering(batch_size, batch_wait_s))
            for cluster, reader in readers.items()
        }
        self._unhalted = set(readers)
        self._sign_at_s = 0.0
        self._give_up_at_s: float | None = None

    def run(self) -> None:
        """Write until every reader has halted. Raises what made a reader give up, and OutOfTimeError."""
        while self._unhalted:
            item = self._waiting.get(self._patience_s())
            if item is not None:
                self._take(item)
            self._write_what_is_due()
            self._give_sign()
            if self.progress.is_due():
                self.tell()
        self.tell()

    def say_goodbye(self) -> None:
        """The recorder is gone from now on, as far as the ledger knows."""
        self._give_sign(at_once=True)
        self._insist(lambda: presence.stop(self._ledger, self._recorder_id, now_at()))

    def tell(self) -> None:
        """The line of every minute."""
        dropped = sum(reader.dropped for reader in self._readers.values())
        self.progress.tell([str(stretch) for stretch in self._stretches.values()], self._unwritten(), dropped)

    def _unwritten(self) -> int:
        gathered = sum(stretch.gathering.messages for stretch in self._stretches.values())
        return gathered + self._waiting.messages

    def _take(self, item: Item) -> None:
        stretch = self._stretches[item.cluster]
        match item:
            case Heard():
                self._gather(stretch, item)
            case Listening():
                self._begin(stretch, item)
            case Interrupted(cause=cause):
                self._end(stretch, cause)
            case Halted(error=error):
                self._end(stretch, "stopped")
                self._unhalted.discard(item.cluster)
                if error is not None:
                    raise error

    def _gather(self, stretch: Stretch, heard: Heard) -> None:
        gathering = stretch.gathering
        for delivery in heard.deliveries:
            gathering.add(delivery, time.monotonic())
            if gathering.is_full:
                self._write(stretch)
        if not heard.drained_at:
            return
        if gathering.messages:
            gathering.settle(heard.drained_at)
        else:
            stretch.until_at = max(stretch.until_at, heard.drained_at)
            self.progress.settle()

    def _begin(self, stretch: Stretch, listening: Listening) -> None:
        self._end(stretch, "opened again")
        stretch.from_at = listening.from_at
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

    def _end(self, stretch: Stretch, cause: str) -> None:
        """What was heard before is written before the coverage is closed."""
        self._write(stretch)
        position = stretch.position
        if position is None:
            return
        self._insist(lambda: presence.end(self._ledger, position, cause))
        stretch.coverage_id, stretch.until_at = None, 0
        log.info(
            "coverage of %s ended: %s",
            stretch.cluster,
            cause,
            extra={"action": "coverage_ended", "cluster": stretch.cluster, "cause": cause},
        )

    def _write_what_is_due(self) -> None:
        now_s = time.monotonic()
        for stretch in self._stretches.values():
            if stretch.gathering.waits_until_s() <= now_s:
                self._write(stretch)

    def _write(self, stretch: Stretch) -> None:
        """One transaction, then the acknowledgement."""
        if not stretch.gathering.messages:
            return
        gathered = stretch.gathering.cut()
        if gathered.events or gathered.malformed:
            self._record(stretch, gathered)
        stretch.until_at = max(stretch.until_at, gathered.until_at)
        if gathered.tag is not None:
            self._readers[stretch.cluster].acknowledge(gathered.tag)

    def _record(self, stretch: Stretch, gathered: Gathered) -> None:
        until_at = max(stretch.until_at, gathered.until_at)
        position = None if stretch.coverage_id is None else Position(stretch.coverage_id, until_at)
        batch = Batch(stretch.cluster, gathered.events, gathered.malformed, gathered.received_at, position)
        from_s = time.monotonic()
        recorded: Recorded = self._insist(lambda: record(self._ledger, batch))
        self.progress.count(recorded, max((event.at for event in gathered.events), default=None))
        log.debug(
            "recorded a batch of %s: %d new of %d",
            stretch.cluster,
            recorded.new,
            len(gathered.events),
            extra={
                "action": "batch_recorded",
                "cluster": stretch.cluster,
                "took_s": time.monotonic() - from_s,
                **recorded._asdict(),
            },
        )

    def _give_sign(self, *, at_once: bool = False) -> None:
        if time.monotonic() < self._sign_at_s and not at_once:
            return
        for stretch in self._stretches.values():
            position = stretch.position
            self._insist(lambda position=position: self._extend(position))  # type: ignore[misc]
        self._sign_at_s = time.monotonic() + SIGN_EVERY_S

    def _extend(self, position: Position | None) -> None:
        presence.extend(
            self._ledger,
            position,
            recorder_id=self._recorder_id,
            seen_at=now_at(),
            lag_s=self.progress.lag_s,
            recorded=self.progress.recorded,
        )

    def _insist(self, act: Callable[[], T]) -> T:
        """What `act` returns, however often it takes; OutOfTimeError only when stopping."""
        waits = delays(LONGEST_S)
        while True:
            try:
                return act()
            except LedgerError as error:
                log.warning("%s; trying again", error, extra={"action": "ledger_away", "waiting": self._unwritten()})
            except Exception:  # A batch must not be given up for a fault that nobody thought of.
                log.exception("writing failed; trying again", extra={"action": "writing_failed"})
            self._pause(next(waits))

    def _pause(self, delay_s: float) -> None:
        if not self._stop.wait(delay_s):
            return
        now_s = time.monotonic()
        self._give_up_at_s = self._give_up_at_s or now_s + FINISH_S
        if now_s >= self._give_up_at_s:
            raise OutOfTimeError(f"the database stayed away; {self._unwritten():,} messages are not written")
        time.sleep(min(delay_s, 0.25))

    def _patience_s(self) -> float:
        due_s = min(stretch.gathering.waits_until_s() for stretch in self._stretches.values())
        return max(0.0, min(IDLE_S, due_s - time.monotonic()))

"""The reading half of the recorder: one thread for each broker."""

import logging
import threading
import time
from contextlib import suppress

from taskledger.errors import SettingsError, SourceError, TaskledgerError
from taskledger.recorder.backoff import delays
from taskledger.recorder.batch import read
from taskledger.recorder.source import Delivery, Opened, Source, Tag, now_at
from taskledger.recorder.vitals import Link
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Listening, Waiting

log = logging.getLogger(__name__)

#: seconds; the longest an acknowledgement or the order to stop waits for a quiet broker
RECEIVE_S = 0.05
#: seconds between two times that a source is asked whether it is drained
DRAINED_EVERY_S = 1.0
#: seconds; a connection that held for less does not count as mended, so the waits go on growing
STEADY_S = 10.0
#: seconds without a single look at the connection that count as standing still, and how long that may explain a loss
STALLED_S, EXPLAINS_S = 3.0, 10.0


class Reader(threading.Thread):
    """Talks to one broker, and to nothing else: what it hears goes into `waiting`, and no database is known here.

    Only this thread touches the connection, so acknowledgements come to it through `acknowledge` and are passed on
    between two receives. It reconnects for ever, and ends when `stop` is set and `finish` was called.
    """

    def __init__(self, cluster: str, source: Source, waiting: Waiting, stop: threading.Event, limit: int) -> None:
        super().__init__(name=f"reader-{cluster}", daemon=True)
        self.cluster = cluster
        self.source = source
        #: events that were read and thrown away because nobody took them
        self.dropped = 0
        #: messages that came
        self.received = 0
        self.link = Link()
        self._waiting = waiting
        self._stop_reading = stop
        self._finished = threading.Event()
        self._limit = limit
        self._lock = threading.Lock()
        self._committed: Tag | None = None
        self._passed_on: Tag | None = None
        self._was_open = self._is_listening = False
        self._dropping = 0
        self._ask_at_s = self._looked_at_s = self._stall_s = self._stall_end_s = 0.0
        self._breaks_because: str | None = None
        self._is_paused = False

    def acknowledge(self, tag: Tag) -> None:
        """The ledger, or the spool, has everything up to that message. May be called from any thread."""
        with self._lock:
            self._committed = max(tag, self._committed or tag)

    def pause(self, cause: str) -> None:
        """Let the broker keep what comes, and what was not acknowledged, until `resume`. From any thread."""
        self._is_paused = True
        self._breaks_because = cause

    def resume(self) -> None:
        """Read again after a pause."""
        self._is_paused = False

    def reopen(self, cause: str) -> None:
        """Break off and begin again, so that what was not acknowledged comes once more. From any thread."""
        self._breaks_because = cause

    def finish(self) -> None:
        """No more acknowledgements will come."""
        self._finished.set()

    def run(self) -> None:
        error = self._read_on()
        if self._dropping:
            self._waiting.put(Interrupted(self.cluster, self._dropped_cause()))
        self._waiting.put(Halted(self.cluster, error))
        while not self._finished.wait(0.01):
            self._acknowledge_again()
        self._acknowledge_again()
        self.source.close()

    def _read_on(self) -> TaskledgerError | None:
        """Until told to stop; or the reason why it is useless to go on."""
        waits = delays()
        while not self._stop_reading.is_set():
            from_s = time.monotonic()
            self.link.beat()
            if self._is_paused:
                self._stop_reading.wait(RECEIVE_S)
                continue
            try:
                self._listen()
            except SettingsError as error:
                # Settings that worked once are not wrong: the broker may be in the middle of being set up again.
                if not self._was_open:
                    return error
                self._lose(error)
            except SourceError as error:
                self._lose(error)
            except Exception as error:  # The thread must never end without a word, whatever a driver raises.
                log.exception("reading %s failed", self.source.address, extra={"action": "reading_failed"})
                self._lose(error)
            else:
                continue
            if time.monotonic() - from_s > STEADY_S:
                waits = delays()
            self._pause(next(waits))
        return None

    def _listen(self) -> None:
        """One connection, from opening until it breaks or is broken off, or reading stops."""
        self._breaks_because = None
        opened = self.source.open()
        self.link.opened()
        self._was_open = self._is_listening = True
        self._ask_at_s = 0.0
        self._waiting.put(Listening(self.cluster, opened, now_at()))
        log.info(
            "listening to %s, queue %s%s",
            self.source.address,
            self.source.queue,
            " (resumed)" if opened.resumed else "",
            extra={"action": "listening", "cluster": self.cluster, "resumed": opened.resumed},
        )
        self._looked_at_s = time.monotonic()
        while not self._stop_reading.is_set():
            if self._is_paused or self._breaks_because is not None:
                self._break_off(self._breaks_because or "paused")
                return
            self._pass_on()
            self._hand_over(self._receive())
        # One last look, so that the coverage reaches up to the stop.
        self._ask_at_s = 0.0
        self._hand_over(self.source.receive(self._limit, 0.0))

    def _receive(self) -> list[Delivery]:
        """Whatever is ready; remembers how long nobody had looked, as when the process was stopped."""
        try:
            return self.source.receive(self._limit, RECEIVE_S)
        finally:
            now_s = time.monotonic()
            self.link.beat()
            if now_s - self._looked_at_s > STALLED_S:
                self._stall_s, self._stall_end_s = now_s - self._looked_at_s, now_s
            self._looked_at_s = now_s

    def _pass_on(self) -> None:
        with self._lock:
            tag = self._committed
        if tag is not None and tag != self._passed_on:
            self.source.acknowledge(tag)
            self._passed_on = tag

    def _acknowledge_again(self) -> None:
        # What the broker does not hear of is delivered again, and known by its identity.
        with suppress(SourceError):
            self._pass_on()

    def _hand_over(self, deliveries: list[Delivery]) -> None:
        self.received += len(deliveries)
        drained_at = self._drained_at() if len(deliveries) < self._limit else 0
        if not self._has_room():
            # What has a tag may not be thrown away: the next acknowledgement would count for it.
            self._drop([each for each in deliveries if each.tag is None])
            deliveries, drained_at = [each for each in deliveries if each.tag is not None], 0
        if deliveries or drained_at:
            self._waiting.put(Heard(self.cluster, tuple(deliveries), drained_at))

    def _drained_at(self) -> int:
        """The moment for which the source says that it is drained; 0 when it is not, or was asked a moment ago."""
        if time.monotonic() < self._ask_at_s:
            return 0
        self._ask_at_s = time.monotonic() + DRAINED_EVERY_S
        asked_at = now_at()
        return asked_at if self.source.is_drained() else 0

    def _has_room(self) -> bool:
        """Whoever keeps events never sends more ahead than its prefetch, so that always has room."""
        if self.source.promise.keeps or self._waiting.has_room():
            if self._dropping:
                self._confess()
            return True
        return False

    def _drop(self, deliveries: list[Delivery]) -> None:
        number = sum(len(read(delivery)) for delivery in deliveries)
        if not self._dropping and number:
            log.error(
                "%s: no memory is left for what comes: events are being lost",
                self.cluster,
                extra={"action": "dropping", "cluster": self.cluster},
            )
        self._dropping += number
        self.dropped += number

    def _confess(self) -> None:
        """Room again: the coverage has a hole from the first message that was dropped until now."""
        cause = self._dropped_cause()
        log.error("%s: %s", self.cluster, cause, extra={"action": "dropped", "events": self._dropping})
        self._dropping = 0
        self._waiting.put(Interrupted(self.cluster, cause))
        self._waiting.put(Listening(self.cluster, Opened(resumed=False, promise=self.source.promise), now_at()))

    def _dropped_cause(self) -> str:
        return f"messages dropped: no memory left ({self._dropping:,} events)"

    def _break_off(self, cause: str) -> None:
        self._interrupt(cause)
        self.source.close()

    def _lose(self, error: Exception) -> None:
        log.warning(
            "no connection to %s: %s",
            self.source.address,
            error,
            extra={"action": "broker_lost", "cluster": self.cluster},
        )
        self._interrupt(f"broker lost: {error}{self._explanation()}")

    def _explanation(self) -> str:
        """Brokers hang up on whoever does not read, and throw away what they had for it."""
        if self.source.promise.keeps or time.monotonic() - self._stall_end_s > EXPLAINS_S:
            return ""
        return f", after {self._stall_s:.0f} s in which nothing was read: probably dropped for its full output buffer"

    def _interrupt(self, cause: str) -> None:
        self.link.lost(cause)
        if not self._is_listening:
            return
        self._is_listening = False
        if self.source.promise.keeps:
            self._waiting.discard(self.cluster)
        if self._dropping:
            cause = f"{self._dropped_cause()}; {cause}"
        self._dropping = 0
        self._waiting.put(Interrupted(self.cluster, cause))

    def _pause(self, delay_s: float) -> None:
        self.source.close()
        self._stop_reading.wait(delay_s)

"""The reading half of the recorder: one thread for each broker."""

import logging
import threading
import time
from contextlib import suppress

from taskledger.errors import SettingsError, SourceError, TaskledgerError
from taskledger.recorder.backoff import delays
from taskledger.recorder.source import Delivery, Opened, Promise, Source, Tag, now_at
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Listening, Waiting

log = logging.getLogger(__name__)

#: seconds; the longest an acknowledgement or the order to stop waits for a quiet broker
RECEIVE_S = 0.05
#: seconds between two times that a source is asked whether it is drained
DRAINED_EVERY_S = 1.0
#: seconds; a connection that held for less does not count as mended, so the waits go on growing
STEADY_S = 10.0


class Reader(threading.Thread):
    """Talks to one broker, and to nothing else: what it hears goes into `waiting`, and no database is known here.

    Only this thread touches the connection, so acknowledgements come to it through `acknowledge` and are passed on
    between two receives. It reconnects for ever, and ends when `stop` is set and `finish` was called.
    """

    def __init__(self, cluster: str, source: Source, waiting: Waiting, stop: threading.Event, limit: int) -> None:
        super().__init__(name=f"reader-{cluster}", daemon=True)
        self.cluster = cluster
        self.source = source
        #: messages that were read and thrown away because nobody took them
        self.dropped = 0
        self._waiting = waiting
        self._stop_reading = stop
        self._finished = threading.Event()
        self._limit = limit
        self._committed: Tag | None = None
        self._passed_on: Tag | None = None
        self._was_open = self._is_listening = False
        self._dropping = 0
        self._ask_at_s = 0.0

    def acknowledge(self, tag: Tag) -> None:
        """The ledger has everything up to that message. May be called from any thread."""
        self._committed = tag

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
                return None
            if time.monotonic() - from_s > STEADY_S:
                waits = delays()
            self._pause(next(waits))
        return None

    def _listen(self) -> None:
        """One connection, from opening until it breaks or reading stops."""
        opened = self.source.open()
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
        while not self._stop_reading.is_set():
            self._pass_on()
            self._hand_over(self.source.receive(self._limit, RECEIVE_S))
        # One last look, so that the coverage reaches up to the stop.
        self._ask_at_s = 0.0
        self._hand_over(self.source.receive(self._limit, 0.0))

    def _pass_on(self) -> None:
        tag = self._committed
        if tag is not None and tag != self._passed_on:
            self.source.acknowledge(tag)
            self._passed_on = tag

    def _acknowledge_again(self) -> None:
        # What the broker does not hear of is delivered again, and known by its identity.
        with suppress(SourceError):
            self._pass_on()

    def _hand_over(self, deliveries: list[Delivery]) -> None:
        drained_at = self._drained_at() if len(deliveries) < self._limit else 0
        if not self._may_hand_over(len(deliveries)):
            return
        if deliveries or drained_at:
            self._waiting.put(Heard(self.cluster, tuple(deliveries), drained_at))

    def _drained_at(self) -> int:
        """The moment for which the source says that it is drained; 0 when it is not, or was asked a moment ago."""
        if time.monotonic() < self._ask_at_s:
            return 0
        self._ask_at_s = time.monotonic() + DRAINED_EVERY_S
        asked_at = now_at()
        return asked_at if self.source.is_drained() else 0

    def _may_hand_over(self, number: int) -> bool:
        """Whether there is room. A durable queue is never read further than its prefetch, so it needs none."""
        if self.source.promise is Promise.DURABLE_QUEUE or self._waiting.has_room():
            if self._dropping:
                self._confess()
            return True
        if not self._dropping and number:
            log.error(
                "%s: the database is away or too slow, and no memory is left to wait in: events are being lost",
                self.cluster,
                extra={"action": "dropping", "cluster": self.cluster},
            )
        self._dropping += number
        self.dropped += number
        return False

    def _confess(self) -> None:
        """Room again: the coverage has a hole from the first message that was dropped until now."""
        cause = self._dropped_cause()
        log.error("%s: %s", self.cluster, cause, extra={"action": "dropped", "messages": self._dropping})
        self._dropping = 0
        self._waiting.put(Interrupted(self.cluster, cause))
        self._waiting.put(Listening(self.cluster, Opened(resumed=False, promise=self.source.promise), now_at()))

    def _dropped_cause(self) -> str:
        return f"{self._dropping:,} messages dropped: the database was away or too slow"

    def _lose(self, error: Exception) -> None:
        log.warning(
            "no connection to %s: %s",
            self.source.address,
            error,
            extra={"action": "broker_lost", "cluster": self.cluster},
        )
        if not self._is_listening:
            return
        self._is_listening = False
        if self.source.promise is Promise.DURABLE_QUEUE:
            self._waiting.discard(self.cluster)
        cause = self._dropped_cause() if self._dropping else f"broker lost: {error}"
        self._dropping = 0
        self._waiting.put(Interrupted(self.cluster, cause))

    def _pause(self, delay_s: float) -> None:
        self.source.close()
        self._stop_reading.wait(delay_s)

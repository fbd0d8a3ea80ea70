"""What the recorder says of itself: counts, lag, and a line every minute."""

import logging
import time
from collections.abc import Iterable

from taskledger.ledger.record import Recorded
from taskledger.recorder.source import now_at
from taskledger.recorder.vitals import Tally

log = logging.getLogger(__name__)

#: seconds between two lines
LINE_EVERY_S = 60.0


class Progress:
    """Counts since the start; `lag_s` is how old the newest event was when it was committed."""

    def __init__(self) -> None:
        self.recorded = self.duplicate = self.stale = self.quarantined = 0
        self.lag_s: float | None = None
        #: events thrown away because nobody could take them, and records of the spool that were damaged
        self.dropped = self.damaged = 0
        #: bytes that wait on the disk
        self.spooled_bytes = 0
        #: messages and events that wait in memory
        self.waiting = 0
        #: when the gatherer last went on, on the monotonic clock
        self.gathered_s = time.monotonic()
        #: the same and more, cluster by cluster, for metrics
        self.tally = Tally()
        self._told_s = time.monotonic()
        self._told_recorded = 0

    def count(self, recorded: Recorded, newest_at: int | None) -> None:
        self.recorded += recorded.new
        self.duplicate += recorded.duplicate
        self.stale += recorded.stale
        self.quarantined += recorded.quarantined
        if newest_at is not None:
            self.lag_s = max(0.0, (now_at() - newest_at) / 1e6)

    def settle(self) -> None:
        """Nothing is waiting anywhere, so nothing lags."""
        self.lag_s = 0.0

    def is_due(self) -> bool:
        return time.monotonic() - self._told_s >= LINE_EVERY_S

    def tell(self, clusters: Iterable[str], waiting: int) -> None:
        """One line for people, with the same figures for programs."""
        since_s, since = time.monotonic() - self._told_s, self.recorded - self._told_recorded
        self._told_s, self._told_recorded = time.monotonic(), self.recorded
        lag = "unknown" if self.lag_s is None else f"{self.lag_s:.1f} s"
        log.info(
            "recorded %d events in %.0f s, %d in all"
            " (%d duplicate, %d quarantined, %d too old, %d dropped, %d damaged);"
            " lag %s; %s; %d waiting in memory, %d bytes in the spool",
            since,
            since_s,
            self.recorded,
            self.duplicate,
            self.quarantined,
            self.stale,
            self.dropped,
            self.damaged,
            lag,
            "; ".join(clusters),
            waiting,
            self.spooled_bytes,
            extra={"action": "progress", **self._figures(), "waiting": waiting},
        )

    def _figures(self) -> dict[str, object]:
        names = ("recorded", "duplicate", "stale", "quarantined", "dropped", "damaged", "spooled_bytes", "lag_s")
        return {name: getattr(self, name) for name in names}

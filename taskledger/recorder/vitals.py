"""How the recorder is: what its loops note as they go, and one look at all of it for probes, metrics and systemd."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskledger.errors import TaskledgerError
from taskledger.ledger.record import Recorded
from taskledger.parsing import mask_url
from taskledger.recorder.batch import Gathered
from taskledger.recorder.landing import REFUSED

#: upper bounds of the histograms: events of a batch, and seconds that its transaction took
BATCH_EVENTS = (1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
BATCH_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: characters of what a driver said, as far as it is repeated
MAX_TROUBLE_CHARS = 300


class Link:
    """The connection to one broker, as its reader finds it; only the reader writes here."""

    def __init__(self) -> None:
        #: how often it was opened
        self.connections = 0
        #: why it is not open; None while it is
        self.trouble: str | None = "not connected yet"
        #: when the reader last went on, on the monotonic clock
        self.beat_s = time.monotonic()
        self._listened_s = 0.0
        self._from_s: float | None = None

    def beat(self) -> None:
        """The reader goes on."""
        self.beat_s = time.monotonic()

    def opened(self) -> None:
        """From now on events are heard."""
        self.beat()
        self.connections += 1
        self.trouble = None
        self._from_s = time.monotonic()

    def lost(self, cause: str) -> None:
        """From now on they are not. May be said again, when it could not be opened either."""
        self.beat()
        self.trouble = cause
        from_s, self._from_s = self._from_s, None
        if from_s is not None:
            self._listened_s += time.monotonic() - from_s

    @property
    def listened_s(self) -> float:
        """Seconds for which it was open, in all."""
        from_s = self._from_s
        return self._listened_s + (0.0 if from_s is None else time.monotonic() - from_s)


class Distribution:
    """How values are spread: how many were at most each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._numbers = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        self._numbers[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """One figure for each bound, and the last for all."""
        total, found = 0, []
        for number in list(self._numbers):
            total += number
            found.append(total)
        return found


class Tally:
    """What the writer has done since the start; only the writer writes here."""

    def __init__(self) -> None:
        self.stored: Counter[str] = Counter()
        self.duplicate: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        #: cluster -> reason -> events that could not be used
        self.quarantined: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.batch_events = Distribution(BATCH_EVENTS)
        self.batch_s = Distribution(BATCH_S)
        #: seconds since the epoch; None before the first
        self.committed_s: float | None = None
        #: how often the database refused or was away
        self.failures = 0
        #: what it said last; None while it does what it is asked
        self.trouble: str | None = None
        #: when the writer last went on, on the monotonic clock
        self.beat_s = time.monotonic()
        self._asked_s: float | None = None

    def beat(self) -> None:
        """The writer goes on."""
        self.beat_s = time.monotonic()

    def asked(self) -> None:
        """The database is asked for something, until it is answered."""
        self.beat()
        self._asked_s = self.beat_s

    def answered(self) -> None:
        """It did what it was asked, or refused that one thing."""
        self.beat()
        self.trouble = self._asked_s = None

    def failed(self, error: Exception) -> None:
        """It did not, and is asked again."""
        self.beat()
        self.failures += 1
        # Of a fault that nobody thought of the words may hold anything.
        told = mask_url(str(error)) if isinstance(error, TaskledgerError) else type(error).__name__
        self.trouble = " ".join(told.split())[:MAX_TROUBLE_CHARS]

    def committed(self, gathered: Gathered, recorded: Recorded, took_s: float) -> None:
        """A batch is in the ledger."""
        cluster = gathered.cluster
        self.stored[cluster] += recorded.new
        self.duplicate[cluster] += recorded.duplicate
        self.stale[cluster] += recorded.stale
        reasons = Counter(item.reason for item in gathered.malformed)
        reasons[REFUSED] += len(gathered.events) - recorded.new - recorded.duplicate - recorded.stale
        self.quarantined[cluster].update(+reasons)
        self.batch_events.add(gathered.number)
        self.batch_s.add(took_s)
        self.committed_s = time.time()

    @property
    def unanswered_s(self) -> float:
        """How long the database has been asked in vain."""
        asked_s = self._asked_s
        return 0.0 if asked_s is None else time.monotonic() - asked_s


@dataclass(frozen=True, slots=True)
class ClusterVitals:
    """One broker at one moment; the figures count from the start of the process."""

    cluster: str
    promise: str
    #: why it is not listened to; None while it is
    trouble: str | None
    #: seconds since its reader last went on
    still_s: float
    connections: int
    listened_s: float
    received: int
    stored: int
    duplicate: int
    stale: int
    #: reason -> events
    quarantined: Mapping[str, int]
    #: events thrown away, by reason
    dropped: Mapping[str, int]
    #: messages that the broker threw away unread
    lost: int
    #: messages that wait at the broker; None where that cannot be known
    backlog: int | None


@dataclass(frozen=True, slots=True)
class Vitals:
    """The recorder at one moment."""

    clusters: tuple[ClusterVitals, ...]
    #: seconds since each loop that is no reader last went on
    still_s: Mapping[str, float]
    #: what the database said when it last refused; None while it does what it is asked
    trouble: str | None
    #: how long it has been asked in vain
    unanswered_s: float
    failures: int
    #: how old the newest event was when it was written, or how long what waits has waited; None before the first
    lag_s: float | None
    #: seconds since the epoch
    committed_s: float | None
    waiting_messages: int
    waiting_bytes: int
    spool_bytes: int
    spool_max_bytes: int
    spool_damaged: int
    batch_events: Distribution = field(default_factory=lambda: Distribution(BATCH_EVENTS))
    batch_s: Distribution = field(default_factory=lambda: Distribution(BATCH_S))

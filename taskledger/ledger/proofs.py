"""What the ledger can prove of a span, as frozen values; times are microseconds since the epoch, UTC."""

from dataclasses import dataclass

from taskledger.ledger.answers import Coverage, Micros

#: verdicts on a span
COMPLETE, MISSING, UNKNOWN = "complete", "missing", "cannot tell"
#: kinds of gaps: events that were sent while nobody listened, or could not be sent; and such as are never sent
LOST, UNANNOUNCED = "lost", "unannounced"


@dataclass(frozen=True, slots=True)
class GapRow:
    """Starts and ends of tasks that a worker counted between two of its signs, and that nobody recorded.

    `kind` is "lost", or "unannounced" for such as are never sent. The times are those of the worker's clock.
    """

    cluster: str
    worker: str
    pid: int | None
    from_at: Micros
    to_at: Micros
    starts: int
    ends: int
    kind: str
    cause: str

    @property
    def events(self) -> int:
        return self.starts + self.ends


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A worker of which it cannot be told whether something is missing, and why."""

    cluster: str
    worker: str
    why: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether all starts and ends of tasks in a span were recorded."""

    #: one of COMPLETE, MISSING, UNKNOWN
    verdict: str
    coverage: Coverage
    gaps: tuple[GapRow, ...]
    uncounted: tuple[Uncounted, ...]
    #: up to where workers' counts are compared with what was recorded; None when never
    compared_at: Micros | None
    #: workers whose counts were compared
    workers: int

    @property
    def lost(self) -> int:
        """Events that are missing and should be there."""
        return sum(gap.events for gap in self.gaps if gap.kind == LOST)

    @property
    def unannounced_starts(self) -> int:
        """Tasks that ran without a word."""
        return sum(gap.starts for gap in self.gaps if gap.kind != LOST)

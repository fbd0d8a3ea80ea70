"""Where beat's schedulers keep their schedule, read by our own reading: other people's tables, and RedBeat's keys.

None of their code is run and nothing is unpickled, so beat's own file (`celerybeat-schedule`, a shelve of pickles) is
not read at all.
"""

from typing import NamedTuple, Protocol

from taskledger.schedules import Entry

__all__ = ["Reading", "RunCount", "Store"]


class RunCount(NamedTuple):
    """How often beat says that it sent an entry; it counts before it sends, so a send that failed is in it as well.

    `last_run_at` in microseconds, None as long as it never ran.
    """

    name: str
    last_run_at: int | None
    total_run_count: int


class Reading(NamedTuple):
    """All that a source has now."""

    source: str
    entries: tuple[Entry, ...]
    counts: tuple[RunCount, ...] = ()


class Store(Protocol):
    """A place where beat keeps its schedule; it is connected to on first use."""

    #: for people, without its password
    shown: str

    def read(self, now_at: int) -> list[Reading]:
        """What each schedule in it says; none for a place that beat does not seem to use. Raises ScheduleError."""
        ...

    def close(self) -> None:
        """Give its connections back."""
        ...

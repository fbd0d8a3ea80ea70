"""Entries that are due more than once a minute: pages draw a mark a minute, so they ask for minutes."""

from collections.abc import Sequence
from math import ceil

from taskledger.crontabs import SECOND
from taskledger.ledger.answers import TickRow
from taskledger.schedules import Definition, Interval

MINUTE = 60 * SECOND
#: due times of one entry that are read at most: 90 minutes of one that is due every second
MOST = 6_000


def per_minute(schedule: Definition) -> int:
    """How many due times a minute has at most; 1 where it never has more."""
    if not isinstance(schedule, Interval) or schedule.every_s >= 60:
        return 1
    return ceil(60 / max(schedule.every_s, 0.01))


def ticks_of(minutes: int, a_minute: int) -> int:
    """How many due times hold so many minutes, the first of them and the one that goes on included."""
    return minutes if a_minute == 1 else min((minutes + 1) * a_minute, MOST)


def of_last(past: Sequence[TickRow], minutes: int) -> list[TickRow]:
    """The due times, earliest first, of the last so many minutes that have any, each minute whole."""
    begun = sorted({tick.due_at // MINUTE for tick in past})
    first = begun[-minutes] if len(begun) >= minutes else 0
    return [tick for tick in past if tick.due_at // MINUTE >= first]

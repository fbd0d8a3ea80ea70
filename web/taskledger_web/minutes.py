"""What the marks of an entry stand for: a due time each, or a minute each where it is due more than once a minute."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger_web import strip, times
from taskledger_web.strip import COUNTED, Slot

MINUTE = 60 * times.MICROS
#: minutes to come that are drawn, as many as due times of other entries
TO_COME = 3


def slots(row: ScheduleRow) -> list[Slot]:
    """One for each mark of the entry, oldest first."""
    if not row.is_by_minute:
        return [strip.slot(tick) for tick in row.ticks]
    past = [tick for tick in row.ticks if tick.fire != "pending"]
    reached = past[-1].due_at // MINUTE if past else 0
    later = [tick for tick in row.ticks if tick.fire == "pending" and tick.due_at // MINUTE > reached]
    return [*_minutes(past), *_minutes(later)[:TO_COME]]


def _minutes(ticks: Sequence[TickRow]) -> list[Slot]:
    return [_slot(minute * MINUTE, list(few)) for minute, few in groupby(ticks, key=lambda tick: tick.due_at // MINUTE)]


def _slot(at: int, ticks: Sequence[TickRow]) -> Slot:
    """The worst of them is drawn, and it leads to the task of that one; of equals to the latest."""
    worst = max(reversed(ticks), key=lambda tick: strip.mark_of(tick).rank)
    return Slot(at, strip.mark_of(worst), counted(ticks), worst.task_id)


def counted(ticks: Sequence[TickRow]) -> str:
    """5 of 6 sent, missed 1; all that is not on time is named."""
    if all(tick.fire == "pending" for tick in ticks):
        return "still to come"
    sent = sum(tick.is_sent for tick in ticks)
    marks = Counter(strip.mark_of(tick).symbol for tick in ticks)
    worse = sorted((strip.MARKS[symbol] for symbol in marks if symbol != "ontime"), key=lambda mark: -mark.rank)
    told = [f"{COUNTED.get(mark.symbol, mark.text.lower())} {marks[mark.symbol]}" for mark in worse]
    return ", ".join([f"{sent} of {len(ticks)} sent", *told])

"""What the due times of a stretch of time come to: the mark of the worst, and counts; for days and timelines."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskledger.ledger import query
from taskledger.ledger.answers import Span, TickRow
from taskledger.ledger.beat_answers import Tally
from taskledger_web import strip
from taskledger_web.strip import COUNTED, MARKS, TWICE, Mark

#: what beat did where it was in time or not much after it
SENT = ("on_time", "late")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Due times that make one mark: from the first to the last of them, and how many have which mark."""

    first_at: int
    last_at: int
    #: symbol of a mark -> how many
    counts: Counter[str]
    sent: int
    task_id: str | None = None

    @property
    def number(self) -> int:
        return self.counts.total()

    @property
    def mark(self) -> Mark:
        return max((MARKS[symbol] for symbol in self.counts), key=lambda mark: mark.rank)


def of_tally(tally: Tally) -> Stretch:
    """Alike due times. Where it was not looked at what became of the tasks, being sent is all that is drawn."""
    became = "ok" if tally.outcome is None and tally.fire in SENT else tally.outcome
    mark = strip.mark_of_facts(tally.fire, became, is_twice=not TWICE.isdisjoint(tally.flags))
    sent = tally.number if tally.fire in SENT else 0
    return Stretch(tally.first_at, tally.last_at, Counter({mark.symbol: tally.number}), sent, tally.task_id)


def of_tick(tick: TickRow) -> Stretch:
    """A single due time."""
    counts = Counter({strip.mark_of(tick).symbol: 1})
    return Stretch(tick.due_at, tick.due_at, counts, int(tick.is_sent), tick.task_id)


def pending(dues: Sequence[int], until_at: int) -> list[Stretch]:
    """Those that are still to come; where there are more than are told, one stretch up to the end."""
    if len(dues) < query.MOST_AHEAD:
        return [Stretch(due_at, due_at, Counter({"pending": 1}), 0) for due_at in dues]
    return [Stretch(dues[0], until_at, Counter({"pending": len(dues)}), 0)]


def joined(stretches: Sequence[Stretch]) -> Stretch:
    """Several as one; a task is led to only by a single due time."""
    if len(stretches) == 1:
        return stretches[0]
    counts = sum((one.counts for one in stretches), Counter[str]())
    first_at, last_at = min(one.first_at for one in stretches), max(one.last_at for one in stretches)
    return Stretch(first_at, last_at, counts, sum(one.sent for one in stretches))


def of_row(tallies: Iterable[Tally], ticks: Iterable[TickRow], span: Span) -> list[Stretch]:
    """All there is of an entry in a span: what is final, counted, and what is not final yet."""
    is_open = (tick for tick in ticks if not tick.is_final and tick.fire != "pending")
    inside = (tick for tick in is_open if span.from_at <= tick.due_at < span.to_at)
    found = [*map(of_tally, tallies), *map(of_tick, inside)]
    return sorted(found, key=lambda one: (one.first_at, one.last_at))


def words(stretch: Stretch) -> str:
    """17 of 18 sent, missed 1; of one due time what it came to."""
    if stretch.number == 1:
        return stretch.mark.text.lower()
    if set(stretch.counts) == {"pending"}:
        return f"{stretch.number}{' or more' if stretch.number >= query.MOST_AHEAD else ''} still to come"
    marks = sorted((MARKS[symbol] for symbol in stretch.counts if symbol != "ontime"), key=lambda mark: -mark.rank)
    told = [f"{COUNTED.get(mark.symbol, mark.text.lower())} {stretch.counts[mark.symbol]}" for mark in marks]
    return ", ".join([f"{stretch.sent} of {stretch.number} sent", *told])

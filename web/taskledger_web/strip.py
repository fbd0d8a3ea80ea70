"""The strip of a schedule entry: one mark for each due time, and the verdict in words over all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup, escape

from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger_web import times
from taskledger_web.text import visible


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: the symbol it is drawn with, its word, and how bad it is (0 is well)."""

    symbol: str
    text: str
    rank: int
    kind: str
    icon: str


MARKS = {
    mark.symbol: mark
    for mark in (
        Mark("ontime", "On time", 0, "succeeded", "tick"),
        Mark("pending", "Still to come", 0, "sent", "clock"),
        Mark("off", "Off", 1, "sent", "ring"),
        Mark("running", "Running", 2, "running", "play"),
        Mark("waiting", "Sent, waiting", 3, "sent", "hourglass"),
        Mark("sent", "Sent, outcome not known", 4, "sent", "dot"),
        Mark("unknown", "Not known", 5, "sent", "hatched"),
        Mark("late", "Late", 6, "retrying", "clock"),
        Mark("twice", "Twice", 7, "retrying", "twice"),
        Mark("overdue", "Overdue", 8, "retrying", "clock"),
        Mark("notreceived", "Not received", 9, "failed", "triangle"),
        Mark("failed", "Failed", 10, "failed", "cross"),
        Mark("notsent", "Not sent: error", 11, "failed", "cross"),
        Mark("missed", "Missed", 12, "failed", "slash"),
    )
}
#: what beat did, where it alone decides the mark
_FIRE = {
    "missed": "missed",
    "overdue": "overdue",
    "failed_to_send": "notsent",
    "unknown": "unknown",
    "disabled": "off",
    "dst_skipped": "off",
    "pending": "pending",
}
#: what became of the task, where that is worse than how beat did
_OUTCOME = {
    "failed": "failed",
    "expired": "failed",
    "revoked": "failed",
    "rejected": "failed",
    "lost": "failed",
    "ended": "sent",
    "not_received": "notreceived",
    "running": "running",
    "retrying": "running",
    "waiting": "waiting",
    "unknown": "sent",
}
#: what a sentence that counts calls a mark, where its own words are too long for that
COUNTED = {"notsent": "not sent", "twice": "sent twice", "sent": "sent", "waiting": "waiting"}
#: flags of a due time that was sent more than once
TWICE = frozenset({"duplicate", "two_beats"})
FIRE_WORDS = {
    "on_time": "on time",
    "late": "late",
    "missed": "missed",
    "overdue": "overdue",
    "pending": "still to come",
    "failed_to_send": "not sent: error",
    "disabled": "off",
    "unknown": "not known",
    "dst_skipped": "skipped by the clock change",
}
OUTCOME_WORDS = {
    "ok": "succeeded",
    "not_received": "not received",
    "unknown": "not known",
    "lost": "lost with its worker",
    "ended": "ended, nothing said how",
}


#: what an entry is called whose latest due time went wrong, and somebody knows; no due time is drawn so
ACKNOWLEDGED = Mark("acknowledged", "Acknowledged", 1, "sent", "tick")


@dataclass(frozen=True, slots=True)
class Slot:
    """What one mark stands for: a due time, or all of a minute (minutes.py), and the task it leads to."""

    at: int
    mark: Mark
    words: str
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """A mark in its place: x and y in pixels, what it says, and the task it leads to."""

    x: int
    y: int
    mark: Mark
    title: str
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a strip comes to: the mark that decides, and a sentence that counts."""

    mark: Mark
    sentence: str
    #: how many due times are missed, failed, late or not sent
    problems: int


@dataclass(frozen=True, slots=True)
class Strip:
    """Marks in lines, and their size in pixels."""

    places: tuple[Place, ...]
    width: int
    height: int


#: pixels from one mark to the next, from one line to the next, and of a mark
PITCH, LINE, TALL = 11, 27, 22
#: marks of one line: 30 due times and three that are still to come fit a phone
PER_LINE = 33


def mark_of(tick: TickRow) -> Mark:
    """One mark for two facts, and for being sent more than once; the worst one wins."""
    return mark_of_facts(tick.fire, tick.outcome, is_twice=not TWICE.isdisjoint(tick.flags))


@cache
def mark_of_facts(fire: str, outcome: str | None, *, is_twice: bool) -> Mark:
    """The same from the facts alone."""
    if fire in _FIRE and outcome is None:
        return MARKS[_FIRE[fire]]
    became = MARKS[_OUTCOME.get(outcome or "unknown", "ontime")]
    did = MARKS[_FIRE.get(fire, "late" if fire == "late" else "ontime")]
    often = MARKS["twice" if is_twice else "ontime"]
    return max(did, became, often, key=lambda mark: mark.rank)


def strip(ticks: Sequence[TickRow], when: Callable[[int], str], *, line: int = PER_LINE) -> Strip:
    """A mark for each due time; see `of_slots`."""
    return of_slots([slot(tick) for tick in ticks], when, line=line)


def slot(tick: TickRow) -> Slot:
    """One due time."""
    return Slot(tick.due_at, mark_of(tick), describe(tick), tick.task_id)


def of_slots(slots: Sequence[Slot], when: Callable[[int], str], *, line: int = PER_LINE) -> Strip:
    """The marks from left to right; what does not fit in one line fills the lines above the last."""
    spare = -len(slots) % line if len(slots) > line else 0
    lines = max(-(-len(slots) // line), 1)
    # All strips of a list are as wide as a whole line, so that none is drawn larger than its neighbours.
    return Strip(tuple(_places(slots, spare, line, when)), line * PITCH, (lines - 1) * LINE + TALL)


def drawn(strip: Strip, link: Callable[[str], str]) -> Markup:
    """The marks as SVG. A list has thousands of them, so they are put together here rather than by a template."""
    return Markup("\n".join(_drawn(place, link) for place in strip.places))  # noqa: S704  All text is escaped below.


def _drawn(place: Place, link: Callable[[str], str]) -> str:
    y = f' y="{place.y}"' if place.y else ""
    use = f'<use href="#k-{place.mark.symbol}" x="{place.x}"{y} width="9" height="22"/>'
    inside = f"<title>{escape(visible(place.title))}</title>{use}"
    if place.task_id is None:
        return f'<g role="img">{inside}</g>'
    return f'<a href="{escape(visible(link(place.task_id)))}" tabindex="-1">{inside}</a>'


def _places(slots: Sequence[Slot], spare: int, size: int, when: Callable[[int], str]) -> Iterator[Place]:
    for number, one in enumerate(slots, start=spare):
        line, column = divmod(number, size)
        yield Place(column * PITCH, line * LINE, one.mark, f"{when(one.at)}: {one.words}", one.task_id)


def describe(tick: TickRow) -> str:
    """Both facts in words, with the lateness and the note."""
    parts = [FIRE_WORDS.get(tick.fire, tick.fire)]
    if tick.lateness_s is not None and tick.fire == "late":
        parts[0] += f" by {times.duration(tick.lateness_s)}"
    if TWICE.intersection(tick.flags):
        parts.append("sent more than once")
    if tick.outcome is not None:
        parts.append(OUTCOME_WORDS.get(tick.outcome, tick.outcome))
    if not tick.is_final and tick.fire != "pending":
        parts.append("not final yet")
    if tick.is_acknowledged:
        parts.append("acknowledged")
    return ", ".join(part for part in (*parts, tick.note) if part)


def verdict(row: ScheduleRow) -> Verdict:
    """The worst problem of the due times that have passed, else their latest mark; and how many there are of each.

    What somebody acknowledged is counted in the sentence, and decides nothing.
    """
    past = [tick for tick in row.ticks if tick.fire != "pending"]
    if not past:
        return Verdict(MARKS["pending"], "Nothing was due yet" if row.enabled else "Switched off", 0)
    marks = [(ACKNOWLEDGED if tick.is_acknowledged else mark_of(tick)) for tick in past]
    worst = max(marks, key=lambda mark: mark.rank)
    # Without a problem the latest due time decides: what was not known long ago is told in the sentence.
    decisive = worst if is_bad(worst) else marks[-1]
    counts = Counter(mark_of(tick).symbol for tick in past)
    return Verdict(decisive, _sentence(row, counts, len(marks)), sum(map(is_bad, marks)))


def is_bad(mark: Mark) -> bool:
    """Whether a due time with that mark went wrong."""
    return mark.rank >= MARKS["late"].rank


def _sentence(row: ScheduleRow, counts: Counter[str], total: int) -> str:
    told = sorted((MARKS[symbol] for symbol in counts if symbol != "ontime"), key=lambda mark: -mark.rank)
    if not told:
        return f"All {total} on time" if total > 1 else "On time"
    words = ", ".join(f"{COUNTED.get(mark.symbol, mark.text.lower())} {counts[mark.symbol]}" for mark in told)
    longest = max((tick.lateness_s or 0 for tick in row.ticks if tick.fire == "late"), default=0)
    late = f" (up to {times.duration(longest)})" if longest else ""
    known = sum(tick.is_acknowledged for tick in row.ticks)
    return f"{words[:1].upper()}{words[1:]} of {total}{late}{f'; {known} acknowledged' if known else ''}"


def in_a_row(row: ScheduleRow) -> tuple[TickRow, ...]:
    """The latest due times that were all missed or not sent, oldest first; empty when the last one was not.

    Those before one that somebody acknowledged are not told again.
    """
    bad: list[TickRow] = []
    # What is overdue may still come, and says nothing yet.
    for tick in reversed([tick for tick in row.ticks if tick.fire not in ("pending", "overdue")]):
        if tick.fire not in ("missed", "failed_to_send") or tick.is_acknowledged:
            break
        bad.append(tick)
    return tuple(reversed(bad))

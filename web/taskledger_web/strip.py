"""The strip of a schedule entry: one mark for each due time, and the verdict in words over all of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import itemgetter
from typing import NamedTuple

from markupsafe import Markup

from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger_web import times
from taskledger_web.text import markup


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


class Slot(NamedTuple):
    """What one mark stands for: a due time, or all of a minute (minutes.py), and the task it leads to."""

    at: int
    mark: Mark
    words: str
    task_id: str | None


class Place(NamedTuple):
    """A mark in its place: x and y in pixels, what it says, and the task it leads to."""

    x: int
    y: int
    mark: Mark
    title: str
    task_id: str | None


#: what ticks of one mark share: fire, outcome, flags, whether it is acknowledged
Kind = tuple[str, str | None, tuple[str, ...], bool]
_KIND = itemgetter(*map(TickRow._fields.index, ("fire", "outcome", "flags", "is_acknowledged")))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a strip comes to: the mark that decides, and a sentence that counts."""

    mark: Mark
    sentence: str
    #: how many due times are missed, failed, late or not sent
    problems: int
    #: what there is among the due times, those to come included
    kinds: frozenset[Kind] = frozenset()


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


def _kinds(row: ScheduleRow) -> Counter[Kind]:
    """How many due times there are of each kind: of dozens most are alike, and a list has ten thousand."""
    return Counter(map(_KIND, row.ticks))


def mark_of_kind(kind: Kind) -> Mark:
    """As `mark_of`, for all ticks of a kind."""
    fire, outcome, flags, _ = kind
    return mark_of_facts(fire, outcome, is_twice=not TWICE.isdisjoint(flags))


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
    inside = f"<title>{markup(place.title)}</title>{use}"
    if place.task_id is None:
        return f'<g role="img">{inside}</g>'
    return f'<a href="{markup(link(place.task_id))}" tabindex="-1">{inside}</a>'


def _places(slots: Sequence[Slot], spare: int, size: int, when: Callable[[int], str]) -> Iterator[Place]:
    for number, one in enumerate(slots, start=spare):
        line, column = divmod(number, size)
        yield Place(column * PITCH, line * LINE, one.mark, f"{when(one.at)}: {one.words}", one.task_id)


def describe(tick: TickRow) -> str:
    """Both facts in words, with the lateness and the note."""
    late_s = tick.lateness_s if tick.fire == "late" else None
    is_twice = not TWICE.isdisjoint(tick.flags)
    return _described(tick.fire, late_s, is_twice, tick.outcome, tick.is_final, tick.is_acknowledged, tick.note)


# A note may be long: few are held.
@lru_cache(maxsize=512)
def _described(
    fire: str,
    late_s: float | None,
    is_twice: bool,
    outcome: str | None,
    is_final: bool,
    is_acknowledged: bool,
    note: str | None,
) -> str:
    parts = [FIRE_WORDS.get(fire, fire)]
    if late_s is not None:
        parts[0] += f" by {times.duration(late_s)}"
    if is_twice:
        parts.append("sent more than once")
    if outcome is not None:
        parts.append(OUTCOME_WORDS.get(outcome, outcome))
    if not is_final and fire != "pending":
        parts.append("not final yet")
    if is_acknowledged:
        parts.append("acknowledged")
    return ", ".join(part for part in (*parts, note) if part)


def verdict(row: ScheduleRow) -> Verdict:
    """The worst problem of the due times that have passed, else their latest mark; and how many there are of each.

    What somebody acknowledged is counted in the sentence, and decides nothing.
    """
    found = _kinds(row)
    latest = next((tick for tick in reversed(row.ticks) if tick.fire != "pending"), None)
    if latest is None:
        said = "Nothing was due yet" if row.enabled else "Switched off"
        return Verdict(MARKS["pending"], said, 0, frozenset(found))
    counts, known = Counter[str](), Counter[str]()
    for kind, number in found.items():
        if kind[0] != "pending":
            (known if kind[3] else counts)[mark_of_kind(kind).symbol] += number
    worst = max((MARKS[symbol] for symbol in counts), key=lambda mark: mark.rank, default=ACKNOWLEDGED)
    # Without a problem the latest due time decides: what was not known long ago is told in the sentence.
    decisive = worst if is_bad(worst) else ACKNOWLEDGED if latest.is_acknowledged else mark_of(latest)
    problems = sum(number for symbol, number in counts.items() if is_bad(MARKS[symbol]))
    return Verdict(decisive, _sentence(row, counts + known, known.total()), problems, frozenset(found))


def is_bad(mark: Mark) -> bool:
    """Whether a due time with that mark went wrong."""
    return mark.rank >= MARKS["late"].rank


def _sentence(row: ScheduleRow, counts: Counter[str], known: int) -> str:
    total = counts.total()
    told = sorted((MARKS[symbol] for symbol in counts if symbol != "ontime"), key=lambda mark: -mark.rank)
    if not told:
        return f"All {total} on time" if total > 1 else "On time"
    words = ", ".join(f"{COUNTED.get(mark.symbol, mark.text.lower())} {counts[mark.symbol]}" for mark in told)
    longest = max((tick.lateness_s or 0 for tick in row.ticks if tick.fire == "late"), default=0)
    late = f" (up to {times.duration(longest)})" if longest else ""
    return f"{words[:1].upper()}{words[1:]} of {total}{late}{f'; {known} acknowledged' if known else ''}"


def in_a_row(row: ScheduleRow) -> tuple[TickRow, ...]:
    """The latest due times that were all missed or not sent, oldest first; empty when the last one was not.

    Those before one that somebody acknowledged are not told again.
    """
    bad: list[TickRow] = []
    # What is overdue may still come, and says nothing yet.
    for tick in reversed(row.ticks):
        if tick.fire in ("missed", "failed_to_send") and not tick.is_acknowledged:
            bad.append(tick)
        elif tick.fire not in ("pending", "overdue"):
            break
    return tuple(reversed(bad))

"""All entries on one axis of time: what was due when and what it came to, what is to come, and when beat started."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger.ledger.beat_answers import BeatRow, Tally
from taskledger_web import charts, links, stretches, times
from taskledger_web.asking import ask
from taskledger_web.charts import Stripe, Tick
from taskledger_web.entries import Judged
from taskledger_web.span import Range
from taskledger_web.stretches import Stretch
from taskledger_web.strip import Verdict
from taskledger_web.view import View

#: entries of one page, and marks of all its lanes: more would make a page of more than 1,500 nodes
ENTRIES, MARKS = 25, 330
#: what is drawn at most, and what the page offers: (value of `from`, words)
LONGEST = 31 * 86_400 * times.MICROS
SPANS = (("-6h", "6 h"), ("-24h", "24 h"), ("-7d", "7 days"), ("-30d", "30 days"))
#: of the time up to now, the part that is drawn as still to come: one in so many
AHEAD = 5
#: beat processes of which starts and ends are drawn
MOST_BEATS = 30


@dataclass(frozen=True, slots=True)
class Block:
    """One mark: x in per cent; width in per cent of one that stands for several due times, None for a single one."""

    x: str
    width: str | None
    symbol: str
    title: str
    href: str | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One entry."""

    row: ScheduleRow
    verdict: Verdict
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """A beat process that started, or ended."""

    x: str
    title: str
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """The drawing: lanes, and what lies behind all of them."""

    lanes: tuple[Lane, ...]
    starts: tuple[Start, ...]
    ticks: tuple[Tick, ...]
    stripes: tuple[Stripe, ...]
    now_x: str
    #: what a mark stands for where not each due time has its own
    note: str
    #: whether the range is longer than what is drawn
    is_cut: bool


def drawn(judged: Sequence[Judged], asked: Range, seen: View) -> dict[str, object]:
    """What the template of the timeline shows."""
    span = _span(asked, seen)
    coverage = ask(query.coverage, Span(span.from_at, min(span.to_at, seen.now_at)), seen.now_at)
    lanes, note = _lanes(judged, span, seen)
    beats = ask(query.beats, seen.now_at)
    timeline = Timeline(
        lanes,
        tuple(_starts(beats, span, seen)),
        charts.ticks(span, seen.zone, seen.now_at),
        charts.stripes(span, coverage, seen.zone, seen.now_at),
        charts.percent(seen.now_at, span),
        note,
        is_cut=span.from_at > asked.asked.from_at,
    )
    return {"timeline": timeline, "coverage": coverage, "spans": SPANS, "chosen_span": asked.from_text}


def _span(asked: Range, seen: View) -> Span:
    """The range, and where it ends now what is to come as well."""
    to_at = seen.now_at if asked.ends_now else asked.asked.to_at
    from_at = max(asked.asked.from_at, to_at - LONGEST)
    if asked.ends_now:
        to_at += (to_at - from_at) // AHEAD
    return Span(from_at, max(to_at, from_at + times.MICROS))


def _lanes(judged: Sequence[Judged], span: Span, seen: View) -> tuple[tuple[Lane, ...], str]:
    rows = [row for row, _ in judged]
    width = charts.bar_width((span.to_at - span.from_at) / times.MICROS) * times.MICROS
    counted: dict[tuple[str, str], list[Tally]] = {(row.cluster, row.name): [] for row in rows}
    for tally in ask(query.tallies, rows, span, width, seen.now_at, seen.at):
        counted[tally.cluster, tally.entry].append(tally)
    ahead = ask(query.due_ahead, rows, seen.now_at, span.to_at, seen.at) if span.to_at > seen.now_at else {}
    plain = []
    for row in rows:
        key = (row.cluster, row.name)
        past = stretches.of_row(counted[key], row.ticks, span)
        plain.append([*past, *stretches.pending(ahead.get(key, ()), span.to_at)])
    fitting, note = _fitting(plain, span, width)
    lanes = zip(judged, fitting, strict=True)
    return tuple(Lane(row, verdict, tuple(_blocks(row, few, seen, span))) for (row, verdict), few in lanes), note


def _fitting(lanes: Sequence[Sequence[Stretch]], span: Span, width: int) -> tuple[list[list[Stretch]], str]:
    """As many marks as fit: first what is alike and follows one another is joined, then stretches grow."""
    found = [_stretched(lane, span, width) for lane in lanes]
    if sum(map(len, found)) <= MARKS:
        is_alone = all(one.number == 1 for lane in found for one in lane)
        return found, "" if is_alone else f"A mark stands for {_rough(width)} and counts its due times"
    factor = 1
    while True:
        found = [_alike(_stretched(lane, span, width * factor)) for lane in lanes]
        if sum(map(len, found)) <= MARKS or factor > charts.MOST_BARS:
            stands = f"A mark stands for {_rough(width * factor)}, or for longer where all came to the same"
            return found, f"{stands}, and counts its due times"
        factor *= 2


def _rough(width: int) -> str:
    return times.rough(width / times.MICROS)


def _stretched(lane: Iterable[Stretch], span: Span, width: int) -> list[Stretch]:
    """The due times of each stretch as one; what is to come is not mixed with what was."""

    def place(one: Stretch) -> tuple[bool, int]:
        return "pending" in one.counts, (one.first_at - span.from_at) // width

    return [stretches.joined(list(few)) for _, few in groupby(lane, key=place)]


def _alike(lane: Iterable[Stretch]) -> list[Stretch]:
    return [stretches.joined(list(few)) for _, few in groupby(lane, key=lambda one: one.mark.symbol)]


def _blocks(row: ScheduleRow, lane: Sequence[Stretch], seen: View, span: Span) -> Iterator[Block]:
    for one in lane:
        x = charts.percent(one.first_at, span)
        if one.number == 1:
            when = f"{times.absolute(one.first_at, seen.zone, seen.now_at)} {times.zone_word(seen.zone, one.first_at)}"
            yield Block(x, None, one.mark.symbol, f"{when}: {stretches.words(one)}", _single(row, one, seen))
        else:
            wide = charts.share(one.last_at, span) - charts.share(one.first_at, span)
            when = times.between(one.first_at, one.last_at, seen.zone, seen.now_at)
            title = f"{when}: {stretches.words(one)}"
            yield Block(x, f"{max(wide, 0.5):.2f}%", one.mark.symbol, title, _narrowed(one))


def _single(row: ScheduleRow, one: Stretch, seen: View) -> str | None:
    if one.task_id is not None:
        return links.task(one.task_id)
    if one.mark.symbol == "pending":
        return None
    return links.due_list(row.name, f"{times.local(one.first_at, seen.zone).date()}")


def _narrowed(one: Stretch) -> str | None:
    """The same timeline of that stretch alone, with some room."""
    if one.mark.symbol == "pending":
        return None
    room = max((one.last_at - one.first_at) // 20, 30 * times.MICROS)
    from_at, to_at = one.first_at - room, one.last_at + room
    return links.here(from_=times.utc(from_at, timespec="seconds"), to=times.utc(to_at, timespec="seconds"))


def _starts(beats: Sequence[BeatRow], span: Span, seen: View) -> Iterator[Start]:
    """Starts and ends of beat processes in the span, the newest of them."""

    def when(at: int) -> str:
        return times.absolute(at, seen.zone, seen.now_at)

    for row in beats[:MOST_BEATS]:
        was_there = any(one.hostname == row.hostname and one.online_at < row.online_at for one in beats)
        if span.from_at <= row.online_at <= min(seen.now_at, span.to_at):
            word = "started again" if was_there else "started"
            yield Start(charts.percent(row.online_at, span), f"{row.hostname} {word} {when(row.online_at)}")
        if row.offline_at is not None and span.from_at <= row.offline_at <= min(seen.now_at, span.to_at):
            why = f": {row.reason}" if row.reason else ""
            yield Start(
                charts.percent(row.offline_at, span), f"{row.hostname} ended {when(row.offline_at)}{why}", is_end=True
            )

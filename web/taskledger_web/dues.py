"""Due against fired: how late each due time was, along the time it was due; and how lateness is spread."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10

from taskledger.ledger.answers import Span, TickRow
from taskledger_web import charts, strip, times
from taskledger_web.charts import Tick
from taskledger_web.strip import Mark
from taskledger_web.view import View

#: pixels: of the whole drawing, of the rail on top for what was never sent, of the plane below it
HEIGHT, RAIL, TOP, FOOT = 148, 14, 34, 138
#: seconds at the foot of the plane and at its top: each tenfold takes the same height
LEAST_S, MOST_S = 0.01, 86_400.0
#: symbols that have a shape of their own on the plane; all others stand on the rail
FIRED = ("ontime", "late", "twice", "failed", "notreceived", "running", "waiting", "sent", "unknown")
#: lines across the plane: (seconds, label)
LINES = ((0.01, "10 ms"), (1.0, "1 s"), (60.0, "1 m"), (3600.0, "1 h"))
#: upper edges of the bars of the spread: (seconds, word)
EDGES = (
    (-0.5, "early by more than 0.5 s"),
    (0.1, "within 0.1 s"),
    (1.0, "0.1 to 1 s"),
    (10.0, "1 to 10 s"),
    (60.0, "10 to 60 s"),
    (600.0, "1 to 10 min"),
    (3600.0, "10 to 60 min"),
    (float("inf"), "more than an hour"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One due time in the drawing: x in per cent, y in pixels; `is_fired` false: it stands on the rail."""

    x: str
    y: float
    mark: Mark
    title: str
    task_id: str | None
    is_fired: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """The drawing: points, lines across with their labels, the axis, and where now is."""

    points: tuple[Point, ...]
    lines: tuple[tuple[float, str], ...]
    ticks: tuple[Tick, ...]
    now_x: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the spread."""

    word: str
    number: int
    #: per cent of the longest bar
    width: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How lateness is spread over the due times of which a send is known."""

    bars: tuple[Bar, ...]
    number: int
    p50_s: float
    p95_s: float
    most_s: float


def chart(ticks: Sequence[TickRow], span: Span, seen: View) -> Chart:
    """Each due time that has passed at the height of its lateness, or on the rail when nothing was sent."""
    points = tuple(_points([tick for tick in ticks if tick.fire != "pending"], span, seen))
    lines = tuple((_y(seconds), label) for seconds, label in LINES)
    return Chart(points, lines, charts.ticks(span, seen.zone, seen.now_at), charts.percent(seen.now_at, span))


def spread(ticks: Sequence[TickRow]) -> Spread | None:
    """None where no send is known."""
    late = sorted(tick.lateness_s for tick in ticks if tick.lateness_s is not None and tick.is_sent)
    if not late:
        return None
    counts = _counts(late)
    longest = max(counts)
    bars = [Bar(word, count, 100 * count / longest) for (_, word), count in zip(EDGES, counts, strict=True)]
    return Spread(tuple(_trimmed(bars)), len(late), at_rank(late, 0.5), at_rank(late, 0.95), late[-1])


def _points(ticks: Sequence[TickRow], span: Span, seen: View) -> Iterator[Point]:
    for tick in ticks:
        when = f"{times.stamp(tick.due_at, seen.zone, seen.now_at)} {times.zone_word(seen.zone, tick.due_at)}"
        late = f", {times.duration(tick.lateness_s)} after it was due" if tick.lateness_s is not None else ""
        mark = strip.mark_of(tick)
        is_fired = tick.lateness_s is not None and mark.symbol in FIRED
        y = _y(tick.lateness_s) if is_fired and tick.lateness_s is not None else float(RAIL)
        title = f"{when}: {strip.describe(tick)}{late}"
        yield Point(charts.percent(tick.due_at, span), y, mark, title, tick.task_id, is_fired)


def _y(seconds: float) -> float:
    """Pixels from the top; below the least there is only the foot, above the most only the top."""
    held = min(max(seconds, LEAST_S), MOST_S)
    part = log10(held / LEAST_S) / log10(MOST_S / LEAST_S)
    return round(FOOT - part * (FOOT - TOP), 1)


def _counts(late: Sequence[float]) -> list[int]:
    counts = [0] * len(EDGES)
    for seconds in late:
        counts[next(place for place, (edge, _) in enumerate(EDGES) if seconds <= edge)] += 1
    return counts


def _trimmed(bars: list[Bar]) -> list[Bar]:
    """Without the empty bars at both ends."""
    filled = [place for place, bar in enumerate(bars) if bar.number]
    return bars[filled[0] : filled[-1] + 1]


def at_rank(values: Sequence[float], share: float) -> float:
    """The nearest rank: a value that occurred."""
    return values[max(-(-int(len(values) * share * 100) // 100) - 1, 0)]

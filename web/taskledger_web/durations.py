"""How long the task of each due time ran, along the time it was due: the same axis as due against fired."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from taskledger.ledger.answers import Span, TickRow
from taskledger_web import charts, strip, times
from taskledger_web.dues import FOOT, TOP, Point, at_rank
from taskledger_web.view import View

#: lines that may lie across the plane: (seconds, label)
LINES = (
    (0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"), (60.0, "1 m"), (600.0, "10 m"),
    (3600.0, "1 h"), (36_000.0, "10 h"), (864_000.0, "10 d"),
)  # fmt: skip
#: as many as can be read
MOST_LINES = 4
LEAST_S, MOST_S = 0.001, 8_640_000.0
#: of what began: ways to have come to an end, or not yet
_GOING_ON = ("running", "retrying")


@dataclass(frozen=True, slots=True)
class Chart:
    """The drawing: points, lines across with their labels, and in words how long runs take."""

    points: tuple[Point, ...]
    lines: tuple[tuple[float, str], ...]
    #: where the longest run is that is expected; None where nothing is
    limit_y: float | None
    p50_s: float
    p95_s: float
    most_s: float


def chart(ticks: Sequence[TickRow], span: Span, most_s: float | None, seen: View) -> Chart | None:
    """A point for each run of which it is known how long it took, or takes so far; None where there is none."""
    ran = [(tick, seconds) for tick in ticks if (seconds := ran_s(tick, seen.now_at)) is not None]
    if not ran:
        return None
    whole = sorted(seconds for _, seconds in ran)
    bounds = _bounds([*whole, *([most_s] if most_s else [])])
    return Chart(
        tuple(_points(ran, span, bounds, seen)),
        _lines(bounds),
        _y(most_s, bounds) if most_s else None,
        at_rank(whole, 0.5),
        at_rank(whole, 0.95),
        whole[-1],
    )


def ran_s(tick: TickRow, now_at: int) -> float | None:
    """Seconds; of one that goes on, so far. None: it did not begin, or when is not known, or not how it ended."""
    if tick.runtime_s is not None:
        return tick.runtime_s
    if tick.started_at is None:
        return None
    end_at = now_at if tick.outcome in _GOING_ON else tick.ended_at
    return None if end_at is None else max(end_at - tick.started_at, 0) / times.MICROS


def _bounds(seconds: Sequence[float]) -> tuple[float, float]:
    """The tenfolds around all of them: exponents of ten at the foot and at the top."""
    held = [min(max(one, LEAST_S), MOST_S) for one in seconds]
    low, high = floor(log10(min(held))), ceil(log10(max(held)))
    return float(low), float(max(high, low + 1))


def _points(
    ran: Sequence[tuple[TickRow, float]], span: Span, bounds: tuple[float, float], seen: View
) -> Iterator[Point]:
    for tick, seconds in ran:
        when = f"{times.stamp(tick.due_at, seen.zone, seen.now_at)} {times.zone_word(seen.zone, tick.due_at)}"
        is_on = tick.runtime_s is None and tick.outcome in _GOING_ON
        words = f"{'runs for' if is_on else 'ran for'} {times.duration(seconds)}{' so far' if is_on else ''}"
        title = f"{when}: {words}, {strip.OUTCOME_WORDS.get(tick.outcome or 'unknown', tick.outcome)}"
        mark = strip.mark_of_facts("on_time", tick.outcome, is_twice=False)
        yield Point(charts.percent(tick.due_at, span), _y(seconds, bounds), mark, title, tick.task_id, is_fired=True)


def _y(seconds: float, bounds: tuple[float, float]) -> float:
    """Pixels from the top: each tenfold takes the same height."""
    low, high = bounds
    part = (log10(min(max(seconds, LEAST_S), MOST_S)) - low) / (high - low)
    return round(FOOT - min(max(part, 0.0), 1.0) * (FOOT - TOP), 1)


def _lines(bounds: tuple[float, float]) -> tuple[tuple[float, str], ...]:
    inside = [(_y(seconds, bounds), label) for seconds, label in LINES if bounds[0] <= log10(seconds) <= bounds[1]]
    return tuple(inside[:: -(-len(inside) // MOST_LINES)]) if inside else ()

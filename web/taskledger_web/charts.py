"""Geometry of charts on a time axis: x in per cent of the width, y in pixels, so that text never stretches."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from taskledger.ledger.answers import Bucket, Coverage, Span
from taskledger_web import times
from taskledger_web.times import MICROS

#: widths of a bar that fall on round times, seconds
WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
MOST_BARS = 100
#: steps between the labels of an axis, seconds
STEPS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)
_DAY = 86_400


#: the address behind a bar
Link = Callable[[Bucket], str]


@dataclass(frozen=True, slots=True)
class Part:
    """One colour of a bar; y and height in pixels from the top."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with what it says and where it leads."""

    x: str
    width: str
    parts: tuple[Part, ...]
    title: str
    href: str | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis. Every second one is `minor`: narrow screens leave it out."""

    x: str
    label: str
    is_minor: bool


@dataclass(frozen=True, slots=True)
class Stripe:
    """A hatched stretch of a coverage band."""

    x: str
    width: str
    title: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of counts over time with their axis and coverage band."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    stripes: tuple[Stripe, ...]
    #: the highest bar, and the width of one in words
    peak: int
    every: str
    height: int


def bar_width(seconds: float) -> int:
    """Seconds of one bar: a round number that makes at most MOST_BARS of a span."""
    width = next((width for width in WIDTHS if seconds / width <= MOST_BARS), None)
    return width or _DAY * -(-int(seconds) // (_DAY * MOST_BARS))


def number_of_bars(span: Span) -> int:
    """How many bars a span makes."""
    seconds = (span.to_at - span.from_at) / MICROS
    return max(-(-int(seconds) // bar_width(seconds)), 1)


def histogram(
    buckets: Iterable[Bucket],
    span: Span,
    coverage: Coverage,
    zone: tzinfo,
    *,
    now_at: int,
    link: Link | None = None,
    height: int = 56,
) -> Histogram:
    """Stacked bars of a span: succeeded at the foot, others, failed on top."""
    buckets = tuple(buckets)
    peak = max((_total(bucket) for bucket in buckets), default=0)
    bars = tuple(
        _bar(bucket, span, peak, height, times.between(bucket.from_at, bucket.to_at, zone, now_at), link)
        for bucket in buckets
        if _total(bucket)
    )
    width = (buckets[0].to_at - buckets[0].from_at) / MICROS if buckets else 0
    return Histogram(
        bars, ticks(span, zone, now_at), stripes(span, coverage, zone, now_at), peak, times.rough(width), height
    )


def stripes(span: Span, coverage: Coverage, zone: tzinfo, now_at: int) -> tuple[Stripe, ...]:
    """Where no recorder was listening."""
    return tuple(
        Stripe(
            percent(hole.from_at, span),
            f"{max(share(hole.to_at, span) - share(hole.from_at, span), 0.15):.2f}%",
            f"not recorded {times.between(hole.from_at, hole.to_at, zone, now_at)}: {hole.cause}",
        )
        for hole in coverage.holes
    )


def ticks(span: Span, zone: tzinfo, now_at: int, most: int = 9) -> tuple[Tick, ...]:
    """Labels on round local times; the day in place of midnight."""
    seconds = (span.to_at - span.from_at) / MICROS
    step = next((step for step in STEPS if seconds / step <= most), STEPS[-1])
    moments = [at for at in _round_times(span, zone, step) if 1.5 < share(at, span) < 97]
    return tuple(
        Tick(percent(at, span), _label(at, zone, now_at, step), bool(number % 2)) for number, at in enumerate(moments)
    )


def share(at: int, span: Span) -> float:
    """Where a time lies in a span, in per cent, held between 0 and 100."""
    whole = span.to_at - span.from_at
    return min(max((at - span.from_at) / whole * 100, 0.0), 100.0) if whole > 0 else 0.0


def percent(at: int, span: Span) -> str:
    """The same as an SVG length."""
    return f"{share(at, span):.2f}%"


def _bar(bucket: Bucket, span: Span, peak: int, height: int, when: str, link: Link | None) -> Bar:
    width = share(bucket.to_at, span) - share(bucket.from_at, span)
    counts = (("succeeded", bucket.succeeded), ("other", bucket.other), ("failed", bucket.failed))
    words = ", ".join(f"{number:,} {kind}" for kind, number in counts if number)
    return Bar(
        f"{share(bucket.from_at, span) + width * 0.06:.2f}%",
        f"{width * 0.88:.2f}%",
        _parts(counts, peak, height),
        f"{when}: {words}",
        link(bucket) if link else None,
    )


def _parts(counts: Iterable[tuple[str, int]], peak: int, height: int) -> tuple[Part, ...]:
    """What is there is never drawn lower than one and a half pixels: one failure among thousands must be seen."""
    parts: list[Part] = []
    foot = float(height)
    for kind, number in counts:
        if number:
            tall = max(number / peak * (height - 4), 1.5)
            foot -= tall
            parts.append(Part(kind, round(max(foot, 0), 1), round(tall, 1)))
    return tuple(parts)


def _total(bucket: Bucket) -> int:
    return bucket.succeeded + bucket.failed + bucket.other


def _round_times(span: Span, zone: tzinfo, step: int) -> Iterable[int]:
    """Local midnight and whole steps after it, day by day, so that a change of clocks shifts nothing."""
    days = max(step // _DAY, 1)
    first = times.local(span.from_at, zone).date()
    last = times.local(span.to_at, zone).date()
    number = 0
    while first + timedelta(days=number) <= last:
        midnight = first + timedelta(days=number)
        for second in range(0, _DAY, step) if step < _DAY else (0,):
            # Adding to a zoned datetime moves the wall clock, which is what is wanted here.
            wall = datetime(midnight.year, midnight.month, midnight.day, tzinfo=zone) + timedelta(seconds=second)
            at = times.micros(wall)
            if span.from_at <= at < span.to_at:
                yield at
        number += days


def _label(at: int, zone: tzinfo, now_at: int, step: int) -> str:
    clock = times.clock(at, zone)
    if clock == "00:00:00":
        return times.day(at, zone, now_at)
    return clock if step < 60 else clock[:5]

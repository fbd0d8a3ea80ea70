"""The stretch of time a page looks at, read from `from` and `to` of its address."""

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo

from taskledger.ledger.answers import Span
from taskledger_web import times
from taskledger_web.charts import bar_width
from taskledger_web.times import MICROS

DEFAULT_FROM = "-24h"
#: what the header offers: (value of `from`, words)
PRESETS = (
    ("-15m", "last 15 min"),
    ("-1h", "last hour"),
    ("-6h", "last 6 h"),
    ("-24h", "last 24 h"),
    ("-7d", "last 7 days"),
    ("-30d", "last 30 days"),
    ("all", "all that was recorded"),
)
#: a clock that runs ahead must not hide its tasks from a range that ends now
AHEAD = 60 * MICROS
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_RELATIVE = re.compile(r"-(\d{1,7})\s*(s|min|m|h|d|w)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """A span with how it was asked for.

    `asked` is what every question of a page is about, and reaches past now where the range ends with it; `shown` is the
    part of it that has happened.
    """

    from_text: str
    to_text: str
    asked: Span
    shown: Span
    #: what is wrong with `from` or `to`; None when both were read
    problem: str | None

    @property
    def ends_now(self) -> bool:
        return self.to_text == "now"

    @property
    def words(self) -> str | None:
        """The words of a preset; None for any other range."""
        return dict(PRESETS).get(self.from_text) if self.ends_now else None

    def until(self, at: int) -> "Range":
        """The range without what came after a moment."""
        asked = Span(min(self.asked.from_at, at), min(self.asked.to_at, at + 1))
        return replace(self, asked=asked, shown=Span(asked.from_at, min(self.shown.to_at, at + 1)))


def read(from_text: str, to_text: str, now_at: int, zone: tzinfo, began_at: int | None) -> Range:
    """The range meant by the two texts; the last 24 hours, with the problem named, when they cannot be read."""
    from_text, to_text = from_text.strip() or DEFAULT_FROM, to_text.strip() or "now"
    problem = None
    try:
        from_at, to_at = _edges(from_text, to_text, now_at, zone, began_at)
    except ValueError as error:
        problem = f"{error}; showing the last 24 hours"
        from_text, to_text, from_at, to_at = DEFAULT_FROM, "now", now_at - 86_400 * MICROS, now_at
    asked = aligned(Span(from_at, to_at + AHEAD)) if to_text == "now" else Span(from_at, to_at)
    shown_to = max(min(to_at, now_at), asked.from_at + MICROS)
    return Range(from_text, to_text, asked, Span(asked.from_at, shown_to), problem)


def aligned(span: Span) -> Span:
    """The span widened to whole bars that begin at round times: a range that moves on moves in steps."""
    step = bar_width((span.to_at - span.from_at) / MICROS) * MICROS
    return Span(span.from_at // step * step, -(-span.to_at // step) * step)


def _edges(from_text: str, to_text: str, now_at: int, zone: tzinfo, began_at: int | None) -> tuple[int, int]:
    from_at = _all_of(began_at, now_at) if from_text == "all" else moment(from_text, now_at, zone)
    to_at = moment(to_text, now_at, zone, is_end=True)
    if to_at <= from_at:
        raise ValueError(f"the range ends ({to_text[:40]}) before it begins ({from_text[:40]})")
    return from_at, to_at


def moment(text: str, now_at: int, zone: tzinfo, *, is_end: bool = False) -> int:
    """`now`, `-24h` or ISO 8601; a day without a time is its start, or its end for the end of a range."""
    if text == "now":
        return now_at
    if match := _RELATIVE.fullmatch(text):
        return max(now_at - int(match[1]) * _UNITS[match[2]] * MICROS, times.EARLIEST)
    try:
        return _held(_of_iso(text, zone, is_end=is_end))
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time: write -24h, now, 2026-11-22 or 2026-11-22T03:00") from None


def as_of(text: str, now_at: int, zone: tzinfo) -> int:
    """A moment to look back at: as `moment`, or 03:12:40, the latest such time. Raises ValueError for one to come."""
    text = text.strip()
    at = _latest(text, now_at, zone) if _CLOCK.fullmatch(text) else moment(text, now_at, zone)
    if at > now_at:
        raise ValueError(f"{text[:40]!r} is still to come: only what has happened can be looked back at")
    return at


def _latest(clock: str, now_at: int, zone: tzinfo) -> int:
    today = times.local(now_at, zone).date()
    try:
        moments = [_of_iso(f"{today - timedelta(days=back)}T{clock}", zone, is_end=False) for back in (0, 1)]
    except ValueError:
        raise ValueError(f"{clock!r} is not a time of day: write 03:12 or 03:12:40") from None
    return next(at for at in moments if at <= now_at)


def _of_iso(text: str, zone: tzinfo, *, is_end: bool) -> int:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        start = date.fromisoformat(text) + timedelta(days=is_end)
        return times.micros(datetime(start.year, start.month, start.day, tzinfo=zone))
    # A plus in a query string arrives as a space.
    read = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
    return times.micros(read if read.tzinfo else read.replace(tzinfo=zone))


def _held(at: int) -> int:
    return min(max(at, times.EARLIEST), times.LATEST)


def _all_of(began_at: int | None, now_at: int) -> int:
    # Events may be older than the recorder that received them, by as much as a queue kept them.
    return now_at - 86_400 * MICROS if began_at is None else max(began_at - 86_400 * MICROS, times.EARLIEST)

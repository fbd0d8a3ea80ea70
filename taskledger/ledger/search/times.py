"""Durations and moments as people write them in a search: `2m30s`, `tue`, `-24h`, `2026-11-17T03:00`."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

#: seconds of each unit; the sign for micro is two characters in Unicode
UNITS = {
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
}
#: a hundred years, in seconds: nothing that is recorded is farther away
MAX_SECONDS = 100 * 366 * 86_400
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,6})?(?:[u\u00b5\u03bc]s|ms|min|[smhdw]))+")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z\u00b5\u03bc]+)")
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_MONTH = re.compile(r"((?:19|20|21)[0-9]{2})-(0[1-9]|1[0-2])")
_DAY = re.compile(r"(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    rf"{_DAY.pattern}[Tt ][0-9]{{2}}:[0-9]{{2}}(?P<seconds>:[0-9]{{2}}(?P<fraction>\.[0-9]{{1,6}})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """When and where a search is asked."""

    now_at: int
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Reading:
    """What a written value stands for: from `least` up to `most`, which is part of it only if `closed`; None is no end.

    `whole`: it is a stretch, such as a day, so `>` is after all of it; else `least` is the value itself.
    """

    least: float
    most: float | None
    closed: bool = False
    whole: bool = False

    def within(self) -> tuple[tuple[str, float], ...]:
        """The bounds of what equals it."""
        if self.closed and self.least == self.most:
            return (("=", self.least),)
        return ((">=", self.least),) if self.most is None else ((">=", self.least), ("<", self.most))

    def bound(self, operator: str) -> tuple[str, float]:
        """The bound of what is `>`, `>=`, `<` or `<=` than it."""
        if self.whole and self.most is not None:
            if operator == ">":
                return ">=", self.most
            if operator == "<=":
                return "<", self.most
        return operator, self.least

    def until(self) -> tuple[str, float]:
        """The bound of a range that ends with it: stretches and numbers are part of the range, a moment is not."""
        return self.bound("<=" if self.whole or self.closed else "<")


def seconds(text: str) -> Reading:
    """A duration: `2s`, `1.5h`, `2m30s`; a plain number is seconds. Raises ValueError."""
    amount = float(text) if _PLAIN.fullmatch(text) else _amount(text.lower())
    if amount is None:
        raise ValueError(f"cannot read '{text}' as a duration: write one such as 500ms, 2s, 1m30s or 4h")
    return Reading(amount, amount, closed=True)


def moment(text: str, clock: Clock) -> Reading:
    """A day, a month, a time, a weekday or a distance from now, in the clock's zone. Raises ValueError."""
    lowered = text.lower()
    if lowered == "now":
        return Reading(clock.now_at, None)
    if lowered.startswith("-") and (distance := _amount(lowered[1:])) is not None:
        return Reading(clock.now_at - round(distance * 1e6), None)
    try:
        found = _days(lowered, clock) or _time(text, clock.zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no such date or time as '{text}'") from error
    if found is None and _DURATION.fullmatch(lowered):
        raise ValueError(f"a distance from now begins with a minus: did you mean -{lowered}?")
    if found is None:
        raise ValueError(
            f"cannot read '{text}' as a time: write a day (2026-11-17, today, tue), "
            "a time (2026-11-17T03:00) or a distance from now (-24h)"
        )
    return found


def _amount(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    amount = sum(float(number) * UNITS[unit] for number, unit in _PIECE.findall(text))
    if amount > MAX_SECONDS:
        raise ValueError(f"'{text}' is more than a hundred years: write a shorter time")
    return amount


def _days(text: str, clock: Clock) -> Reading | None:
    """The stretch of a month or a day, however it is named."""
    if month := _MONTH.fullmatch(text):
        first = date(int(month[1]), int(month[2]), 1)
        return _stretch(first, (first + timedelta(days=31)).replace(day=1), clock.zone)
    today = (_EPOCH + clock.now_at * _MICROSECOND).astimezone(clock.zone).date()
    day = _day(text, today)
    return _stretch(day, day + timedelta(days=1), clock.zone) if day else None


def _day(text: str, today: date) -> date | None:
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    if _DAY.fullmatch(text):
        return date.fromisoformat(text)
    for number, name in enumerate(_WEEKDAYS):
        if text in (name, name[:3]):
            return today - timedelta(days=(today.weekday() - number) % 7)
    return None


def _stretch(first: date, after: date, zone: ZoneInfo) -> Reading:
    return Reading(_midnight(first, zone), _midnight(after, zone), whole=True)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return _micros(datetime(day.year, day.month, day.day, tzinfo=zone))


def _time(text: str, zone: ZoneInfo) -> Reading | None:
    """A time of day: as a value it is all of its minute, or of its second if it says one."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    parsed = datetime.fromisoformat(text.upper())
    at = _micros(parsed if parsed.tzinfo else parsed.replace(tzinfo=zone))
    length = 1 if match["fraction"] else 1_000_000 if match["seconds"] else 60_000_000
    return Reading(at, at + length)


def _micros(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // _MICROSECOND

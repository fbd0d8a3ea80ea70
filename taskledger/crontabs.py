"""Crontab with Celery's meaning: what its five fields say, and at which instants it is due in any time zone."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

#: field -> its least and greatest value, in the order in which a crontab line has them
FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
    "day_of_week": (0, 6),
}
#: as Celery orders them (celery/utils/time.py): a name is looked up by its first three letters
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: days of silence after which a crontab counts as never due: a 29 February on one weekday may be 40 years away
MOST_DAYS = 41 * 366
#: due times that are reckoned ahead of need, about
MOST_A_PAGE = 2_000

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Wall clock times are told apart from instants by having no zone.
US = timedelta(microseconds=1)
#: microseconds
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

_PART = re.compile(r"(?:(?P<star>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True, slots=True)
class Crontab:
    """A line of a crontab, fields as Celery writes them; due when all five hold (celery/schedules.py)."""

    minute: str = "*"
    hour: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    day_of_week: str = "*"
    tz: str = "UTC"


@dataclass(frozen=True, slots=True)
class Due:
    """One due time. A fire counts for it from `opens_at` on; `is_optional` where versions of Celery rightly disagree.

    `flag` is "dst_gap" when the wall clock skips the time (due as if it had not), "dst_repeat" on its second pass.
    """

    at: int
    opens_at: int
    is_optional: bool = False
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A clock is put forward by `by` microseconds at this instant; back, if that is less than nothing."""

    at: int
    by: int

    @property
    def over_at(self) -> int:
        """The end of what the wall clock shows twice, or the instant itself where it skips."""
        return self.at + max(0, -self.by)


@lru_cache(maxsize=4096)
def field_values(name: str, text: str) -> frozenset[int]:
    """The numbers a field stands for: `*/15`, `1-5`, `fri-mon` (wraps), `1,13,30-45/2`. ValueError in a sentence."""
    least, greatest = FIELDS[name]
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        step = int(match["step"] or 1) if match else 0
        if match is None or step == 0 or (match["step"] and not match["star"] and not match["high"]):
            raise ValueError(f"{name}: {part!r} is not a number, a range, a name or a step")
        low = least if match["star"] else _number(name, match["low"])
        high = greatest if match["star"] else _number(name, match["high"] or match["low"])
        span = [*range(low, high + 1)] if low <= high else [*range(low, greatest + 1), *range(least, high + 1)]
        values.update(span[::step])
    return frozenset(values)


def check(crontab: Crontab) -> Crontab:
    """The crontab itself when every field can be read and it is due on some day; ValueError in a sentence."""
    values = {name: field_values(name, getattr(crontab, name)) for name in FIELDS}
    longest = max(31 - (month in (4, 6, 9, 11)) - 2 * (month == 2) for month in values["month_of_year"])
    if min(values["day_of_month"]) > longest:
        raise ValueError(f"day {crontab.day_of_month} never occurs in month {crontab.month_of_year}")
    zone_of(crontab.tz)
    return crontab


def dues(crontab: Crontab, from_at: int, to_at: int) -> list[Due]:
    """Every due time of from_at <= at < to_at, earliest first."""
    zone = zone_of(crontab.tz)
    margin = _margin(from_at, to_at, zone)
    found: dict[int, Due] = {}
    skipped: list[Due] = []
    for wall in _walls(crontab, wall_at(from_at, zone) - margin, wall_at(to_at, zone) + margin):
        for due in _instants(wall, zone):
            if due.flag == "dst_gap":
                skipped.append(due)
            else:
                found.setdefault(due.at, due)
    every = _with_gaps(found, skipped) if skipped else found.values()
    return sorted((due for due in every if from_at <= due.at < to_at), key=lambda due: (due.at, due.opens_at))


def dues_from(crontab: Crontab, from_at: int) -> Iterator[Due]:
    """The due times from a moment on, earliest first, for as long as somebody asks."""
    # The first may be all that is wanted, and what is often due should not be reckoned for months ahead.
    times_a_day = len(field_values("minute", crontab.minute)) * len(field_values("hour", crontab.hour))
    span, longest = HOUR, min(64, max(1, MOST_A_PAGE // times_a_day)) * DAY
    # Whole hours: whoever asks for the same crontab again, for another entry or a while later, has it at hand.
    at = from_at // HOUR * HOUR
    end_at = at + MOST_DAYS * DAY
    while at < end_at:
        page = _page(crontab, at, at + span)
        yield from (due for due in page if due.at >= from_at)
        at += span
        end_at = at + MOST_DAYS * DAY if page else end_at
        span = min(2 * span, longest)


def next_dues(crontab: Crontab, from_at: int, number: int) -> list[int]:
    """The next so many moments, less those that the wall clock shows a second time."""
    # Hundreds of entries are asked about each few seconds: from the same hour on, the same is to come.
    return [at for at in _ahead(crontab, from_at // HOUR * HOUR, number) if at >= from_at][:number]


@lru_cache(maxsize=4096)
def _ahead(crontab: Crontab, hour_at: int, number: int) -> tuple[int, ...]:
    """The moments of an hour, and so many after it."""
    found: list[int] = []
    for due in dues_from(crontab, hour_at):
        if len(found) >= number and found[-number] >= hour_at + HOUR:
            break
        if due.flag != "dst_repeat":
            found.append(due.at)
    return tuple(found)


@lru_cache(maxsize=1024)
def _page(crontab: Crontab, from_at: int, to_at: int) -> tuple[Due, ...]:
    return tuple(dues(crontab, from_at, to_at))


def wall_at(at: int, zone: ZoneInfo) -> datetime:
    """What the wall clock shows at an instant, as a time without a zone."""
    return (EPOCH.replace(tzinfo=UTC) + at * US).astimezone(zone).replace(tzinfo=None)


def instant_at(wall: datetime, zone: ZoneInfo) -> int:
    """The instant of a wall clock time: the first pass where it comes twice; as if it existed where it is skipped."""
    return _micros(wall) - _offset(wall, zone, 0)


def skipped(crontab: Crontab, change: Change) -> list[Due]:
    """The due times whose wall clock time a change skips, each at its instant as if it existed; earliest first."""
    zone = zone_of(crontab.tz)
    end = wall_at(change.at, zone)
    walls = _walls(crontab, end - change.by * US, end - US) if change.by > 0 else ()
    return [due for wall in walls for due in _instants(wall, zone)]


def changes(zone: ZoneInfo, from_at: int, to_at: int) -> Iterator[Change]:
    """When the zone's clock is put forward or back in from_at <= t < to_at, earliest first."""
    at = from_at
    while at < to_at:
        next_at = min(at + DAY, to_at)
        before, after = _offset_at(at - SECOND, zone), _offset_at(next_at - SECOND, zone)
        if before != after:
            yield Change(_gap_end(at - SECOND, next_at - SECOND, zone), after - before)
        at = next_at


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The time zone; ValueError in a sentence when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def _margin(from_at: int, to_at: int, zone: ZoneInfo) -> timedelta:
    """How far beyond both ends to look at the wall clock: where it changes, up to a day (Samoa, 2011)."""
    far = timedelta(hours=26)
    samples = {_offset_at(at, zone) for at in (from_at - far // US, from_at, to_at, to_at + far // US)}
    is_steady = len(samples) == 1 and to_at - from_at <= 7 * DAY
    return timedelta() if is_steady else far


def _walls(crontab: Crontab, low: datetime, high: datetime) -> Iterator[datetime]:
    """The wall clock times of low <= t <= high that match, earliest first."""
    minutes = sorted(field_values("minute", crontab.minute))
    hours = [timedelta(hours=hour) for hour in sorted(field_values("hour", crontab.hour))]
    first = datetime(low.year, low.month, low.day)  # noqa: DTZ001  A wall clock time.
    for number in range((high - first).days + 1):
        midnight = first + timedelta(days=number)
        for start in (midnight + hour for hour in hours) if _is_day(crontab, midnight) else ():
            if low - timedelta(hours=1) < start <= high:
                walls = (start + timedelta(minutes=minute) for minute in minutes)
                yield from (wall for wall in walls if low <= wall <= high)


def _is_day(crontab: Crontab, day: date) -> bool:
    return (
        day.month in field_values("month_of_year", crontab.month_of_year)
        and day.day in field_values("day_of_month", crontab.day_of_month)
        and day.isoweekday() % 7 in field_values("day_of_week", crontab.day_of_week)
    )


def _instants(wall: datetime, zone: ZoneInfo) -> list[Due]:
    """When the wall clock shows that time: once, twice, or never."""
    before, after = _offset(wall, zone, 0), _offset(wall, zone, 1)
    at = _micros(wall) - before
    if before == after:
        return [Due(at, at)]
    if before > after:
        again_at = _micros(wall) - after
        return [Due(at, at), Due(again_at, again_at, is_optional=True, flag="dst_repeat")]
    return [Due(at, _gap_end(_micros(wall) - after, at, zone), flag="dst_gap")]


def _with_gaps(found: dict[int, Due], skipped: list[Due]) -> Iterator[Due]:
    """The due times with those that the wall clock skips: a gap's first is required, from its end on.

    One that is due at a time that exists as well is served by that.
    """
    yield from found.values()
    times = sorted(found)
    ended: set[int] = set()
    for due in sorted(skipped, key=lambda due: due.at):
        is_first = due.opens_at not in ended
        ended.add(due.opens_at)
        if due.at in found:
            continue
        stands_alone = bisect_left(times, due.opens_at) == bisect_left(times, due.at)
        opens_at = due.opens_at if is_first and stands_alone else due.at
        yield replace(due, opens_at=opens_at, is_optional=not is_first)


def _gap_end(low_at: int, high_at: int, zone: ZoneInfo) -> int:
    """The instant of low_at < t <= high_at at which the zone's offset changes, to the second."""
    before = _offset_at(low_at, zone)
    while high_at - low_at > SECOND:
        middle_at = (low_at + high_at) // 2 // SECOND * SECOND
        low_at, high_at = (middle_at, high_at) if _offset_at(middle_at, zone) == before else (low_at, middle_at)
    return high_at


def _offset(wall: datetime, zone: ZoneInfo, fold: int) -> int:
    return (wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()) // US


def _offset_at(at: int, zone: ZoneInfo) -> int:
    return _micros(wall_at(at, zone)) - at


def _micros(wall: datetime) -> int:
    return (wall - EPOCH) // US


def _number(name: str, text: str) -> int:
    """A number, or the name of a month or weekday by its first three letters; ValueError when out of range."""
    least, greatest = FIELDS[name]
    short = text[:3].lower()
    if text.isdecimal():
        number = int(text)
    elif short in MONTHS:
        number = MONTHS.index(short) + 1
    elif short in WEEKDAYS:
        number = WEEKDAYS.index(short)
    else:
        raise ValueError(f"{name}: {text!r} is no number, month or weekday")
    if not least <= number <= greatest:
        raise ValueError(f"{name}: {text!r} is not within {least} and {greatest}")
    return number

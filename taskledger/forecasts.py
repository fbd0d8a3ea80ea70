"""What the next changes of the clock will do to a schedule, in words, while there is time to do something about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from taskledger import crontabs
from taskledger.crontabs import DAY, SECOND, Change, Crontab
from taskledger.schedules import Definition, Entry, Interval

#: days that are looked ahead
LOOK_AHEAD_DAYS = 60
#: what makes all of it go away
ADVICE = 'Set timezone = "UTC" in the Celery app (or give these entries a zone whose clock does not change).'
#: times that a sentence spells out
MOST_TIMES = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a change of the clock at `at` will do to an entry.

    `kind`: "dst_gap" (a crontab's time does not exist), "dst_repeat" (it comes twice), "dst_stretched" or "dst_shrunk"
    (an interval pauses, or comes early).
    """

    entry: str
    at: int
    tz: str
    kind: str
    sentence: str


def forecast(entries: Iterable[Entry], now_at: int, days: int = LOOK_AHEAD_DAYS) -> list[Forecast]:
    """What will happen to the enabled entries within so many days, earliest first; empty if no clock changes."""
    found = []
    for entry in entries:
        for change in _ahead(entry, now_at, now_at + days * DAY):
            told = _told(entry.schedule, change)
            if told is not None:
                found.append(Forecast(entry.name, change.at, entry.schedule.tz, *told))
    return sorted(found, key=lambda one: (one.at, one.entry))


def _ahead(entry: Entry, from_at: int, to_at: int) -> list[Change]:
    found = _changes(entry.schedule.tz, from_at // DAY, -(-to_at // DAY)) if entry.enabled else ()
    return [change for change in found if from_at <= change.at < to_at]


@lru_cache(maxsize=256)
def _changes(tz: str, from_day: int, to_day: int) -> tuple[Change, ...]:
    """Whole days since 1970, so that hundreds of entries in a handful of zones look at each zone once a day."""
    return tuple(crontabs.changes(crontabs.zone_of(tz), from_day * DAY, to_day * DAY))


def _told(definition: Definition, change: Change) -> tuple[str, str] | None:
    """The kind and the sentence; None where the change does nothing to it."""
    match definition:
        case Crontab():
            return _gap(definition, change) if change.by > 0 else _repeat(definition, change)
        case Interval():
            return _interval(definition, change)
        case _:
            return None


def _gap(crontab: Crontab, change: Change) -> tuple[str, str] | None:
    zone = crontabs.zone_of(crontab.tz)
    dues = crontabs.dues(crontab, change.at, change.at + change.by)
    skipped = [due for due in dues if due.flag == "dst_gap"]
    if not skipped:
        return None
    times = _times(_before(due.at, change, zone) for due in skipped)
    ran = _times([crontabs.wall_at(skipped[0].at, zone)])
    lacks = "does" if len(skipped) == 1 else "do"
    sentence = (
        f"{_day(change, zone)} the clock goes forward by {_lasting(change.by)} in {crontab.tz}: {times} {lacks} not "
        f"exist. Celery from 5.5.2 on sends it at {ran} instead, older ones when the skipped time is over, or an hour "
        "late."
    )
    return "dst_gap", sentence


def _repeat(crontab: Crontab, change: Change) -> tuple[str, str] | None:
    zone = crontabs.zone_of(crontab.tz)
    again = [due for due in crontabs.dues(crontab, change.at, change.over_at) if due.flag == "dst_repeat"]
    if not again:
        return None
    times = _times(crontabs.wall_at(due.at, zone) for due in again)
    by, comes = _lasting(-change.by), "comes" if len(again) == 1 else "come"
    sentence = (
        f"{_day(change, zone)} the clock goes back by {by} in {crontab.tz}: {times} {comes} twice. Celery sends it "
        f"the first time only, and then nothing for {by} more than usual (celery#10107). Do not restart beat in that "
        "time: it may send it over and over (celery#10608)."
    )
    return "dst_repeat", sentence


def _interval(interval: Interval, change: Change) -> tuple[str, str] | None:
    every = round(interval.every_s * SECOND)
    if 0 < every <= change.by:
        # It never leaps the gap: what it adds leads into it, and that is taken for the time as if it existed.
        return None
    is_back = change.by < 0
    what = "sends nothing for" if is_back else "sends this one after"
    source = " (celery#6438)" if is_back else ""
    sentence = (
        f"{_day(change, crontabs.zone_of(interval.tz))} the clock goes {'back' if is_back else 'forward'} by "
        f"{_lasting(abs(change.by))} in {interval.tz}: Celery up to 5.6 adds intervals to the wall clock, and {what} "
        f"{_lasting(every - change.by)} instead of {_lasting(every)}{source}. Celery 5.7 adds them to real time."
    )
    return "dst_stretched" if is_back else "dst_shrunk", sentence


def _before(at: int, change: Change, zone: ZoneInfo) -> datetime:
    """The wall clock time that is skipped, as if the clock had not changed."""
    return crontabs.wall_at(at, zone) - change.by * crontabs.US


def _day(change: Change, zone: ZoneInfo) -> str:
    wall = crontabs.wall_at(change.at - SECOND, zone)
    return f"On {wall:%A} {wall.day} {wall:%B %Y}"


def _times(walls: Iterable[datetime]) -> str:
    texts = [f"{wall:%H:%M}" for wall in walls]
    if len(texts) <= MOST_TIMES:
        return ", ".join(texts)
    return f"{len(texts)} times from {texts[0]} to {texts[-1]}"


def _lasting(micros: int) -> str:
    minutes, seconds = divmod(micros // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{seconds} s" if seconds else ""]
    return " ".join(filter(None, parts)) or f"{micros / SECOND:.3g} s"

"""Schedules of all kinds as beat reckons with them: how they read, in which zone, when they are due.

Reads only. Times are seconds since the epoch; None where nobody can tell.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import celery
from celery.schedules import crontab
from celery.schedules import schedule as interval
from celery.utils import time as celery_time
from celery.utils.time import maybe_make_aware

FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
#: characters of a schedule's own words
MOST_WORDS = 200
#: django-celery-beat and sqlalchemy-celery-beat have a crontab with a zone; it reckons as Celery's does
_ZONED = "TzAwareCrontab"
#: a thread that was held up between two looks at the clock for longer looks again, this often
_HELD_UP, _LOOKS = timedelta(milliseconds=0.5), 3
#: where an object is in memory says nothing about a schedule
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
#: differences between two times of one zone are real ones since Celery 5.5.2, and of the clock on the wall before
_ARE_REAL = hasattr(celery_time, "subtract_datetimes")


def epoch(at: Any) -> float | None:
    """A datetime; a naive one is UTC, as Celery has it."""
    return maybe_make_aware(at).timestamp() if isinstance(at, datetime) else None


def shape_of(schedule: Any, app: Any) -> dict[str, Any]:
    """A schedule as the events have it: its type and what belongs to it, zone, class and words."""
    words = _ADDRESS.sub("", " ".join(repr(schedule).split()))[:MOST_WORDS]
    kind = type(schedule)
    common = {"tz": zone_of(schedule, app), "class": f"{kind.__module__}.{kind.__qualname__}", "repr": words}
    return (_reckoned(schedule) or {"type": _type_of(schedule), "text": words}) | common


def is_reckoned(schedule: Any) -> bool:
    """Whether it is of a kind whose due times anybody can reckon, and that can be asked in any thread."""
    return _reckons_as(schedule, crontab) or _reckons_as(schedule, interval) or is_clocked(schedule)


def _reckoned(schedule: Any) -> dict[str, Any] | None:
    if _reckons_as(schedule, crontab):
        return {"type": "crontab"} | {name: _field(schedule, name) for name in FIELDS}
    if _reckons_as(schedule, interval):
        every_s = schedule.run_every.total_seconds()
        return {"type": "interval", "every": every_s, "relative": bool(schedule.relative)}
    if is_clocked(schedule):
        return {"type": "clocked", "at": epoch(schedule.clocked_time)}
    return None


def _reckons_as(schedule: Any, kind: type) -> bool:
    """Whether it is of that kind, and no subclass has changed how it finds its due times."""
    own = type(schedule)
    methods = ("remaining_estimate",) if own.__name__ == _ZONED else ("is_due", "remaining_estimate")
    return isinstance(schedule, kind) and all(getattr(own, name) is getattr(kind, name) for name in methods)


def is_clocked(schedule: Any) -> bool:
    """Of either package that has such: due once, at its `clocked_time`."""
    return type(schedule).__name__ == "clocked" and hasattr(schedule, "clocked_time")


def _type_of(schedule: Any) -> str:
    name = type(schedule).__name__
    return name if name in ("solar", "rrule") else "custom"


def _field(schedule: Any, name: str) -> str:
    """A field as it was written; one that was given as numbers, from its numbers."""
    written = getattr(schedule, f"_orig_{name}", None)
    return written if isinstance(written, str) else ",".join(map(str, sorted(getattr(schedule, name))))


def zone_of(schedule: Any, app: Any) -> str | None:
    """The zone it reckons in: up to Celery 5.6 that of its own clock, if it has one; then its `tz`, which is the app's.

    An interval is added to the last run, which is in the app's zone whatever its own clock says.
    """
    zone: tzinfo | None = None
    if not isinstance(schedule, interval):
        zone = getattr(schedule, "tz", None)
        nowfun = getattr(schedule, "nowfun", None)
        if nowfun is not None and tuple(celery.VERSION[:2]) < (5, 7):
            zone = nowfun().tzinfo or zone
    return zone_name(zone or app.timezone)


def zone_name(zone: Any) -> str | None:
    """The name in the time zone database; None if it has none there."""
    # ZoneInfo has `key`, pytz `zone`; the local zone of Celery has neither.
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    if name:
        return str(name)
    if zone is UTC:
        return "UTC"
    with suppress(Exception):
        from tzlocal import get_localzone_name  # noqa: PLC0415  Old versions of Celery do not bring it.

        return str(get_localzone_name()) if "Local" in type(zone).__name__ else None
    return None


def due_after(schedule: Any, last_run_at: Any) -> float | None:
    """When it is due after that run, as Celery reckons it; in the past, if beat is late."""
    if is_clocked(schedule):
        return epoch(schedule.clocked_time)
    if not isinstance(last_run_at, datetime):
        return None
    before, remaining = _asked(schedule, last_run_at)
    if remaining is None:
        return None
    end = before.timestamp() + remaining.total_seconds() if _ARE_REAL else (before + remaining).timestamp()
    # A crontab's are whole minutes; between our look at the clock and Celery's there were some microseconds.
    return float(round(end)) if isinstance(schedule, crontab) else round(end, 6)


def _asked(schedule: Any, last_run_at: datetime) -> tuple[datetime, timedelta | None]:
    """The clock, and how long it is from then until it is due: nobody must have come in between."""
    for _ in range(_LOOKS):
        before = schedule.maybe_make_aware(schedule.now())
        remaining = schedule.remaining_estimate(last_run_at)
        if schedule.maybe_make_aware(schedule.now()) - before < _HELD_UP:
            break
    return before, remaining


def due_of_entry(entry: Any, app: Any) -> float | None:
    """When this entry is due, or was, that beat is about to send; None where its schedule cannot tell."""
    with suppress(Exception):
        return due_after(entry.schedule, _as_beat_asks(entry, entry.last_run_at, app))
    return None


def next_after(entry: Any, at: float, app: Any) -> float | None:
    """When it is due again after it was sent at that time; None if never, or unknown."""
    if is_clocked(entry.schedule) or getattr(getattr(entry, "model", None), "one_off", False):
        return None
    with suppress(Exception):
        return due_after(entry.schedule, _as_beat_asks(entry, datetime.fromtimestamp(at, app.timezone), app))
    return None


def _as_beat_asks(entry: Any, last_run_at: Any, app: Any) -> Any:
    """The last run as the entry gives it to its schedule (is_due of each package)."""
    if not isinstance(last_run_at, datetime):
        return None
    return as_asked(entry.schedule, last_run_at, app, is_model=hasattr(entry, "model"))


def as_asked(schedule: Any, last_run_at: datetime, app: Any, *, is_model: bool) -> datetime:
    """Rows of a database come in whatever zone; a crontab with a zone turns to it first (tzcrontab.py)."""
    zone = schedule.tz if type(schedule).__name__ == _ZONED else app.timezone if is_model else None
    asked: datetime = maybe_make_aware(last_run_at)
    return asked.astimezone(zone) if zone else last_run_at


def last_run_of(entry: Any) -> float | None:
    """When it was last sent; None if never: until then Celery puts the time there at which it met the entry."""
    at, model = entry.last_run_at, getattr(entry, "model", None)
    if not entry.total_run_count or (model is not None and at == getattr(model, "date_changed", None)):
        return None
    return epoch(at)

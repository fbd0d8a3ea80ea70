"""A row of django-celery-beat or sqlalchemy-celery-beat, whose columns are the same, as their beat reads it.

`ModelEntry` in the `schedulers.py` of both packages is what these functions repeat.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from kombu.utils.json import loads

from taskledger import app_schedule
from taskledger.app_schedule import Asked
from taskledger.schedule_sources import RunCount
from taskledger.schedule_sources.shapes import BeatRefusesError, clocked_of, crontab_of, interval_of, solar_of
from taskledger.schedules import Definition, Entry, Unverifiable

#: the kinds of schedules, in the order in which django-celery-beat looks for one
KINDS = ("interval", "crontab", "solar", "clocked")
#: seconds of a period's word
PERIODS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1, "microseconds": 1e-6}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class Reckoning(NamedTuple):
    """How beat reckons with what stands in the tables."""

    #: the app's zone: of intervals, and of crontabs that have none of their own
    zone: str = "UTC"
    #: the zone of times that are kept without one
    naive: ZoneInfo = ZoneInfo("UTC")
    #: whether the zone of a crontab counts (DJANGO_CELERY_BEAT_TZ_AWARE)
    crontab_zones: bool = True


def entry_of(row: Mapping[str, Any], reckoning: Reckoning, celery_app: Any) -> Entry:
    """The entry as beat would send it; `problem` says why beat will not."""
    schedule, problem = _definition(row, reckoning)
    entry = _sent(row, schedule, celery_app)
    is_one_off = bool(row.get("one_off"))
    # Beat disables it only when it would be due again; until then the table says that it was enabled, and has run.
    has_run = is_one_off and bool(row.get("total_run_count"))
    return replace(
        entry,
        enabled=bool(row["enabled"]) and not has_run,
        problem=problem or entry.problem,
        one_off=is_one_off,
        starts_at=instant(row.get("start_time"), reckoning.naive),
        expires_at=instant(row.get("expires"), reckoning.naive),
    )


def count_of(row: Mapping[str, Any], reckoning: Reckoning) -> RunCount:
    """What beat counted; it writes the count down 3 minutes late at the worst (celery/beat.py, `sync_every`)."""
    return RunCount(row["name"], instant(row.get("last_run_at"), reckoning.naive), int(row.get("total_run_count") or 0))


def instant(value: Any, naive: ZoneInfo) -> int | None:
    """A time of a database in microseconds; SQLite has it as text."""
    if value is None or value == "":
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return ((moment if moment.tzinfo else moment.replace(tzinfo=naive)) - _EPOCH) // _US


def _sent(row: Mapping[str, Any], schedule: Definition, celery_app: Any) -> Entry:
    try:
        args, kwargs = loads(row.get("args") or "[]"), loads(row.get("kwargs") or "{}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        # Not None, which would make it a rival of every other entry of its task.
        args, kwargs = str(row.get("args")), str(row.get("kwargs"))
        problem = f"its arguments are not the JSON that beat reads, so that beat disables it: {error}"
        return Entry(row["name"], row["task"], schedule, args=args, kwargs=kwargs, problem=problem)
    options = {"queue": row.get("queue") or None}
    if row.get("expires") is None:
        options["expires"] = row.get("expire_seconds")
    return app_schedule.as_sent(celery_app, row["name"], schedule, Asked(row["task"], args, kwargs, options))


def _definition(row: Mapping[str, Any], reckoning: Reckoning) -> tuple[Definition, str | None]:
    """The definition, and why beat cannot make one of it."""
    kind = next((kind for kind in KINDS if row.get(f"{kind}_key") is not None), None)
    if kind is None:
        gone = "its schedule is not in the tables any more: beat disables it"
        return Unverifiable("none", "no schedule", reckoning.zone), gone
    values = {name.removeprefix(f"{kind}_"): value for name, value in row.items() if name.startswith(f"{kind}_")}
    try:
        return _READERS[kind](values, reckoning), None
    except BeatRefusesError as error:
        return Unverifiable(kind, _listed(values), reckoning.zone), str(error)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"its {kind} cannot be read: {type(error).__name__}: {error}"
        return Unverifiable(kind, _listed(values), reckoning.zone), problem


def _interval(values: Mapping[str, Any], reckoning: Reckoning) -> Definition:
    return interval_of(values["every"] * PERIODS[str(values["period"]).lower()], reckoning.zone)


def _crontab(values: Mapping[str, Any], reckoning: Reckoning) -> Definition:
    own = values.get("timezone") if reckoning.crontab_zones else None
    return crontab_of(values, str(own or reckoning.zone))


def _solar(values: Mapping[str, Any], reckoning: Reckoning) -> Definition:
    return solar_of(str(values["event"]).lower(), values["latitude"], values["longitude"], reckoning.zone)


def _clocked(values: Mapping[str, Any], reckoning: Reckoning) -> Definition:
    at = instant(values["clocked_time"], reckoning.naive)
    if at is None:
        raise ValueError("it has no time")
    return clocked_of(at, reckoning.zone)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if name != "key")[:200]


_READERS = {"interval": _interval, "crontab": _crontab, "solar": _solar, "clocked": _clocked}

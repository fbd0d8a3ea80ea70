"""RedBeat's schedule: a sorted set of keys, and for each a hash with `definition` and `meta`, both JSON.

What redbeat/schedulers.py and redbeat/decoder.py write. The scores, whole seconds before which an entry is not due, are
not needed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import redis
from redis.sentinel import Sentinel

from taskledger import app_schedule
from taskledger.app_schedule import Asked
from taskledger.errors import ScheduleAway, ScheduleUnreadable
from taskledger.parsing import mask_url
from taskledger.schedule_sources import Reading, RunCount
from taskledger.schedule_sources.shapes import BeatRefusesError, crontab_of, interval_of
from taskledger.schedules import Definition, Entry, Unverifiable

SOURCE = "redbeat"
#: before each key, where no setting says it
PREFIX = "redbeat:"
#: seconds that Redis may take to answer
TIMEOUT_S = 3.0
#: keys that are asked for at once
KEYS_AT_ONCE = 500
#: by number (dateutil/rrule.py)
FREQUENCIES = ("yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PUNCTUATION = re.compile(r"[^\w:+., -]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the keys are, and the zone that beat reckons in: RedBeat keeps none with a crontab."""

    url: str
    prefix: str = PREFIX
    zone: str = "UTC"
    #: what redbeat_redis_options and redbeat_redis_use_ssl say
    options: Mapping[str, Any] = field(default_factory=dict)
    ssl: Mapping[str, Any] = field(default_factory=dict)


class _Schedule(NamedTuple):
    """A schedule as it stands in a definition."""

    kind: str
    values: Mapping[str, Any]


class RedBeatKeys:
    """A Store: the Redis in which RedBeat keeps its schedule."""

    def __init__(self, place: Place, celery_app: Any) -> None:
        self._place, self._app = place, celery_app
        self.shown = mask_url(place.url)
        self._client: Any = None

    def read(self, now_at: int) -> list[Reading]:
        """See Store."""
        del now_at
        if self._client is None:
            self._client = _client(self._place)
        try:
            hashes = self._hashes()
        except (redis.RedisError, OSError) as error:
            why = str(error).partition("\n")[0]
            raise ScheduleAway(f"RedBeat's schedule in {self.shown} cannot be read now: {why}") from error
        read = [self._one(definition, meta) for definition, meta in hashes]
        found = [each for each in read if each is not None]
        return [Reading(SOURCE, tuple(entry for entry, _ in found), tuple(count for _, count in found))]

    def close(self) -> None:
        """See Store."""
        if self._client is not None:
            self._client.close()

    def _hashes(self) -> list[tuple[bytes, bytes | None]]:
        """(definition, meta) of each entry; one that was removed between the two questions has none."""
        keys = self._client.zrange(f"{self._place.prefix}:schedule", 0, -1)
        found: list[tuple[bytes, bytes | None]] = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys[start : start + KEYS_AT_ONCE]:
                    pipeline.hmget(key, "definition", "meta")
                found += [(definition, meta) for definition, meta in pipeline.execute() if definition]
        return found

    def _one(self, definition: bytes, meta: bytes | None) -> tuple[Entry, RunCount] | None:
        """None for what cannot be read: RedBeat ends when it comes upon it."""
        try:
            kept, said = _loaded(definition), _loaded(meta) if meta else {}
            entry = _entry(kept, self._place.zone, self._app)
            return entry, _count(entry.name, said)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _client(place: Place) -> Any:
    limits: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    options = place.options
    if place.url.startswith("redis-cluster") or options.get("cluster"):
        raise ScheduleUnreadable(f"RedBeat's schedule in {mask_url(place.url)} cannot be read: it is a Redis cluster")
    known = {key: options[key] for key in ("username", "password") if options.get(key)}
    if place.url.startswith("redis-sentinel") and "sentinels" in options:
        ssl = {"ssl": True, **place.ssl} if place.ssl else {}
        more = dict(options.get("sentinel_kwargs") or {}) | limits
        sentinels: Any = Sentinel
        sentinel = sentinels(options["sentinels"], sentinel_kwargs=more, **limits, **known, **ssl)
        return sentinel.master_for(options.get("service_name", "master"), db=options.get("db", 0))
    try:
        ssl = dict(place.ssl) if place.url.startswith("rediss") else {}
        return redis.Redis.from_url(place.url, **limits, **known, **ssl)
    except (ValueError, TypeError) as error:
        raise ScheduleUnreadable(f"RedBeat's schedule in {mask_url(place.url)} cannot be read: {error}") from error


def _entry(kept: Mapping[str, Any], zone: str, celery_app: Any) -> Entry:
    schedule, problem = _definition(kept["schedule"], zone)
    asked = Asked(kept["task"], kept.get("args"), kept.get("kwargs"), kept.get("options"))
    entry = app_schedule.as_sent(celery_app, str(kept["name"]), schedule, asked)
    return replace(entry, enabled=bool(kept.get("enabled", True)), problem=problem or entry.problem)


def _count(name: str, meta: Mapping[str, Any]) -> RunCount:
    """The count, and the last run; what stands there before the first run is the moment of the definition."""
    number, last = int(meta.get("total_run_count") or 0), meta.get("last_run_at")
    last_run_at = (last - _EPOCH) // timedelta(microseconds=1) if number and isinstance(last, datetime) else None
    return RunCount(name, last_run_at, number)


def _definition(schedule: Any, zone: str) -> tuple[Definition, str | None]:
    if isinstance(schedule, int | float):
        return interval_of(schedule, zone), None
    if not isinstance(schedule, _Schedule):
        return Unverifiable("custom", str(schedule)[:200], zone), None
    if schedule.kind == "interval":
        every_s, relative = float(schedule.values["every"]), bool(schedule.values.get("relative"))
        return interval_of(every_s, zone, relative=relative), None
    if schedule.kind == "rrule":
        return Unverifiable("rrule", _rrule_words(schedule.values), zone), None
    try:
        return crontab_of(schedule.values, zone), None
    except BeatRefusesError as error:
        return Unverifiable("crontab", json.dumps(schedule.values)[:200], zone), str(error)


def _rrule_words(values: Mapping[str, Any]) -> str:
    """E.g. "rrule: daily, interval 2, byhour 9, dtstart 2026-11-01T09:00:00+01:00"."""
    number = values.get("freq")
    words = [FREQUENCIES[number] if isinstance(number, int) and 0 <= number < 7 else f"freq {number}"]
    for name, value in values.items():
        if value is None or name == "freq" or name.endswith("_tz"):
            continue
        if name in ("dtstart", "until"):
            zone = timezone(timedelta(minutes=values.get(f"{name}_tz") or 0))
            value = datetime.fromtimestamp(value, zone).isoformat()  # noqa: PLW2901  As people read it.
        words.append(f"{name} {_PUNCTUATION.sub('', str(value))}")
    return f"rrule: {', '.join(words)}"[:200]


def _loaded(text: bytes) -> Any:
    return json.loads(text, object_hook=_revived)


def _revived(values: dict[str, Any]) -> Any:
    """As RedBeatJSONDecoder does it, but that a schedule stays what was written."""
    kind = values.get("__type__")
    rest = {key: value for key, value in values.items() if key != "__type__"}
    if kind == "datetime":
        return datetime(tzinfo=_zone(rest.pop("timezone", "UTC")), **rest)
    if kind in ("interval", "crontab", "rrule"):
        return _Schedule(kind, rest)
    return rest.get("wkday") if kind == "weekday" else values


def _zone(said: Any) -> tzinfo:
    """A name, or the seconds that it is ahead of UTC."""
    return timezone(timedelta(seconds=said)) if isinstance(said, int | float) else ZoneInfo(said)

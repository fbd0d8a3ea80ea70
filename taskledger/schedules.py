"""What beat promised: the entries of a schedule, their definitions, and when an interval is due next."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from taskledger import crontabs
from taskledger.crontabs import SECOND, US, Crontab

#: least seconds, and the unit to which a relative interval of that size is cut (celery/utils/time.py, delta_resolution)
_RESOLUTIONS = ((86_400, timedelta(days=1)), (3_600, timedelta(hours=1)), (60, timedelta(minutes=1)))

#: a clock's time is told for the years up to 9000, with room for every zone
MOST_CLOCKED_S = 220_000_000_000
#: fields of an entry that stand in its text only where they say something
_RARE = ("one_off", "starts_at", "expires_at")


@dataclass(frozen=True, slots=True)
class Interval:
    """So many seconds after the fire before; `relative` cuts the due time down to a whole day, hour or minute."""

    every_s: float
    tz: str = "UTC"
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Clocked:
    """Once, at that moment (django-celery-beat's ClockedSchedule); its JSON shape has `at` in seconds, as events do."""

    at: int
    tz: str = "UTC"


@dataclass(frozen=True, slots=True)
class Unverifiable:
    """A schedule whose due times only its own code knows: solar, rrule, a custom class.

    Its fires are judged by the due times that beat announced (`Facts.explicit_dues`); without any they are listed only.
    """

    kind: str
    text: str
    tz: str = "UTC"


Definition = Crontab | Interval | Clocked | Unverifiable


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule entry as beat would send it.

    `args` and `kwargs` are reprs as in events, None when they are computed for each send. `shadow` is the name that
    workers announce instead. `problem` says why beat cannot send it, where that can be foreseen. Nothing is due before
    `starts_at` nor after `expires_at`; with `one_off` beat disables it after one fire.
    """

    name: str
    task: str
    schedule: Definition
    args: str | None = "()"
    kwargs: str | None = "{}"
    queue: str | None = None
    shadow: str | None = None
    expires_s: float | None = None
    enabled: bool = True
    problem: str | None = None
    one_off: bool = False
    starts_at: int | None = None
    expires_at: int | None = None

    def is_sent_as(self, sent: "Sent") -> bool:
        """Whether a task could be this entry's: the same name, arguments and queue, and sent by no other task.

        Beat sends args as a list, so the repr is `[1, 2]` and not the `(1, 2)` of `delay(1, 2)`; empty args are `()`
        either way (celery/beat.py, _evaluate_entry_args; celery/app/amqp.py, as_task_v2).
        """
        return (
            sent.name in (self.task, self.shadow)
            and not sent.has_parent
            and (sent.args.startswith("[") if self.args is None and sent.args else self.args in (None, sent.args))
            and self.kwargs in (None, sent.kwargs)
            and (self.queue is None or sent.queue in (None, self.queue))
        )

    def is_like(self, other: "Entry") -> bool:
        """Whether the sends of two entries cannot be told apart."""
        same = (self.task, self.args, self.kwargs) == (other.task, other.args, other.kwargs)
        vague = self.task == other.task and (None in (self.args, self.kwargs, other.args, other.kwargs))
        return (same or vague) and (self.queue == other.queue or None in (self.queue, other.queue))


@dataclass(frozen=True, slots=True)
class Sent:
    """What is known of a task that may be a fire; None is "no event said it"."""

    name: str | None
    args: str | None
    kwargs: str | None
    queue: str | None
    #: sent from within another task
    has_parent: bool


@dataclass(frozen=True, slots=True)
class Step:
    """When an interval is due after a fire: by real time and by the wall clock, which differ where the clock changes.

    Celery up to 5.6 adds the interval to the wall clock (celery#6438), 5.7 to real time; both are right here.
    """

    real_at: int
    wall_at: int

    @property
    def first_at(self) -> int:
        return min(self.real_at, self.wall_at)

    @property
    def last_at(self) -> int:
        return max(self.real_at, self.wall_at)

    def not_before(self, at: int) -> "Step":
        return Step(max(self.real_at, at), max(self.wall_at, at))

    def flag(self, due_at: int) -> str | None:
        """What the wall clock did to this due time, if it did."""
        if self.real_at == self.wall_at or due_at != self.wall_at:
            return None
        return "dst_stretched" if self.wall_at > self.real_at else "dst_shrunk"


def step(interval: Interval, last_at: int) -> Step:
    """When an interval is due after a fire at that moment."""
    zone = crontabs.zone_of(interval.tz)
    every = timedelta(seconds=interval.every_s)
    real_at = last_at + every // US
    wall = crontabs.wall_at(last_at, zone) + every
    if interval.relative:
        wall = _cut(wall, interval.every_s)
        real_at = crontabs.instant_at(_cut(crontabs.wall_at(real_at, zone), interval.every_s), zone)
    wall_at = crontabs.instant_at(wall, zone)
    # Cutting may lead back to the fire itself, and so may a wall clock that repeats an hour.
    real_at = real_at if real_at > last_at else last_at + every // US
    return Step(real_at, wall_at if wall_at > last_at else real_at)


def parse(schedule: Mapping[str, Any]) -> Definition:
    """A definition from its JSON shape, e.g. {"type": "crontab", "hour": "3"}; ValueError in a sentence."""
    values = {key: value for key, value in schedule.items() if key != "type"}
    match schedule.get("type"):
        case "crontab":
            return crontabs.check(Crontab(**{key: str(value) for key, value in _known(Crontab, values).items()}))
        case "interval":
            return _interval(float(values["every"]), str(values.get("tz", "UTC")), bool(values.get("relative", False)))
        case "clocked":
            return _clocked(float(values["at"]), str(values.get("tz", "UTC")))
        case "unverifiable":
            return Unverifiable(**_known(Unverifiable, values))
        case kind:
            text = str(values.get("text") or json.dumps(values, sort_keys=True))
            return Unverifiable(str(kind), text, str(values.get("tz", "UTC")))


def as_json(definition: Definition) -> dict[str, Any]:
    """The JSON shape of a definition; fields that are `*` are left out."""
    if isinstance(definition, Crontab):
        return {"type": "crontab"} | {key: value for key, value in asdict(definition).items() if value != "*"}
    if isinstance(definition, Interval):
        shape: dict[str, Any] = {"type": "interval", "every": definition.every_s, "tz": definition.tz}
        return shape | ({"relative": True} if definition.relative else {})
    if isinstance(definition, Clocked):
        return {"type": "clocked", "at": definition.at / SECOND, "tz": definition.tz}
    return {"type": "unverifiable"} | asdict(definition)


def entry_text(entry: Entry) -> str:
    """All of an entry but its name, as canonical JSON: what a version of it keeps."""
    kept = {item.name: getattr(entry, item.name) for item in fields(entry) if item.name not in ("name", "schedule")}
    # Texts that were kept before these fields were known must stay as they are, or every entry would count as edited.
    kept = {name: value for name, value in kept.items() if value or name not in _RARE}
    kept["schedule"] = as_json(entry.schedule)
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def entry_from(name: str, text: str) -> Entry:
    """The entry that `entry_text` wrote."""
    kept = json.loads(text)
    return Entry(name=name, **_known(Entry, kept) | {"schedule": parse(kept["schedule"])})


def definition_hash(text: str) -> bytes:
    """16 bytes that change when anything in `entry_text` does."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _interval(every_s: float, tz: str, relative: bool) -> Definition:
    crontabs.zone_of(tz)
    if not 0 < every_s < 1e10:
        # Beat sends such an entry as fast as it can, or never: there is no due time to hold it to.
        return Unverifiable("interval", f"every {every_s:g} s", tz)
    return Interval(every_s, tz, relative)


def _clocked(at_s: float, tz: str) -> Definition:
    crontabs.zone_of(tz)
    if not abs(at_s) < MOST_CLOCKED_S:
        return Unverifiable("clocked", f"once, {at_s:g} s after 1970", tz)
    return Clocked(round(at_s * SECOND), tz)


def _cut(wall: datetime, every_s: float) -> datetime:
    wall = wall.replace(microsecond=0)
    unit = next((unit for least, unit in _RESOLUTIONS if every_s >= least), None)
    return wall if unit is None else wall - (wall - crontabs.EPOCH) % unit


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in values.items() if key in names}

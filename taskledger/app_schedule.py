"""The schedule that a Celery app's configuration promises, as its beat would read and send it (celery/beat.py)."""

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

import celery
from celery.app.amqp import AMQP
from celery.beat import BeatLazyFunc, ScheduleEntry
from celery.schedules import crontab
from celery.schedules import schedule as interval
from celery.utils.saferepr import saferepr

from taskledger import app, crontabs, schedules
from taskledger.schedules import Definition, Entry, Unverifiable

#: beat adds it by itself where results must be cleaned up (celery/beat.py, install_default_entries)
CLEANUP = "celery.backend_cleanup"
#: as kombu names a queue: an object or its name
_NAMELESS = ("", "None")
#: characters of a wrong value that a problem spells out
MOST_VALUE = 60

#: levels of nested arguments that a repr shows, where no app says it (celery/utils/saferepr.py)
LEVELS = 3


class Asked(NamedTuple):
    """What an entry asks beat to send, as beat has it before it sends."""

    task: Any
    args: Any = ()
    kwargs: Any = None
    options: Any = None


def source_of(celery_app: Any) -> str:
    """What the entries' source is called, e.g. "proj (beat_schedule)"."""
    return f"{app.name_of(celery_app)} (beat_schedule)"


def entries_of(celery_app: Any) -> list[Entry]:
    """The entries of `beat_schedule`, of add_periodic_task, and the one that beat adds; runs the project's code.

    An entry that beat could not even read is left out, as beat would not start with it. AppError when the tasks of the
    app cannot be imported.
    """
    wanted = dict(app.beat_schedule_of(celery_app))
    if CLEANUP not in wanted and _needs_cleanup(celery_app):
        wanted[CLEANUP] = {"task": CLEANUP, "schedule": crontab("0", "4", "*"), "options": {"expires": 12 * 3600}}
    return [entry for name, item in wanted.items() if (entry := _entry(celery_app, str(name), item)) is not None]


def definition_of(schedule: Any, celery_app: Any) -> Definition:
    """A Celery schedule object as a definition; what only its own code can tell is Unverifiable."""
    tz = _zone_name(schedule, celery_app)
    shape: dict[str, Any] = {"type": type(schedule).__name__, "tz": tz}
    if _reckons_as(schedule, crontab):
        shape = {"type": "crontab", "tz": tz} | {name: _field(schedule, name) for name in crontabs.FIELDS}
    elif _reckons_as(schedule, interval):
        every_s = schedule.run_every.total_seconds()
        shape = {"type": "interval", "tz": tz, "every": every_s, "relative": bool(schedule.relative)}
    else:
        return Unverifiable(type(schedule).__name__, repr(schedule)[:200], tz)
    try:
        return schedules.parse(shape)
    except ValueError as error:
        return Unverifiable(shape["type"], f"{schedule!r}: {error}"[:200], tz)


def _needs_cleanup(celery_app: Any) -> bool:
    """As beat decides it; a result backend that cannot be imported would stop beat, and is not our trouble."""
    try:
        return bool(celery_app.conf.result_expires) and not celery_app.backend.supports_autoexpire
    except Exception:  # noqa: BLE001  A backend is somebody else's class: anything may go wrong in making it.
        return False


def as_sent(celery_app: Any, name: str, schedule: Definition, asked: Asked) -> Entry:
    """The entry with its arguments as they will stand in events, and why beat will fail to send it, if it will.

    Without an app (None) reprs are cut where Celery cuts them by default, and no task's signature is known.
    """
    asked = asked._replace(options=asked.options or {})
    problem = _misshapen(asked)
    if problem is not None:
        # As written, so that no task's arguments are like them: None would make it a rival of every other entry.
        args, kwargs = saferepr(asked.args, MOST_VALUE), saferepr(asked.kwargs, MOST_VALUE)
        return Entry(name=name, task=str(asked.task), schedule=schedule, args=args, kwargs=kwargs, problem=problem)
    options = asked.options
    args, kwargs = _args_text(celery_app, asked), _kwargs_text(celery_app, asked)
    return Entry(
        name=name,
        task=str(asked.task),
        schedule=schedule,
        args=options.get("argsrepr") or args,
        kwargs=options.get("kwargsrepr") or kwargs,
        queue=_queue_name(options.get("queue")),
        shadow=options.get("shadow"),
        expires_s=_seconds(options.get("expires")),
        problem=None if None in (args, kwargs) or celery_app is None else _problem(celery_app, asked),
    )


def _entry(celery_app: Any, name: str, item: Mapping[str, Any]) -> Entry | None:
    try:
        made = ScheduleEntry(**dict(item, name=name, app=celery_app))
        schedule = None if made.schedule is None else definition_of(made.schedule, celery_app)
    except Exception:  # noqa: BLE001  A schedule is the project's class: one bad entry must not hide the others.
        return None
    if schedule is None or not made.task:
        return None
    return as_sent(celery_app, name, schedule, Asked(made.task, made.args, made.kwargs, made.options))


def _misshapen(asked: Asked) -> str | None:
    """Why beat fails each time before it even looks at the task (celery/beat.py, _evaluate_entry_args, apply_async)."""
    wanted = (
        ("args", asked.args, Iterable, "a list or tuple"),
        ("kwargs", asked.kwargs, Mapping, "a dict"),
        ("options", asked.options, Mapping, "a dict"),
    )
    for field, value, kind, spoken in wanted:
        if value and not isinstance(value, kind):
            return f"{field} must be {spoken}, not {saferepr(value, MOST_VALUE)}"
    return None


def _args_text(celery_app: Any, asked: Asked) -> str | None:
    """The repr that stands in events: beat makes a list of the arguments, and none at all become an empty tuple."""
    args = list(asked.args or ())
    if any(_is_lazy(value) for value in args):
        return None
    return _repr(celery_app, args or (), "argsrepr_maxsize")


def _kwargs_text(celery_app: Any, asked: Asked) -> str | None:
    kwargs = dict(asked.kwargs or {})
    if any(_is_lazy(value) for value in kwargs.values()):
        return None
    return _repr(celery_app, kwargs, "kwargsrepr_maxsize")


def _repr(celery_app: Any, value: Any, size: str) -> str:
    """As celery/app/amqp.py makes it, `as_task_v2`."""
    if celery_app is None:
        return str(saferepr(value, getattr(AMQP, size), maxlevels=LEVELS))
    levels = celery_app.conf.get("task_repr_maxlevels", LEVELS)  # from Celery 5.7 on
    return str(saferepr(value, getattr(celery_app.amqp, size), maxlevels=levels))


def _is_lazy(value: Any) -> bool:
    return isinstance(value, BeatLazyFunc)


def _problem(celery_app: Any, asked: Asked) -> str | None:
    """Why beat could not send it: the check of arguments that Task.apply_async makes (celery/app/task.py)."""
    task = celery_app.tasks.get(asked.task)
    check = getattr(task, "__header__", None)
    if check is None or not getattr(task, "typing", False):
        return None
    try:
        check(*(asked.args or ()), **(asked.kwargs or {}))
    except TypeError as error:
        return str(error)
    return None


def _reckons_as(schedule: Any, kind: type) -> bool:
    """Whether it is of that kind and no subclass has changed how it finds its due times."""
    return isinstance(schedule, kind) and all(
        getattr(type(schedule), name) is getattr(kind, name) for name in ("is_due", "remaining_estimate")
    )


def _field(crontab: Any, name: str) -> str:
    """A field as it was written; one that was given as numbers, from its numbers."""
    written = getattr(crontab, f"_orig_{name}", None)
    return written if isinstance(written, str) else ",".join(map(str, sorted(getattr(crontab, name))))


def _zone_name(schedule: Any, celery_app: Any) -> str:
    """The zone it reckons in: from Celery 5.7 on the schedule's `tz`, before that the zone of its `nowfun`."""
    zone: tzinfo | None = schedule.tz
    if schedule.nowfun is not None and tuple(celery.VERSION[:2]) < (5, 7):
        zone = schedule.nowfun().tzinfo or zone
    # ZoneInfo has `key`, pytz `zone`; the local zone of Celery has neither.
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return str(name or app.timezone_of(celery_app).key)


def _queue_name(queue: Any) -> str | None:
    name = str(getattr(queue, "name", queue))
    return None if name in _NAMELESS else name


def _seconds(expires: Any) -> float | None:
    return float(expires) if isinstance(expires, int | float) else None

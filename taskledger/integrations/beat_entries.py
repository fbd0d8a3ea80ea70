"""All entries that a scheduler has, as rows of beat-schedule; the disabled ones as well, where they are kept.

Nothing is written, saved or made here that could be: entries of database schedulers are read from their models, because
making one of their own entries may disable and save a row (django_celery_beat/schedulers.py, ModelEntry.__init__).
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from celery.beat import BeatLazyFunc
from celery.utils.saferepr import saferepr
from celery.utils.time import maybe_make_aware
from kombu.utils.json import loads

from taskledger.integrations import beat_dues as dues

log = logging.getLogger(__name__)

Row = dict[str, Any]
#: what of a row changes without anybody's doing, and makes no other definition
CHANGING = ("last_run", "run_count", "next_due")
#: characters of what stands for a schedule that cannot be read
_MOST_WORDS = 200


class Snapshot(NamedTuple):
    """An entry in beat's memory, and its next due time where only its schedule can tell, asked for in beat's thread.

    The app comes along: entries that were in a file have lost theirs.
    """

    app: Any
    entry: Any
    next_due: float | None


def reader_of(scheduler: Any) -> Callable[[], list[Row]] | None:
    """What reads all entries from where they are kept, in any thread; None if beat's memory is all there is."""
    for module, name, read in (
        ("django_celery_beat.schedulers", "DatabaseScheduler", _from_django),
        ("sqlalchemy_celery_beat.schedulers", "DatabaseScheduler", _from_sqlalchemy),
        ("redbeat.schedulers", "RedBeatScheduler", _from_redbeat),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(scheduler, kind):
            return lambda read=read: read(scheduler)  # type: ignore[misc]
    return None


def snapshot(scheduler: Any, taken: Iterable[Any] = ()) -> list[Snapshot]:
    """What beat has in memory, from its heap: to ask for its `schedule` may read a file or forget a change."""
    entries = [*taken, *(each[2] for each in getattr(scheduler, "_heap", None) or ())]
    return [Snapshot(scheduler.app, entry, _explicit(entry, scheduler.app)) for entry in entries]


def _explicit(entry: Any, app: Any) -> float | None:
    """Schedules with a mind of their own may not like to be asked in two threads at a time."""
    return None if dues.is_reckoned(entry.schedule) else dues.due_of_entry(entry, app)


def rows_of(snapshots: Iterable[Snapshot]) -> list[Row]:
    """The rows of what was in memory."""
    return _each(_from_memory, snapshots)


def _each(made: Callable[[Any], Row], items: Iterable[Any]) -> list[Row]:
    """A row for each, by name; one that cannot be read hides no other."""
    rows: list[Row] = []
    for item in items:
        try:
            rows.append(made(item))
        except Exception:
            log.debug("an entry is left out of beat-schedule", exc_info=True)
    return sorted(rows, key=lambda row: str(row["entry"]))


def _from_memory(item: Snapshot) -> Row:
    app, entry = item.app, item.entry
    next_due = dues.due_of_entry(entry, app) if dues.is_reckoned(entry.schedule) else item.next_due
    return {
        "entry": str(entry.name),
        "task": str(entry.task),
        **_given(app, entry.args, entry.kwargs, entry.options or {}),
        "schedule": dues.shape_of(entry.schedule, app),
        "enabled": True,
        "one_off": False,
        "start_time": None,
        "expires_at": None,
        "last_run": dues.last_run_of(entry),
        "run_count": int(entry.total_run_count or 0),
        "next_due": next_due,
    }


def _given(app: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Row:
    """What beat gives to the task, as task events will have it; None where only the moment of sending can tell."""
    return {
        "args": options.get("argsrepr") or _args_text(app, args),
        "kwargs": options.get("kwargsrepr") or _kwargs_text(app, kwargs),
        "options": {
            "queue": _queue_name(options.get("queue")),
            "expires": _seconds(options.get("expires")),
            "priority": options.get("priority"),
            "shadow": options.get("shadow"),
        },
    }


def _args_text(app: Any, args: Any) -> str | None:
    """Beat makes a list of the arguments, and an empty tuple of none (celery/beat.py, celery/app/amqp.py)."""
    if args is None or isinstance(args, str) or any(isinstance(value, BeatLazyFunc) for value in args):
        return None if args is not None else "()"
    return str(saferepr(list(args) or (), app.amqp.argsrepr_maxsize))


def _kwargs_text(app: Any, kwargs: Any) -> str | None:
    if kwargs is None:
        return "{}"
    if not isinstance(kwargs, Mapping) or any(isinstance(value, BeatLazyFunc) for value in kwargs.values()):
        return None
    return str(saferepr(dict(kwargs), app.amqp.kwargsrepr_maxsize))


def _queue_name(queue: Any) -> str | None:
    name = getattr(queue, "name", queue)
    return str(name) if name else None


def _seconds(expires: Any) -> float | None:
    """After how long a message expires. A moment at which it does is none of it: that stands in `expires_at`."""
    if isinstance(expires, timedelta):
        return expires.total_seconds()
    return float(expires) if isinstance(expires, int | float) else None


def _from_django(scheduler: Any) -> list[Row]:
    """From the tables of django-celery-beat, over a connection of this thread's own."""
    from django.db import connections  # noqa: PLC0415  It is there, because its scheduler is.

    kinds = ("interval", "crontab", "solar", "clocked")
    try:
        models = list(scheduler.Model.objects.select_related(*kinds))
        return _each(lambda model: _from_model(scheduler, model), models)
    finally:
        connections.close_all()


def _from_sqlalchemy(scheduler: Any) -> list[Row]:
    """From the tables of sqlalchemy-celery-beat, in a session of our own."""
    session = scheduler.Session()
    try:
        models = session.query(scheduler.Model).all()
        return _each(lambda model: _from_model(scheduler, model), models)
    finally:
        session.close()


def _from_model(scheduler: Any, model: Any) -> Row:
    app = scheduler.app
    schedule = _schedule_of(model)
    last_run_at, run_count = _latest_run(scheduler, model)
    options = {"queue": model.queue, "priority": model.priority, "expires": model.expire_seconds}
    return {
        "entry": str(model.name),
        "task": str(model.task),
        **_given(app, _parsed(model.args or "[]"), _parsed(model.kwargs or "{}"), options),
        "schedule": dues.shape_of(schedule, app) if not isinstance(schedule, str) else _unreadable(schedule),
        "enabled": bool(model.enabled),
        "one_off": bool(model.one_off),
        "start_time": dues.epoch(model.start_time),
        "expires_at": dues.epoch(model.expires),
        "last_run": dues.epoch(last_run_at) if run_count else None,
        "run_count": run_count,
        "next_due": None if isinstance(schedule, str) else _next_of_model(app, model, schedule, last_run_at, run_count),
    }


def _parsed(text: str) -> Any:
    """As beat reads it; a text that is no JSON stays one, and beat disables such an entry."""
    try:
        return loads(text)
    except ValueError:
        return text


def _schedule_of(model: Any) -> Any:
    """The schedule; where there is none to be had, why."""
    try:
        return model.schedule
    except Exception as error:  # noqa: BLE001  Whatever it is, beat cannot make one of it either.
        return f"{type(error).__name__}: {error}"[:_MOST_WORDS]


def _unreadable(why: str) -> Row:
    return {"type": "custom", "text": why, "tz": None, "class": None, "repr": None}


def _latest_run(scheduler: Any, model: Any) -> tuple[Any, int]:
    """The last run and their number: beat's memory is up to three minutes ahead of its tables (sync_every)."""
    stored = model.last_run_at, int(model.total_run_count or 0)
    entry = (getattr(scheduler, "_schedule", None) or {}).get(model.name)
    if entry is None or int(entry.total_run_count or 0) <= stored[1]:
        return stored
    return entry.last_run_at, int(entry.total_run_count)


def _next_of_model(app: Any, model: Any, schedule: Any, last_run_at: Any, run_count: int) -> float | None:
    now = datetime.now(app.timezone)
    start_time, expires = (maybe_make_aware(at) if at else None for at in (model.start_time, model.expires))
    if not model.enabled or (model.one_off and run_count) or (expires and now >= expires):
        return None
    if start_time and now < start_time:
        found = getattr(model, "due_start_time", None)
        return dues.epoch(found(app.timezone) if found else start_time)
    # Until its first run beat reckons from when the row was changed (ModelEntry.__init__).
    since = last_run_at or model.date_changed or now
    with suppress(Exception):
        return dues.due_after(schedule, dues.as_asked(schedule, since, app, is_model=True))
    return None


def _from_redbeat(scheduler: Any) -> list[Row]:
    """From RedBeat's keys, with its own client, in two round trips."""
    from redbeat.schedulers import get_redis  # type: ignore[import-untyped]  # noqa: PLC0415  As above.

    client, key = get_redis(scheduler.app), scheduler.app.redbeat_conf.schedule_key
    names = client.zrange(key, 0, -1)
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hmget(name, "definition", "meta")
        found = pipe.execute()
    return _each(lambda stored: _from_stored(scheduler, *stored), (stored for stored in found if stored[0]))


def _from_stored(scheduler: Any, definition: Any, meta: Any) -> Row:
    kind = scheduler.Entry
    entry = kind(app=scheduler.app, **kind.decode_definition(definition))
    known = kind.decode_meta(meta)
    entry.last_run_at, entry.total_run_count = known.get("last_run_at"), known.get("total_run_count") or 0
    row = _from_memory(Snapshot(scheduler.app, entry, _explicit(entry, scheduler.app)))
    return row | {"enabled": bool(entry.enabled), "next_due": row["next_due"] if entry.enabled else None}

"""Where beat keeps its schedule: what the settings say, else what the app's configuration gives away."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from celery.utils.imports import load_extension_class_names, symbol_by_name

from taskledger import app, databases, parsing
from taskledger.config import Settings
from taskledger.errors import AppError, ScheduleUnreadable
from taskledger.schedule_sources import Store, redbeat, tables
from taskledger.schedule_sources.rows import Reckoning

#: a package -> what its schedulers are called here
SCHEDULERS = {
    "django_celery_beat": tables.DJANGO.source,
    "sqlalchemy_celery_beat": tables.SQLALCHEMY.source,
    "redbeat": redbeat.SOURCE,
}
#: short names that their entry points give them, known here even when the packages are not installed
ALIASES = {
    "django": "django_celery_beat.schedulers:DatabaseScheduler",
    "sqlalchemy": "sqlalchemy_celery_beat.schedulers:DatabaseScheduler",
}
#: what names Django's own connection, as in `result_backend`
DJANGO_DB = "django-db"
#: of a URL: do not look
DISABLED = "disabled"
#: how an address of Redis begins
REDIS = ("redis", "rediss", "unix", "redis-sentinel", "redis-cluster")
#: arguments of our own in a URL, for who has no app that says it
PREFIX, ZONE = "redbeat_key_prefix", "beat_timezone"
#: where sqlalchemy-celery-beat looks when `beat_dburi` does not say it
SQLALCHEMY_DEFAULT = "sqlite:///schedule.db"


class Lead(NamedTuple):
    """A place to look at: its name for people, what opens it, and whether somebody said that beat uses it."""

    name: str
    open: Callable[[], Store]
    is_guess: bool = False
    #: the cluster that its beat sends to; None: the app's
    cluster: str | None = None


def said(settings: Settings) -> list[Lead]:
    """What the settings name; the app is not needed for it, unless it must tell where Django's database is."""
    leads = []
    for cluster, url in parsing.schedule_places(settings.schedule_url or f"{DISABLED}://"):
        scheme = url.partition(":")[0]
        if scheme in REDIS:
            leads.append(Lead("RedBeat", partial(_redbeat, settings, url), cluster=cluster))
        elif scheme == DJANGO_DB:
            leads.append(Lead(tables.DJANGO.source, partial(_djangos, settings), cluster=cluster))
        elif scheme != DISABLED:
            leads.append(Lead("the schedule database", partial(_tables, settings, url), cluster=cluster))
    return leads


def given_away(settings: Settings) -> list[Lead]:
    """What the app's configuration tells, where the settings say nothing. Its tasks must be imported."""
    if settings.schedule_url is not None:
        return []
    scheduler, redbeat_lead = scheduler_of(settings.celery_app), Lead("RedBeat", partial(_redbeat, settings))
    if scheduler == redbeat.SOURCE:
        return [redbeat_lead]
    if scheduler == tables.DJANGO.source:
        return [Lead(scheduler, partial(_djangos, settings))]
    if scheduler == tables.SQLALCHEMY.source:
        return [Lead(scheduler, partial(_sqlalchemys, settings))]
    if scheduler is not None:
        return []
    # Nothing is named: a scheduler that `celery beat -S` names leaves traces.
    is_redbeat = bool(_of(settings.celery_app.conf, "redbeat_redis_url"))
    guess = Lead(tables.DJANGO.source, partial(_djangos, settings, is_guess=True), is_guess=True)
    return [redbeat_lead] * is_redbeat + [guess] * _django_has_tables()


def hint(settings: Settings, leads: Iterable[Lead]) -> str | None:
    """What to say of an app whose beat runs another schedule than what can be read; None when all is well."""
    scheduler = scheduler_of(settings.celery_app)
    if scheduler is None or any(not lead.is_guess for lead in leads):
        return None
    begins = f"beat of {app.name_of(settings.celery_app)} runs the schedule of {scheduler}"
    if scheduler in SCHEDULERS.values():
        return f"{begins}, which the settings say not to read: what beat_schedule says may have been edited there"
    return f"{begins}, which nobody can read from outside: what beat_schedule says may not be what it sends"


def scheduler_of(celery_app: Any) -> str | None:
    """What the scheduler of `beat_scheduler` is called here; None for Celery's own, whose schedule is the app's.

    Any other is called by its own name: nobody knows where it keeps its schedule.
    """
    named = ALIASES.get(celery_app.conf.beat_scheduler, celery_app.conf.beat_scheduler)
    found = _class(named)
    modules = [base.__module__ for base in found.__mro__] if isinstance(found, type) else [str(named)]
    packages = [module.replace(":", ".").partition(".")[0] for module in modules]
    known = next((SCHEDULERS[package] for package in packages if package in SCHEDULERS), None)
    if known is not None:
        return known
    return None if packages[0] == "celery" else str(getattr(named, "__qualname__", named))


def _class(named: Any) -> Any:
    """As beat finds it (celery/beat.py, `get_scheduler`); None for one that cannot be imported here."""
    try:
        return symbol_by_name(named, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    except Exception:  # noqa: BLE001  It is somebody else's module, and may lack what only beat's machine has.
        return None


def _tables(settings: Settings, url: str) -> Store:
    if settings.celery_app is not None:
        # It tells how beat reckons and which arguments its tasks take; the tables can be read without.
        with suppress(AppError):
            app.import_tasks(settings.celery_app)
    address, said = _split(url)
    try:
        found = databases.address(address)
    except ValueError as error:
        raise ScheduleUnreadable(f"the schedule database {error}") from error
    return tables.ScheduleTables(tables.Place(found, _reckoning(settings, said)), settings.celery_app)


def _split(url: str) -> tuple[str, dict[str, str]]:
    """The URL without our own arguments, and those."""
    address, mark, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    others = [(name, value) for name, value in pairs if name not in (PREFIX, ZONE)]
    rest = urlencode(others) if len(others) < len(pairs) else query
    return f"{address}{mark and rest and '?'}{rest}", {name: value for name, value in pairs if name in (PREFIX, ZONE)}


def _zone(settings: Settings, said: Mapping[str, str]) -> str:
    """The zone that beat reckons in."""
    if ZONE in said:
        try:
            return parsing.zone(said[ZONE]).key
        except ValueError as error:
            raise ScheduleUnreadable(f"--schedule: {ZONE} {said[ZONE]!r} {error}") from error
    return "UTC" if settings.celery_app is None else app.timezone_of(settings.celery_app).key


def _djangos(settings: Settings, *, is_guess: bool = False) -> Store:
    """The database that Django itself would ask for the entries."""
    if settings.celery_app is not None:
        app.import_tasks(settings.celery_app)
    try:
        from django.db import connections, router  # noqa: PLC0415  Django is not ours to bring.
        from django_celery_beat.models import PeriodicTask  # noqa: PLC0415

        database = connections.settings[router.db_for_read(PeriodicTask)]
    except Exception as error:  # Whatever the project's settings raise: it cannot be read.
        raise ScheduleUnreadable(
            "the schedule in Django's database cannot be read: Django's settings are not known; give --app, or"
            " --schedule postgresql://…"
        ) from error
    try:
        address = databases.djangos_address(database)
    except ValueError as error:
        raise ScheduleUnreadable(f"the schedule in Django's database cannot be read: {error}") from error
    place = tables.Place(address, _reckoning(settings, {}, database), (tables.DJANGO,), is_guess)
    return tables.ScheduleTables(place, settings.celery_app)


def _sqlalchemys(settings: Settings) -> Store:
    conf = settings.celery_app.conf
    try:
        address = databases.address(str(conf.get("beat_dburi") or SQLALCHEMY_DEFAULT))
    except ValueError as error:
        raise ScheduleUnreadable(f"the schedule database of beat_dburi, {error}") from error
    layout = tables.SQLALCHEMY
    if conf.get("beat_schema"):
        layout = replace(layout, schemas=(str(conf.get("beat_schema")),))
    return tables.ScheduleTables(tables.Place(address, _reckoning(settings, {}), (layout,)), settings.celery_app)


def _redbeat(settings: Settings, named: str | None = None) -> Store:
    conf = None if settings.celery_app is None else settings.celery_app.conf
    url, said = _split(named) if named else (_of(conf, "redbeat_redis_url"), {})
    ssl = _of(conf, "redbeat_redis_use_ssl") or _of(conf, "broker_use_ssl")
    place = redbeat.Place(
        url=url or app.broker_url_of(settings.celery_app),
        prefix=said.get(PREFIX) or _of(conf, "redbeat_key_prefix") or redbeat.PREFIX,
        zone=_zone(settings, said),
        options=_of(conf, "redbeat_redis_options") or _of(conf, "broker_transport_options") or {},
        ssl=ssl if isinstance(ssl, Mapping) else {},
    )
    return redbeat.RedBeatKeys(place, settings.celery_app)


def _of(conf: Any, name: str) -> Any:
    """As RedBeat itself asks for its settings (redbeat/schedulers.py, `either_or`)."""
    return None if conf is None else conf.first(name, name.upper())


def _reckoning(settings: Settings, said: Mapping[str, str], database: Mapping[str, Any] | None = None) -> Reckoning:
    """What Django's settings say of times, where they are loaded.

    A time without a zone is UTC: Django keeps it so, and where it does not (USE_TZ off) the scheduler takes it for UTC.
    """
    naive = (database or {}).get("TIME_ZONE")
    aware = _django_setting("DJANGO_CELERY_BEAT_TZ_AWARE", default=True)
    return Reckoning(_zone(settings, said), ZoneInfo(naive or "UTC"), bool(aware))


def _django_has_tables() -> bool:
    return "django_celery_beat" in _django_setting("INSTALLED_APPS", default=())


def _django_setting(name: str, default: Any) -> Any:
    """A setting of a Django that the app has set up; the default where there is none."""
    if "django.conf" not in sys.modules:
        return default
    from django.conf import settings  # noqa: PLC0415  As above.

    return getattr(settings, name, default) if settings.configured else default

"""The Celery app that --app names: how it is found, and what its configuration says."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from taskledger.errors import AppError

#: what Celery connects to when nothing names a broker (celery/app/defaults.py, kombu/connection.py)
CELERY_DEFAULT_BROKER = "amqp://guest:guest@localhost:5672//"


def find(name: str) -> Any:
    """The Celery app, as `celery -A name` finds it; AppError in one sentence when there is none.

    Whatever its import raises, SystemExit included, is the project's trouble and is told as such.
    """
    from celery import Celery
    from celery.app.utils import find_app

    # `celery` puts this folder on the path for the import only; tasks that import lazily need it later as well.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = find_app(name)
    except (Exception, SystemExit) as error:  # Anything may be raised by importing a module of somebody else.
        raise AppError(_why_not(name, error)) from error
    if not isinstance(found, Celery):
        raise AppError(
            f"--app {name} names {type(found).__name__}, not a Celery app; try {name.partition(':')[0]}:app."
        )
    return found


def is_nameless_default(celery_app: Any) -> bool:
    """Whether this is the app that `celery` makes up when it is started without -A."""
    from celery import _state

    return celery_app is _state.default_app and celery_app.main == "default"


def name_of(celery_app: Any) -> str:
    return str(celery_app.main or type(celery_app).__name__)


def broker_url_of(celery_app: Any) -> str:
    """Where the app's events are read: as Celery's own consumers do, broker_read_url before broker_url."""
    urls = _conf(celery_app).broker_read_url or CELERY_DEFAULT_BROKER
    return urls if isinstance(urls, str) else ";".join(urls)


def result_backend_of(celery_app: Any) -> str | None:
    """The result backend's URL; None when there is none, or when it was configured as an object."""
    backend = _conf(celery_app).result_backend
    return backend if isinstance(backend, str) and backend else None


def timezone_of(celery_app: Any) -> ZoneInfo:
    """The app's time zone, which beat reckons in. Without one: UTC, or this machine's zone if enable_utc is off."""
    conf = _conf(celery_app)
    if conf.timezone:
        return ZoneInfo(str(conf.timezone))
    if conf.enable_utc:
        return ZoneInfo("UTC")
    import tzlocal

    return tzlocal.get_localzone()


def beat_schedule_of(celery_app: Any) -> Mapping[str, Any]:
    """The app's schedule, complete as beat sees it (celery/apps/beat.py, `init_loader`); runs the project's code.

    The values are Celery's: mappings with `task`, `schedule`, … or ScheduleEntry.
    """
    import_tasks(celery_app)
    return dict(celery_app.conf.beat_schedule or {})


def import_tasks(celery_app: Any) -> None:
    """Import what a worker or beat would import: with it Django is set up, and every add_periodic_task has run."""
    try:
        celery_app.loader.import_default_modules()
        celery_app.finalize()
        dict(celery_app.conf.beat_schedule or {})
    except (Exception, SystemExit) as error:  # As in find: the project's own modules are imported here.
        raise AppError(f"The tasks of {name_of(celery_app)} cannot be imported: {_told(error)}") from error


def _conf(celery_app: Any) -> Any:
    """The app's configuration; reading it the first time imports the project's settings."""
    try:
        celery_app.conf.broker_url  # noqa: B018  Reading any key loads them all.
    except (Exception, SystemExit) as error:  # As in find: the project's own settings module is imported here.
        raise AppError(f"The configuration of {name_of(celery_app)} cannot be read: {_told(error)}") from error
    return celery_app.conf


def _why_not(name: str, error: BaseException) -> str:
    module = name.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and error.name == name and ":" in name:
        # find_app looks for a variable that is not there as if it were a module.
        return f"--app {name}: module {module} has no {name.partition(':')[2]}."
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"--app {name}: there is no module {error.name} here ({Path.cwd()}) or among the installed packages."
    if isinstance(error, AttributeError) and _is_about_the_app(error, name):
        return f"--app {name}: its module has no Celery app; name it as module:variable."
    return f"--app {name} cannot be imported: {_told(error)}"


def _is_about_the_app(error: AttributeError, name: str) -> bool:
    """Whether the attribute that is missing is the app itself, not something inside the project's code."""
    wanted = {"app", "celery", name.partition(":")[2] or name.rpartition(".")[2]}
    module = sys.modules.get(name.partition(":")[0])
    return module is not None and error.obj in (module, None) and (error.name in wanted or error.name is None)


def _told(error: BaseException) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"it raised {type(error).__name__}: {first_line}" if first_line else f"it raised {type(error).__name__}."

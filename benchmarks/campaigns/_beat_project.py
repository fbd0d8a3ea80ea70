"""The Celery project of the campaign `beats`; which scheduler its beat has, the environment says.

Run by itself it brings the schedule in schedule.json to where that scheduler keeps it. Celery's own one keeps it
nowhere: its beat reads the file when it starts, as it reads any project's configuration.
"""

# ruff: noqa: PLC0415  What belongs to one scheduler is imported for that one only.
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery
from celery.schedules import crontab, schedule

KIND = os.environ["BEATS_SCHEDULER"]
FOLDER = Path(os.environ["BEATS_FOLDER"])
SCHEDULERS = {
    "persistent": "celery.beat:PersistentScheduler",
    "embedded": "celery.beat:PersistentScheduler",
    "django": "django_celery_beat.schedulers:DatabaseScheduler",
    "redbeat": "redbeat.RedBeatScheduler",
    "sqlalchemy": "sqlalchemy_celery_beat.schedulers:DatabaseScheduler",
}
#: seconds after which a second RedBeat takes over from one that was killed
LOCK_S = 12

app = Celery("beats")
if KIND == "django":
    app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    broker_url=os.environ["BEATS_BROKER"],
    broker_connection_retry_on_startup=True,
    beat_scheduler=SCHEDULERS[KIND],
    task_ignore_result=True,
    task_send_sent_event=os.environ["BEATS_EVIDENCE"] == "task-sent",
    # No celery.backend_cleanup beside the campaign's own entries.
    result_expires=None,
    timezone="UTC",
)
if KIND == "redbeat":
    app.conf.update(redbeat_redis_url=os.environ["BEATS_BROKER"], redbeat_lock_timeout=LOCK_S, beat_max_loop_interval=2)
if KIND == "sqlalchemy":
    app.conf.beat_dburi = f"sqlite:///{FOLDER}/sqlalchemy.sqlite3?timeout=20"


@app.task(name="play.work")
def work(what: str) -> str:
    return what


@app.task(name="play.nothing")
def nothing() -> None:
    pass


def definitions() -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = json.loads((FOLDER / "schedule.json").read_text())
    return told


def entry(told: dict[str, Any]) -> dict[str, Any]:
    """As beat_schedule has it."""
    when = crontab() if told["every"] is None else schedule(told["every"])
    return {"task": told["task"], "schedule": when, "args": tuple(told["args"])}


def _put_django(changed: dict[str, dict[str, Any]]) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django_celery_beat.models import PeriodicTask
    from django_celery_beat.schedulers import ModelEntry

    call_command("migrate", verbosity=0)
    for name, told in changed.items():
        ModelEntry.from_entry(name, app=app, **entry(told))
        task = PeriodicTask.objects.get(name=name)
        if task.enabled != told["enabled"]:
            task.enabled = told["enabled"]
            task.save()


def _put_sqlalchemy(changed: dict[str, dict[str, Any]]) -> None:
    from sqlalchemy_celery_beat.models import PeriodicTask
    from sqlalchemy_celery_beat.schedulers import ModelEntry
    from sqlalchemy_celery_beat.session import SessionManager

    session_of = partial(SessionManager().session_factory, app.conf.beat_dburi)
    for name, told in changed.items():
        ModelEntry.from_entry(name, Session=session_of, app=app, **entry(told))
        with session_of() as session:
            task = session.query(PeriodicTask).filter_by(name=name).one()
            if task.enabled != told["enabled"]:
                task.enabled = told["enabled"]
                session.commit()


def _put_redbeat(changed: dict[str, dict[str, Any]]) -> None:
    from redbeat import RedBeatSchedulerEntry

    for name, told in changed.items():
        fields = entry(told)
        RedBeatSchedulerEntry(
            name, fields["task"], fields["schedule"], args=told["args"], enabled=told["enabled"], app=app
        ).save()


PUT: dict[str, Callable[[dict[str, dict[str, Any]]], None]] = {
    "django": _put_django,
    "sqlalchemy": _put_sqlalchemy,
    "redbeat": _put_redbeat,
}
if KIND in ("persistent", "embedded") and (FOLDER / "schedule.json").exists():
    app.conf.beat_schedule = {name: entry(told) for name, told in definitions().items() if told["enabled"]}

if __name__ == "__main__":
    known = definitions()
    PUT[KIND]({name: known[name] for name in sys.argv[1:] or known})

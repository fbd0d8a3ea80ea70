"""A Celery project whose beat is told of: on which scheduler, and asked for in which way, the environment says."""

import os
from datetime import timedelta

from celery import Celery
from celery.schedules import crontab, schedule

KIND = os.environ["PROJ_SCHEDULER"]
SCHEDULERS = {
    "persistent": "celery.beat:PersistentScheduler",
    "django": "django_celery_beat.schedulers:DatabaseScheduler",
    "redbeat": "redbeat.RedBeatScheduler",
    "sqlalchemy": "sqlalchemy_celery_beat.schedulers:DatabaseScheduler",
}


class Moody(schedule):
    """A schedule that beat can work with, and that cannot be asked anything else."""

    def is_due(self, last_run_at):
        return super().remaining_estimate(last_run_at) <= timedelta(0), 0.5

    def remaining_estimate(self, last_run_at):
        raise RuntimeError("not now")


class Odd(schedule):
    """A schedule that says when it is due, but not by which rule."""

    def is_due(self, last_run_at):
        return super().is_due(last_run_at)


app = Celery("beatproj")
if KIND == "django":
    app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    broker_url=os.environ["PROJ_BROKER"],
    broker_connection_retry_on_startup=True,
    beat_scheduler=SCHEDULERS[KIND],
    beat_schedule_filename=os.environ["PROJ_FOLDER"] + "/schedule",
    event_exchange=os.environ["PROJ_EXCHANGE"],
    task_default_queue=os.environ["PROJ_EXCHANGE"] + "-tasks",
    task_ignore_result=True,
    task_send_sent_event=True,
    timezone="Europe/Berlin",
    worker_hijack_root_logger=False,
)
if KIND == "redbeat":
    app.conf.update(
        beat_max_loop_interval=1,
        redbeat_key_prefix=os.environ["PROJ_EXCHANGE"] + ":",
        redbeat_lock_timeout=60,
        redbeat_redis_url=os.environ["PROJ_BROKER"],
        taskledger_beat=True,
    )
if KIND == "sqlalchemy":
    app.conf.beat_dburi = f"sqlite:///{os.environ['PROJ_FOLDER']}/sqlalchemy.sqlite3"
    import taskledger.integrations.beat

    taskledger.integrations.beat.install(app)
if KIND != "django":
    app.conf.beat_schedule = {
        "often": {"task": "beatproj.double", "schedule": 1, "args": (1,), "kwargs": {"by": 2}},
        "wrong": {"task": "beatproj.nothing", "schedule": 2, "args": (1,)},
        "nightly": {
            "task": "beatproj.double",
            "schedule": crontab(minute="30", hour="4"),
            "args": (2,),
            "options": {"queue": "night", "expires": 60, "priority": 3},
        },
    }
if KIND == "persistent":
    app.conf.beat_schedule |= {
        "moody": {"task": "beatproj.double", "schedule": Moody(1), "args": (3,)},
        "odd": {"task": "beatproj.double", "schedule": Odd(timedelta(hours=1)), "args": (4,)},
    }


@app.task
def double(number, by=2):
    return number * by


@app.task
def nothing():
    pass

"""A Celery project as users have one: tasks of every fate, and a schedule; its broker comes from the environment."""

import os
import time

from celery import Celery
from celery.exceptions import Ignore
from celery.schedules import crontab

app = Celery("proj", broker=os.environ.get("PROJ_BROKER", "memory://"), backend=os.environ.get("PROJ_BACKEND"))
app.conf.update(
    task_send_sent_event=os.environ.get("PROJ_SENT_EVENT", "yes") == "yes",
    task_ignore_result="PROJ_BACKEND" not in os.environ,
    result_extended=True,
    task_acks_late=os.environ.get("PROJ_ACKS_LATE", "no") == "yes",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=16,
    enable_utc=os.environ.get("PROJ_ENABLE_UTC", "yes") == "yes",
    timezone=os.environ.get("PROJ_TIMEZONE") or None,
    beat_schedule={
        "every-2s": {"task": "proj.ok", "schedule": 2.0, "args": (1, "beat")},
        "nightly": {"task": "proj.ok", "schedule": crontab(hour=3, minute=0), "args": (2, "beat")},
        "wrong-arguments": {"task": "proj.nullary", "schedule": 2.0, "args": (1,)},
    },
)


class DeclinedError(Exception):
    """The bank said no."""


@app.task
def ok(number, order):
    return number * 2


@app.task
def nullary():
    return None


@app.task
def fail(number, order):
    check(number, order)


def check(number, order):
    if number >= 0:
        raise DeclinedError(f"card of customer {number} declined for {order}")


@app.task
def crash(number, order):
    return {"customers": {}}["customers"][order]


@app.task(bind=True, max_retries=2)
def retry_then_ok(self, number, order):
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError(f"gateway timeout {self.request.retries} for {order}"), countdown=0)
    return number


@app.task(bind=True, max_retries=1)
def retry_then_fail(self, number, order):
    raise self.retry(exc=TimeoutError(f"no answer for {order}"), countdown=0)


@app.task(bind=True, max_retries=3)
def retry_thrice(self, number, order):
    raise self.retry(exc=ConnectionError(f"gateway timeout {self.request.retries} for {order}"), countdown=0.5)


@app.task
def slow(number, order, seconds=60):
    time.sleep(seconds)


@app.task
def ignored(number, order):
    raise Ignore


@app.task
def tell_time():
    """When it began and when it ended, by the clock of the machine."""
    begun = time.time()
    time.sleep(0.1)
    return [begun, time.time()]


#: fate -> (task, state it must end in); `revoked` is revoked before it is sent
FATES = {
    "ok": (ok, "SUCCESS"),
    "fail": (fail, "FAILURE"),
    "crash": (crash, "FAILURE"),
    "retry_then_ok": (retry_then_ok, "SUCCESS"),
    "retry_then_fail": (retry_then_fail, "FAILURE"),
    "revoked": (ok, "REVOKED"),
}
#: how often each fate comes in a hundred tasks
WEIGHTS = {"ok": 70, "fail": 10, "crash": 6, "retry_then_ok": 6, "retry_then_fail": 4, "revoked": 4}

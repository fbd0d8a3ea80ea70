"""The worker's project of the settlement campaign: runs with any Celery, and knows nothing of taskledger."""

import os
import time

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

app = Celery("left_open", broker=os.environ["LEFT_OPEN_BROKER"], backend=os.environ.get("LEFT_OPEN_BACKEND"))
app.conf.update(
    task_ignore_result="LEFT_OPEN_BACKEND" not in os.environ,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_hijack_root_logger=False,
    task_acks_late=os.environ.get("LEFT_OPEN_LATE") == "yes",
)


@app.task(name="left_open.sleep")
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return f"slept {seconds} s"


@app.task(name="left_open.ignore")
def ignore() -> None:
    raise Ignore


@app.task(name="left_open.reject")
def reject() -> None:
    raise Reject("not wanted", requeue=False)


@app.task(name="left_open.retry", bind=True, max_retries=3)
def retry(self: Task) -> None:
    raise self.retry(exc=ConnectionError(f"no answer to attempt {self.request.retries}"), countdown=0.5)


@app.task(name="left_open.overrun", time_limit=3)
def overrun() -> None:
    time.sleep(300)

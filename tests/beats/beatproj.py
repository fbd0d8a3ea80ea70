"""A Celery app whose beat keeps its schedule where the environment says: $BEAT_DBURI or $BEAT_REDIS."""

import os

from celery import Celery

app = Celery("beatproj", broker=os.environ.get("BEAT_BROKER", "memory://"))
app.conf.update(
    timezone="Europe/Berlin",
    result_expires=None,
    beat_dburi=os.environ.get("BEAT_DBURI"),
    redbeat_redis_url=os.environ.get("BEAT_REDIS"),
    redbeat_key_prefix=os.environ.get("BEAT_PREFIX", "redbeat:"),
    redbeat_redis_options={},
)
if "BEAT_SCHEDULER" in os.environ:
    app.conf.beat_scheduler = os.environ["BEAT_SCHEDULER"]

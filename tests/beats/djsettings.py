"""Settings of a Django project whose beat keeps its schedule in the database of $DJ_DATABASE (JSON, as DATABASES)."""

import json
import os

SECRET_KEY = "of a test"
DATABASES = {"default": json.loads(os.environ["DJ_DATABASE"])}
INSTALLED_APPS = ["django_celery_beat"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "America/New_York"
CELERY_TIMEZONE = "Europe/Berlin"
CELERY_BROKER_URL = os.environ.get("DJ_BROKER", "memory://")
CELERY_RESULT_EXPIRES = None
DJANGO_CELERY_BEAT_TZ_AWARE = os.environ.get("DJ_TZ_AWARE") != "no"
if "DJ_SCHEDULER" in os.environ:
    CELERY_BEAT_SCHEDULER = os.environ["DJ_SCHEDULER"]
CELERY_BEAT_SCHEDULE = {"of-the-code": {"task": "djproj.add", "schedule": 3600.0, "args": (1, 2)}}

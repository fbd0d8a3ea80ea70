"""Django's settings of the campaign `beats`, where beat keeps its schedule in Django's tables."""

import os

SECRET_KEY = "of the campaign"
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BEATS_FOLDER", ".") + "/django.sqlite3",
        "OPTIONS": {"timeout": 20},
    }
}
USE_TZ = True
TIME_ZONE = CELERY_TIMEZONE = "UTC"

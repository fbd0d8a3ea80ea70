"""Django's settings for beatproj where its beat keeps its schedule in Django's tables."""

import os

SECRET_KEY = "of the tests"
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PROJ_FOLDER"] + "/django.sqlite3"}}
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
CELERY_TIMEZONE = "Europe/Berlin"
CELERY_TASKLEDGER_BEAT = True

"""A Django project's Celery app, as Celery's documentation has it."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djsettings")
app = Celery("djproj")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def add(x, y=0):
    return x + y

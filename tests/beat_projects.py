"""Projects with schedulers other than Celery's own: tables and keys made by their own code, and a real beat."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from sqlalchemy.engine import make_url

HERE = Path(__file__).parent / "beats"
#: seconds that a beat may take until it has sent everything
PATIENCE_S = 60


class Message(NamedTuple):
    """What beat put into a queue."""

    task: str
    args: str
    kwargs: str
    queue: str


def environ(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"} | more


def run(code: str, *command: str, **variables: str) -> str:
    """Run Python code in a process of its own, in one of the projects; what it printed."""
    done = subprocess.run(
        [sys.executable, *command], input=code, env=environ(**variables), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def djangos(url: str) -> str:
    """An SQLAlchemy URL as an entry of Django's DATABASES."""
    found = make_url(url)
    engine = {"sqlite": "sqlite3", "postgresql": "postgresql"}[found.get_backend_name()]
    parts = {"NAME": found.database, "HOST": found.host, "PORT": found.port, "USER": found.username}
    parts |= {"PASSWORD": found.password, "ENGINE": f"django.db.backends.{engine}"}
    return json.dumps({key: value for key, value in parts.items() if value is not None})


def in_django(url: str, code: str, *, migrate: bool = False) -> str:
    """Run code with Django set up and the models of django-celery-beat at hand."""
    begins = "from datetime import datetime, timedelta, timezone\nfrom django_celery_beat.models import *\n"
    words = ["migrate"] if migrate else []
    return run(begins + code, str(HERE / "djrun.py"), *words, DJ_DATABASE=djangos(url))


@contextmanager
def beat(app: str, scheduler: str, folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real `celery beat` with that scheduler, ended afterwards."""
    command = [sys.executable, "-m", "celery", "-A", app, "beat", "-S", scheduler, "--max-interval", "1", "-l", "DEBUG"]
    with (folder / "beat.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ(**variables), cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def messages(url: str, queues: Mapping[str, int], log: Path) -> list[Message]:
    """What lies in each queue of a Redis broker, once so many different tasks are there."""
    deadline = time.monotonic() + PATIENCE_S
    with redis.Redis.from_url(url) as client:
        while True:
            found = {message for queue in queues for message in _in(client, queue)}
            if all(len({each.task for each in found if each.queue == name}) >= n for name, n in queues.items()):
                return sorted(found)
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def _in(client: Any, queue: str) -> Iterator[Message]:
    for text in client.lrange(queue, 0, -1):
        headers = json.loads(text)["headers"]
        assert headers["parent_id"] is None
        yield Message(headers["task"], headers["argsrepr"], headers["kwargsrepr"], queue)

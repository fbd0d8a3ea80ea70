"""A real Celery worker and a real beat in threads of this process, talking through kombu's in-memory transport."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.beat import EmbeddedService
from celery.worker import WorkController
from celery.worker import state as worker_state

from taskledger.demo import load, project, shop

#: Threads of the worker's pool: enough for the long exports and all the rest.
CONCURRENCY = 12
#: Seconds to wait for a thread to end; none needs more than three.
JOIN_S = 5.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def prepare(app: Celery, log: Path) -> None:
    """Make `app` the one that Celery's threads find, send Celery's log to a file, and declare all exchanges and queues.

    The in-memory transport keeps its exchanges in plain dicts: two threads that declare the same exchange at the same
    time can wipe each other's bindings (kombu/transport/virtual/base.py, exchange_declare), so one thread does it first.
    """
    app.set_default()
    app.finalize()
    _log_to(log)
    with app.connection_for_write() as connection:
        app.events.Dispatcher(connection).close()
    ...


@contextmanager
def working(app: Celery) -> Iterator[None]:
    """A worker runs meanwhile; at the end it finishes what it runs and says goodbye (a warm shutdown)."""

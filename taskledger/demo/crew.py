"""A real Celery worker and a real beat in threads of this process, talking through kombu's in-memory transport."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.beat import EmbeddedService
from celery.events.event import get_exchange
from celery.worker import WorkController

from taskledger.demo import project, shop
from taskledger.errors import TaskledgerError

WORKER = "worker@demo"
#: Threads of the worker's pool: enough for the long exports and all the rest.
CONCURRENCY = 12
#: Seconds for the worker to be ready; it takes well under one.
READY_S = 10.0
#: Seconds for a thread to end; the worker's timer looks up every second, and so does beat.
JOIN_S = 4.0
#: Bytes of Celery's log before it is turned over, once.
LOG_BYTES = 2_000_000


def declare(app: Celery) -> None:
    """Make `app` the one that Celery's threads find, and declare its exchanges and queues.

    The in-memory transport keeps exchanges in plain dicts: of two threads that declare one at the same time, the second
    wipes what is bound to it (kombu/transport/virtual/base.py, exchange_declare). So it is done here, in one thread.
    """
    app.finalize()
    app.set_default()
    with app.connection_for_write() as connection:
        mailbox = app.control.mailbox
        queues = [app.amqp.queues[name] for name in project.QUEUES]
        for entity in (get_exchange(connection), mailbox.exchange, mailbox.reply_exchange, *queues):
            entity(connection.default_channel).declare()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Celery's own log goes into a file meanwhile, and nowhere else."""
    lines = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    lines.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger("celery"), logging.getLogger("kombu")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(lines)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(lines)
            logger.setLevel(level)
            logger.propagate = propagate
        lines.close()


@contextmanager
def listened_to(app: Celery, patience_s: float) -> Iterator[None]:
    """Goes on once somebody has bound a queue to the exchange of events; TaskledgerError when nobody does in time."""
    deadline = time.monotonic() + patience_s
    with app.connection_for_read() as connection:
        exchange, bindings = get_exchange(connection).name, connection.get_manager().get_bindings
        while not any(binding["source"] == exchange for binding in bindings()):
            if time.monotonic() > deadline:
                raise TaskledgerError(f"the demo's recorder did not listen within {patience_s:.0f} s")
            time.sleep(0.05)
    yield


@contextmanager
def working(app: Celery) -> Iterator[None]:
    """A worker runs meanwhile; at the end it finishes what it runs and says goodbye (a warm shutdown)."""
    ready = Event()
    worker = WorkController(
        app=app,
        hostname=WORKER,
        pool="threads",
        concurrency=CONCURRENCY,
        queues=project.QUEUES,
        task_events=True,
        ready_callback=lambda _: ready.set(),
        # These two talk to other workers; there are none.
        without_gossip=True,
        without_mingle=True,
    )

    def stop() -> None:
        shop.closing.set()
        app.control.shutdown(destination=[WORKER])

    shop.closing.clear()
    with running("worker", worker.start, stop):
        if not ready.wait(READY_S):
            raise TaskledgerError(f"The demo's worker was not ready within {READY_S:.0f} s; its log says why.")
        yield


def make_beat(app: Celery) -> Any:
    """A beat that has read its schedule, before the deployment that brings `project.DEPLOYED_LATER`."""
    beat = EmbeddedService(app, thread=True, scheduler_cls="celery.beat:Scheduler")
    beat.service.scheduler  # noqa: B018  It is made, and reads beat_schedule, when it is first asked for.
    app.conf.beat_schedule = {**app.conf.beat_schedule, **project.DEPLOYED_LATER}
    return beat


@contextmanager
def beating(beat: Any) -> Iterator[None]:
    """Beat sends what is due meanwhile."""
    beat.start()
    try:
        yield
    finally:
        beat.service.stop()
        beat.join(JOIN_S)


@contextmanager
def running(name: str, target: Callable[[], object], stop: Callable[[], object]) -> Iterator[Thread]:
    """A thread runs `target` meanwhile; at the end `stop` tells it to end, and it gets JOIN_S to do so."""
    thread = Thread(target=target, name=name, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop()
        thread.join(JOIN_S)

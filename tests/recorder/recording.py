"""A recorder that runs beside a test, and what the test asks its ledger."""

import faulthandler
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from sqlalchemy import func, select

from taskledger.config import Settings
from taskledger.ledger import Ledger, open_ledger
from taskledger.ledger.schema import coverage, event, quarantine
from taskledger.recorder import daemon
from taskledger.recorder.source import Source

#: seconds that anything may take that a test waits for
PATIENCE_S = 20.0


@contextmanager
def recording(settings: Settings, sources: Mapping[str, Source] | None = None) -> Iterator[threading.Event]:
    """`taskledger record` in a thread meanwhile; it must end well, and within 10 s of being told to."""
    stop = threading.Event()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(daemon.run(settings, stop=stop, sources=sources)))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(10)

    assert codes == [0]


def until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for something to become true."""
    give_up_s = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > give_up_s:
            pytest.fail(f"waited {patience_s} s in vain for: {what}\n{_stacks()}")
        time.sleep(0.02)


def _stacks() -> str:
    """What every thread is doing: a recorder beside a test that hangs says nothing else."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()


class Read:
    """Questions to the ledger at that URL; opened for each, so that it may be away in between."""

    def __init__(self, url: str) -> None:
        self._url = url

    def events(self) -> int:
        return self._ask(lambda connection: connection.scalar(select(func.count()).select_from(event)))

    def task_ids(self) -> set[str]:
        return set(self._ask(lambda connection: list(connection.scalars(select(event.c.task_id)))))

    def reasons(self) -> list[str]:
        return sorted(self._ask(lambda connection: list(connection.scalars(select(quarantine.c.reason)))))

    def coverage(self) -> list[Any]:
        return self._ask(lambda connection: list(connection.execute(select(coverage).order_by(coverage.c.id))))

    def is_listening(self, rows: int = 1) -> bool:
        """Whether the so-maniest stretch of coverage is open."""
        found = self.coverage()
        return len(found) == rows and found[-1].cause is None

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        with open_ledger(self._url) as ledger, _reading(ledger) as connection:
            return question(connection)


def kill_subscribers(url: str) -> None:
    """Redis hangs up on every subscriber of that database."""
    with redis.Redis.from_url(url) as client:
        for each in client.client_list(_type="pubsub"):
            if each["db"] == url.rpartition("/")[2]:
                client.client_kill_filter(_id=each["id"])


@contextmanager
def _reading(ledger: Ledger) -> Iterator[Any]:
    with ledger.read() as connection:
        yield connection

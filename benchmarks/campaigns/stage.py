"""What campaigns play on: the services and the proxy of the tests, a sender, and a recorder in a process of its own."""

import itertools
import multiprocessing
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import redis
from celery import Celery
from sqlalchemy import func, select

from taskledger.integrations import durable
from taskledger.ledger import open_ledger
from taskledger.ledger.schema import coverage, event

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "recorder")]

import services  # noqa: E402 - the tests are no packages
from proxy import Proxy  # noqa: E402

__all__ = [
    "Load", "Memory", "Proxy", "RedisServer", "Sender", "broker", "command", "coverages", "dropped", "recorder", "rows",
    "services", "task_ids", "until", "wait_for_rows",
]  # fmt: skip

#: seconds between two looks at how many rows there are: counting takes time from the recorder
LOOK_EVERY_S = 2.0
#: events that one connection sends between two pauses
HANDFUL = 10


class Sender(threading.Thread):
    """A worker that sends events of about half a kilobyte with ids of its own until told to stop; `sent` are the ids."""

    def __init__(self, url: str, rate: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.sent: list[str] = []
        self._url, self._rate, self._chance = url, rate, random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        app = Celery("campaign", broker=self._url, set_as_current=False)
        with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
            begun_s, numbers = time.monotonic(), itertools.count()
            while not self._ended.is_set():
                for number in itertools.islice(numbers, HANDFUL):
                    self._send(dispatcher, f"task-{number}")
                ahead_s = begun_s + len(self.sent) / self._rate - time.monotonic()
                self._ended.wait(max(0.0, ahead_s))
        app.close()

    def end(self) -> None:
        self._ended.set()
        self.join(10)

    def _send(self, dispatcher: Any, task_id: str) -> None:
        words = "".join(self._chance.choices("abcdefghij ", k=self._chance.randrange(50, 500)))
        dispatcher.send(
            "task-received", uuid=task_id, name="shop.tasks.pack", args=f"({words!r},)", kwargs="{}", retries=0
        )  # fmt: skip
        self.sent.append(task_id)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Load:
    """As Sender, but in a process of its own, so that it takes no time from the proxy; into the stream as well."""

    def __init__(self, url: str, rate: int, seed: int, size: int = 275) -> None:
        """`size`: characters of an event's arguments, on average."""
        # Not forked: the campaign has threads.
        context = multiprocessing.get_context("spawn")
        self._number = context.Value("q", 0)
        self._ended = context.Event()
        said = (url, rate, seed, size, self._number, self._ended)
        self._process = context.Process(target=_send, args=said, daemon=True)

    @property
    def number(self) -> int:
        """How many were sent so far."""
        return int(self._number.value)

    @property
    def ids(self) -> set[str]:
        """Those that were sent so far."""
        return {f"task-{number}" for number in range(self.number)}

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._process.join(30)


def _send(url: str, rate: int, seed: int, size: int, number: Any, ended: Any) -> None:
    chance = random.Random(seed)
    app = Celery("campaign", broker=url, set_as_current=False)
    if url.startswith("redis"):
        durable.install(app)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        begun_s = time.monotonic()
        while not ended.is_set():
            for _ in range(HANDFUL):
                words = "".join(chance.choices("abcdefghij ", k=chance.randint(size // 5, size * 2 - size // 5)))
                fields = {"name": "shop.tasks.pack", "args": f"({words!r},)", "kwargs": "{}", "retries": 0}
                dispatcher.send("task-received", uuid=f"task-{number.value}", **fields)
                number.value += 1
            ended.wait(max(0.0, begun_s + number.value / rate - time.monotonic()))


class Memory(threading.Thread):
    """Watches how much memory a process has: `first` and `peak`, in megabytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.first = self.peak = self._now()
        self.start()

    def run(self) -> None:
        while self._status.exists():
            try:
                self.peak = max(self.peak, self._now())
            except (OSError, StopIteration):
                return
            time.sleep(0.2)

    def _now(self) -> float:
        lines = self._status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


class RedisServer:
    """A redis-server of our own, which can be stopped and started again; it keeps nothing. A context manager."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """It answers when this returns."""
        program = shutil.which("redis-server") or services.missing("redis", "PATH", "there is no redis-server")
        command = [program, "--port", str(self._port), "--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self._answers, "redis-server", 30, every_s=0.01)

    def stop(self, *, at_once: bool = False) -> None:
        """As an operator would, or as the out-of-memory killer would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
            self._process.wait(30)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client, suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(at_once=True)


@contextmanager
def broker(transport: str) -> Iterator[str]:
    """The URL of a broker of that kind with nothing on it."""
    corner = {"redis": services.redis_database, "rabbitmq": services.rabbitmq_vhost}[transport]
    with corner() as url:
        yield url


def command(folder: Path, broker_url: str, database_url: str, *more: str) -> list[str]:
    """What starts a recorder that has its spool in the folder."""
    words = [sys.executable, "-m", "taskledger", "record", "--no-jobs", "-b", broker_url, "-d", database_url]
    return [*words, "--spool-folder", str(folder / "spool"), "--recorder-name", "campaign", *more]


@contextmanager
def recorder(folder: Path, broker_url: str, database_url: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`taskledger record` as a process, killed at the end; its log and its spool are in the folder."""
    with (
        (folder / "record.log").open("ab") as lines,
        subprocess.Popen(command(folder, broker_url, database_url, *more), stderr=lines, cwd=ROOT) as running,
    ):
        try:
            yield running
        except Exception as error:
            error.add_note("the recorder said: " + (folder / "record.log").read_text()[-2000:])
            raise
        finally:
            running.kill()


def rows(url: str) -> int:
    with open_ledger(url) as ledger, ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(event)) or 0


def task_ids(url: str) -> list[str]:
    with open_ledger(url) as ledger, ledger.read() as connection:
        return list(connection.scalars(select(event.c.task_id)))


def coverages(url: str) -> int:
    """How often a recorder has begun to listen: a new one listens when there is one more."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(coverage)) or 0


def dropped(url: str) -> int:
    """How many events the coverage says were dropped."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        causes = "; ".join(connection.scalars(select(coverage.c.cause).where(coverage.c.cause.is_not(None))))
    return sum(int(number.replace(",", "")) for number in re.findall(r"\(([\d,]+) events\)", causes))


def until(holds: Callable[[], Any], what: str, patience_s: float, every_s: float = 0.2) -> None:
    give_up_s = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"waited {patience_s:.0f} s in vain for {what}")
        time.sleep(every_s)


def wait_for_rows(url: str, number: int, patience_s: float) -> None:
    """Until that many events are there, or none has come for that long."""
    known, since_s = rows(url), time.monotonic()
    while known < number and time.monotonic() - since_s < patience_s:
        time.sleep(LOOK_EVERY_S)
        now = rows(url)
        if now != known:
            known, since_s = now, time.monotonic()

"""Real processes, started as a user starts them: workers, beat, recorder, site; and tasks sent to them."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Crew:
    """The processes of one set-up; all of them are ended with it."""

    def __init__(self, broker: str, database: str, folder: Path) -> None:
        self.broker, self.database, self.folder = broker, database, folder
        self.running: dict[str, subprocess.Popen] = {}
        self.environ = os.environ | {
            "PROJ_BROKER": broker,
            "TASKLEDGER_DATABASE_URL": database,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT), str(ROOT / "web")]),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, name: str, *command: str) -> subprocess.Popen:
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=self.environ, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )
        self.running[name] = process
        return process

    def worker(self, name: str, *more: str) -> subprocess.Popen:
        options = ("-E", "-l", "WARNING", "-c", "2", "-n", f"{name}@vm", *more)
        return self.start(name, "celery", "-A", "proj", "worker", *options)

    def beat(self) -> subprocess.Popen:
        return self.start("beat", "celery", "-A", "proj", "beat", "-l", "INFO", "-s", str(self.folder / "beat-schedule"))

    def record(self, *more: str) -> subprocess.Popen:
        return self.start("record", "taskledger", "-A", "proj", "record", *more)

    def web(self) -> str:
        port = free_port()
        self.start("web", "taskledger", "web", "--port", str(port))
        address = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{address}/healthz"), f"the site answers; its log:\n{self.log('web')}", 30)
        return address

    def stop(self, name: str, with_signal: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """End one process; its exit code."""
        process = self.running.pop(name)
        process.send_signal(with_signal)
        try:
            return process.wait(timeout_s)
        finally:
            _kill_group(process)

    def stop_all(self) -> None:
        for name in list(self.running):
            self.stop(name, signal.SIGKILL)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]


@contextmanager
def crew(broker: str, database: str, folder: Path) -> Iterator[Crew]:
    made = Crew(broker, database, folder)
    try:
        yield made
    finally:
        made.stop_all()


def send(broker: str, number: int, seed: int, rate: float | None = None) -> dict[str, str]:
    """Send so many tasks of mixed fates; task id -> the state it must end in. `rate` is tasks a second."""
    os.environ["PROJ_BROKER"] = broker
    sys.path.insert(0, str(HERE))
    import proj  # noqa: PLC0415 - it reads its broker from the environment when it is imported

    proj.app.conf.broker_url = broker
    rng, expected = random.Random(seed), {}
    begun = time.monotonic()
    with proj.app.pool.acquire(block=True) as connection, proj.app.amqp.Producer(connection) as producer:
        for n in range(number):
            task, state, options = proj.FATES[rng.choices(list(proj.WEIGHTS), list(proj.WEIGHTS.values()))[0]]
            sent = task.apply_async((n, f"order-{n:05}"), producer=producer, **options)
            expected[sent.id] = state
            if rate and n / rate > time.monotonic() - begun:
                time.sleep(n / rate - (time.monotonic() - begun))
    proj.app.pool.force_close_all()
    return expected


def until(holds: Callable[[], object], what: str, timeout_s: float) -> None:
    """Wait until it holds; fail with what was waited for."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(0.25)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as response:
        return response.read().decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _kill_group(process: subprocess.Popen) -> None:
    """The children of prefork workers go with their parent."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(10)

"""Real processes, started as a user starts them: workers, beat, recorder, site; and tasks sent to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

    def start(self, name: str, *command: str, **environ: str) -> subprocess.Popen:
        """`python -m command`, with its log in the folder, and with more variables than the others have."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environ | environ,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def worker(self, name: str, *more: str, **environ: str) -> subprocess.Popen:
        options = ("-E", "-l", "WARNING", "-c", "2", "-n", f"{name}@vm", *more)
        return self.start(name, "celery", "-A", "proj", "worker", *options, **environ)

    def beat(self) -> subprocess.Popen:
        return self.start(
            "beat", "celery", "-A", "proj", "beat", "-l", "INFO", "-s", str(self.folder / "beat-schedule")
        )

    def workers_are_up(self, number: int) -> None:
        """Wait until so many workers answer."""
        command = [sys.executable, "-m", "celery", "-A", "proj", "inspect", "ping", "-t", "2"]

        def up() -> bool:
            done = subprocess.run(
                command, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False
            )
            return f"{number} nodes online" in done.stdout or (number == 1 and "1 node online" in done.stdout)

        until(up, f"{number} workers answer", 60)

    def record(self, *more: str) -> subprocess.Popen:
        return self.start("record", "taskledger", "-A", "proj", "record", *more)

    def send(self, number: int, seed: int, rate: float = 0) -> dict[str, str]:
        """Send so many tasks of mixed fates, `rate` a second; task id -> the state it must end in."""
        command = [sys.executable, str(HERE / "sending.py"), str(number), str(seed), str(rate)]
        done = subprocess.run(command, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def task(self, name: str, *args: object, **options: object) -> str:
        """Send one task of the project; its id."""
        code = f"import proj; print(proj.{name}.apply_async({args!r}, **{options!r}).id)"
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.environ, cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

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
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)

"""What events leave open is settled: a worker loses its broker, is killed, or ends tasks without a word.

The workers run in virtual environments of their own, made here with pip, one for each version of Celery: the recorder
needs none of these. What they must come to is in PROMISES, within a minute of the fault.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from benchmarks.campaigns import stage
from taskledger.ledger import Ledger, migrate, open_ledger
from taskledger.ledger.query import task

#: versions of Celery, as pip takes them
VERSIONS = ("5.4.0", "5.6.3", "newest")
#: seconds within which everything must be settled
PROMISED_S = 60.0
#: seconds that the worker is without its broker
AWAY_S = 6.0
#: tasks of a scene
TASKS = 4
#: scene -> (state, how it is known) of every task's last run; None: by events or by the backend
PROMISES: dict[str, tuple[frozenset[str], frozenset[str | None]]] = {
    "broker-lost": (frozenset({"SUCCESS"}), frozenset({"backend", None})),
    "killed": (frozenset({"LOST"}), frozenset({"inferred"})),
    "killed-without-backend": (frozenset({"LOST"}), frozenset({"inferred"})),
    "ignore": (frozenset({"IGNORED"}), frozenset({"inferred"})),
    # 5.7 says that it failed.
    "reject": (frozenset({"IGNORED", "FAILURE", "REJECTED"}), frozenset({"inferred", None})),
}
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tasks came to: (state, how it is known) -> how many; and after how many seconds all were closed."""

    scene: str
    version: str
    ended: Counter[tuple[str, str | None]]
    after_s: float

    @property
    def is_well(self) -> bool:
        states, ways = PROMISES[self.scene]
        is_right = all(state in states and way in ways for state, way in self.ended)
        return is_right and self.ended.total() == TASKS and self.after_s <= PROMISED_S

    def __str__(self) -> str:
        words = ", ".join(f"{number} {state} by {way or 'events'}" for (state, way), number in self.ended.items())
        return f"Celery {self.version}: {words or 'nothing'}; after {self.after_s:.0f} s (promised: {PROMISED_S:.0f} s)"


def environment(folder: Path, version: str) -> Path:
    """The Python of a virtual environment with that Celery."""
    place = folder / version
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        wanted = "celery[redis]" if version == "newest" else f"celery[redis]=={version}"
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted, "setuptools<81"]
        subprocess.run(command, check=True)
    return python


def run(scene: str, python: Path, transport: str = "rabbitmq") -> Outcome:
    """One scene with a worker of that Python."""
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker(transport) as broker_url,
        stage.broker("redis") as backend_url,
        stage.Proxy(broker_url, 5672 if transport == "rabbitmq" else 6379) as proxy,
    ):
        database_url = f"sqlite:///{name}/ledger.sqlite3"
        migrate.upgrade(database_url)
        backend = None if scene.endswith("without-backend") else backend_url
        more = ["--result-backend", backend] if backend else []
        with (
            _recorder(Path(name), broker_url, database_url, *more),
            open_ledger(database_url) as ledger,
            _worker(Path(name), python, proxy.url, backend) as worker,
        ):
            stage.until(lambda: stage.coverages(database_url), "the recorder", START_S)
            return _play(scene, python, broker_url, ledger, _Faults(proxy, worker))


@dataclass(frozen=True, slots=True)
class _Faults:
    proxy: stage.Proxy
    worker: subprocess.Popen[bytes]

    def happen(self, scene: str) -> None:
        if scene == "broker-lost":
            self.proxy.refuse(True)
            time.sleep(AWAY_S)
            self.proxy.refuse(False)
        elif scene.startswith("killed"):
            os.killpg(self.worker.pid, signal.SIGKILL)


def _play(scene: str, python: Path, broker_url: str, ledger: Ledger, faults: _Faults) -> Outcome:
    app = Celery("campaign", broker=broker_url, set_as_current=False)
    stage.until(lambda: app.control.ping(timeout=1), "the worker", START_S)
    name, args = {"ignore": ("left_open.ignore", ()), "reject": ("left_open.reject", ())}.get(
        scene, ("left_open.sleep", (4.0 if scene == "broker-lost" else 300.0,))
    )
    ids = [app.send_task(name, args).id for _ in range(TASKS)]
    app.close()
    stage.until(lambda: all(task(ledger, task_id) for task_id in ids), "the tasks", START_S)
    stage.until(lambda: all(_ended(ledger, task_id) != ("RECEIVED", None) for task_id in ids), "their starts", START_S)
    time.sleep(2)
    faults.happen(scene)
    begun_s = time.monotonic()
    while not all(_is_end(ledger, task_id) for task_id in ids) and time.monotonic() - begun_s < PROMISED_S:
        time.sleep(0.5)
    after_s = time.monotonic() - begun_s
    return Outcome(scene, _version(python), Counter(_ended(ledger, task_id) for task_id in ids), after_s)


def _is_end(ledger: Ledger, task_id: str) -> bool:
    found = task(ledger, task_id)
    return found is not None and found.task.state.is_end


def _ended(ledger: Ledger, task_id: str) -> tuple[str, str | None]:
    found = task(ledger, task_id)
    return (found.task.state.name, found.task.settled_by) if found else ("UNKNOWN", None)


def _version(python: Path) -> str:
    code = "import celery; print(celery.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def _recorder(folder: Path, broker_url: str, database_url: str, *more: str) -> Iterator[None]:
    command = [word for word in stage.command(folder, broker_url, database_url, *more) if word != "--no-jobs"]
    with _process(command, folder / "record.log", stage.ROOT, dict(os.environ)):
        yield


@contextmanager
def _worker(folder: Path, python: Path, broker_url: str, backend_url: str | None) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(python), "-m", "celery", "-A", "_left_open", "worker", "-E", "-c", str(TASKS), "-n", "w1@campaign"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environ |= {"LEFT_OPEN_BROKER": broker_url} | ({"LEFT_OPEN_BACKEND": backend_url} if backend_url else {})
    with _process(command, folder / "worker.log", Path(__file__).parent, environ) as running:
        yield running


@contextmanager
def _process(command: list[str], log: Path, folder: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, killed with its children at the end."""
    with (
        log.open("ab") as lines,
        subprocess.Popen(
            command, stdout=lines, stderr=lines, cwd=folder, env=environ, start_new_session=True
        ) as running,
    ):
        try:
            yield running
        except Exception as error:
            error.add_note(f"{log.name} said: " + log.read_text(errors="replace")[-2000:])
            raise
        finally:
            _kill(running.pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns settlement", description=__doc__)
    parser.add_argument(
        "--scene", choices=list(PROMISES), action="append", help="may be given more than once; else all"
    )
    parser.add_argument("--celery", action="append", metavar="VERSION", help=f"else {', '.join(VERSIONS)}")
    parser.add_argument("--transport", choices=("rabbitmq", "redis"), default="rabbitmq")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="keep the virtual environments there")
    chosen = parser.parse_args(argv)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        for version in chosen.celery or VERSIONS:
            python = environment(chosen.environments or Path(name), version)
            for scene in chosen.scene or PROMISES:
                outcomes.append(run(scene, python, chosen.transport))
                print(f"settlement {scene}, {chosen.transport}: {outcomes[-1]}", flush=True)
    return int(not all(outcome.is_well for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What events leave open is settled: a worker loses its broker, is killed, or ends tasks without a word.

And what events tell twice, or in pieces, is one story: retries, deliveries after a kill, a hard time limit.

The workers run in virtual environments of their own, made here with pip, one for each version of Celery: the recorder
needs none of these. What each run of their tasks must come to is in PROMISES, within a minute of the fault.
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from celery import Celery

from benchmarks.campaigns import stage
from taskledger.ledger import Ledger, migrate, open_ledger
from taskledger.ledger.answers import RunRow
from taskledger.ledger.query import task
from taskledger.states import State

#: versions of Celery, as pip takes them
VERSIONS = ("5.4.0", "5.6.3", "newest")
#: seconds within which everything must be settled
PROMISED_S = 60.0
#: seconds that the worker is without its broker
AWAY_S = 6.0
#: tasks of a scene
TASKS = 4
#: seconds after which it is looked again: two more rounds of settling change nothing
STAYS_S = 22.0
#: of one run: the states it may end in, and how that may be known (None: events told it)
Known = tuple[frozenset[str], frozenset[str | None]]
TOLD: frozenset[str | None] = frozenset({None})
INFERRED: frozenset[str | None] = frozenset({"inferred"})
LOST: Known = (frozenset({"LOST"}), INFERRED)
RETRIED: Known = (frozenset({"RETRY"}), TOLD)
#: scene -> what each run of every task must come to
PROMISES: dict[str, tuple[Known, ...]] = {
    # 5.7 sends the events of that time later.
    "broker-lost": ((frozenset({"SUCCESS"}), frozenset({"backend", None})),),
    "killed": (LOST,),
    "killed-without-backend": (LOST,),
    # The backend has the end of the second run only.
    "killed-late": (LOST, (frozenset({"SUCCESS"}), TOLD)),
    "ignore": ((frozenset({"IGNORED"}), INFERRED),),
    # 5.7 says that it failed.
    "reject": ((frozenset({"IGNORED", "FAILURE", "REJECTED"}), frozenset({"inferred", None})),),
    "retried": (RETRIED, RETRIED, RETRIED, (frozenset({"FAILURE"}), TOLD)),
    # 5.7 says so twice.
    "hard-limit": ((frozenset({"FAILURE"}), TOLD),),
}
#: scene -> task and its arguments; else one that sleeps for long
TASK: dict[str, tuple[str, tuple[float, ...]]] = {
    "broker-lost": ("left_open.sleep", (4.0,)),
    "killed-late": ("left_open.sleep", (8.0,)),
    "ignore": ("left_open.ignore", ()),
    "reject": ("left_open.reject", ()),
    "retried": ("left_open.retry", ()),
    "hard-limit": ("left_open.overrun", ()),
}
START_S = 60.0


#: what one task came to: (state, how it is known) of each run
Story = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tasks came to -> how many; after how many seconds; and whether it stayed so."""

    scene: str
    version: str
    stories: Counter[Story]
    after_s: float
    has_stayed: bool

    @property
    def is_well(self) -> bool:
        is_right = all(_is_kept(self.scene, story) for story in self.stories)
        return is_right and self.stories.total() == TASKS and self.after_s <= PROMISED_S and self.has_stayed

    def __str__(self) -> str:
        words = "; ".join(
            f"{number} × " + ", ".join(f"{state} by {way or 'events'}" for state, way in story)
            for story, number in self.stories.items()
        )
        stayed = "" if self.has_stayed else ", and did not stay so"
        return f"Celery {self.version}: {words}{stayed}; after {self.after_s:.0f} s (promised: {PROMISED_S:.0f} s)"


def _is_kept(scene: str, story: Story) -> bool:
    promised = PROMISES[scene]
    return len(story) == len(promised) and all(
        state in states and way in ways for (state, way), (states, ways) in zip(story, promised, strict=True)
    )


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
    """One scene with workers of that Python."""
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
        start = partial(_worker, Path(name), python, proxy.url, backend, is_late=scene == "killed-late")
        with (
            _recorder(Path(name), broker_url, database_url, *more),
            open_ledger(database_url) as ledger,
            ExitStack() as workers,
        ):
            worker = workers.enter_context(start("w1"))
            stage.until(lambda: stage.coverages(database_url), "the recorder", START_S)
            ids = _begin(scene, broker_url, ledger)
            time.sleep(2)
            _fault(scene, proxy, worker)
            if scene == "killed-late":
                workers.enter_context(start("w2"))
            return _watch(scene, _version(python), ledger, ids)


def _begin(scene: str, broker_url: str, ledger: Ledger) -> list[str]:
    """Send the tasks and wait until all of them have begun; their ids."""
    app = Celery("campaign", broker=broker_url, set_as_current=False)
    stage.until(lambda: app.control.ping(timeout=1), "the worker", START_S)
    name, args = TASK.get(scene, ("left_open.sleep", (300.0,)))
    ids = [app.send_task(name, args).id for _ in range(TASKS)]
    app.close()
    stage.until(lambda: all(_story(ledger, task_id) for task_id in ids), "the tasks", START_S)
    stage.until(lambda: all(_story(ledger, task_id)[0] != ("RECEIVED", None) for task_id in ids), "starts", START_S)
    return ids


def _fault(scene: str, proxy: stage.Proxy, worker: subprocess.Popen[bytes]) -> None:
    if scene == "broker-lost":
        proxy.refuse(True)
        time.sleep(AWAY_S)
        proxy.refuse(False)
    elif scene.startswith("killed"):
        os.killpg(worker.pid, signal.SIGKILL)


def _watch(scene: str, version: str, ledger: Ledger, ids: list[str]) -> Outcome:
    begun_s = time.monotonic()
    while not all(_is_kept(scene, _story(ledger, task_id)) for task_id in ids):
        if time.monotonic() - begun_s > PROMISED_S:
            break
        time.sleep(0.5)
    after_s = time.monotonic() - begun_s
    stories = Counter(_story(ledger, task_id) for task_id in ids)
    time.sleep(STAYS_S)
    return Outcome(scene, version, stories, after_s, stories == Counter(_story(ledger, task_id) for task_id in ids))


def _story(ledger: Ledger, task_id: str) -> Story:
    """Of each run its state and how that is known; a run that lacks what every ended one has is told as such."""
    found = task(ledger, task_id)
    return tuple((_state(each), each.settled_by) for each in found.runs) if found else ()


def _state(of: RunRow) -> str:
    """Its name; with what is missing, if the run has ended."""
    needed: dict[str, object] = {"start": of.started_at, "worker": of.worker}
    if of.state.is_end or of.state is State.RETRY:
        needed["end"] = of.ended_at
    if of.state in (State.RETRY, State.FAILURE):
        needed["exception"] = of.exception
    if of.settled_by == "inferred":
        needed["a word on how that is known"] = of.note
    missing = [name for name, value in needed.items() if value is None]
    return of.state.name + (f" without {', '.join(missing)}" if missing and of.state is not State.RECEIVED else "")


def _version(python: Path) -> str:
    code = "import celery; print(celery.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def _recorder(folder: Path, broker_url: str, database_url: str, *more: str) -> Iterator[None]:
    command = [word for word in stage.command(folder, broker_url, database_url, *more) if word != "--no-jobs"]
    with _process(command, folder / "record.log", stage.ROOT, dict(os.environ)):
        yield


@contextmanager
def _worker(
    folder: Path, python: Path, broker_url: str, backend_url: str | None, name: str, *, is_late: bool
) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        str(python), "-m", "celery", "-A", "_left_open", "worker", "-E", "-c", str(TASKS), "-n", f"{name}@campaign"
    ]  # fmt: skip
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environ |= {"LEFT_OPEN_BROKER": broker_url} | ({"LEFT_OPEN_BACKEND": backend_url} if backend_url else {})
    environ["LEFT_OPEN_LATE"] = "yes" if is_late else "no"
    with _process(command, folder / f"{name}.log", Path(__file__).parent, environ) as running:
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

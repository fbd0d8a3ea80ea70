"""A crew of real processes round one beat: its broker behind a proxy, a worker, a recorder, and beat itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.campaigns import _beat_truth as truth
from benchmarks.campaigns import stage
from taskledger.ledger import migrate, open_ledger, query
from taskledger.ledger.answers import ScheduleRow

HERE = Path(__file__).parent
#: seconds for a process to be there, on a machine that has more to do
START_S = 120.0
#: seconds within which a beat notices what was changed where its schedule is kept: it looks every 5 s at the latest
NOTICE_S = 9.0
#: seconds between two looks at whether beat is still there, as a supervisor has them
WATCH_S = 0.5
#: schedulers whose beat must be started again to notice a change
READS_AT_START = ("persistent", "embedded")


@dataclass(slots=True)
class Script:
    """What is being played: the scheduler, how sends are known, and where."""

    scheduler: str
    #: probe, task-sent, worker
    evidence: str
    folder: Path
    broker_url: str

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.folder}/ledger.sqlite3"


@dataclass(slots=True)
class Span:
    """When a scene was played, in seconds."""

    scene: str
    from_s: float
    to_s: float


@dataclass(slots=True)
class Crew:
    """The processes; `spans` and `rules` are what was done to them, in seconds. A context manager."""

    script: Script
    spans: list[Span] = field(default_factory=list)
    rules: dict[str, list[truth.Rule]] = field(default_factory=dict)
    #: when beat was away, or a second one beside it, and when nobody listened
    downs: list[tuple[float, float]] = field(default_factory=list)
    unheard: list[tuple[float, float]] = field(default_factory=list)
    #: what was final when it was looked at: entry -> due time -> verdict
    final: dict[str, dict[int, tuple[str, str | None]]] = field(default_factory=dict)
    flips: list[str] = field(default_factory=list)
    #: kinds of findings that were there when it was looked
    found: set[str] = field(default_factory=set)
    proxy: stage.Proxy = field(init=False)
    _told: dict[str, dict[str, Any]] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        migrate.upgrade(self.script.database_url)
        self.proxy = self._stack.enter_context(stage.Proxy(self.script.broker_url, 6379))
        self._stack.callback(self._kill_all)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, told: Mapping[str, dict[str, Any]]) -> None:
        """Put the schedule where it belongs, start all, and wait until beat sends."""
        self.put(told)
        self.listen()
        self._start("worker", self._celery("worker", "-E", "-c", "1", "-P", "threads", "-n", "plain@%h"), direct=True)
        # What waits for a worker that starts is received together: when it was sent only beat could tell.
        log = self.script.folder / "worker.log"
        stage.until(lambda: " ready." in log.read_text(errors="replace"), "the worker", START_S)
        self.start_beat()
        stage.until(lambda: any(one.task_id for one in self.attempts()), "beat to send", START_S)

    def put(self, told: Mapping[str, dict[str, Any]]) -> None:
        """Change entries; beat notices by itself, or is started again, as an operator would."""
        is_new, is_deployed = not self._told, self.script.scheduler in READS_AT_START
        self._told |= told
        from_s = begun_s = time.time()
        if is_deployed and not is_new:
            from_s, begun_s = self._deploy()
        else:
            self._write()
        if not is_deployed:
            command = [sys.executable, str(HERE / "_beat_project.py"), *told]
            subprocess.run(
                command, env=self._environ(direct=True), check=True, stdout=subprocess.DEVNULL, cwd=self.script.folder
            )
        sure_s = from_s if is_new else time.time() + NOTICE_S
        for name, entry in told.items():
            rule = truth.Rule(from_s, sure_s, entry["every"], entry["enabled"], begun_s)
            self.rules.setdefault(name, []).append(rule)

    def _deploy(self) -> tuple[float, float]:
        """What a project's own code says changes for all that run it: beat and the recorder are started again.

        When it was written, and when the new beat had sent something.
        """
        self.stop_beat()
        from_s = time.time()
        self.stop_listening()
        self._write()
        self.listen()
        self.unheard.append((from_s, time.time()))
        number = len(self.attempts())
        self.start_beat()
        stage.until(lambda: len(self.attempts()) > number, "beat to send again", START_S)
        return from_s, self.attempts()[number].at

    def _write(self) -> None:
        (self.script.folder / "schedule.json").write_text(json.dumps(self._told))

    def start_beat(self, name: str = "beat") -> None:
        folder = self.script.folder
        if self.script.scheduler == "embedded":
            # Of a queue that nobody sends to: what it would do as a worker is not the point here.
            more = ("-Q", "idle", "-c", "1", "-P", "threads", "-n", f"{name}@%h", "--without-mingle")
            words = self._celery("worker", "-B", "-s", str(folder / f"{name}-schedule"), *more)
        else:
            words = self._celery("beat", "--pidfile=")
            words += ["-s", str(folder / f"{name}-schedule")] if self.script.scheduler == "persistent" else []
        self._start(name, words)

    def kill_beat(self) -> None:
        self._kill("beat", signal.SIGKILL)

    def stop_beat(self, name: str = "beat") -> None:
        """As a supervisor does it."""
        self._kill(name, signal.SIGTERM)

    def rest(self, seconds: float) -> None:
        """Let time pass; a beat that ended by itself is started again."""
        until_s = time.time() + seconds
        while time.time() < until_s:
            running = self._running.get("beat")
            if running is not None and running.poll() is not None:
                self.start_beat()
            time.sleep(min(WATCH_S, max(0.0, until_s - time.time())))

    def listen(self) -> None:
        """Start the recorder, and wait until it listens."""
        known = stage.coverages(self.script.database_url)
        words = stage.command(self.script.folder, self.script.broker_url, self.script.database_url)
        words = [word for word in words if word != "--no-jobs"]
        self._start("record", [*words, "-A", "_beat_project"], direct=True)
        stage.until(lambda: stage.coverages(self.script.database_url) > known, "the recorder", START_S)

    def stop_listening(self) -> None:
        self._kill("record", signal.SIGTERM)

    def attempts(self) -> list[truth.Attempt]:
        """What all beats tried, by their logs."""
        logs = [self.script.folder / f"{name}.log" for name in ("beat", "second")]
        found = [one for log in logs if log.exists() for one in truth.attempts(log, log.stem)]
        return sorted(found, key=lambda one: one.at)

    def look(self) -> dict[str, ScheduleRow]:
        """What the ledger says now, by entry; a final verdict that is no longer what it was is a flip."""
        now_at = time.time_ns() // 1000
        with open_ledger(self.script.database_url) as ledger:
            found = {name: query.schedule(ledger, name, now_at, ticks=2_000) for name in self.rules}
            self.found |= {finding.kind for finding in query.findings(ledger, now_at)}
        rows = {name: row for name, row in found.items() if row is not None}
        for name, row in rows.items():
            self._compare_final(name, {tick.due_at: (tick.fire, tick.task_id) for tick in row.ticks if tick.is_final})
        return rows

    def _compare_final(self, name: str, now: dict[int, tuple[str, str | None]]) -> None:
        before = self.final.get(name, {})
        # What is unknown may become known by what beat remembers.
        changed = [(was, now.get(due_at)) for due_at, was in before.items() if now.get(due_at) != was]
        self.flips += [f"{name}: {was} became {became}" for was, became in changed if was[0] != "unknown"]
        self.final[name] = now

    def _celery(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "_beat_project", *words, "-l", "DEBUG"]

    def _environ(self, *, direct: bool) -> dict[str, str]:
        script = self.script
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKLEDGER_")}
        return kept | {
            "BEATS_SCHEDULER": script.scheduler,
            "BEATS_EVIDENCE": script.evidence,
            "BEATS_FOLDER": str(script.folder),
            "BEATS_BROKER": script.broker_url if direct else self.proxy.url,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(stage.ROOT), str(stage.ROOT / "web")]),
            "TZ": "UTC",
            "TASKLEDGER_BEAT": "1" if script.evidence == "probe" else "0",
            **({"DJANGO_SETTINGS_MODULE": "_beat_settings"} if script.scheduler == "django" else {}),
        }

    def _start(self, name: str, words: list[str], *, direct: bool = False) -> None:
        with (self.script.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                words, env=self._environ(direct=direct), cwd=self.script.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _kill(self, name: str, number: signal.Signals) -> None:
        running = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(running.pid, number) if number == signal.SIGKILL else running.send_signal(number)
        try:
            running.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for name in [*self._running]:
            self._kill(name, signal.SIGKILL)

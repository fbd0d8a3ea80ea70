"""Real beats that are told of, and a plain consumer that hears it: no recorder, nothing of taskledger."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import services
from kombu import Connection, Exchange, Queue

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: the Python whose Celery runs beat: another one shows that the probe goes with its version
PYTHON = os.environ.get("TASKLEDGER_TEST_BEAT_PYTHON") or sys.executable
#: seconds for beat to start, and to do what is waited for
PATIENCE_S = 60
#: what a beat that was asked to stop may take; Celery's own thread for remote control takes up to three
END_S = 20
#: how many events back one is looked for that came twice; only the one on its way can
REPEATS = 3

Event = dict[str, Any]


class Listener:
    """A plain consumer of an exchange of events, in a thread. A context manager."""

    def __init__(self, url: str, exchange: str) -> None:
        self.heard: list[Event] = []
        self._url, self._exchange = url, exchange
        self._is_listening, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_listening.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE_S)

    def of(self, kind: str, entry: str | None = None) -> list[Event]:
        """Of one kind, each as often as it was heard; of the probe's, once."""
        heard = self.told() if kind.startswith("beat-") else self.heard
        found = [event for event in heard if event["type"] == kind]
        return [event for event in found if entry is None or event["entry"] == entry]

    def told(self) -> list[Event]:
        """What the probe told, once each: what a cut left without an answer comes again, and is equal then."""
        told: list[Event] = []
        for event in self.heard:
            if event["type"].startswith("beat-") and event not in told[-REPEATS:]:
                told.append(event)
        return told

    def entries(self, which: str = "latest") -> dict[str, Event]:
        """The entries of the latest beat-schedule, or the first."""
        told = self.of("beat-schedule")[slice(1) if which == "first" else slice(-1, None)]
        return {entry["entry"]: entry for event in told for entry in event["entries"]}

    def _listen(self) -> None:
        kind = "fanout" if self._url.startswith("redis") else "topic"
        queue = Queue(services.unique("listener"), Exchange(self._exchange, kind), "#", exclusive=True, no_ack=True)
        with Connection(self._url) as connection, connection.Consumer(queue, callbacks=[self._hear]):
            self._is_listening.set()
            while not self._is_over.is_set():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.2)

    def _hear(self, body: Any, _message: Any) -> None:
        self.heard += body if isinstance(body, list) else [body]


class Beat(Listener):
    """A running beat and whoever hears of it."""

    def __init__(self, url: str, folder: Path, kind: str, at_url: str | None = None, **environ: str) -> None:
        exchange = services.unique("celeryev")
        super().__init__(url, exchange)
        self.folder, self.log = folder, folder / "beat.log"
        self.environ = {
            **{name: value for name, value in os.environ.items() if name != "TASKLEDGER_BEAT"},
            "PROJ_BROKER": at_url or url,
            "PROJ_EXCHANGE": exchange,
            "PROJ_FOLDER": str(folder),
            "PROJ_SCHEDULER": kind,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
            **({"DJANGO_SETTINGS_MODULE": "beat_settings"} if kind == "django" else {}),
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, code: str) -> str:
        """Run that in the project's folder; what it prints."""
        command = [PYTHON, "-W", "ignore", "-c", code]
        done = subprocess.run(command, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *options: str) -> None:
        command = [PYTHON, "-m", "celery", "-A", "beatproj", *(options or ("beat",)), "-l", "INFO"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environ, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """As a supervisor does it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_S)

    def until(self, holds: Callable[[], Any], what: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > until_s:
                told = "\n".join(json.dumps(event) for event in self.told())
                raise AssertionError(f"in vain: {what}\n{told}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)


@contextmanager
def beat(url: str, folder: Path, kind: str, *options: str, at_url: str | None = None, **environ: str) -> Iterator[Beat]:
    """A real beat, started, and ended by force if need be."""
    with Beat(url, folder, kind, at_url, **environ) as made:
        made.start(*options)
        try:
            yield made
        finally:
            with suppress(ProcessLookupError):
                os.killpg(made.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
            made.process.wait(END_S)  # type: ignore[union-attr]

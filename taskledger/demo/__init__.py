"""`taskledger demo`: a whole set-up in one process, with nothing to install or configure.

A real worker, a real beat and customers who keep them busy (`crew`, `load`, `project`), the recorder and the site.
"""

import os
import signal
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from taskledger import jobs, logs
from taskledger.config import Settings
from taskledger.demo import crew, load, words
from taskledger.demo.project import app
from taskledger.errors import SettingsError, TaskledgerError
from taskledger.ledger import migrate
from taskledger.recorder import daemon
from taskledger_web import Site

LEDGER, CELERY_LOG = "taskledger.sqlite3", "celery.log"
#: The stretch that the browser shows at first; a day would be nearly all blank.
RANGE = "-15m"
#: Seconds between two looks at whether to end.
LOOK_S = 0.2
#: Seconds for the recorder to hear the broker; it takes well under one.
LISTENING_S = 10.0


def run(folder: Path | None, host: str, port: int, open_browser: bool) -> int:
    """The demo until SIGINT or SIGTERM; the exit code.

    It keeps its ledger in `folder`, or in a temporary one that is removed at the end. Raises SettingsError when the
    folder or the address cannot be used.
    """
    logs.set_up("warning", "text")
    with _until_signal() as stop, _folder(folder) as place, ExitStack() as stack:
        settings = _settings(place, host, port)
        site = _site(settings)
        stack.callback(site.stop)
        recorder = stack.enter_context(_set_up(settings, place))
        site.start()
        words.tell_start(site.address, place, is_kept=folder is not None)
        if open_browser and _has_screen():
            webbrowser.open(f"{site.address}?from={RANGE}")
        _wait(stop, recorder)
        words.tell_stop()
    words.tell_end(folder)
    return 0


@contextmanager
def _set_up(settings: Settings, place: Path) -> Iterator[threading.Thread]:
    """All but the site: what is started last is stopped first, so that the recorder hears everybody's goodbye."""
    ended, no_more = threading.Event(), threading.Event()

    def record() -> None:
        daemon.run(settings, stop=ended, background=[partial(jobs.start, settings)])

    crew.declare(app)
    with crew.logging_to(place / CELERY_LOG):
        beat = crew.make_beat(app)
        with (
            crew.running("recorder", record, ended.set) as recorder,
            crew.listened_to(app, LISTENING_S),
            crew.working(app),
            crew.beating(beat),
            crew.running("load", lambda: load.keep_sending(no_more), no_more.set),
        ):
            yield recorder


def _site(settings: Settings) -> Site:
    """A site that listens already, before anything else is started; its ledger is made or brought forward."""
    migrate.upgrade(settings.database_url)
    return Site(settings)


def _settings(place: Path, host: str, port: int) -> Settings:
    """Made directly, not loaded: the user's environment and taskledger.toml are about another ledger."""
    return Settings(
        broker_url="memory://",
        app="shop",
        celery_app=app,
        database_url=f"sqlite:///{(place / LEDGER).as_posix()}",
        host=host,
        port=port,
    )


def _has_screen() -> bool:
    """Whether a browser would be a window: without one, `webbrowser` may start w3m or lynx in this terminal."""
    return sys.platform in ("win32", "darwin") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _wait(stop: threading.Event, recorder: threading.Thread) -> None:
    """Until told to stop. By looking, because a wait without end cannot be interrupted on Windows."""
    while not stop.is_set():
        if not recorder.is_alive():
            raise TaskledgerError("the demo's recorder ended by itself; the lines above say why")
        time.sleep(LOOK_S)


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal changes nothing, as the end is bounded in time."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The given folder, made if need be, or a temporary one that is removed at the end."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="taskledger-demo-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot keep the demo in {folder}: {error.strerror}. Choose another --folder.") from error
    yield folder.resolve()

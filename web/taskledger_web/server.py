"""Serving the site with waitress: until a signal, or in a thread that can be stopped."""

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from waitress import create_server, wasyncore

from taskledger.config import Settings
from taskledger.errors import SettingsError
from taskledger_web.app import create_app
from taskledger_web.asking import opening

THREADS = 8
#: objects made and not freed, after which Python looks for cycles (its own: 700): a page makes tens of thousands of
#: values that hold none, and looking for them in the middle of one took up to a third of its time
GARBAGE_AFTER = 50_000
#: seconds until a stop is noticed while nothing happens
_TURN_S = 0.25
#: seconds that answers under way may take after a stop
_PATIENCE_S = 5


class Site:
    """A listening site. It has its address from the start; `run` blocks, `start` does not."""

    def __init__(self, settings: Settings) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._sockets: dict[int, Any] = {}
        self._app = create_app(settings)
        self._server = self._listen(settings)
        self.address = self._address(settings)

    def start(self) -> None:
        """Answer in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self.run, name="site", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what was asked already, then give the port back."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S + 2)

    def ask_to_stop(self) -> None:
        """As `stop`, without waiting: safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Answer in this thread until somebody asks to stop."""
        gc.set_threshold(max(GARBAGE_AFTER, gc.get_threshold()[0]))
        try:
            while not self._stopping.is_set():
                wasyncore.loop(timeout=_TURN_S, use_poll=True, map=self._sockets, count=1)
        finally:
            self._server.task_dispatcher.shutdown(cancel_pending=False, timeout=_PATIENCE_S)
            wasyncore.close_all(self._sockets)
            opening(self._app).close()

    def _listen(self, settings: Settings) -> Any:
        return create_server(
            self._app,
            map=self._sockets,
            sockets=[_bound(settings)],
            threads=THREADS,
            ident=None,
            clear_untrusted_proxy_headers=True,
            channel_timeout=60,
        )

    def _address(self, settings: Settings) -> str:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"http://{host}:{self._server.effective_port}{settings.url_prefix}/"


def _bound(settings: Settings) -> socket.socket:
    """The site's socket; bound before anything else is started, so that a port in use leaves nothing behind."""
    try:
        family, *_, place = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.host}:{settings.port}: {_reason(error)}. "
            "Stop what uses it, or choose another with --port (or --host)."
        ) from error


def _reason(error: OSError) -> str:
    """The system's words, without the address that `create_server` adds to them."""
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)).lower()


def serve(settings: Settings, *, ready: Callable[[str], None] | None = None) -> int:
    """The site until SIGTERM or SIGINT; the exit code. `ready` gets the address once it listens.

    Raises SettingsError when the address cannot be listened on.
    """
    site = Site(settings)
    if threading.current_thread() is threading.main_thread():
        _stop_on_signals(site)
    if ready is not None:
        ready(site.address)
    site.run()
    return 0


def _stop_on_signals(site: Site) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        site.ask_to_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

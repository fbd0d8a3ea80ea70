"""How the recorder is, told to others: /healthz, /readyz and /metrics over HTTP, and systemd."""

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from waitress import create_server, wasyncore

from taskledger.config import Settings
from taskledger.errors import SettingsError
from taskledger.recorder import metrics, systemd
from taskledger.recorder.health import not_alive, not_ready
from taskledger.recorder.vitals import Vitals

log = logging.getLogger(__name__)

#: probes and Prometheus come one at a time; a few more may wait
THREADS, CONNECTIONS = 2, 20
#: seconds that a connection may stay silent
SILENT_S = 15
TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Watch:
    """What the probes look at: nothing, until the recorder has parts to look at."""

    def __init__(self) -> None:
        self._look: Callable[[], Vitals] | None = None

    def follow(self, look: Callable[[], Vitals]) -> None:
        """From now on `look` says how it is."""
        self._look = look

    def look(self) -> Vitals | None:
        return None if self._look is None else self._look()


class Answer(NamedTuple):
    """A response of HTTP."""

    status: str
    content_type: str
    body: bytes


@contextmanager
def watching(settings: Settings, stop: threading.Event) -> Iterator[Watch]:
    """Answer probes, if the settings have a port for them, and tell systemd, if it asks.

    Raises SettingsError when the port cannot be listened on.
    """
    watch = Watch()
    with ExitStack() as stack:
        if settings.metrics_port is not None:
            site = Site(settings.metrics_host, settings.metrics_port, watch)
            site.start()
            stack.callback(site.end)
        if os.environ.get("NOTIFY_SOCKET"):
            notifier = systemd.Notifier(watch.look, stop)
            notifier.start()
            stack.callback(notifier.end)
        yield watch


class Site(threading.Thread):
    """The listening socket and the thread that answers."""

    def __init__(self, host: str, port: int, watch: Watch) -> None:
        super().__init__(name="probes", daemon=True)
        self._ended = False
        self._sockets: dict[int, Any] = {}
        self._server = create_server(
            application(watch),
            map=self._sockets,
            sockets=[_bound(host, port)],
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=SILENT_S,
            cleanup_interval=SILENT_S,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{self._server.effective_port}"
        log.info("probes and metrics at %s/metrics", address, extra={"action": "probes", "address": address})

    def run(self) -> None:
        while not self._ended:
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._sockets, count=1)

    def end(self) -> None:
        """Give the port back."""
        self._ended = True
        self._server.pull_trigger()
        self.join()
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=1)
        wasyncore.close_all(self._sockets)


def application(watch: Watch) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """The three addresses, as WSGI takes them."""
    registry = metrics.registry(watch.look, not_ready)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answered = _answer(environ, watch, registry)
        headers = [("Content-Type", answered.content_type), ("Content-Length", str(len(answered.body)))]
        headers += [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
        start_response(answered.status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answered.body]

    return answer


def _answer(environ: dict[str, Any], watch: Watch, registry: CollectorRegistry) -> Answer:
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return Answer("405 Method Not Allowed", TEXT, b"Only GET is answered.\n")
    match environ.get("PATH_INFO"):
        case "/healthz":
            return _healthz(watch.look())
        case "/readyz":
            return _readyz(watch.look())
        case "/metrics":
            body, content_type = metrics.exposition(registry, environ.get("HTTP_ACCEPT", ""))
            return Answer("200 OK", content_type, body)
    return Answer("404 Not Found", TEXT, b"There are /healthz, /readyz and /metrics.\n")


def _healthz(vitals: Vitals | None) -> Answer:
    """Alive also while it starts: what that waits for has limits of its own."""
    reasons = [] if vitals is None else not_alive(vitals)
    text = "".join(f"{reason}\n" for reason in reasons) or "OK\n"
    return Answer(_status(reasons), TEXT, text.encode())


def _readyz(vitals: Vitals | None) -> Answer:
    reasons = ["the recorder is starting"] if vitals is None else not_ready(vitals)
    told = {"ready": not reasons, "reasons": reasons, "lag_s": None if vitals is None else vitals.lag_s}
    return Answer(_status(reasons), JSON, json.dumps(told).encode() + b"\n")


def _status(reasons: list[str]) -> str:
    return "503 Service Unavailable" if reasons else "200 OK"


def _bound(host: str, port: int) -> socket.socket:
    """Bound before anything else is started, so that a port in use leaves nothing behind."""
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        said = (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)).lower()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {said}."
            " Stop what uses it, or choose another with --metrics-port (or --metrics-host)."
        ) from error

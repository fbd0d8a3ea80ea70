"""A TCP proxy that hangs up on demand: how a test cuts a real connection without the service's help."""

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Stands before the service at `url`; `url` of its own is the same but for host and port. A context manager."""

    def __init__(self, url: str, default_port: int) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or default_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        credentials, at, _ = parts.netloc.rpartition("@")
        # Paths such as // must survive, so the URL is not put together by urllib.
        _, _, rest = url.partition("://")
        path = rest[len(parts.netloc) :]
        self.url = f"{parts.scheme}://{credentials}{at}127.0.0.1:{self._listener.getsockname()[1]}{path}"
        self._open: list[socket.socket] = []
        self._muted: set[socket.socket] = set()
        self._is_refusing = self._is_swallowing = self._is_silent = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Hang up on everybody, both ways."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()

    def refuse(self, refusing: bool) -> None:
        """From now on hang up on whoever connects, or not any more."""
        self._is_refusing = refusing
        if refusing:
            self.cut()

    def swallow(self, swallowing: bool) -> None:
        """From now on take what is sent and pass nothing on, without a word; or not any more."""
        self._is_swallowing = swallowing

    def silence(self, silent: bool) -> None:
        """From now on pass on what is said to the service and nothing of its answers; or both again."""
        self._is_silent = silent

    def mute(self) -> None:
        """Over the connections that are open now nothing passes any more, without a word; new ones are served."""
        with self._lock:
            self._muted.update(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_refusing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                near.close()
                continue
            far = socket.create_connection(self._target)
            with self._lock:
                self._open += [near, far]
            for ends in ((near, far, False), (far, near, True)):
                self._threads.append(threading.Thread(target=self._pump, args=ends, daemon=True))
                self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while received := source.recv(65536):
                if not (self._is_swallowing or source in self._muted or (is_answer and self._is_silent)):
                    sink.sendall(received)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

"""What systemd wants to hear of a service with Type=notify; silence where NOTIFY_SOCKET is not set (sd_notify(3))."""

import logging
import os
import socket
import threading
import time

from taskledger.recorder.health import not_alive, not_ready, not_recording
from taskledger.recorder.metrics import Look
from taskledger.recorder.vitals import Vitals

log = logging.getLogger(__name__)

#: seconds between two looks, and between two lines of status while nothing changes
TURN_S, STATUS_EVERY_S = 0.5, 60.0
#: seconds that the start may go on taking, said again and again: a broker that is away is waited for
START_S = 60


def notify(*lines: str) -> bool:
    """Send these assignments ("READY=1") to systemd; whether somebody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1.0)
            sender.connect(address)
            sender.sendall("\n".join(lines).encode())
    except OSError as error:
        log.warning("systemd cannot be told: %s", error.strerror, extra={"action": "notify_failed"})
        return False
    return True


def watchdog_s() -> float | None:
    """Seconds after which systemd wants a sign of life; None when it wants none of this process."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6


class Notifier(threading.Thread):
    """Tells systemd when all is listened to, how it goes, that it lives (while it does), and when it stops."""

    def __init__(self, look: Look, stop: threading.Event) -> None:
        super().__init__(name="systemd", daemon=True)
        self._look, self._stop_recording = look, stop
        self._ended = threading.Event()
        self._is_ready = False
        self._status = ""
        self._status_at_s = self._alive_at_s = 0.0
        self._alive_every_s = (watchdog_s() or 0.0) / 2

    def run(self) -> None:
        """Until the recorder is told to stop."""
        turn_s = min(TURN_S, self._alive_every_s / 2 or TURN_S)
        while not self._stop_recording.is_set() and not self._ended.wait(turn_s):
            lines = self._lines(self._look(), time.monotonic())
            if lines:
                notify(*lines)
        notify("STOPPING=1", "STATUS=stopping")

    def end(self) -> None:
        """Whatever made it end, it stops now."""
        self._ended.set()
        self.join()

    def _lines(self, vitals: Vitals | None, now_s: float) -> list[str]:
        if vitals is None:
            return []
        reasons, lines = not_ready(vitals), []
        is_alive = not not_alive(vitals)
        if not self._is_ready and not not_recording(vitals):
            self._is_ready, self._alive_at_s = True, now_s
            lines.append("READY=1")
        if is_alive and now_s >= self._alive_at_s:
            lines += self._signs_of_life()
            self._alive_at_s = now_s + (self._alive_every_s if self._is_ready else START_S / 4)
        status = _status(vitals, reasons)
        if now_s >= self._status_at_s or bool(reasons) != self._status.startswith("not"):
            lines.append(f"STATUS={status}")
            self._status, self._status_at_s = status, now_s + STATUS_EVERY_S
        return lines

    def _signs_of_life(self) -> list[str]:
        if not self._is_ready:
            return [f"EXTEND_TIMEOUT_USEC={START_S * 1_000_000}"]
        return ["WATCHDOG=1"] if self._alive_every_s else []


def _status(vitals: Vitals, reasons: list[str]) -> str:
    """One line for `systemctl status`."""
    if reasons:
        return f"not recording everything: {'; '.join(reasons)}"
    names = ", ".join(one.cluster for one in vitals.clusters)
    lag = "unknown" if vitals.lag_s is None else f"{vitals.lag_s:.1f} s"
    stored = sum(one.stored for one in vitals.clusters)
    return f"recording {names}; {stored:,} events stored, lag {lag}"

"""Messages become events without their secrets: in this process, or in one beside it when there is much to do."""

import logging
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from typing import BinaryIO, NamedTuple, cast

from taskledger.config import Settings
from taskledger.events import Event, Malformed
from taskledger.recorder import decoder
from taskledger.recorder.batch import read
from taskledger.recorder.redacting import Redactor
from taskledger.recorder.waiting import Heard
from taskledger.redaction import Redaction, compiled

log = logging.getLogger(__name__)

#: what became of each message, in order
Items = list[list[Event | Malformed]]

#: seconds in which it is measured how busy decoding is, and the part of it above which it gets a process of its own
MEASURED_S, BUSY = 2.0, 0.2
#: requests that it is given before the answer to the first is taken
AHEAD = 2
#: seconds until a process is started again after one that ended
AGAIN_AFTER_S = 30.0
#: seconds that it gets to end
LEAVE_S = 1.0


class Request(NamedTuple):
    """What is being decoded."""

    heard: Heard
    #: the process that does it; None: nobody yet
    child: "subprocess.Popen[bytes] | None"


class Decoding:
    """`send` messages, `receive` what they hold, in the same order. For one thread only.

    With the setting `decoder` at "auto" a process is started once decoding takes a fifth of the time: until then it
    would cost more than it gains. "on" has it from the start, "off" never. Whatever becomes of that process, nothing is
    lost: what it has not answered is decoded here. Only the rules of tasks that were named before such a change are
    forgotten, and their later events go by the strictest.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """By the rules of these settings; without any by the default ones, and here."""
        self._settings = settings
        self._mode = "off" if settings is None else settings.decoder
        self._redaction = _compiled(settings)
        self._redactors: dict[str, Redactor] = {}
        self._requests: deque[Request] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._start_at_s = 0.0
        self._from_s, self._busy_s = time.monotonic(), 0.0

    @property
    def pending(self) -> int:
        """How many answers are to be received."""
        return len(self._requests)

    @property
    def ahead(self) -> int:
        """How many may be pending, so that neither process waits for the other."""
        return 0 if self._child is None else AHEAD

    @property
    def pid(self) -> int | None:
        """The process that decodes, if there is one."""
        return None if self._child is None else self._child.pid

    def send(self, heard: Heard) -> None:
        """Have these messages decoded."""
        if self._child is None and self._is_wanted():
            self._start()
        if self._child is not None:
            try:
                decoder.send(_pipe(self._child.stdin), decoder.request(heard.cluster, heard.deliveries))
            except OSError as error:
                self._give_up(error)
        self._requests.append(Request(heard, self._child))

    def receive(self) -> tuple[Heard, Items]:
        """The oldest that were sent, and what they hold."""
        request = self._requests.popleft()
        if request.child is not None and request.child is self._child:
            try:
                answer = decoder.receive(_pipe(self._child.stdout))
                return request.heard, [[decoder.item(values) for values in message] for message in answer]
            except (OSError, EOFError, ValueError, TypeError) as error:
                self._give_up(error)
        return request.heard, self._decode(request.heard)

    def close(self) -> None:
        """Let the process end."""
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(OSError):
            _pipe(child.stdin).close()
        with suppress(OSError):
            _pipe(child.stdout).close()
        try:
            child.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _decode(self, heard: Heard) -> Items:
        begun_s = time.monotonic()
        redactor = self._redactors.get(heard.cluster)
        if redactor is None:
            redactor = self._redactors[heard.cluster] = Redactor(self._redaction)
        made = [redactor.redact(read(delivery)) for delivery in heard.deliveries]
        self._busy_s += time.monotonic() - begun_s
        return made

    def _is_wanted(self) -> bool:
        now_s = time.monotonic()
        if self._mode == "off" or self._settings is None or now_s < self._start_at_s:
            return False
        if self._mode == "on" or self._busy_s > BUSY * MEASURED_S:
            return True
        if now_s - self._from_s > MEASURED_S:
            self._from_s, self._busy_s = now_s, 0.0
        return False

    def _start(self) -> None:
        self._start_at_s = time.monotonic() + AGAIN_AFTER_S
        settings = cast("Settings", self._settings)
        code = f"import sys; sys.path[:] = {sys.path!r}; from taskledger.recorder.decoder import serve; serve()"
        try:
            child = subprocess.Popen(  # noqa: S603 - our own code on our own Python
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._child = child
            rules = str(settings.redact_keys), str(settings.redact_values), str(settings.payloads)
            decoder.send(_pipe(child.stdin), rules)
        except OSError as error:
            self._give_up(error)
        else:
            log.info("decoding in process %d from now on", child.pid, extra={"action": "decoder_started"})

    def _give_up(self, error: Exception) -> None:
        log.warning(
            "the process that decodes is gone (%s): decoding here for now", error, extra={"action": "decoder_gone"}
        )
        if self._child is not None:
            self._child.kill()
        self.close()
        self._busy_s = 0.0


def _compiled(settings: Settings | None) -> Redaction:
    if settings is None:
        return compiled()
    return compiled(settings.redact_keys, settings.redact_values, settings.payloads)


def _pipe(pipe: object) -> BinaryIO:
    return cast("BinaryIO", pipe)

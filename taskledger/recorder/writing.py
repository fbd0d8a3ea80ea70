"""Batches go into the ledger: from this process, or from one beside it when there is much to do."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, cast

from taskledger import errors
from taskledger.config import Settings
from taskledger.ledger import Ledger
from taskledger.ledger.prepare import Prepared
from taskledger.ledger.record import Batch, Position, Recorded, prepared_of, record, remember
from taskledger.ledger.stories import Remembered
from taskledger.recorder import pipes, runtime, scribe
from taskledger.recorder.batch import Gathered

log = logging.getLogger(__name__)

#: seconds in which it is measured how busy writing is, and the part of it above which it gets a process of its own
MEASURED_S, BUSY = 2.0, 0.2
#: seconds until a process is started again after one that ended
AGAIN_AFTER_S = 30.0
#: seconds that it gets to end
LEAVE_S = 1.0


class _Ahead(NamedTuple):
    """What the other process has of a batch, and what is to be remembered once it is written."""

    number: int
    batch: Batch
    cluster_id: int
    remembered: Remembered
    #: of its tasks
    keys: frozenset[bytes]

    def is_of(self, batch: Batch) -> bool:
        """Whether it is that batch: its items are the same, which are mostly the very same."""
        mine = self.batch
        return (mine.cluster, mine.received_at) == (batch.cluster, batch.received_at) and (
            tuple(mine.events) == tuple(batch.events) and tuple(mine.malformed) == tuple(batch.malformed)
        )


class Writing:
    """`record` one batch after the other. For one thread only; `close` from another.

    With the setting `writer` at "auto" a process is started once writing takes a fifth of the time: until then it would
    cost more than it gains. "on" has it from the start, "off" never. Whatever becomes of that process, nothing is lost:
    what it has not said to be written is written here, and what it had written all the same is known by its identity.
    """

    def __init__(
        self, ledger: Ledger, settings: Settings | None = None, upcoming: Callable[[], Gathered | None] = lambda: None
    ) -> None:
        """Into this ledger, which is that of the settings; without any, from here.

        `upcoming` is what will probably be written next: it is sent ahead, so that the other process need not wait.
        """
        self._ledger, self._settings = ledger, settings
        self._mode = "off" if settings is None else settings.writer
        self._child: subprocess.Popen[bytes] | None = None
        self._start_at_s = 0.0
        self._from_s, self._busy_s = time.monotonic(), 0.0
        self._is_closed = False
        self._upcoming = upcoming
        self._number = 0
        #: what the process has and was not told to write yet
        self._ahead: _Ahead | None = None
        self._asking = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process that writes, if there is one."""
        return None if self._child is None else self._child.pid

    def record(self, batch: Batch) -> Recorded:
        """As `taskledger.ledger.record.record`, and with its errors."""
        with self._asking:
            if self._child is None and self._is_wanted():
                self._start()
            return self._beside(batch) or self._here(batch)

    def close(self) -> None:
        """Let the process end; at once if it does not answer."""
        self._is_closed = True
        child = self._child
        if child is None:
            return
        if not self._asking.acquire(timeout=LEAVE_S):
            # Whoever waits for its answer has the pipe; the death of the process ends the waiting.
            child.kill()
            return
        try:
            self._end()
        finally:
            self._asking.release()

    def _beside(self, batch: Batch) -> Recorded | None:
        """None when it was not written there, and is to be written here."""
        if self._child is None:
            return None
        mine, self._ahead = self._ahead, None
        prepared = None if mine is not None and mine.is_of(batch) else prepared_of(self._ledger, batch)
        try:
            if prepared is not None:
                mine = self._send(prepared, batch)
            answer = self._answer(cast("_Ahead", mine), batch.position)
        except (OSError, EOFError, ValueError, TypeError) as error:  # the last two for what is no answer of ours
            self._give_up(error)
            return None
        except BaseException as error:
            # Its answer would be taken for that of the next batch.
            self._give_up(error)
            raise
        return self._understood(cast("_Ahead", mine), *answer)

    def _answer(self, mine: "_Ahead", position: Position | None) -> Sequence[Any]:
        """What became of it, in the words of the other process."""
        child = cast("subprocess.Popen[bytes]", self._child)
        scribe.ask(_pipe(child.stdin), mine.number, position)
        following = self._upcoming()
        if following is not None and following.events:
            self._send_ahead(mine, following)
        number, *answer = pipes.receive(_pipe(child.stdout))
        if number != mine.number:
            raise ValueError(f"asked for batch {mine.number}, and heard of {number}")
        return list(answer)

    def _understood(self, mine: "_Ahead", word: str, *said: Any) -> Recorded | None:
        if word == scribe.WRITTEN:
            recorded, told = said
            remember(self._ledger, mine.cluster_id, mine.remembered, told)
            if self._ahead is not None and not told.keys().isdisjoint(self._ahead.keys):
                self._ahead = None  # It was planned on what turned out to be otherwise.
            return Recorded(*recorded)
        self._ahead = None  # It builds on this one.
        if word == scribe.AWAY:
            raise getattr(errors, said[0], errors.LedgerError)(said[1])
        log.debug("refused beside, tried here: %s: %s", *said, extra={"action": "refused_beside"})
        return None

    def _send_ahead(self, mine: "_Ahead", following: Gathered) -> None:
        """It is prepared while the other process writes."""
        batch = Batch(following.cluster, following.events, following.malformed, following.received_at)
        try:
            with self._ledger.stories.expecting(mine.remembered):
                prepared = prepared_of(self._ledger, batch)
        except Exception as error:  # noqa: BLE001 - It is told when its turn comes, and tried again.
            log.debug("not sent ahead: %s", error, extra={"action": "not_sent_ahead"})
            return
        self._ahead = self._send(prepared, batch)

    def _send(self, prepared: Prepared, batch: Batch) -> "_Ahead":
        self._number += 1
        child = cast("subprocess.Popen[bytes]", self._child)
        scribe.hand_over(_pipe(child.stdin), self._number, prepared)
        keys = frozenset([plan.key for plan in prepared.plans])
        return _Ahead(self._number, batch, prepared.cluster_id, prepared.remembered, keys)

    def _here(self, batch: Batch) -> Recorded:
        begun_s = time.monotonic()
        try:
            return record(self._ledger, batch)
        finally:
            self._busy_s += time.monotonic() - begun_s

    def _is_wanted(self) -> bool:
        now_s = time.monotonic()
        if self._mode == "off" or self._is_closed or now_s < self._start_at_s:
            return False
        if self._mode == "on" or self._busy_s > BUSY * MEASURED_S:
            return True
        if now_s - self._from_s > MEASURED_S:
            self._from_s, self._busy_s = now_s, 0.0
        return False

    def _start(self) -> None:
        self._start_at_s = time.monotonic() + AGAIN_AFTER_S
        settings = cast("Settings", self._settings)
        code = f"import sys; sys.path[:] = {sys.path!r}; from taskledger.recorder.scribe import serve; serve()"
        try:
            child = subprocess.Popen(  # noqa: S603 - our own code on our own Python
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._child = child
            # Not among its arguments, which everybody on the machine can read: a database has a password.
            pipes.send(_pipe(child.stdin), (settings.database_url, settings.log_level, settings.log_format))
        except OSError as error:
            self._give_up(error)
        else:
            runtime.switch(is_beside=True)
            log.info("process %d writes from now on", child.pid, extra={"action": "scribe_started"})

    def _give_up(self, error: BaseException) -> None:
        log.warning(
            "the process that writes is gone (%s): writing here for now", error, extra={"action": "scribe_gone"}
        )
        if self._child is not None:
            self._child.kill()
        self._end()
        self._busy_s = 0.0

    def _end(self) -> None:
        child, self._child, self._ahead = self._child, None, None
        if child is None:
            return
        runtime.switch(is_beside=False)
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                _pipe(pipe).close()
        try:
            child.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _pipe(pipe: object) -> BinaryIO:
    return cast("BinaryIO", pipe)

"""A connection to Redis that is subscribed and does nothing but listen: the stream of replies, read in bulk."""

import time
from contextlib import suppress
from typing import Any

import hiredis

from taskledger.errors import SourceLost

#: seconds that Redis may take to confirm a subscription
CONFIRM_S = 5.0
#: seconds of silence after which Redis is pinged, and without an answer to that after which it is given up
PING_S, ANSWER_S = 5.0, 10.0
#: seconds that Redis may take to say that nothing is on its way; nothing that comes meanwhile is kept waiting
CAUGHT_UP_S = 0.5
#: bytes taken from the socket at once
CHUNK_BYTES = 256 * 1024
#: seconds; a wait must not be 0, because a TLS socket then cannot finish what it began
SHORT_S = 0.001


class Subscriber:
    """Subscribed to patterns from its making on. Raises SourceLost and what sockets raise; it never mends itself.

    redis-py's own would connect and subscribe anew without a word, and nobody would know of the gap.
    """

    def __init__(self, connection: Any, patterns: list[str]) -> None:
        """`connection` is one of redis-py, not connected yet, that speaks RESP2."""
        self._connection = connection
        connection.connect()
        self._socket = connection._sock  # noqa: SLF001 - redis-py has no other way to it
        self._reader = hiredis.Reader()
        self._buffer = bytearray(CHUNK_BYTES)
        self._heard_s = self._found_nothing_s = time.monotonic()
        self._pinged_s: float | None = None
        #: what was published before the answer to a question came
        self._early: list[bytes] = []
        self._asked = 0
        connection.send_command("PSUBSCRIBE", *patterns, check_health=False)
        self._await(len(patterns))

    def hear(self, limit: int, timeout_s: float) -> list[bytes]:
        """What was published, at most `limit`; waits for the first at most `timeout_s`."""
        heard, self._early = self._early, []
        while len(heard) < limit:
            reply = self._reader.gets()
            if reply is not False:
                heard += _published(reply)
            elif not self._fill(SHORT_S if heard else timeout_s):
                break
        return heard

    def is_caught_up(self) -> bool:
        """Whether all that was published before the call was heard; Redis answers in order, so it need only answer.

        That nothing comes proves nothing: it is the same when the connection is dead.
        """
        self._asked += 1
        mark, until_s = b"%d" % self._asked, time.monotonic() + CAUGHT_UP_S
        self._connection.send_command("PING", mark, check_health=False)
        while not self._early and time.monotonic() < until_s:
            reply = self._reader.gets()
            if reply == [b"pong", mark]:
                return True
            if reply is False:
                self._fill(until_s - time.monotonic())
            else:
                self._early += _published(reply)
        return False

    def check_health(self) -> None:
        """Ping Redis when it is silent; SourceLost when it stays so."""
        now_s = time.monotonic()
        if self._pinged_s is None:
            if now_s - self._heard_s > PING_S:
                self._pinged_s = now_s
                self._connection.send_command("PING", check_health=False)
        # Only what we saw counts: the answer may have come while nobody looked, as when the process was stopped.
        elif self._found_nothing_s - self._pinged_s > ANSWER_S:
            raise SourceLost(f"Redis did not answer a ping for {ANSWER_S:.0f} s")

    def close(self) -> None:
        with suppress(Exception):  # A broken connection cannot be closed politely, and need not be.
            self._connection.disconnect()

    def _await(self, number: int) -> None:
        """Redis answers before it sends anything else."""
        until_s = time.monotonic() + CONFIRM_S
        while number:
            reply = self._reader.gets()
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            if reply is not False:
                number -= 1
            elif not self._fill(SHORT_S) and time.monotonic() > until_s:
                raise SourceLost(f"Redis did not confirm the subscription within {CONFIRM_S:.0f} s")

    def _fill(self, timeout_s: float) -> bool:
        """Whether anything came."""
        self._socket.settimeout(max(timeout_s, SHORT_S))
        try:
            number = self._socket.recv_into(self._buffer)
        except TimeoutError as error:
            if error.errno is not None:
                raise  # the connection itself timed out
            self._found_nothing_s = time.monotonic()
            return False
        if not number:
            raise SourceLost("Redis closed the connection")
        self._heard_s, self._pinged_s = time.monotonic(), None
        self._reader.feed(self._buffer, 0, number)  # type: ignore[arg-type] # its stub forgets buffers
        return True


def _published(reply: Any) -> list[bytes]:
    """The data of a message; nothing for confirmations and pongs."""
    return [reply[3]] if isinstance(reply, list) and len(reply) == 4 and reply[0] == b"pmessage" else []

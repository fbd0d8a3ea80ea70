"""The process that writes for a busy recorder: batches in, what became of them out, over its two pipes.

It knows one database and no broker. `writing.py` starts it and talks to it; it ends when its input does.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple, cast

from taskledger import logs
from taskledger.errors import LedgerError
from taskledger.ledger import Ledger, open_ledger
from taskledger.ledger.prepare import Prepared, restored
from taskledger.ledger.record import Position, write
from taskledger.recorder import runtime
from taskledger.recorder.pipes import receive, send

#: a batch or an answer as a tuple of plain values
Plain = tuple[Any, ...]
#: how many values ask for a batch: its number and the position
_ASKED = 2
#: what became of a batch: what `write` says of it; the class of a LedgerError and what it says; or, with the same of
#: any other error, that it is to be tried without us
WRITTEN, AWAY, REFUSED = "written", "away", "refused"
#: seconds that a batch gets once the recorder is gone
LEAVE_S = 5.0
_STOPPING = ("SIGINT", "SIGTERM")


class Ahead(NamedTuple):
    """A batch that was sent, and the number under which it will be asked for."""

    number: int
    prepared: Prepared


def hand_over(pipe: BinaryIO, number: int, prepared: Prepared) -> None:
    """Send a batch ahead; it is not written before `ask` says so."""
    send(pipe, (number, *prepared.plain()))


def ask(pipe: BinaryIO, number: int, position: Position | None) -> None:
    """Have the batch of that number written, and nothing that was sent ahead before it."""
    send(pipe, (number, None if position is None else tuple(position)))


def serve() -> None:
    """Answer until the input ends: first (database URL, log level, log format), then batches again and again."""
    runtime.tune()
    for name in _STOPPING:
        # Ctrl-C and systemd signal the whole group: the recorder has something to finish yet, and closes the pipe then.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # What somebody prints must not come between the answers. Without a buffer, which would be written again at the end,
    # and complain, when the recorder was gone the first time.
    answers = cast("BinaryIO", os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_take_in, args=(requests,), daemon=True).start()
    first = requests.get()
    if first is not None:
        url, *how = first
        logs.set_up(*how)
        with open_ledger(url) as ledger, suppress(BrokenPipeError):
            _answer(ledger, requests, answers)


def _take_in(requests: "SimpleQueue[Any]") -> None:
    """Read until the recorder is gone; whatever is being written then gets a moment, however the database hangs.

    Batches are unpacked here, in the time in which the other thread waits for its database.
    """
    with suppress(EOFError, OSError, ValueError):
        requests.put(receive(sys.stdin.buffer))
        while True:
            requests.put(_made(receive(sys.stdin.buffer)))
    requests.put(None)
    time.sleep(LEAVE_S)
    os._exit(1)


def _made(values: Plain) -> Ahead | Plain:
    return Ahead(values[0], restored(values[1:])) if len(values) > _ASKED else values


def _answer(ledger: Ledger, requests: "SimpleQueue[Any]", answers: BinaryIO) -> None:
    ahead: list[Ahead] = []
    while (asked := requests.get()) is not None:
        if isinstance(asked, Ahead):
            ahead.append(asked)
            continue
        number, position = asked
        mine = next(one for one in ahead if one.number == number)
        ahead = [one for one in ahead if one.number > number]
        said = _written(ledger, mine.prepared, None if position is None else Position(*position))
        send(answers, (number, *said))


def _written(ledger: Ledger, prepared: Prepared, position: Position | None) -> Plain:
    try:
        recorded, told = write(ledger, prepared, position)
    except LedgerError as error:
        return AWAY, type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - The recorder tries it as well, and knows what to do about it.
        return REFUSED, type(error).__name__, str(error)
    return WRITTEN, tuple(recorded), told

"""The process that writes for a busy recorder: batches in, what became of them out, over its two pipes.

It knows one database and no broker. `writing.py` starts it and talks to it; it ends when its input does.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple, cast

from taskledger import bodies, logs
from taskledger.errors import LedgerError
from taskledger.events import Event, Malformed
from taskledger.ledger import Ledger, open_ledger
from taskledger.ledger.record import Batch, Position, record
from taskledger.recorder import runtime
from taskledger.recorder.pipes import receive, send

#: a batch, event, malformed input or answer as a tuple of plain values
Plain = tuple[Any, ...]
#: why a batch was not written: the class of a LedgerError and what it says; or that it is to be tried without us
AWAY, REFUSED = "away", "refused"
#: seconds that a batch gets once the recorder is gone
LEAVE_S = 5.0
_STOPPING = ("SIGINT", "SIGTERM")


class Items(NamedTuple):
    """What a batch consists of, made again of plain values."""

    number: int
    events: list[Event]
    malformed: list[Malformed]


def hand_over(pipe: BinaryIO, number: int, events: Sequence[Event], malformed: Sequence[Malformed]) -> None:
    """Send the items of a batch ahead, with their bodies compressed; they are not written before `ask` says so."""
    packed = iter(bodies.pack_all([event.body for event in events if event.packed is None]))
    plain = [
        (
            one.id,
            one.type,
            one.at,
            one.hostname,
            one.pid,
            one.clock,
            one.task_id,
            one.body,
            None,
            one.packed or next(packed),
            one.is_exact,
        )
        for one in events
    ]
    send(pipe, (number, plain, [tuple(item) for item in malformed]))


def ask(pipe: BinaryIO, number: int, batch: Batch) -> None:
    """Have the items of that number written, and nothing that was sent ahead before them."""
    position = None if batch.position is None else tuple(batch.position)
    send(pipe, (number, batch.cluster, batch.received_at, position))


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

    Events are made here, in the time in which the other thread waits for its database.
    """
    with suppress(EOFError, OSError, ValueError):
        requests.put(receive(sys.stdin.buffer))
        while True:
            requests.put(_made(receive(sys.stdin.buffer)))
    requests.put(None)
    time.sleep(LEAVE_S)
    os._exit(1)


def _made(values: Plain) -> Items | Plain:
    if len(values) != len(Items._fields):
        return values
    number, events, malformed = values
    return Items(number, [Event(*one) for one in events], [Malformed(*one) for one in malformed])


def _answer(ledger: Ledger, requests: "SimpleQueue[Any]", answers: BinaryIO) -> None:
    ahead: list[Items] = []
    while (asked := requests.get()) is not None:
        if isinstance(asked, Items):
            ahead.append(asked)
            continue
        number, cluster, received_at, position = asked
        mine = next(items for items in ahead if items.number == number)
        ahead = [items for items in ahead if items.number > number]
        at = None if position is None else Position(*position)
        batch = Batch(cluster, mine.events, mine.malformed, received_at, at)
        send(answers, _written(ledger, batch))


def _written(ledger: Ledger, batch: Batch) -> Plain:
    try:
        return tuple(record(ledger, batch))
    except LedgerError as error:
        return AWAY, type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - The recorder tries it as well, and knows what to do about it.
        return REFUSED, type(error).__name__, str(error)

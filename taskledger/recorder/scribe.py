"""The process that writes for a busy recorder: batches in, what became of them out, over its two pipes.

It knows one database and no broker. `writing.py` starts it and talks to it; it ends when its input does.
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple

from taskledger import bodies, logs
from taskledger.errors import LedgerError
from taskledger.events import Event, Malformed
from taskledger.ledger import Ledger, open_ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.prepare import Prepared, prepare, unknown_names, with_tasks
from taskledger.ledger.record import Batch, Position, Recorded, record
from taskledger.recorder import runtime
from taskledger.recorder.pipes import receive, send

log = logging.getLogger(__name__)

#: a batch, event, malformed input or answer as a tuple of plain values
Plain = tuple[Any, ...]
#: why a batch was not written: a LedgerError, with its class and what it says; or that it is to be tried without us; or
#: that the one before it was not
AWAY, REFUSED, SKIPPED = "away", "refused", "skipped"
_VALUES_OF_ITEMS = 5
#: seconds that a batch gets once the recorder is gone
LEAVE_S = 5.0
_STOPPING = ("SIGINT", "SIGTERM")


class Items(NamedTuple):
    """A batch that waits to be asked for, and what it comes to where that could be told beforehand."""

    number: int
    batch: Batch
    prepared: Prepared | None


def hand_over(pipe: BinaryIO, number: int, batch: Batch) -> None:
    """Send a batch ahead, with its bodies compressed; it is not written before `ask` says so."""
    packed = iter(bodies.pack_all([event.body for event in batch.events if event.packed is None]))
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
        )
        for one in batch.events
    ]
    malformed = [tuple(item) for item in batch.malformed]
    send(pipe, (number, batch.cluster, batch.received_at, plain, malformed))


def ask(pipe: BinaryIO, number: int, position: Position | None, *, after: int = 0) -> None:
    """Have the batch of that number written, and nothing that was sent ahead before it.

    With `after`, the number of another, only if that one was written.
    """
    send(pipe, (number, None if position is None else tuple(position), after))


def serve() -> None:
    """Answer until the input ends: first (database URL, log level, log format), then batches again and again."""
    runtime.tune()
    for name in _STOPPING:
        # Ctrl-C and systemd signal the whole group: the recorder has something to finish yet, and closes the pipe then.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # What somebody prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(EOFError, OSError, ValueError):
        url, *how = receive(sys.stdin.buffer)
        logs.set_up(*how)
        with open_ledger(url) as ledger, suppress(BrokenPipeError):
            requests: SimpleQueue[Any] = SimpleQueue()
            threading.Thread(target=_take_in, args=(ledger, requests), daemon=True).start()
            _answer(ledger, requests, answers)


def _take_in(ledger: Ledger, requests: "SimpleQueue[Any]") -> None:
    """Read until the recorder is gone; whatever is being written then gets a moment, however the database hangs.

    Batches are prepared here, in the time in which the other thread waits for its database.
    """
    with suppress(EOFError, OSError, ValueError):
        while True:
            requests.put(_made(ledger.labels, receive(sys.stdin.buffer)))
    requests.put(None)
    time.sleep(LEAVE_S)
    os._exit(1)


def _made(labels: Labels, values: Plain) -> Items | Plain:
    if len(values) != _VALUES_OF_ITEMS:
        return values
    number, cluster, received_at, plain, malformed = values
    events = [Event(*one) for one in plain]
    batch = Batch(cluster, events, [Malformed(*one) for one in malformed], received_at)
    return Items(number, batch, _prepared(labels, batch))


def _prepared(labels: Labels, batch: Batch) -> Prepared | None:
    """None where names are new, as their numbers are made by whoever writes, or where something is wrong with it."""
    try:
        if next(unknown_names(labels, batch.cluster, batch.events), None) is not None:
            return None
        return with_tasks(labels, prepare(labels, batch.cluster, batch.received_at, batch.events))
    except Exception as error:  # noqa: BLE001 - It is met again by whoever writes, who says so.
        log.debug("not prepared: %s", error, extra={"action": "not_prepared"})
        return None


def _answer(ledger: Ledger, requests: "SimpleQueue[Any]", answers: BinaryIO) -> None:
    ahead: list[Items] = []
    written = 0
    while (asked := requests.get()) is not None:
        if isinstance(asked, Items):
            ahead.append(asked)
            continue
        number, position, after = asked
        mine = next(items for items in ahead if items.number == number)
        ahead = [items for items in ahead if items.number > number]
        answer: Plain = (SKIPPED,)
        if not after or after == written:
            batch = mine.batch._replace(position=None if position is None else Position(*position))
            answer = _written(ledger, batch, mine.prepared)
        written = number if len(answer) == len(Recorded._fields) else 0
        send(answers, answer)


def _written(ledger: Ledger, batch: Batch, prepared: Prepared | None) -> Plain:
    try:
        return tuple(record(ledger, batch, prepared))
    except LedgerError as error:
        return AWAY, type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - The recorder tries it as well, and knows what to do about it.
        return REFUSED, type(error).__name__, str(error)

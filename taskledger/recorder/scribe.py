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
from typing import Any, BinaryIO

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


def request(batch: Batch) -> Plain:
    """What writing needs to know of a batch, with the bodies compressed."""
    events = batch.events
    packed = iter(bodies.pack_all([event.body for event in events if event.packed is None]))
    plain = [
        (
            event.id,
            event.type,
            event.at,
            event.hostname,
            event.pid,
            event.clock,
            event.task_id,
            event.body,
            None,
            event.packed or next(packed),
        )
        for event in events
    ]
    position = None if batch.position is None else tuple(batch.position)
    return batch.cluster, plain, [tuple(item) for item in batch.malformed], batch.received_at, position


def batch_of(
    cluster: str, events: Sequence[Plain], malformed: Sequence[Plain], at: int, position: Plain | None
) -> Batch:
    """What `request` made plain."""
    return Batch(
        cluster,
        [Event(*values) for values in events],
        [Malformed(*values) for values in malformed],
        at,
        None if position is None else Position(*position),
    )


def serve() -> None:
    """Answer until the input ends: first (database URL, log level, log format), then batches again and again."""
    runtime.tune()
    for name in _STOPPING:
        # Ctrl-C and systemd signal the whole group: the recorder has something to finish yet, and closes the pipe then.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # What somebody prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
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
    """Read until the recorder is gone; whatever is being written then gets a moment, however the database hangs."""
    try:
        while True:
            requests.put(receive(sys.stdin.buffer))
    except (EOFError, OSError, ValueError):
        requests.put(None)
    time.sleep(LEAVE_S)
    os._exit(1)


def _answer(ledger: Ledger, requests: "SimpleQueue[Any]", answers: BinaryIO) -> None:
    while (asked := requests.get()) is not None:
        send(answers, _written(ledger, batch_of(*asked)))


def _written(ledger: Ledger, batch: Batch) -> Plain:
    try:
        return tuple(record(ledger, batch))
    except LedgerError as error:
        return AWAY, type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001 - The recorder tries it as well, and knows what to do about it.
        return REFUSED, type(error).__name__, str(error)

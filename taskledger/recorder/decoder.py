"""The process that decodes for a busy recorder: messages in, events without their secrets out, over its two pipes.

It knows nothing of brokers and databases. `decoding.py` starts it and talks to it; it ends when its input does.
"""

import marshal
import os
import signal
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, BinaryIO

from taskledger import bodies
from taskledger.events import Event, Malformed
from taskledger.recorder import runtime
from taskledger.recorder.batch import read
from taskledger.recorder.redacting import Redactor
from taskledger.recorder.source import Delivery
from taskledger.redaction import Redaction, compiled
from taskledger.redaction_rules import parse_keys, parse_payloads, parse_values

#: An event or malformed input as a plain tuple: the first is longer, by which they are told apart.
Plain = tuple[Any, ...]
_LENGTH = struct.Struct("!Q")
#: bytes of an answer or request: whatever is longer was not written by us
MAX_BYTES = 2**31
_STOPPING = ("SIGINT", "SIGTERM")


def send(pipe: BinaryIO, value: Any) -> None:
    """Write one value of plain types."""
    # Both ends are the same program on the same Python, as marshal demands; it takes half the time of pickle, and it
    # makes plain values only, whatever it is given.
    data = marshal.dumps(value)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> Any:
    """The next value. Raises EOFError when the other side is gone, ValueError when something else wrote there."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("the other side of the pipe is gone")
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise ValueError(f"{head!r} is not the start of a value")
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError("the other side of the pipe is gone")
    return marshal.loads(data)  # noqa: S302 - from our own process, see send


def request(cluster: str, deliveries: Sequence[Delivery]) -> Plain:
    """What decoding needs of these messages, which are of one source."""
    messages = [
        (each.body, each.content_type, each.content_encoding, each.refused, each.is_enveloped) for each in deliveries
    ]
    return cluster, tuple(deliveries[0].accept) if deliveries else (), messages


def item(values: Plain) -> Event | Malformed:
    """What `_plain` made plain."""
    return Event(*values) if len(values) > len(Malformed._fields) else Malformed(*values)


def serve() -> None:
    """Answer until the input ends: first the rules of redaction as text, then (cluster, messages) again and again."""
    runtime.tune()
    for name in _STOPPING:
        # Ctrl-C and systemd signal the whole group: the recorder has something to finish yet, and closes the pipe then.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    # What somebody prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_take_in, args=(requests,), daemon=True).start()
    with suppress(BrokenPipeError):
        _answer(requests, answers)


def _take_in(requests: "SimpleQueue[Any]") -> None:
    """Always read: a recorder that waits until it can write, while we wait until we can, would wait for ever."""
    try:
        while True:
            requests.put(receive(sys.stdin.buffer))
    except EOFError:
        requests.put(None)


def _answer(requests: "SimpleQueue[Any]", answers: BinaryIO) -> None:
    first = requests.get()
    if first is None:
        return
    redaction = _compiled(*first)
    redactors: dict[str, Redactor] = {}
    while (asked := requests.get()) is not None:
        cluster, accept, messages = asked
        redactor = redactors.setdefault(cluster, Redactor(redaction))
        decode = partial(_read, frozenset(accept))
        send(answers, [[_plain(each) for each in redactor.redact(decode(message))] for message in messages])


def _compiled(keys: str, values: str, payloads: str) -> Redaction:
    return compiled(parse_keys(keys), parse_values(values), parse_payloads(payloads))


def _read(accept: frozenset[str], message: Plain) -> list[Event | Malformed]:
    body, content_type, content_encoding, refused, is_enveloped = message
    return read(Delivery(body, content_type, content_encoding, None, 0, refused, accept, is_enveloped))


def _plain(made: Event | Malformed) -> Plain:
    if isinstance(made, Event):
        said = made.id, made.type, made.at, made.hostname, made.pid, made.clock, made.task_id, made.body
        return *said, None, bodies.pack(made.body)
    return tuple(made)

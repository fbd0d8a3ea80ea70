"""Values of plain types through the pipe between a recorder and the process that writes for it."""

import marshal
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct("!Q")
#: bytes of one value: whatever is longer was not written by us
MAX_BYTES = 2**31


def send(pipe: BinaryIO, value: Any) -> None:
    """Write one value of plain types. Raises OSError when the other side is gone."""
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

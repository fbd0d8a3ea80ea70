"""What RabbitMQ delivers, read in bulk from the socket of py-amqp's connection: a tenth of the time of a frame a call.

AMQP 0-9-1, 2.3.5 and 4.2: a frame is type, channel, size, payload, end; a delivery is a method frame (Basic.Deliver),
a header frame and as many body frames as its size takes. Everything else is py-amqp's: it gets those frames whole, and
finds what was not read yet where it would have left it itself, in the buffer of its transport.
"""

from struct import Struct
from typing import Any, NamedTuple

from amqp.serialization import PROPERTY_CLASSES

METHOD, HEADER, BODY = 1, 2, 3
#: Basic.Deliver: class 60, method 60
DELIVER = b"\x00\x3c\x00\x3c"
BASIC = 60
FRAME_END = 0xCE
#: bytes taken from the socket at once
CHUNK_BYTES = 256 * 1024
#: different properties whose meaning is remembered: mostly there is one for each worker
MAX_KNOWN = 1_000

_FRAME = Struct(">BHI")
_TAG = Struct(">Q")
#: class, weight and size of the body, before the properties
_SIZE = Struct(">4xQ")


class Delivered(NamedTuple):
    """A message as it came."""

    body: bytes
    #: by py-amqp's names; the same object for each message that has the same
    properties: dict[str, Any]
    delivery_tag: int


class Frames:
    """The deliveries on one channel of a connection of py-amqp. For one thread only."""

    def __init__(self, connection: Any, channel: int) -> None:
        self._connection, self._channel = connection, channel
        self._known: dict[bytes, dict[str, Any]] = {}

    @staticmethod
    def can_read(connection: Any) -> bool:
        """Whether this py-amqp keeps what it has read and not used where we know it."""
        return isinstance(getattr(connection.transport, "_read_buffer", None), bytes)

    def read(self, timeout_s: float) -> list[Delivered]:
        """What is there; waits for more bytes at most `timeout_s`, and raises TimeoutError if there are none."""
        transport = self._connection.transport
        # py-amqp may have read more than it was waiting for.
        found = self._take(transport)
        if found:
            return found
        with transport.having_timeout(timeout_s):
            data = transport.sock.recv(CHUNK_BYTES)
        if not data:
            raise OSError("the server closed the connection")
        # py-amqp takes this for a sign of life.
        self._connection.bytes_recv += 1
        transport._read_buffer += data  # noqa: SLF001 - see can_read
        return self._take(transport)

    def _take(self, transport: Any) -> list[Delivered]:
        """Whole messages, and what is py-amqp's in between; the rest stays in the buffer."""
        found: list[Delivered] = []
        buffer, start = transport._read_buffer, 0  # noqa: SLF001 - as above
        while True:
            frame = _frame(buffer, start)
            if frame is None:
                break
            kind, channel, payload, end = frame
            if kind == METHOD and channel == self._channel and payload.startswith(DELIVER):
                message = self._message(buffer, payload, end)
                if message is None:
                    break
                delivered, start = message
                found.append(delivered)
            else:
                # It may read on by itself, as when it answers.
                transport._read_buffer = buffer[end:]  # noqa: SLF001 - as above
                self._connection.on_inbound_frame((kind, channel, payload))
                buffer, start = transport._read_buffer, 0  # noqa: SLF001 - as above
        transport._read_buffer = buffer[start:]  # noqa: SLF001 - as above
        return found

    def _message(self, buffer: bytes, method: bytes, start: int) -> tuple[Delivered, int] | None:
        """The message whose header begins there, and where it ends; None if it is not all there."""
        header = _frame(buffer, start)
        if header is None:
            return None
        _, _, payload, start = header
        (size,) = _SIZE.unpack_from(payload)
        pieces: list[bytes] = []
        while size > 0:
            piece = _frame(buffer, start)
            if piece is None:
                return None
            pieces.append(piece[2])
            size -= len(piece[2])
            start = piece[3]
        # Behind the consumer's tag, a short string.
        (number,) = _TAG.unpack_from(method, 5 + method[4])
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Delivered(body, self._properties(payload[_SIZE.size :]), number), start

    def _properties(self, data: bytes) -> dict[str, Any]:
        known = self._known.get(data)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[data] = PROPERTY_CLASSES[BASIC](data, 0)[0]
        return known


def _frame(buffer: bytes, start: int) -> tuple[int, int, bytes, int] | None:
    """(type, channel, payload, where the next one begins) of the frame that begins there; None if it is not whole."""
    if len(buffer) - start < _FRAME.size:
        return None
    kind, channel, size = _FRAME.unpack_from(buffer, start)
    begin = start + _FRAME.size
    end = begin + size
    if len(buffer) <= end:
        return None
    if buffer[end] != FRAME_END:
        raise OSError(f"a frame ends with {buffer[end]:#x} and not with {FRAME_END:#x}")
    return kind, channel, buffer[begin:end], end + 1

"""Deliveries read in bulk: however the bytes come, the same messages in the same order, and the rest is py-amqp's."""

from contextlib import contextmanager
from struct import pack
from typing import Any

import pytest
from amqp.basic_message import Message
from hypothesis import given
from hypothesis import strategies as st

from taskledger.recorder.amqp_frames import Delivered, Frames

CHANNEL = 3
PROPERTIES = {"content_type": "application/json", "application_headers": {"hostname": "w1@h"}, "delivery_mode": 1}


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def delivery(number: int, body: bytes, cut: int = 7, channel: int = CHANNEL, **properties: Any) -> bytes:
    """The frames of one message, with the body in pieces of `cut` bytes."""
    tag, exchange, key = b"\x05ctag1", b"\x08celeryev", b"\x0atask.multi"
    method = b"\x00\x3c\x00\x3c" + tag + pack(">Q", number) + b"\x00" + exchange + key
    header = pack(">HHQ", 60, 0, len(body)) + Message(b"", **(properties or PROPERTIES))._serialize_properties()
    pieces = [body[first : first + cut] for first in range(0, len(body), cut)]
    return b"".join([frame(1, channel, method), frame(2, channel, header), *(frame(3, channel, p) for p in pieces)])


HEARTBEAT = frame(8, 0, b"")


class Wire:
    """Stands for py-amqp's connection, its transport and its socket; the bytes come in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.transport = self.sock = self
        self.pieces = list(pieces)
        self.bytes_recv = 0
        self.others: list[tuple[int, int, bytes]] = []
        self._read_buffer = b""

    @contextmanager
    def having_timeout(self, timeout_s: float) -> Any:
        yield

    def recv(self, number: int) -> bytes:
        if not self.pieces:
            raise TimeoutError
        return self.pieces.pop(0)

    def on_inbound_frame(self, other: tuple[int, int, bytes]) -> None:
        self.others.append(other)


def read_all(wire: Wire) -> list[Delivered]:
    frames, found = Frames(wire, CHANNEL), []
    while wire.pieces:
        found += frames.read(0.1)
    return found


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=6), st.data())
def test_any_pieces(sent: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    """Wherever the bytes are cut, each message comes once, whole and in order, and other frames go to py-amqp."""
    stream = b"".join(delivery(n, body) + (HEARTBEAT if beats else b"") for n, (body, beats) in enumerate(sent))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))
    pieces = [stream[first:last] for first, last in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    wire = Wire(*[piece for piece in pieces if piece])

    assert [(each.delivery_tag, each.body) for each in read_all(wire)] == [
        (n, body) for n, (body, _) in enumerate(sent)
    ]
    assert len(wire.others) == sum(beats for _, beats in sent)
    assert wire._read_buffer == b""


def test_properties() -> None:
    """What is said of a message is read as py-amqp reads it, also when many say the same."""
    wire = Wire(delivery(1, b"{}") + delivery(2, b"{}") + delivery(3, b"x", content_type="text/plain"))

    found = [each.properties for each in read_all(wire)]

    assert found[:2] == [PROPERTIES, PROPERTIES]
    assert found[2] == {"content_type": "text/plain"}


def test_other_channels() -> None:
    """A delivery on another channel is not ours."""
    wire = Wire(delivery(1, b"", channel=CHANNEL + 1))

    assert read_all(wire) == []
    assert [kind for kind, *_ in wire.others] == [1, 2]


def test_left_by_py_amqp() -> None:
    """What py-amqp read while it waited for something else needs no new bytes; half a message waits for the rest."""
    wire, whole = Wire(), delivery(1, b"abc")
    frames = Frames(wire, CHANNEL)
    wire._read_buffer = whole + whole[:20]

    assert [each.body for each in frames.read(0.1)] == [b"abc"]
    with pytest.raises(TimeoutError):
        frames.read(0.1)
    wire.pieces.append(whole[20:])
    assert [each.body for each in frames.read(0.1)] == [b"abc"]


@pytest.mark.parametrize(("piece", "says"), [(b"", "closed"), (HEARTBEAT[:-1] + b"\x00", "ends with")])
def test_broken(piece: bytes, says: str) -> None:
    """A closed connection and a frame without its end are troubles of the connection, so it is opened again."""
    with pytest.raises(OSError, match=says):
        Frames(Wire(piece), CHANNEL).read(0.1)

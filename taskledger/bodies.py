"""How the body of an event lies in its row: compressed with a dictionary that knows how Celery's events are spelled."""

import threading
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import zstandard

from taskledger.errors import EventDamaged

#: canonical JSON as it is
PLAIN = 0
#: zstd with `events.zstd-dict`: that file must never change; a better dictionary is another codec
ZSTD = 1
#: a body is never larger than a message may be
MAX_BODY_BYTES = 64 * 1024 * 1024
#: bodies for which a call of their own each is quicker; zstd wants at least one
FEW = 8

_of_thread = threading.local()


def pack(body: bytes) -> tuple[int, bytes]:
    """(codec, bytes) to store for a body."""
    packed = _compressor().compress(body)
    return (ZSTD, packed) if len(packed) < len(body) else (PLAIN, body)


def pack_all(bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """As `pack`, for many: in one call, in which other threads can go on."""
    if len(bodies) < FEW:
        return [pack(body) for body in bodies]
    parts = _compressor().multi_compress_to_buffer(list(bodies), threads=0)
    packed = [parts[index].tobytes() for index in range(len(parts))]
    return [(ZSTD, data) if len(data) < len(body) else (PLAIN, body) for data, body in zip(packed, bodies, strict=True)]


def unpack(codec: int, data: bytes) -> bytes:
    """The body that was stored. Raises EventDamaged for a codec of a newer program, or damaged data."""
    if codec == PLAIN:
        return data
    if codec != ZSTD:
        raise EventDamaged(
            f"an event is stored with codec {codec}, which this program does not know: a newer one wrote it"
        )
    try:
        return _decompressor().decompress(data, max_output_size=MAX_BODY_BYTES)
    except zstandard.ZstdError as error:
        raise EventDamaged(f"the body of an event is damaged: {error}") from error


def unpack_all(packed: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """As `unpack`, for many in one call."""
    frames: list[Any] = [data for codec, data in packed if codec == ZSTD]
    if len(frames) < FEW or len(frames) < len(packed):
        return [unpack(codec, data) for codec, data in packed]
    try:
        parts = _decompressor().multi_decompress_to_buffer(frames, threads=0)
    except (zstandard.ZstdError, ValueError) as error:
        raise EventDamaged(f"the body of an event is damaged: {error}") from error
    return [parts[index].tobytes() for index in range(len(parts))]


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(resources.files("taskledger").joinpath("events.zstd-dict").read_bytes())


# Neither may be used by two threads at once.
def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_of_thread, "compressor"):
        _of_thread.compressor = zstandard.ZstdCompressor(
            level=3, dict_data=_dictionary(), write_checksum=False, write_dict_id=False
        )
    made: zstandard.ZstdCompressor = _of_thread.compressor
    return made


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_of_thread, "decompressor"):
        _of_thread.decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary())
    made: zstandard.ZstdDecompressor = _of_thread.decompressor
    return made

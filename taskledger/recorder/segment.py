"""The frames of a spool's file: how records lie in it, and how what is damaged is told from what is whole."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

#: begins each frame; no UTF-8 text has these bytes
MAGIC = b"\xf5\xfaTL"
#: magic, number of the record in its file, length of the record, checksum
_HEADER = struct.Struct("<4sIII")
_SUMMED = struct.Struct("<II")


class Damage(NamedTuple):
    """Records that cannot be read: how many (as far as that can be told, and at least one) in how many bytes."""

    records: int
    size: int


def frames(records: Iterable[bytes], first: int, seed: int) -> bytes:
    """These records as they lie in a file, numbered from `first`.

    `seed` is the file's own and secret, so that bytes somebody sent in an event never pass for a record.
    """
    framed = bytearray()
    for number, record in enumerate(records, first):
        framed += _HEADER.pack(MAGIC, number, len(record), _checksum(number, record, seed))
        framed += record
    return bytes(framed)


def framed_size(records: Sequence[bytes]) -> int:
    """Bytes that these records take in a file."""
    return sum(map(len, records)) + len(records) * _HEADER.size


def scan(content: bytes, seed: int) -> Iterator[bytes | Damage]:
    """Every whole record of a file, in order, and what is damaged in its place."""
    at = expected = 0
    while at < len(content):
        found = _next(content, at, seed)
        if found is None:
            # How many were begun is all that can be known of an end that is gone.
            yield Damage(max(1, content.count(MAGIC, at)), len(content) - at)
            return
        start, number, record = found
        if start > at or number != expected:
            yield Damage(max(1, number - expected), start - at)
        yield record
        at, expected = start + _HEADER.size + len(record), number + 1


def torn(content: bytes, seed: int) -> int:
    """How many bytes at the end belong to no whole record: what a crash left of a write."""
    last = 0
    for item in scan(content, seed):
        last = item.size if isinstance(item, Damage) else 0
    return last


def _next(content: bytes, at: int, seed: int) -> tuple[int, int, bytes] | None:
    """(start, number, record) of the first whole frame at or after that place."""
    while at >= 0:
        found = _frame(content, at, seed)
        if found is not None:
            return at, *found
        at = content.find(MAGIC, at + 1)
    return None


def _frame(content: bytes, at: int, seed: int) -> tuple[int, bytes] | None:
    if len(content) - at < _HEADER.size:
        return None
    magic, number, length, checksum = _HEADER.unpack_from(content, at)
    start = at + _HEADER.size
    if magic != MAGIC or length > len(content) - start:
        return None
    record = content[start : start + length]
    return (number, record) if checksum == _checksum(number, record, seed) else None


def _checksum(number: int, record: bytes, seed: int) -> int:
    return zlib.crc32(record, zlib.crc32(_SUMMED.pack(number, len(record)), seed))

"""A local, append-only queue of records on disk, for the time in which the database is away.

A folder holds numbered segments. Records are appended to the newest and synced before `append` returns; the oldest is
read whole, and deleted when all of it is in the ledger. What a crash repeats, the ledger knows by its identity.
"""

import errno
import logging
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import NamedTuple
from urllib.parse import quote

from taskledger.errors import TaskledgerError
from taskledger.recorder import lock
from taskledger.recorder.segment import Damage, framed_size, frames, scan, torn

log = logging.getLogger(__name__)

#: bytes after which the next segment is begun: what is read at once, and what is deleted at once
SEGMENT_BYTES = 4 * 1024 * 1024
#: seconds until a disk that refused is tried again
RETRY_S = 1.0
#: part of its bytes to which a full spool must shrink before it takes more: else it would be full and not full by turns
ROOM_AGAIN = 0.9
_NAME = re.compile(r"(\d{8})-([0-9a-f]{8})\.spool")


class SpoolFull(TaskledgerError):  # noqa: N818 - named by what happened, as those in errors.py
    """There is no room, or the disk refuses; what was to be appended is not in the spool."""


class Segment:
    """One file. Its seed is in its name, so that a damaged file still has it."""

    def __init__(self, path: Path, *, inherited: bool) -> None:
        found = _NAME.fullmatch(path.name)
        if found is None:
            raise ValueError(path.name)
        self.path = path
        self.number, self.seed = int(found[1]), int(found[2], 16)
        #: whether an earlier process wrote it
        self.inherited = inherited
        self.size = path.stat().st_size if inherited else 0
        self.records = 0

    def read(self) -> Iterator[bytes | Damage]:
        """Its records in order. What cannot be read is damage, not an error."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            log.error("cannot read %s: %s", self.path, error.strerror, extra={"action": "spool_damaged"})  # noqa: TRY400
            return iter([Damage(1, self.size)])
        return scan(content, self.seed)


class Cut(NamedTuple):
    """What was found torn at the start, and cut off."""

    segments: int = 0
    size: int = 0


class Spool:
    """The queue in one folder, which is locked as long as it is open. May be used from several threads."""

    def __init__(self, folder: Path, lock_file: int, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """`open_spool` makes one."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock_file = lock_file
        self._segment_bytes = segment_bytes
        self._segments = deque(_segments(folder))
        self._active: int | None = None
        self._mutex = RLock()
        self._retry_at_s: float | None = None
        #: the end of the last segment that a crash had left half written
        self.cut = self._cut_torn()

    @property
    def used_bytes(self) -> int:
        with self._mutex:
            return sum(segment.size for segment in self._segments)

    @property
    def is_empty(self) -> bool:
        return not self._segments

    def may_append(self) -> bool:
        """False for a while after it was full, or the disk refused."""
        if self._retry_at_s is None:
            return True
        return time.monotonic() >= self._retry_at_s and self.used_bytes <= self.max_bytes * ROOM_AGAIN

    def append(self, records: Sequence[bytes], first: Callable[[], Sequence[bytes]] = tuple) -> None:
        """All of these records are on the disk when it returns; none of them when it raises SpoolFull.

        `first` gives the records with which a new segment begins.
        """
        with self._mutex:
            segment = self._segments[-1] if self._active is not None else None
            if segment is None or segment.size >= self._segment_bytes:
                self._seal()
                records = [*first(), *records]
                segment = None
            if self.used_bytes + framed_size(records) > self.max_bytes:
                raise self._refuse(f"the spool holds its {self.max_bytes:,} bytes")
            try:
                segment = segment or self._start()
                self._write(segment, records)
            except OSError as error:
                self._roll_back()
                raise self._refuse(f"{self.folder}: {error.strerror}") from error
            self._retry_at_s = None

    def oldest(self) -> Segment | None:
        """The segment to read next; nothing is appended to it any more."""
        with self._mutex:
            if len(self._segments) == 1:
                self._seal()
            return self._segments[0] if self._segments else None

    def drop(self, segment: Segment) -> None:
        """All of it is in the ledger."""
        with self._mutex:
            self._segments.remove(segment)
            with suppress(OSError):  # What stays is read again by the next process, and known by its identity.
                segment.path.unlink()

    def close(self) -> None:
        with self._mutex:
            self._seal()
            lock.remove(self._lock_file, self.folder)

    def _start(self) -> Segment:
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self.folder / f"{number:08d}-{secrets.token_hex(4)}.spool"
        self._active = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._segments.append(Segment(path, inherited=False))
        _sync_folder(self.folder)
        return self._segments[-1]

    def _write(self, segment: Segment, records: Sequence[bytes]) -> None:
        if self._active is None:
            raise OSError(errno.EBADF, "the segment is closed")
        framed = memoryview(frames(records, segment.records, segment.seed))
        size = len(framed)
        while framed:
            framed = framed[os.write(self._active, framed) :]
        os.fsync(self._active)
        segment.size += size
        segment.records += len(records)

    def _roll_back(self) -> None:
        """Cut off what may be half written. After a failed sync its file is not trusted with any more."""
        if self._active is None:
            return
        segment = self._segments[-1]
        with suppress(OSError):  # Then the frame is damaged, which the reader finds.
            os.ftruncate(self._active, segment.size)
        self._seal()
        if not segment.size:
            self.drop(segment)

    def _seal(self) -> None:
        active, self._active = self._active, None
        if active is not None:
            with suppress(OSError):
                os.close(active)

    def _refuse(self, why: str) -> SpoolFull:
        if self._retry_at_s is None:
            log.error("events cannot be spooled: %s", why, extra={"action": "spool_full", "reason": why})
        self._retry_at_s = time.monotonic() + RETRY_S
        return SpoolFull(why)

    def _cut_torn(self) -> Cut:
        if not self._segments:
            return Cut()
        last = self._segments[-1]
        try:
            size = torn(last.path.read_bytes(), last.seed)
            if not size:
                return Cut()
            os.truncate(last.path, last.size - size)
        except OSError:
            return Cut()  # Reading it will say what is wrong.
        last.size -= size
        log.warning(
            "the spool in %s ended in the middle of a write: %d bytes cut off",
            self.folder,
            size,
            extra={"action": "spool_cut", "size": size},
        )
        return Cut(1, size)


def open_spool(root: Path, name: str, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> Spool:
    """The spool of that name: a folder below `root` that no other process uses, with all that others of the name left.

    Raises OSError when the folder cannot be made or written.
    """
    stem = quote(name, safe=" @~")[:200]
    number, taken = 0, None
    while taken is None:
        number += 1
        folder = root / (stem if number == 1 else f"{stem}+{number}")
        taken = lock.take(folder)
    for other in sorted(path for path in root.iterdir() if path != folder and _is_of(path.name, stem)):
        _adopt(other, folder)
    return Spool(folder, taken, max_bytes, segment_bytes)


def _is_of(name: str, stem: str) -> bool:
    """Names with a number behind them are those of recorders that ran at the same time."""
    return name == stem or (name.startswith(f"{stem}+") and name.removeprefix(f"{stem}+").isdecimal())


def _adopt(other: Path, folder: Path) -> None:
    """Take over the segments that a process left which runs no more."""
    taken = lock.take(other)
    if taken is None:
        return
    try:
        mine = _segments(folder)
        first = mine[-1].number + 1 if mine else 1
        for number, segment in enumerate(_segments(other), first):
            segment.path.rename(folder / f"{number:08d}-{segment.seed:08x}.spool")
    finally:
        lock.remove(taken, other)


def _segments(folder: Path) -> list[Segment]:
    return [Segment(path, inherited=True) for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name)]


def _sync_folder(folder: Path) -> None:
    """A new file survives a power cut only if its folder was synced; Windows has no such thing."""
    if os.name != "posix":
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""What is gathered and not in the ledger yet, in order: the oldest in the spool, if there is any there, then memory."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import islice
from threading import Condition
from typing import NamedTuple

from taskledger.recorder.batch import MAX_BATCH_BYTES, Gathered
from taskledger.recorder.replaying import Replaying
from taskledger.recorder.spool import Segment, Spool, SpoolFull
from taskledger.recorder.spooled import SAME_ARRIVAL, Work, records
from taskledger.recorder.standing import Standing
from taskledger.recorder.waiting import Reached

#: bytes of memory for what waits for the database
MAX_MEMORY_BYTES = 32 * 1024 * 1024
#: bytes of it from which on a broker that keeps events is kept waiting: about two batches, that the writer is not idle
AMPLE_BYTES = 8 * 1024 * 1024
#: seconds that work waits in memory before it is spooled: shorter outages do not touch the disk
PATIENCE_S = 3.0
#: seconds with one batch after which the database does not count as slow any more, but as away
HANGS_S = 6.0
#: seconds and bytes after which the next records are synced, while the database stays away
SYNC_EVERY_S, SYNC_BYTES = 0.1, 1024 * 1024
#: items of work in memory beyond which events give up what they say: that of the next few batches is soon read
READY = 3
#: bytes of work beside its events
MARK_BYTES = 200


class _Held(NamedTuple):
    work: Work
    size: int
    put_s: float


class Backlog:
    """Between the thread that gathers (`put`, `spill`) and the one that writes (`take`, then `written`).

    Work stays here until it is written; so what the writer has in hand and cannot write is spooled with the rest.
    """

    def __init__(
        self, spool: Spool | None, batch_size: int, max_bytes: int = MAX_MEMORY_BYTES, patience_s: float = PATIENCE_S
    ) -> None:
        self.spool = spool
        #: the writer says so: what it does fails
        self.is_stuck = False
        self._batch_size, self._max_bytes, self._patience_s = batch_size, max_bytes, patience_s
        self._memory: deque[_Held] = deque()
        self._bytes = 0
        self._was_full = False
        self._in_hand: tuple[Work, ...] = ()
        self._taken_s = 0.0
        self._segment: Segment | None = None
        self._replay: Iterator[Work] = iter(())
        self._standing = Standing()
        self._spooled = Standing()
        self._replaying = Replaying(self._standing, batch_size)
        self._changed = Condition()

    @property
    def events(self) -> int:
        """How many wait in memory."""
        with self._changed:
            return sum(held.work.number for held in self._memory if isinstance(held.work, Gathered))

    @property
    def memory_bytes(self) -> int:
        """Memory that these take, about."""
        return self._bytes

    @property
    def waited_s(self) -> float:
        """How long the oldest in memory has waited."""
        with self._changed:
            return time.monotonic() - self._memory[0].put_s if self._memory else 0.0

    @property
    def spooled_bytes(self) -> int:
        return 0 if self.spool is None else self.spool.used_bytes

    @property
    def damaged(self) -> int:
        """Records of the spool that could not be read."""
        return self._replaying.damaged

    def put(self, work: Work) -> None:
        """Never blocks and never refuses: ask `has_room` before."""
        with self._changed:
            if self._replaces_last(work):
                self._memory[-1] = self._memory[-1]._replace(work=work)
                return
            size = work.size if isinstance(work, Gathered) else MARK_BYTES
            if isinstance(work, Gathered) and len(self._memory) >= READY:
                work.forget()
            self._memory.append(_Held(work, size, time.monotonic()))
            self._bytes += size
            self._changed.notify()

    def has_room(self) -> bool:
        """Once full, there is room again when half is free: else it would be full and not full by turns."""
        with self._changed:
            self._was_full = self._bytes > (self._max_bytes // 2 if self._was_full else self._max_bytes)
            return not self._was_full

    @property
    def is_ample(self) -> bool:
        """Whether the writer has enough to do for now."""
        return self._bytes >= min(AMPLE_BYTES, self._max_bytes)

    @property
    def is_moving(self) -> bool:
        """Whether, for all that is known, work leaves memory: into the database, or else into the spool."""
        return not self.is_stuck or (self.spool is not None and self.spool.may_append())

    def take(self, timeout_s: float) -> Work | None:
        """The oldest work, small batches of one cluster as one; None when there was none in time."""
        with self._changed:
            work = self._next()
            if work is None:
                self._changed.wait(timeout_s)
                work = self._next()
            self._taken_s = time.monotonic()
            return work

    def upcoming(self) -> Gathered | None:
        """What will be taken after what the writer has in hand; None while more may come that goes with it."""
        with self._changed:
            begin = len(self._in_hand)
            if not begin or self._segment is not None:
                return None
            works = self._next_of_memory(begin)
            joined = reduce(_joined, works) if works else None
            is_whole = begin + len(works) < len(self._memory)
            if not isinstance(joined, Gathered) or not (is_whole or joined.number >= self._batch_size):
                return None
            return joined

    def written(self) -> None:
        """What was taken is in the ledger."""
        with self._changed:
            for work in self._in_hand:
                self._standing.follow(work)
                if self._memory and self._memory[0].work is work:
                    self._forget()
            self._in_hand = ()

    def discard(self, cluster: str) -> None:
        """Forget what the broker of that cluster will deliver again."""
        with self._changed:
            kept = deque(held for held in self._memory if not _is_redelivered(held.work, cluster))
            self._memory = kept
            self._bytes = sum(held.size for held in kept)

    def spill(self) -> list[Work]:
        """Move what has waited long enough into the spool; what is in it now, and so may be acknowledged."""
        with self._changed:
            return self._spill() if self._must_spill() else []

    def spill_rest(self, is_meant: Callable[[Work], bool]) -> None:
        """At the end: whatever is meant, at once. What is not is forgotten."""
        with self._changed:
            self._memory = deque(held for held in self._memory if is_meant(held.work))
            self._bytes = sum(held.size for held in self._memory)
            self._spill()

    def _next(self) -> Work | None:
        work = self._next_of_spool()
        if work is not None:
            self._in_hand = (work,)
            return work
        self._in_hand = self._next_of_memory()
        if not self._in_hand:
            return None
        return reduce(_joined, self._in_hand)

    def _next_of_spool(self) -> Work | None:
        while self.spool is not None:
            work = next(self._replay, None)
            if work is not None:
                return work
            if self._segment is not None:
                self.spool.drop(self._segment)
            self._segment = self.spool.oldest()
            if self._segment is None:
                self._replay = iter(self._replaying.end_inherited())
                return next(self._replay, None)
            self._replay = self._replaying.read(self._segment)
        return None

    def _next_of_memory(self, begin: int = 0) -> tuple[Work, ...]:
        """One piece of work, or several that make one batch, from that place on."""
        works: list[Work] = []
        number = size = 0
        for held in islice(self._memory, begin, None):
            number += held.work.number if isinstance(held.work, Gathered) else 0
            size += held.size
            is_more = number > self._batch_size or size > MAX_BATCH_BYTES
            if works and (is_more or not _follows(works[0], held.work)):
                break
            works.append(held.work)
        return tuple(works)

    def _must_spill(self) -> bool:
        if not self._memory or self.spool is None or not self.spool.may_append():
            return False
        is_away = self.is_stuck or self._is_hanging()
        goes_on = is_away and not self.spool.is_empty
        if self._bytes >= (SYNC_BYTES if goes_on else self._max_bytes // 2):
            return True
        # As long as the database is only slow, a broker that keeps its events is the better place for them.
        if not is_away and not any(isinstance(held.work, Gathered) and held.work.unkept for held in self._memory):
            return False
        patience_s = min(SYNC_EVERY_S, self._patience_s) if goes_on else self._patience_s
        return time.monotonic() - self._memory[0].put_s >= patience_s

    def _is_hanging(self) -> bool:
        """Whether the writer does not come back from the database: with a batch, or with what it says of itself."""
        return self._taken_s > 0 and time.monotonic() - self._taken_s >= HANGS_S

    def _spill(self) -> list[Work]:
        spilled: list[Work] = []
        if self.spool is None:
            return spilled
        if self.spool.is_empty:
            self._spooled = Standing(self._standing)
        try:
            while self._memory:
                spilled += self._spill_some(self.spool)
        except SpoolFull:
            pass  # It has told the log; the rest stays where it is.
        return spilled

    def _spill_some(self, spool: Spool) -> list[Work]:
        """About as much as is synced at once, or as a small spool can take."""
        enough = min(SYNC_BYTES, spool.max_bytes // 8)
        works: list[Work] = []
        packed: list[bytes] = []
        size = 0
        for held in self._memory:
            works.append(held.work)
            packed += records(held.work)
            size += held.size
            if size >= enough:
                break
        spool.append(packed, self._opening)
        for work in works:
            self._forget()
            self._spooled.follow(work)
        return works

    def _opening(self) -> list[bytes]:
        """What the first records of a segment say, so that it can be read without the one before."""
        return [record for continuing in self._spooled.values() for record in records(continuing)]

    def _forget(self) -> None:
        self._bytes -= self._memory.popleft().size

    def _replaces_last(self, work: Work) -> bool:
        """Of ticks that nobody has taken yet the last is enough."""
        last = self._memory[-1].work if self._memory else None
        if not isinstance(work, Reached) or not isinstance(last, Reached) or last.cluster != work.cluster:
            return False
        return not any(last is held for held in self._in_hand)


def _follows(first: Work, work: Work) -> bool:
    """Whether both may be written in one transaction."""
    if not isinstance(first, Gathered) or not isinstance(work, Gathered) or work.cluster != first.cluster:
        return False
    return work.received_at - first.received_from_at <= SAME_ARRIVAL


def _joined(first: Work, second: Work) -> Work:
    if isinstance(first, Gathered) and isinstance(second, Gathered):
        return first.followed_by(second)
    return second


def _is_redelivered(work: Work, cluster: str) -> bool:
    return isinstance(work, Gathered | Reached) and work.cluster == cluster

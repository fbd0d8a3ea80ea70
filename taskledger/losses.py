"""What a worker's own counts say is missing: its heartbeats tell how many tasks it began and ended, whoever listened.

A heartbeat carries `processed`, the tasks that its process ever accepted, and `active`, those of them that have not
ended (celery/worker/heartbeat.py, celery/worker/state.py). `processed` rises just before `task-started` is sent, and
`active` falls just before the event of the end is. So between two heartbeats of one life the rise of `processed` is the
number of starts, and the rise of `processed - active` that of ends; what was recorded is compared with that.

The pool `threads` sends from several threads at once, so a heartbeat may count a start that is told a moment later.
What differs for one heartbeat only is therefore no loss: a loss stays.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from statistics import median_low
from typing import NamedTuple

#: signs that must follow one before it is counted, and as many before it: what most of them say is taken to be so
FOLLOWING = 2


class Sign(NamedTuple):
    """What one worker event says of its process: online, heartbeat or offline; `at` on the worker's own clock."""

    at: int
    pid: int
    processed: int
    active: int

    @property
    def ended(self) -> int:
        """Tasks that the process has begun and ended."""
        return self.processed - self.active


class Counted(NamedTuple):
    """How far one life of a worker is counted: its last settled sign, and what is missing of it up to there."""

    at: int
    pid: int
    processed: int
    ended: int
    starts_missing: int = 0
    ends_missing: int = 0


class Missing(NamedTuple):
    """Starts and ends that a worker counted between two of its signs and that nobody recorded.

    A negative number: that many of those found missing before have been recorded since.
    """

    from_at: int
    to_at: int
    starts: int
    ends: int


class Count(NamedTuple):
    """What counting came to: how far, what is missing, and whether that life of the worker is over."""

    counted: Counted
    missing: tuple[Missing, ...]


def begin(sign: Sign) -> Counted:
    """Where counting begins: with the first that was heard of a process; what it did before nobody promised."""
    return Counted(sign.at, sign.pid, sign.processed, sign.ended)


def lives(signs: Iterable[Sign]) -> list[list[Sign]]:
    """The signs of one node, one list a life of its process, as far as it can be told.

    Containers restart under the same pid, but the count of one process never falls. A second worker-online says
    nothing: a worker sends it again when it has its broker back.
    """
    found: list[list[Sign]] = []
    for sign in sorted(signs):
        if not found or begins_anew(found[-1][-1], sign):
            found.append([])
        found[-1].append(sign)
    return found


def begins_anew(before: Sign | Counted, sign: Sign) -> bool:
    """Whether a sign is of another process than the one before it."""
    return sign.pid != before.pid or sign.processed < before.processed


def count(last: Counted, signs: Sequence[Sign], starts: Sequence[int], ends: Sequence[int], *, is_over: bool) -> Count:
    """Count one life on from its last settled sign.

    `signs` are those after it, of that life alone, in order; `starts` and `ends` the times of all that was recorded of
    the node after it, in order. `is_over`: no more will come, so the last signs are settled as well.
    """
    settled = len(signs) if is_over else max(0, len(signs) - FOLLOWING)
    if not settled:
        return Count(last, ())
    begun = [sign.processed - last.processed - _up_to(starts, last.at, sign.at) for sign in signs]
    ended = [sign.ended - last.ended - _up_to(ends, last.at, sign.at) for sign in signs]
    levels = list(
        zip(
            _levels(last.starts_missing, begun, settled, is_over=is_over),
            _levels(last.ends_missing, ended, settled, is_over=is_over),
            strict=True,
        )
    )
    final = signs[settled - 1]
    counted = Counted(final.at, final.pid, final.processed, final.ended, *levels[-1])
    known = [(last.starts_missing, last.ends_missing), *levels]
    ats = [last.at, *(sign.at for sign in signs[:settled])]
    missing = tuple(
        Missing(from_at, to_at, now[0] - then[0], now[1] - then[1])
        for (from_at, to_at), (then, now) in zip(pairwise(ats), pairwise(known), strict=True)
        if now != then
    )
    return Count(counted, missing)


def _up_to(moments: Sequence[int], from_at: int, to_at: int) -> int:
    return bisect_right(moments, to_at) - bisect_right(moments, from_at)


def _levels(before: int, rises: Sequence[int], settled: int, *, is_over: bool) -> list[int]:
    """How many are missing in all at each settled sign, without what differs for a moment only."""
    raw = [before + rise for rise in rises]
    padded = [*[before] * FOLLOWING, *raw]
    smooth = [median_low(padded[n : n + 2 * FOLLOWING + 1]) for n in range(len(raw))]
    if is_over:
        # Nothing follows the last ones: they are taken at their word.
        smooth[-FOLLOWING:] = raw[-FOLLOWING:]
    # What is missing at one moment is missing ever after.
    return list(accumulate(reversed(smooth[:settled]), min))[::-1]

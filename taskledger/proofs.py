"""Runs that nobody heard, proven by what beat remembers: the run before a later one, and its counters."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from taskledger.ticks import Anchor, Count, Facts, Fire, Scope, Tick, early_of, is_covered, ticks

#: how a proven run is known; its `Fire.source`
BY_LATER_FIRE = "prev_run"
BY_COUNTER = "counter"


def tolerance_of(facts: Facts, scope: Scope) -> int:
    """Microseconds by which beat's memory of a run and the news of it may differ."""
    return min((early_of(version.definition, scope.early_s) for version in facts.versions), default=0)


def proven(facts: Facts, tolerance: int) -> list[Fire]:
    """The runs that beat remembers and that are not among the fires, earliest first."""
    times = sorted(fire.at for fire in facts.fires)
    found: list[Fire] = []
    # Of the same run a later fire is the better witness: a counter counts what could not be sent as well.
    for run in (*_by_later_fires(facts.fires), *_by_counters(facts.counts)):
        if not _is_near(times, run.at, tolerance):
            insort(times, run.at)
            found.append(run)
    return sorted(found, key=lambda run: run.at)


def share_out(slots: Sequence[Tick], runs: Sequence[Fire]) -> None:
    """Give each proven run to the tick whose window holds it."""
    starts = [tick.starts_at for tick in slots]
    for run in runs:
        place = bisect_right(starts, run.at) - 1
        if place >= 0 and run.at < slots[place].closes_at and slots[place].enabled:
            slots[place].proven.append(run)


def mark_counted(slots: Sequence[Tick], facts: Facts, scope: Scope, runs: Sequence[Fire], tolerance: int) -> None:
    """Mark the ticks without a fire between two readings of a counter that counted, unheard, one run for each at least.

    When there are fewer such runs than ticks, nobody can tell which of them they were for, and none is marked.
    """
    for before, after in pairwise(sorted(facts.counts, key=_by_time)):
        silent = [tick for tick in _between(slots, before, after) if not tick.fires]
        if silent and _silent(facts, scope, before, runs, after) <= _unheard(facts, before, after, tolerance):
            for tick in silent:
                tick.is_counted = True


def _silent(facts: Facts, scope: Scope, before: Count, runs: Sequence[Fire], after: Count) -> int:
    """How many ticks without a fire there were from one reading's last run to the other's, in the scope or not."""
    from_at, to_at = (before.last_run_at or 0) + 1, (after.last_run_at or 0) + 1
    whole = replace(scope, from_at=from_at, to_at=to_at, anchor=Anchor(from_at - 1, is_fire=True))
    times = sorted(fire.at for fire in facts.fires)
    found = _between(ticks(facts, whole, runs), before, after)
    return sum(bisect_left(times, tick.starts_at) == bisect_left(times, tick.closes_at) for tick in found)


def _by_later_fires(fires: Sequence[Fire]) -> Iterator[Fire]:
    """What the fires say of the run before them.

    A beat without a memory takes the moment it began for the last run, with a count of 0 (celery/beat.py,
    ScheduleEntry.__init__): only a count that went on since the fire before, or has any run, is about a run.
    """
    seen: dict[str | None, Fire] = {}
    for fire in sorted(fires, key=lambda fire: (fire.at, fire.run_count or 0)):
        before = seen.get(fire.beat_id)
        seen[fire.beat_id] = fire
        if fire.prev_run_at is None or not fire.run_count or fire.prev_run_at >= fire.at:
            continue
        counted = 0 if before is None or before.run_count is None else before.run_count + 1
        # A smaller count than the fire before had is one that began anew.
        if fire.run_count > counted or fire.run_count < counted - 1:
            yield Fire(fire.prev_run_at, None, BY_LATER_FIRE, fire.beat_id)


def _by_counters(counts: Sequence[Count]) -> Iterator[Fire]:
    """The last run of each reading; a counter that stands still proves none, whatever was done to its time.

    One that went back began anew (a one-off entry, django_celery_beat/schedulers.py): its last run is one all the same.
    """
    before: Count | None = None
    for count in sorted(counts, key=_by_time):
        is_new = before is None or count.run_count != before.run_count
        if count.run_count and count.last_run_at is not None and count.last_run_at <= count.at and is_new:
            yield Fire(count.last_run_at, None, BY_COUNTER)
        before = count


def _by_time(count: Count) -> tuple[int, int, int]:
    return count.at, count.run_count, count.last_run_at or 0


def _between(slots: Sequence[Tick], before: Count, after: Count) -> Iterator[Tick]:
    from_at, to_at = before.last_run_at, after.last_run_at
    if from_at is not None and to_at is not None:
        yield from (tick for tick in slots if tick.enabled and from_at < tick.starts_at <= to_at)


def _unheard(facts: Facts, before: Count, after: Count, tolerance: int) -> int:
    """Runs counted after one reading's last run up to the other's, less the fires heard; 0 where that is no proof."""
    from_at, to_at = before.last_run_at, after.last_run_at
    if from_at is None or to_at is None or not is_covered(facts.coverage, from_at - tolerance, to_at + tolerance):
        return 0
    heard = [fire for fire in facts.fires if from_at - tolerance < fire.at <= to_at + tolerance]
    if len({fire.beat_id for fire in heard}) > 1:
        # Two beats overwrite each other's counts.
        return 0
    of_before = any(fire.at <= from_at + tolerance for fire in heard)
    return after.run_count - before.run_count - len(heard) + of_before


def _is_near(times: Sequence[int], at: int, tolerance: int) -> bool:
    place = bisect_left(times, at - tolerance)
    return place < len(times) and times[place] <= at + tolerance

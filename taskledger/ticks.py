"""The due times of a schedule entry, each with the window in which a fire counts for it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise

from taskledger import crontabs
from taskledger.crontabs import SECOND, Crontab, Due
from taskledger.schedules import Clocked, Definition, Interval, Unverifiable, step

#: seconds after its due time in which a crontab's fire is on time
CRONTAB_GRACE_S = 60.0
#: seconds before its due time in which a fire already counts: clocks differ, and beat wakes 10 ms early
EARLY_S = 2.0
#: microseconds between two announcements of one and the same due time, at most
ANNOUNCED_WITHIN = SECOND
#: due times that are looked at in one go, at most
MOST_TICKS = 5_000
#: later than every moment
NEVER_AT = 2**62

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Version:
    """A definition while it was in force: from_at <= t < to_at; to_at None if it still is.

    `last_run_at` is beat's own memory of the fire before, where that is known. Nothing is due before `starts_at`, at
    `expires_at` or later, or, if `one_off`, after the first fire (django_celery_beat/schedulers.py, ModelEntry.is_due).
    """

    from_at: int
    to_at: int | None
    definition: Definition
    enabled: bool = True
    last_run_at: int | None = None
    starts_at: int | None = None
    expires_at: int | None = None
    one_off: bool = False

    @property
    def end_at(self) -> int:
        return NEVER_AT if self.to_at is None else self.to_at

    @property
    def opens_at(self) -> int:
        """From when on something may be due."""
        return self.from_at if self.starts_at is None else max(self.from_at, self.starts_at)

    @property
    def closes_at(self) -> int:
        """From when on nothing is due any more."""
        return self.end_at if self.expires_at is None else min(self.end_at, self.expires_at)

    def is_followed_by(self, later: "Version") -> bool:
        """Whether the next version changed nothing that decides when the entry is due."""
        return self.to_at == later.from_at and later == replace(self, from_at=later.from_at, to_at=later.to_at)


@dataclass(frozen=True, slots=True)
class Fire:
    """One attempt of beat to send an entry; a failed one if `error` is set. `source`: probe, task-sent, worker only."""

    at: int
    task_id: str | None
    source: str
    #: which beat process, where known
    beat_id: str | None = None
    #: the due time that beat itself had in mind, where known
    due_at: int | None = None
    error: str | None = None
    #: beat's memory of the run before this one, and how many it had counted by then: this one is not among them
    prev_run_at: int | None = None
    run_count: int | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """An entry's counter as it was read at a moment from where beat keeps it: so many runs, the last at last_run_at.

    Beat counts a run before it sends it, so one that fails to be sent is counted as well (celery/beat.py, reserve).
    """

    at: int
    last_run_at: int | None
    run_count: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an interval is counted from: a fire, or a due time without one; not sure when nobody was listening then.

    `is_fire` tells the one from the other where it matters: after its fire nothing more of a one-off entry is due.
    """

    at: int
    is_sure: bool = True
    is_fire: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one entry: its versions, its fires, and when a recorder was listening (merged spans).

    `explicit_dues`: due times that beat announced, for what is Unverifiable otherwise. `counts`: the entry's counter,
    known up to `counted_until_at` (None: nobody reads it). `hears_sends`: a send would have been heard from beat
    itself; where only workers tell of tasks, a run without a task may as well wait in a queue.
    """

    versions: Sequence[Version]
    fires: Sequence[Fire]
    coverage: Spans
    explicit_dues: Sequence[int] = ()
    counts: Sequence[Count] = ()
    counted_until_at: int | None = None
    hears_sends: bool = True


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked: the due times of from_at <= due < to_at as they stand at now_at.

    `grace_s` None: 60 s, for short intervals half of them. `anchor`: what an interval is counted from at from_at.
    """

    from_at: int
    to_at: int
    now_at: int
    grace_s: float | None = None
    early_s: float = EARLY_S
    anchor: Anchor | None = None
    limit: int = MOST_TICKS


@dataclass(slots=True)
class Tick:
    """A due time with its window: opens_at - early <= fire < closes_at."""

    due_at: int
    opens_at: int
    closes_at: int
    grace: int
    early: int
    enabled: bool
    is_optional: bool = False
    flag: str | None = None
    #: False where an earlier fire that nobody could hear would have been the last of a one-off entry
    is_sure: bool = True
    fires: list[Fire] = field(default_factory=list)
    #: runs that nobody heard, but beat remembers
    proven: list[Fire] = field(default_factory=list)
    #: beat counted a run for it that nobody heard; when is not known
    is_counted: bool = False

    @property
    def starts_at(self) -> int:
        return self.opens_at - self.early


def ticks(facts: Facts, scope: Scope, proven: Iterable[Fire] = ()) -> list[Tick]:
    """The due times by the versions in force, earliest first; each window ends where the next one begins.

    `proven`: runs that nobody heard (proofs.py); an interval is counted from them as well.
    """
    times = sorted(fire.at for fire in (*facts.fires, *proven))
    dues = _announced(facts.explicit_dues)
    found: list[Tick] = []
    for version in _joined(facts.versions):
        more = _of_version(_Rules(version, scope, times, facts.coverage, dues), found)
        found += islice(more, scope.limit - len(found))
    found.sort(key=lambda tick: tick.due_at)
    for tick, following in pairwise(found):
        tick.closes_at = min(tick.closes_at, max(following.starts_at, tick.starts_at + 1))
    return found


def grace_of(definition: Definition, grace_s: float | None = None) -> int:
    """Microseconds: 60 s, for intervals half of them if that is shorter, but 2 s at least."""
    if grace_s is None:
        grace_s = CRONTAB_GRACE_S
        if isinstance(definition, Interval):
            grace_s = max(2.0, min(grace_s, definition.every_s / 2))
    return round(grace_s * SECOND)


def early_of(definition: Definition, early_s: float = EARLY_S) -> int:
    """Microseconds: 2 s, at most a quarter of an interval."""
    if isinstance(definition, Interval):
        early_s = min(early_s, definition.every_s / 4)
    return round(early_s * SECOND)


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without overlaps, earliest first."""
    whole: list[tuple[int, int]] = []
    for from_at, to_at in sorted(spans):
        if whole and from_at <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], to_at))
        elif from_at < to_at:
            whole.append((from_at, to_at))
    return whole


def is_covered(coverage: Spans, from_at: int, to_at: int) -> bool:
    """Whether one of the merged spans holds all of from_at to to_at."""
    place = bisect_right(coverage, (from_at, NEVER_AT)) - 1
    return place >= 0 and to_at <= coverage[place][1]


@dataclass(frozen=True, slots=True)
class _Rules:
    """A version, and what holds for the due times of it."""

    version: Version
    scope: Scope
    times: Sequence[int]
    coverage: Spans
    explicit_dues: Sequence[Due]

    @property
    def from_at(self) -> int:
        return max(self.scope.from_at, self.version.opens_at)

    @property
    def to_at(self) -> int:
        return min(self.scope.to_at, self.version.closes_at)

    @property
    def grace(self) -> int:
        return grace_of(self.version.definition, self.scope.grace_s)

    @property
    def early(self) -> int:
        return early_of(self.version.definition, self.scope.early_s)

    def tick(self, due_at: int, opens_at: int, closes_at: int, flag: str | None) -> Tick:
        return Tick(due_at, opens_at, closes_at, self.grace, self.early, self.version.enabled, flag=flag)

    def first_fire(self, from_at: int, before_at: int) -> int | None:
        place = bisect_left(self.times, from_at)
        return self.times[place] if place < len(self.times) and self.times[place] < before_at else None


def _joined(versions: Iterable[Version]) -> list[Version]:
    """The versions, earliest first; one that only changed what is sent goes on with the one before."""
    joined: list[Version] = []
    for version in sorted(versions, key=lambda version: version.from_at):
        if joined and joined[-1].is_followed_by(version):
            joined[-1] = replace(joined[-1], to_at=version.to_at)
        else:
            joined.append(version)
    return joined


def _announced(explicit_dues: Iterable[int]) -> list[Due]:
    """What beat announced; it reckons anew each time, so the same due time comes with a slightly other fraction."""
    dues: list[Due] = []
    for at in sorted(explicit_dues):
        if not dues or at - dues[-1].at > ANNOUNCED_WITHIN:
            dues.append(Due(at, at))
    return dues


def _of_version(rules: _Rules, earlier: Sequence[Tick]) -> Iterator[Tick]:
    if rules.from_at >= rules.to_at:
        return iter(())
    match rules.version.definition:
        case Interval() as interval:
            # A disabled interval promises no moment: it is counted from a fire.
            anchor = _anchor(rules, earlier)
            found = _of_interval(rules, interval, anchor) if rules.version.enabled else iter(())
        case Crontab() as crontab:
            found = _of_dues(rules, crontabs.dues_from(crontab, rules.from_at))
        case Clocked(at):
            found = _of_dues(rules, iter((Due(at, at),)))
        case Unverifiable():
            found = _of_dues(rules, iter(rules.explicit_dues))
    return _once(rules, found) if rules.version.one_off else found


def _of_dues(rules: _Rules, dues: Iterator[Due]) -> Iterator[Tick]:
    """Each window ends where the next opens; the last one of a version with it, but not before its grace is over."""
    for due, following in pairwise(chain((due for due in dues if due.at >= rules.from_at), (None,))):
        if due is None or due.at >= rules.to_at:
            return
        opens_next = NEVER_AT if following is None else following.opens_at - rules.early
        closes_at = min(opens_next, max(rules.version.closes_at, due.at + rules.grace))
        tick = rules.tick(due.at, due.opens_at, closes_at, due.flag)
        tick.is_optional = due.is_optional
        yield tick


def _once(rules: _Rules, found: Iterator[Tick]) -> Iterator[Tick]:
    """The due times up to the first fire, a failed one too: beat counts it (django_celery_beat/schedulers.py)."""
    anchor = rules.scope.anchor
    if anchor is not None and anchor.is_fire and anchor.at >= rules.version.from_at - rules.early:
        return
    if rules.first_fire(rules.version.from_at, rules.from_at - rules.early) is not None:
        return
    is_sure = True
    for tick in found:
        tick.is_sure = is_sure
        yield tick
        if rules.first_fire(tick.starts_at, tick.closes_at) is not None:
            return
        is_sure = is_sure and is_covered(rules.coverage, tick.starts_at, tick.closes_at)


def _of_interval(rules: _Rules, interval: Interval, anchor: Anchor | None) -> Iterator[Tick]:
    """A chain: each due time follows from the fire before it, or from the due time at which none came."""
    if anchor is None:
        # Nobody knows when it is due first: within one interval, and whenever that is, the chain hangs on it.
        anchor = Anchor(rules.from_at, is_sure=False)
        latest_at = step(interval, anchor.at).last_at + rules.grace
        fired_at = rules.first_fire(rules.from_at - rules.early, min(latest_at + 1, rules.to_at))
        if fired_at is not None:
            yield _anchor_tick(rules, interval, fired_at)
            anchor = Anchor(fired_at)
    while True:
        tick, anchor = _link(rules, interval, anchor)
        if tick.due_at >= rules.to_at:
            return
        if tick.due_at >= rules.from_at:
            yield tick


def _link(rules: _Rules, interval: Interval, anchor: Anchor) -> tuple[Tick, Anchor]:
    """The next due time, and what the one after it is counted from."""
    due = step(interval, anchor.at).not_before(rules.version.opens_at)
    starts_at, unseen_closes_at = due.first_at - rules.early, step(interval, due.last_at).first_at - rules.early
    fired_at = rules.first_fire(starts_at, unseen_closes_at)
    if fired_at is None:
        is_sure = anchor.is_sure and is_covered(rules.coverage, starts_at, unseen_closes_at)
        return rules.tick(due.last_at, due.first_at, unseen_closes_at, None), Anchor(due.last_at, is_sure)
    if not anchor.is_sure:
        return _anchor_tick(rules, interval, fired_at), Anchor(fired_at)
    due_at = due.first_at if fired_at < due.last_at - rules.early else due.last_at
    closes_at = max(step(interval, fired_at).first_at - rules.early, fired_at + 1)
    return rules.tick(due_at, due.first_at, closes_at, due.flag(due_at)), Anchor(fired_at)


def _anchor_tick(rules: _Rules, interval: Interval, fired_at: int) -> Tick:
    closes_at = step(interval, fired_at).first_at - rules.early
    return rules.tick(fired_at, fired_at, closes_at, "anchor")


def _anchor(rules: _Rules, earlier: Sequence[Tick]) -> Anchor | None:
    """What the first due time of a version is counted from: beat keeps its memory of the last fire through an edit."""
    if earlier:
        for tick in reversed(earlier):
            # What was missed by the rule before does not count: beat reckons from its last run, by the new rule.
            fired_at = rules.first_fire(tick.starts_at, tick.closes_at)
            if fired_at is not None:
                return Anchor(fired_at, is_sure=is_covered(rules.coverage, fired_at, rules.from_at))
        return Anchor(earlier[-1].due_at)
    if rules.scope.anchor is not None:
        return rules.scope.anchor
    if rules.version.last_run_at is not None:
        return Anchor(rules.version.last_run_at)
    place = bisect_left(rules.times, rules.from_at - rules.early) - 1
    return Anchor(rules.times[place]) if place >= 0 else None

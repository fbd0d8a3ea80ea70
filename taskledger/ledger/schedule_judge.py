"""Judge entries of the ledger: gather what is known of them all, and hold each against what was promised."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schema
from taskledger.ledger.beat_entries import PROBE
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_known import Beats, Known
from taskledger.ledger.schedule_notes import Background, explained
from taskledger.schedules import Interval, Unverifiable
from taskledger.ticks import NEVER_AT, Anchor, Count, Facts, Fire, Scope, Spans, Version, ticks
from taskledger.verdicts import Extra, Verdict, judge

#: the mark that pruning leaves: tasks from before it may be gone
TASKS_PRUNED = "tasks_pruned_at"
#: moments at which other entries were sent that are looked at, at most
MOST_OTHERS = 5_000
MINUTE, HOUR = 60_000_000, 3_600_000_000
#: looks at how the newest send is known in one go; more are made by the hour
MOST_LOOKS = 50


@dataclass(frozen=True, slots=True)
class Cluster:
    """The entries of one cluster, with who listened to it, and its beat processes that have the probe."""

    id: int
    entries: Sequence[Known]
    heard: Heard
    beats: Beats

    @property
    def probed_coverage(self) -> Spans:
        """When somebody listened, less the times of which news of the probe was lost."""
        return without(self.heard.spans, self.beats.holes)


@dataclass(slots=True)
class Gathered:
    """What verdicts on some entries of a cluster rest on."""

    connection: Connection
    cluster: Cluster
    scopes: Mapping[int, Scope]
    rivals: Mapping[int, Sequence[Known]]
    fires: Mapping[int, Sequence[Fire]]
    reached: Mapping[int, int]
    dues: Mapping[int, Sequence[int]]
    counts: Mapping[int, Sequence[Count]]
    counted_until_at: int | None
    recent: Mapping[int, Sequence[Fire]]
    pruned_at: int
    probed_coverage: Spans
    #: what was sent after this moment is not to be seen
    until_at: int = NEVER_AT
    _evidence: dict[int, str | None] = field(default_factory=dict)
    _others: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def scope(self, entry: Known) -> Scope:
        """What is asked of an entry; what is due after the last of too many fires waits for the next time."""
        scope, reached_at = self.scopes[entry.id], self.reached.get(entry.id)
        scope = replace(scope, grace_s=entry.settings.grace_s)
        return scope if reached_at is None else replace(scope, to_at=reached_at, now_at=reached_at)

    def fires_of(self, entry: Known) -> list[Fire]:
        """Where the probe speaks, what only looks like a send is none."""
        mine = {
            (fire.task_id, fire.at if fire.task_id is None else 0): fire
            for fire in (*self.recent.get(entry.id, ()), *self.fires.get(entry.id, ()))
        }
        return sorted([fire for fire in mine.values() if self._counts(entry, fire)], key=_at)

    def counts_of(self, entry: Known) -> Sequence[Count]:
        """Where the probe speaks, beat's counters have nothing to add: it tells of failures as well."""
        return () if entry.latest.source == PROBE else self.counts.get(entry.id, ())

    def coverage(self, entry: Known) -> Spans:
        is_probed = any(version.source == PROBE for version in entry.versions)
        return self.probed_coverage if is_probed else self.cluster.heard.spans

    def evidence(self, before_at: int) -> str | None:
        """How the newest send of any entry before about that moment is known; None without any."""
        before_at = min(before_at, self.until_at + 1)
        if any(life.first_at <= before_at <= life.over_at for life in self.cluster.beats.lives):
            return PROBE
        key = before_at // (MINUTE if len(self._evidence) < MOST_LOOKS else HOUR)
        if key not in self._evidence:
            sends = facts.last_sends(self.connection, self.cluster.id, before_at)
            sends += [fire for mine in self.recent.values() for fire in mine if fire.at < before_at]
            self._evidence[key] = max(sends, key=_at).source if sends else None
        return self._evidence[key]

    def others_sent(self, entry: Known, from_at: int, to_at: int) -> bool | None:
        """Whether another entry was sent in a stretch; None if there is too much to tell."""
        hour = from_at // HOUR
        if hour not in self._others:
            self._others[hour] = _sends(self.connection, self.cluster.id, hour * HOUR, (hour + 2) * HOUR)
        known = self._others[hour]
        mine = {entry.id, *(rival.id for rival in self.rivals.get(entry.id, ()))}
        recent = ((fire.at, entry_id) for entry_id, fires in self.recent.items() for fire in fires)
        to_at = min(to_at, self.until_at + 1)
        if any(from_at <= at < to_at and entry_id not in mine for at, entry_id in (*known, *recent)):
            return True
        is_cut = len(known) == MOST_OTHERS and from_at < known[-1][0]
        return None if is_cut or to_at > (hour + 2) * HOUR else False

    def _counts(self, entry: Known, fire: Fire) -> bool:
        return fire.source == PROBE or not (entry.is_probed(fire.at) and self.cluster.beats.speak_at(fire.at))


class Last(NamedTuple):
    """What of the newest final tick of an entry the next ones follow from."""

    due_at: int
    fire: str
    fired_at: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts of an entry with their notes, earliest first, and the sends that no due time explains."""

    verdicts: tuple[tuple[Verdict, str | None], ...]
    extras: tuple[Extra, ...]
    fires: Sequence[Fire]


def gather(
    connection: Connection,
    labels: Labels,
    cluster: Cluster,
    scopes: Mapping[int, Scope],
    now_at: int,
    recent: Mapping[int, Sequence[Fire]] | None = None,
) -> Gathered:
    """What is known of the entries in the scopes, asked in a number of questions that does not grow with theirs."""
    rivals = rivals_of(cluster.entries)
    from_at = {entry_id: scope.from_at - 2 * facts.LOOK_BACK for entry_id, scope in scopes.items()}
    wanted = dict(from_at)
    for entry_id, at in from_at.items():
        for rival in rivals.get(entry_id, ()):
            wanted[rival.id] = min(at, wanted.get(rival.id, at))
    fires, reached = facts.fires(connection, labels, wanted, cluster.beats)
    announced = {entry.id for entry in cluster.entries if _is_announced(entry)}
    counts, counted_until_at = facts.counts(connection, cluster.id, from_at, now_at)
    return Gathered(
        connection,
        cluster,
        scopes,
        rivals,
        fires,
        reached,
        facts.explicit_dues(connection, {key: at for key, at in from_at.items() if key in announced}),
        counts,
        counted_until_at,
        recent or {},
        facts.mark(connection, TASKS_PRUNED) or 0,
        cluster.probed_coverage,
    )


def judged(entry: Known, gathered: Gathered) -> Judged:
    """The verdicts on one entry."""
    scope, fires = gathered.scope(entry), gathered.fires_of(entry)
    counts = gathered.counts_of(entry)
    known = Facts(
        [version.rule for version in entry.versions],
        fires,
        gathered.coverage(entry),
        gathered.dues.get(entry.id, ()),
        counts,
        gathered.counted_until_at if counts else None,
        hears_sends=not counts or gathered.evidence(scope.to_at) in facts.BY_BEAT,
    )
    judgement = judge(known, scope)
    background = _background(entry, gathered, fires)
    told = [explained(one, background(one)) for one in judgement.verdicts]
    is_alike = entry.latest.source != PROBE and bool(gathered.rivals.get(entry.id))
    if is_alike and isinstance(entry.latest.entry.schedule, Interval):
        told = [*_uncounted(told)]
    verdicts = tuple(_doubted(entry, *one) for one in told)
    return Judged(verdicts, tuple(one for one in judgement.extras if not entry.is_doubtful(one.at)), fires)


def _uncounted(verdicts: Iterable[tuple[Verdict, str | None]]) -> Iterator[tuple[Verdict, str | None]]:
    """Of intervals whose sends cannot be told apart: where none was seen, nobody knows from whose it was counted.

    Then it is not known when the next one was due either.
    """
    said = "another entry sends the same, so that it is not known when exactly this one was due"
    is_lost = False
    for verdict, note in verdicts:
        is_silent = verdict.fire in ("missed", "overdue")
        if is_silent or (is_lost and verdict.fire in ("on_time", "late") and "anchor" not in verdict.flags):
            yield Verdict(verdict.due_at, verdict.closes_at, "unknown"), said
        else:
            yield verdict, note
        is_lost = is_silent


def _doubted(entry: Known, verdict: Verdict, note: str | None) -> tuple[Verdict, str | None]:
    """By a definition that may have been changed already nothing is late or missed, nor a little late."""
    is_bad = verdict.fire in ("late", "missed", "overdue") or abs(verdict.lateness_s or 0.0) > 1.0
    if not is_bad or not any(map(entry.is_doubtful, (verdict.due_at, verdict.fired_at or verdict.due_at))):
        return verdict, note
    said = "its definition was changed around then, and when exactly is not known"
    return replace(verdict, fire="unknown"), "; ".join(filter(None, (said, note)))


def scope_of(entry: Known, heard: Heard, last: Row[Any] | Last | None, to_at: int) -> Scope | None:
    """From the last final tick on, else from when the entry was known and somebody listened; None if nothing is due."""
    if last is None:
        from_at, anchor = max(entry.versions[0].from_at, heard.spans[0][0] if heard.spans else to_at), None
    else:
        from_at = last.due_at + 1
        at = last.due_at if last.fired_at is None else last.fired_at
        anchor = Anchor(at, is_sure=last.fire != "unknown", is_fire=last.fired_at is not None)
    if from_at >= to_at or all(version.to_at is not None and version.to_at <= from_at for version in entry.versions):
        return None
    return Scope(from_at, to_at, to_at, anchor=anchor)


def has_due(entry: Known, scope: Scope) -> bool:
    """Whether anything may be due in the scope, told without looking for fires."""
    if scope.anchor is None and any(isinstance(one.entry.schedule, Interval) for one in entry.versions):
        return True
    if _is_announced(entry):
        return True
    first = _first(tuple(version.rule for version in entry.versions), replace(scope, to_at=NEVER_AT, now_at=0, limit=2))
    return first is not None and first[0] < scope.to_at


def may_be_final(entry: Known, scope: Scope) -> bool:
    """Whether a window may have closed by the end of the scope; those of intervals depend on the fires."""
    if any(isinstance(version.entry.schedule, Interval | Unverifiable) for version in entry.versions):
        return True
    first = _first(tuple(version.rule for version in entry.versions), replace(scope, to_at=NEVER_AT, now_at=0, limit=2))
    return first is None or first[1] <= scope.to_at


@lru_cache(maxsize=8192)
def _first(rules: tuple[Version, ...], scope: Scope) -> tuple[int, int] | None:
    """The first due time from a moment on, and the end of its window; the same until the next verdict is final."""
    found = ticks(Facts(rules, (), ()), scope)
    return (found[0].due_at, found[0].closes_at) if found else None


def rivals_of(entries: Sequence[Known]) -> dict[int, list[Known]]:
    """By entry, the others whose sends cannot be told from its own; entries without any are left out."""
    same_task: dict[str, list[Known]] = defaultdict(list)
    for entry in entries:
        same_task[entry.latest.entry.task].append(entry)
    found: dict[int, list[Known]] = defaultdict(list)
    for mine in same_task.values():
        for group in _look_alikes(mine):
            for entry in group:
                rivals = [one for one in group if one.id != entry.id and one.latest.entry.is_like(entry.latest.entry)]
                found[entry.id] += [one for one in rivals if one not in found[entry.id]]
    return {entry_id: rivals for entry_id, rivals in found.items() if rivals}


def without(spans: Spans, holes: Spans) -> list[tuple[int, int]]:
    """What of the merged spans is outside of the holes."""
    left = list(spans)
    for hole_from_at, hole_to_at in holes:
        left = [
            piece
            for from_at, to_at in left
            for piece in ((from_at, min(to_at, hole_from_at)), (max(from_at, hole_to_at), to_at))
            if piece[0] < piece[1]
        ]
    return sorted(set(left))


def _look_alikes(entries: Sequence[Known]) -> Iterator[Sequence[Known]]:
    """Entries of one task in groups outside of which none is like another: a thousand must not be held against all."""
    if any(None in (entry.latest.entry.args, entry.latest.entry.kwargs) for entry in entries):
        yield entries
        return
    groups: dict[tuple[str | None, str | None], list[Known]] = defaultdict(list)
    for entry in entries:
        groups[entry.latest.entry.args, entry.latest.entry.kwargs].append(entry)
    yield from (group for group in groups.values() if len(group) > 1)


def _is_announced(entry: Known) -> bool:
    return any(isinstance(version.entry.schedule, Unverifiable) for version in entry.versions)


def _at(fire: Fire) -> int:
    return fire.at


def _background(entry: Known, gathered: Gathered, fires: Sequence[Fire]) -> Callable[[Verdict], Background]:
    """What else is known when a due time is judged; what costs a question is asked when it is wanted."""
    rivals = gathered.rivals.get(entry.id, ())
    received = {fire.task_id for fire in fires if fire.source not in facts.BY_BEAT}
    all_fires = [*fires, *(fire for rival in rivals for fire in gathered.fires_of(rival))] if rivals else []

    def background(verdict: Verdict) -> Background:
        version = entry.in_force(verdict.due_at) or entry.latest
        speaks = verdict.source == PROBE or gathered.cluster.beats.speak_at(verdict.fired_at or verdict.due_at)
        is_silent = verdict.fire in ("missed", "overdue")
        return Background(
            version.entry,
            gathered.cluster.heard.spans,
            # The probe names the entry: none is taken for another.
            () if speaks and version.source == PROBE else [rival.latest.entry for rival in rivals],
            all_fires,
            gathered.others_sent(entry, verdict.due_at, verdict.closes_at) if is_silent else None,
            gathered.evidence(verdict.closes_at) if is_silent else None,
            received,
            gathered.pruned_at,
            gathered.counted_until_at if gathered.counts_of(entry) else None,
        )

    return background


def _sends(connection: Connection, cluster_id: int, from_at: int, to_at: int) -> list[tuple[int, int]]:
    """When which entries were sent, the newest first."""
    fire, entry = schema.fire.c, schema.schedule_entry.c
    question = (
        select(fire.fired_at, fire.entry_id)
        .join(schema.schedule_entry, entry.id == fire.entry_id)
        .where(entry.cluster_id == cluster_id, fire.fired_at >= from_at, fire.fired_at < to_at)
        .order_by(fire.fired_at.desc())
        .limit(MOST_OTHERS)
    )
    return [(row.fired_at, row.entry_id) for row in connection.execute(question)]

"""Judge one entry of the ledger: gather what is known of it, and hold it against what was promised."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, RowMapping, select

from taskledger.crontabs import DAY
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schema
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_facts import Heard, Known
from taskledger.ledger.schedule_notes import Background, explained
from taskledger.schedules import Interval
from taskledger.ticks import Anchor, Facts, Fire, Scope, ticks
from taskledger.verdicts import Verdict, judge

#: the mark that pruning leaves: tasks from before it may be gone
TASKS_PRUNED = "tasks_pruned_at"
#: moments at which other entries were sent that are looked at, at most
MOST_OTHERS = 5_000


@dataclass(frozen=True, slots=True)
class Case:
    """One entry with all that its verdicts rest on."""

    entry: Known
    heard: Heard
    scope: Scope
    rivals: Sequence[Known]
    fires: Sequence[Fire]
    rival_fires: Sequence[Fire]
    #: fires of all other entries, earliest first
    others: Sequence[Fire]
    #: the newest fire of each entry of the cluster from before all these
    before: Sequence[Fire]
    pruned_at: int

    @classmethod
    def gather(
        cls, connection: Connection, labels: Labels, entry: Known, entries: Sequence[Known], heard: Heard, scope: Scope
    ) -> "Case":
        from_at = scope.from_at - 2 * facts.LOOK_BACK
        rivals = [other for other in entries if other.id != entry.id and other.latest.entry.is_like(entry.latest.entry)]
        known = facts.fires(connection, labels, entry, from_at)
        rival_fires = [one.fire for rival in rivals for one in facts.fires(connection, labels, rival, from_at)]
        not_others = {entry.id, *(rival.id for rival in rivals)}
        others = [other.id for other in entries if other.id not in not_others]
        if len(known) == facts.MOST_FIRES:
            # There are more: what is due after the last of these waits for the next time.
            scope = replace(scope, to_at=known[-1].fire.at, now_at=known[-1].fire.at)
        return cls(
            entry,
            heard,
            scope,
            rivals,
            [one.fire for one in known],
            rival_fires,
            _others(connection, others, from_at, scope.to_at),
            facts.last_sends(connection, entry.cluster_id, from_at),
            facts.mark(connection, TASKS_PRUNED) or 0,
        )

    def with_recent(self, recent: Mapping[int, Sequence[Fire]]) -> "Case":
        """The case with what was sent since fires were last kept, by entry id."""
        rival_ids = {rival.id for rival in self.rivals}
        others = [
            fire
            for entry_id, fires in recent.items()
            for fire in fires
            if entry_id != self.entry.id and entry_id not in rival_ids
        ]
        return replace(
            self,
            fires=_together(self.fires, recent.get(self.entry.id, ())),
            rival_fires=_together(self.rival_fires, [fire for one in rival_ids for fire in recent.get(one, ())]),
            others=sorted(_together(self.others, others), key=_at),
        )


def scope_of(entry: Known, heard: Heard, last: RowMapping | None, to_at: int) -> Scope | None:
    """From the last final tick on, else from when the entry was known and somebody listened; None if nothing is due."""
    if last is None:
        from_at, anchor = max(entry.versions[0].from_at, heard.spans[0][0] if heard.spans else to_at), None
    else:
        from_at = last["due_at"] + 1
        at = last["due_at"] if last["fired_at"] is None else last["fired_at"]
        anchor = Anchor(at, is_sure=last["fire"] != "unknown")
    if from_at >= to_at or all(version.to_at is not None and version.to_at <= from_at for version in entry.versions):
        return None
    return Scope(from_at, to_at, to_at, anchor=anchor)


def has_due(entry: Known, scope: Scope) -> bool:
    """Whether anything may be due in the scope, told without looking for fires."""
    if scope.anchor is None and isinstance(entry.latest.entry.schedule, Interval):
        return True
    rules = [version.rule for version in entry.versions]
    return bool(ticks(Facts(rules, (), ()), replace(scope, limit=1)))


def judged(case: Case) -> Iterator[tuple[Verdict, str | None]]:
    """Each verdict of the case with its note, earliest first."""
    rules = [version.rule for version in case.entry.versions]
    judgement = judge(Facts(rules, case.fires, case.heard.spans), case.scope)
    received = {fire.task_id for fire in case.fires if fire.source not in facts.BY_BEAT}
    sends = sorted((*case.before, *case.others, *case.rival_fires, *case.fires), key=_at)
    for verdict in judgement.verdicts:
        yield explained(verdict, _background(case, verdict, sends, received))


def _together(kept: Sequence[Fire], recent: Sequence[Fire]) -> list[Fire]:
    return list({fire.task_id: fire for fire in (*kept, *recent)}.values())


def _at(fire: Fire) -> int:
    return fire.at


def _background(case: Case, verdict: Verdict, sends: Sequence[Fire], received: Collection[str | None]) -> Background:
    version = case.entry.in_force(verdict.due_at) or case.entry.latest
    low, high = (bisect_left(case.others, at, key=_at) for at in (verdict.due_at, verdict.closes_at))
    newest = bisect_left(sends, verdict.closes_at, key=_at) - 1
    return Background(
        version.entry,
        case.heard.spans,
        [rival.latest.entry for rival in case.rivals],
        [*case.fires, *case.rival_fires] if case.rivals else (),
        [fire.at for fire in case.others[low : min(high, low + 1)]],
        case.others[0].at if len(case.others) >= MOST_OTHERS else 0,
        sends[newest].source if newest >= 0 else None,
        received,
        case.pruned_at,
    )


def _others(connection: Connection, entry_ids: Sequence[int], from_at: int, to_at: int) -> list[Fire]:
    """The newest fires of other entries, earliest first."""
    fire = schema.fire.c
    if not entry_ids:
        return []
    question = (
        select(fire.fired_at, fire.task_id, fire.evidence)
        .where(fire.entry_id.in_(entry_ids), fire.fired_at >= from_at, fire.fired_at < to_at + DAY)
        .order_by(fire.fired_at.desc())
        .limit(MOST_OTHERS)
    )
    return [Fire(*row) for row in reversed(connection.execute(question).all())]

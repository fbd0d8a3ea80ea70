"""The questions about schedules: each entry with its newest due times, judged up to now, and those to come.

Whatever the number of entries, the number of questions to the database is the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, select

from taskledger import crontabs
from taskledger.crontabs import DAY, SECOND, Crontab
from taskledger.ledger import dialects, schema, tick_counts
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger.answers import Adherence, ScheduleRow, TickRow
from taskledger.ledger.beat_answers import TickDetail
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_judge import Cluster, gather, has_due, judged, scope_of
from taskledger.ledger.schedule_known import Beats, Known
from taskledger.ledger.schedule_proofs import ticks_since
from taskledger.schedule_words import expression, words
from taskledger.schedules import Clocked, Interval, Unverifiable, step
from taskledger.states import State
from taskledger.ticks import Fire, Scope
from taskledger.verdicts import RECEIVE_WITHIN_S, Verdict, outcome

#: due times to come that are shown
FUTURE = 3
#: microseconds of silence after which what is due now is not known
SILENCE = 60 * SECOND
#: microseconds of which the adherence is told
ADHERENCE = 30 * DAY
_STATES = {int(state): state for state in State}

#: a task's state and the note of its last run
Fates = dict[tuple[int, str], tuple[State, str | None]]


def schedules(ledger: Ledger, now_at: int, *, ticks: int = 30) -> tuple[ScheduleRow, ...]:
    """Every entry that a source has now, by name, each with its last `ticks` due times and up to 3 to come."""
    with ledger.read() as connection:
        told = entries_of.beats(connection)
        entries = [entry for entry in entries_of.known_with(connection, told) if entry.latest.to_at is None]
        return _rows(connection, ledger.labels, entries, _Asked(entries, told, now_at, ticks))


def schedule(ledger: Ledger, name: str, now_at: int, *, ticks: int = 200) -> ScheduleRow | None:
    """One entry, even if its source no longer has it, its ticks with all details; None if there never was one."""
    with ledger.read() as connection:
        told = entries_of.beats(connection)
        entries = entries_of.known_with(connection, told)
        mine = [entry for entry in entries if entry.name == name][:1]
        return next(
            iter(_rows(connection, ledger.labels, mine, _Asked(entries, told, now_at, ticks, is_whole=True))), None
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """All entries there are, and what is asked of some."""

    entries: Sequence[Known]
    told: Mapping[int, Beats]
    now_at: int
    limit: int
    #: with the details of each tick
    is_whole: bool = False


class _Seen:
    """A cluster up to now: with what was heard and sent since the jobs last looked."""

    def __init__(self, connection: Connection, labels: Labels, cluster_id: int, asked: _Asked) -> None:
        mine = [entry for entry in asked.entries if entry.cluster_id == cluster_id]
        self.now_at = asked.now_at
        self.name = labels.value(cluster_id) or ""
        self.heard = facts.heard(connection, cluster_id) or Heard([], 0)
        self.cluster = Cluster(cluster_id, mine, self.heard, asked.told.get(cluster_id, Beats()))
        first_at = min(entry.versions[0].from_at for entry in mine)
        seen_at = facts.mark(connection, facts.fires_mark(cluster_id)) or first_at
        self.recent, _ = facts.sends(connection, labels, mine, seen_at - facts.LOOK_BACK, asked.now_at + SECOND)

    @property
    def judged_at(self) -> int:
        """Up to when there is something to judge by: a recorder that goes on is a moment behind."""
        return min(self.now_at, self.heard.until_at) if self.now_at - self.heard.until_at < SILENCE else self.now_at


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of all entries that are asked about, each by the number of its entry."""

    final: Mapping[int, Sequence[RowMapping]]
    open: Mapping[int, Sequence[tuple[Verdict, str | None]]]
    adherence: Mapping[int, Adherence]
    newest: Mapping[int, RowMapping]
    fates: Fates


def _rows(connection: Connection, labels: Labels, mine: Sequence[Known], asked: _Asked) -> tuple[ScheduleRow, ...]:
    clusters = {key: _Seen(connection, labels, key, asked) for key in sorted({entry.cluster_id for entry in mine})}
    found = _found(connection, labels, mine, clusters, asked)
    return tuple(_row(entry, clusters[entry.cluster_id], found, asked) for entry in mine)


def _found(
    connection: Connection, labels: Labels, mine: Sequence[Known], clusters: Mapping[int, _Seen], asked: _Asked
) -> _Found:
    ids = [entry.id for entry in mine]
    final = _final_ticks(connection, ids, asked.limit)
    is_open: dict[int, list[tuple[Verdict, str | None]]] = {}
    for key, seen in clusters.items():
        its = [entry for entry in mine if entry.cluster_id == key]
        is_open |= _open_ticks(connection, labels, its, seen, final)
    sent = [
        (entry.cluster_id, verdict.task_id)
        for entry in mine
        for verdict, _ in is_open.get(entry.id, ())
        if verdict.task_id is not None
    ]
    fates = _fates(connection, sent) | _fates_of(entry_rows(mine, final))
    revoked = [key for key, (state, _) in fates.items() if state is State.REVOKED]
    return _Found(
        final,
        is_open,
        tick_counts.adherence(connection, ids, asked.now_at - ADHERENCE + DAY),
        _newest_fires(connection, ids),
        fates | _notes(connection, revoked),
    )


def entry_rows(mine: Sequence[Known], final: Mapping[int, Sequence[RowMapping]]) -> Iterable[tuple[int, RowMapping]]:
    """(cluster, final tick) of all entries."""
    for entry in mine:
        for row in final.get(entry.id, ()):
            yield entry.cluster_id, row


def _row(entry: Known, seen: _Seen, found: _Found, asked: _Asked) -> ScheduleRow:
    make = _detail if asked.is_whole else _tick
    unsettled = found.open.get(entry.id, ())[-asked.limit :]
    final = found.final.get(entry.id, ())[-max(asked.limit - len(unsettled), 0) or len(found.final.get(entry.id, ())) :]
    past = [make(_of_row(row), entry, seen, found) for row in final]
    past += [make(_of_verdict(verdict, note), entry, seen, found) for verdict, note in unsettled]
    future = [
        TickRow(at, "pending", None, None, None, None, is_final=False, note=None) for at in _future(entry, past, seen)
    ]
    late = [tick.lateness_s for tick in past if tick.lateness_s is not None]
    last = next((tick for tick in reversed(past) if tick.fired_at is not None and tick.fire != "failed_to_send"), None)
    newest = found.newest.get(entry.id)
    definition = entry.latest.entry
    return ScheduleRow(
        name=entry.name,
        cluster=seen.name,
        task=definition.task,
        expression=expression(definition.schedule),
        words=words(definition.schedule),
        timezone=definition.schedule.tz,
        source=entry.source,
        enabled=definition.enabled and entry.latest.to_at is None,
        read_at=entry.read_at,
        evidence=_evidence(entry, seen, newest),
        ticks=(*past, *future),
        next_due_at=future[0].due_at if future else None,
        median_lateness_s=median(late) if late else None,
        adherence=found.adherence.get(entry.id),
        last_fired_at=last.fired_at if last else newest["fired_at"] if newest is not None else None,
        last_lateness_s=last.lateness_s if last else None,
        last_outcome=last.outcome if last else None,
        last_task_id=last.task_id if last else newest["task_id"] if newest is not None else None,
        muted_until_at=entry.settings.muted_until_at,
        entry_settings=entry.settings,
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A tick, final or not."""

    due_at: int
    fire: str
    fired_at: int | None
    task_id: str | None
    note: str | None
    flags: tuple[str, ...]
    evidence: str | None
    is_final: bool
    error: str | None = None
    row: RowMapping | None = None

    @property
    def lateness_s(self) -> float | None:
        return None if self.fired_at is None else (self.fired_at - self.due_at) / SECOND


def _of_row(row: RowMapping) -> _Judged:
    flags = tuple(row["flags"].split()) if row["flags"] else ()
    return _Judged(
        row["due_at"],
        row["fire"],
        row["fired_at"],
        row["task_id"],
        row["note"],
        flags,
        row["evidence"],
        True,
        None,
        row,
    )


def _of_verdict(verdict: Verdict, note: str | None) -> _Judged:
    return _Judged(
        verdict.due_at, verdict.fire, verdict.fired_at, verdict.task_id, note, verdict.flags, verdict.source, False,
        verdict.error,
    )  # fmt: skip


def _tick(tick: _Judged, entry: Known, seen: _Seen, found: _Found) -> TickRow:
    return TickRow(
        tick.due_at,
        tick.fire,
        _outcome(tick, entry, seen, found),
        tick.fired_at,
        tick.lateness_s,
        tick.task_id,
        is_final=tick.is_final,
        note=tick.note,
    )


def _detail(tick: _Judged, entry: Known, seen: _Seen, found: _Found) -> TickRow:
    return TickDetail(
        tick.due_at,
        tick.fire,
        _outcome(tick, entry, seen, found),
        tick.fired_at,
        tick.lateness_s,
        tick.task_id,
        is_final=tick.is_final,
        note=tick.note,
        evidence=tick.evidence,
        flags=tick.flags,
        error=tick.error,
    )


def _outcome(tick: _Judged, entry: Known, seen: _Seen, found: _Found) -> str | None:
    if tick.task_id is None or tick.fired_at is None:
        return None
    fate = found.fates.get((entry.cluster_id, tick.task_id))
    if fate is None:
        return "unknown"
    within_s = entry.settings.receive_within_s or RECEIVE_WITHIN_S
    return outcome(*fate, tick.fired_at, seen.judged_at, seen.heard.spans, within_s)


def _final_ticks(connection: Connection, entry_ids: Sequence[int], limit: int) -> dict[int, list[RowMapping]]:
    """The newest final ticks of each entry, earliest first, with the states of their tasks."""
    tick, task = schema.tick, schema.task.c
    found: dict[int, list[RowMapping]] = {}
    for chunk in dialects.chunks(entry_ids):
        since = ticks_since(chunk, limit)
        mine = and_(tick.c.entry_id == since.c.id, tick.c.due_at >= since.c.since_at)
        its_task = and_(task.id == tick.c.task_id, task.cluster_id == since.c.cluster_id)
        question = select(tick, task.state).join(since, mine).outerjoin(schema.task, its_task)
        for row in connection.execute(question.order_by(tick.c.entry_id, tick.c.due_at)).mappings():
            found.setdefault(row["entry_id"], []).append(row)
    return found


def _open_ticks(
    connection: Connection,
    labels: Labels,
    entries: Sequence[Known],
    seen: _Seen,
    final: Mapping[int, Sequence[RowMapping]],
) -> dict[int, list[tuple[Verdict, str | None]]]:
    """What was due and is not final yet, judged by what is known now."""
    scopes: dict[int, Scope] = {}
    for entry in entries:
        last = final[entry.id][-1] if final.get(entry.id) else None
        scope = scope_of(entry, seen.heard, last, seen.now_at)
        if scope is not None and has_due(entry, scope):
            scopes[entry.id] = replace(scope, now_at=seen.judged_at)
    if not scopes:
        return {}
    gathered = gather(connection, labels, seen.cluster, scopes, seen.now_at, seen.recent)
    return {entry.id: [*judged(entry, gathered).verdicts] for entry in entries if entry.id in scopes}


def _fates(connection: Connection, sent: Sequence[tuple[int, str]]) -> Fates:
    """How tasks, (cluster, id), fared."""
    task = schema.task.c
    wanted, fates = set(sent), Fates()
    for chunk in dialects.chunks(sorted({task_id for _, task_id in wanted})):
        question = select(task.cluster_id, task.id, task.state).where(task.id.in_(chunk))
        for row in connection.execute(question):
            if (row.cluster_id, row.id) in wanted:
                fates[row.cluster_id, row.id] = (_STATES[row.state], None)
    return fates


def _fates_of(rows: Iterable[tuple[int, RowMapping]]) -> Fates:
    return {
        (cluster_id, row["task_id"]): (_STATES[row["state"]], None)
        for cluster_id, row in rows
        if row["state"] is not None
    }


def _notes(connection: Connection, revoked: Sequence[tuple[int, str]]) -> Fates:
    """The note of the last run tells why a task was revoked."""
    run, fates = schema.run.c, Fates()
    for chunk in dialects.chunks(sorted({task_id for _, task_id in revoked})):
        notes: Any = select(run.cluster_id, run.task_id, run.note).where(run.task_id.in_(chunk))
        for row in connection.execute(notes.order_by(run.number)):
            fates[row.cluster_id, row.task_id] = (State.REVOKED, row.note)
    return {key: fate for key, fate in fates.items() if key in set(revoked)}


def _newest_fires(connection: Connection, entry_ids: Sequence[int]) -> dict[int, RowMapping]:
    """The newest fire of each entry."""
    fire, entry = schema.fire, schema.schedule_entry.c
    found: dict[int, RowMapping] = {}
    newest = select(fire.c.fired_at).where(fire.c.entry_id == entry.id).order_by(fire.c.fired_at.desc()).limit(1)
    same = and_(
        fire.c.entry_id == entry.id, fire.c.fired_at == newest.correlate(schema.schedule_entry).scalar_subquery()
    )
    for chunk in dialects.chunks(entry_ids):
        question = select(fire).join(schema.schedule_entry, same).where(entry.id.in_(chunk))
        found |= {row["entry_id"]: row for row in connection.execute(question).mappings()}
    return found


def _future(entry: Known, past: Sequence[TickRow], seen: _Seen) -> list[int]:
    """The next due times, as far as they follow from the definition."""
    version, now_at = entry.latest, seen.now_at
    schedule = version.entry.schedule
    if (
        not version.entry.enabled
        or version.to_at is not None
        or (version.entry.one_off and _has_run(past, version.from_at))
    ):
        return []
    from_at = max(now_at, version.entry.starts_at or 0)
    match schedule:
        case Crontab():
            dues = (due.at for due in crontabs.dues_from(schedule, from_at) if due.flag != "dst_repeat")
            found = list(islice((at for at in dues if not past or at > past[-1].due_at), FUTURE))
        case Interval():
            found = _chain(schedule, past, max(version.from_at, version.entry.starts_at or 0), now_at)
        case Clocked(at):
            found = [at] if at >= from_at else []
        case Unverifiable():
            found = []
    return [at for at in found if at < (version.entry.expires_at or at + 1)]


def _has_run(past: Sequence[TickRow], since_at: int) -> bool:
    return any(tick.fired_at is not None and tick.fired_at >= since_at for tick in past)


def _chain(interval: Interval, past: Sequence[TickRow], from_at: int, now_at: int) -> list[int]:
    at = from_at
    if past:
        at = past[-1].due_at if past[-1].fired_at is None else past[-1].fired_at
    every = round(interval.every_s * SECOND)
    # What lies between was due while nobody judged it; a step each would take for ever where an interval is short.
    at += max(0, now_at - at - 1) // max(every, 1) * every
    found: list[int] = []
    while len(found) < FUTURE:
        at = step(interval, at).first_at
        if at >= now_at:
            found.append(at)
    return found


def _evidence(entry: Known, seen: _Seen, newest: RowMapping | None) -> str:
    """How the newest fire of the entry is known."""
    recent: Sequence[Fire] = seen.recent.get(entry.id, ())
    if entry.latest.source == "probe":
        return "probe"
    if recent:
        return max(recent, key=lambda fire: fire.at).source
    return newest["evidence"] if newest is not None else "none yet"

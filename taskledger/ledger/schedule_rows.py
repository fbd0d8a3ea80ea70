"""The questions about schedules: each entry with its newest due times, judged up to now, and those to come."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, select

from taskledger import crontabs
from taskledger.crontabs import SECOND, Crontab
from taskledger.ledger import dialects, schedule_then, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_facts import Heard, Known
from taskledger.ledger.schedule_judge import Case, has_due, judged, scope_of
from taskledger.schedule_words import expression, words
from taskledger.schedules import Interval, step
from taskledger.states import State
from taskledger.verdicts import Verdict, outcome

#: due times to come that are shown
FUTURE = 3
#: microseconds of silence after which what is due now is not known
SILENCE = 60 * SECOND

#: a task's state and the note of its last run
Fates = dict[str, tuple[State, str | None]]


def schedules(ledger: Ledger, now_at: int, *, ticks: int = 30, at: int | None = None) -> tuple[ScheduleRow, ...]:
    """Every entry that a source has now, by name, each with its last `ticks` due times and up to 3 to come.

    `at`, here and below: as of that moment, which is then `now_at`, by what was known of it.
    """
    with ledger.read() as connection:
        entries = [entry for entry in _known(connection, at) if entry.latest.to_at is None]
        return tuple(_rows(connection, ledger.labels, entries, entries, now_at, ticks, at))


def schedule(ledger: Ledger, name: str, now_at: int, *, ticks: int = 200, at: int | None = None) -> ScheduleRow | None:
    """One entry, even if its source no longer has it; None if there never was one of that name."""
    with ledger.read() as connection:
        entries = _known(connection, at)
        mine = [entry for entry in entries if entry.name == name]
        return next(iter(_rows(connection, ledger.labels, mine[:1], entries, now_at, ticks, at)), None)


def _known(connection: Connection, at: int | None) -> list[Known]:
    entries = facts.known(connection)
    return entries if at is None else schedule_then.entries_at(entries, at)


def _rows(
    connection: Connection,
    labels: Labels,
    asked: Sequence[Known],
    entries: Sequence[Known],
    now_at: int,
    limit: int,
    at: int | None,
) -> Iterable[ScheduleRow]:
    ids = [entry.id for entry in asked]
    last = facts.last_ticks(connection, ids) if at is None else schedule_then.last_ticks_at(connection, ids, at)
    clusters: dict[int, _Cluster] = {}
    for entry in asked:
        if entry.cluster_id not in clusters:
            mine = [other for other in entries if other.cluster_id == entry.cluster_id]
            clusters[entry.cluster_id] = _Cluster(connection, labels, mine, now_at, at)
        yield _row(connection, entry, clusters[entry.cluster_id], last.get(entry.id), limit)


class _Cluster:
    """The entries of a cluster, with what was heard and sent since the jobs last looked."""

    def __init__(
        self, connection: Connection, labels: Labels, entries: Sequence[Known], now_at: int, at: int | None
    ) -> None:
        self.at = at
        self.labels = labels
        self.entries = entries
        self.now_at = now_at
        cluster_id = entries[0].cluster_id
        heard = facts.heard(connection, cluster_id) or Heard([], 0)
        self.heard = heard if at is None else schedule_then.heard_at(heard, at)
        first_at = min(entry.versions[0].from_at for entry in entries)
        seen_at = facts.mark(connection, facts.fires_mark(cluster_id)) or first_at
        self.recent, _ = facts.sends(
            connection, labels, entries, seen_at - facts.LOOK_BACK, now_at + SECOND * (at is None)
        )

    @property
    def judged_at(self) -> int:
        """Up to when there is something to judge by: a recorder that goes on is a moment behind."""
        return min(self.now_at, self.heard.until_at) if self.now_at - self.heard.until_at < SILENCE else self.now_at

    def name(self) -> str:
        return self.labels.value(self.entries[0].cluster_id) or ""


def _row(connection: Connection, entry: Known, cluster: _Cluster, last: RowMapping | None, limit: int) -> ScheduleRow:
    open_ticks = _open_ticks(connection, entry, cluster, last)[-limit:]
    until_at = None if cluster.at is None else last["due_at"] if last else 0
    final = _final_ticks(connection, entry.id, limit - len(open_ticks), until_at)
    task_ids = [tick.task_id for tick in (*final, *open_ticks) if tick.task_id]
    if cluster.at is None:
        fates = _fates(connection, entry.cluster_id, task_ids)
    else:
        fates = schedule_then.fates_at(connection, entry.cluster_id, task_ids, cluster.at)
    past = [_with_outcome(tick, fates, cluster) for tick in (*final, *open_ticks)]
    future = [
        TickRow(at, "pending", None, None, None, None, is_final=False, note=None)
        for at in _future(entry, past, cluster)
    ]
    late = [tick.lateness_s for tick in past if tick.lateness_s is not None]
    definition = entry.latest.entry
    return ScheduleRow(
        name=entry.name,
        cluster=cluster.name(),
        task=definition.task,
        expression=expression(definition.schedule),
        words=words(definition.schedule),
        timezone=definition.schedule.tz,
        source=entry.source,
        enabled=definition.enabled and entry.latest.to_at is None,
        read_at=entry.read_at,
        evidence=_evidence(connection, entry, cluster),
        ticks=(*past, *future),
        next_due_at=future[0].due_at if future else None,
        median_lateness_s=median(late) if late else None,
    )


def _final_ticks(connection: Connection, entry_id: int, limit: int, until_at: int | None) -> list[TickRow]:
    tick = schema.tick
    mine = (
        tick.c.entry_id == entry_id
        if until_at is None
        else and_(tick.c.entry_id == entry_id, tick.c.due_at <= until_at)
    )
    question = select(tick).where(mine).order_by(tick.c.due_at.desc()).limit(max(limit, 0))
    return [_final(row) for row in reversed(connection.execute(question).mappings().all())]


def _final(row: RowMapping) -> TickRow:
    lateness_s = None if row["fired_at"] is None else (row["fired_at"] - row["due_at"]) / SECOND
    return TickRow(
        row["due_at"], row["fire"], None, row["fired_at"], lateness_s, row["task_id"], is_final=True, note=row["note"]
    )


def _open_ticks(connection: Connection, entry: Known, cluster: _Cluster, last: RowMapping | None) -> list[TickRow]:
    """What was due and is not final yet, judged by what is known now."""
    scope = scope_of(entry, cluster.heard, last, cluster.now_at)
    if scope is None or not has_due(entry, scope):
        return []
    scope = replace(scope, now_at=cluster.judged_at)
    case = Case.gather(connection, cluster.labels, entry, cluster.entries, cluster.heard, scope)
    case = case.with_recent({entry_id: fires for entry_id, fires in cluster.recent.items() if fires})
    case = case if cluster.at is None else schedule_then.case_at(case, cluster.at)
    return [_open(verdict, note) for verdict, note in judged(case)]


def _open(verdict: Verdict, note: str | None) -> TickRow:
    return TickRow(
        verdict.due_at,
        verdict.fire,
        None,
        verdict.fired_at,
        verdict.lateness_s,
        verdict.task_id,
        is_final=False,
        note=note,
    )


def _with_outcome(tick: TickRow, fates: Fates, cluster: _Cluster) -> TickRow:
    if tick.task_id is None or tick.fired_at is None:
        return tick
    if tick.task_id not in fates:
        return replace(tick, outcome="unknown")
    state, note = fates[tick.task_id]
    known = outcome(state, note, tick.fired_at, cluster.judged_at, cluster.heard.spans)
    return replace(tick, outcome=known)


def _fates(connection: Connection, cluster_id: int, task_ids: Sequence[str]) -> Fates:
    """How tasks fared; the note of the last run tells why one was revoked."""
    task, run = schema.task.c, schema.run.c
    fates: Fates = {}
    for chunk in dialects.chunks(task_ids):
        question = select(task.id, task.state).where(task.cluster_id == cluster_id, task.id.in_(chunk))
        fates |= {row.id: (State(row.state), None) for row in connection.execute(question)}
    revoked = [task_id for task_id, (state, _) in fates.items() if state is State.REVOKED]
    for chunk in dialects.chunks(revoked):
        notes: Any = select(run.task_id, run.note).where(and_(run.cluster_id == cluster_id, run.task_id.in_(chunk)))
        for row in connection.execute(notes.order_by(run.number)):
            fates[row.task_id] = (State.REVOKED, row.note)
    return fates


def _future(entry: Known, past: Sequence[TickRow], cluster: _Cluster) -> list[int]:
    """The next due times, as far as they follow from the definition."""
    version = entry.latest
    schedule, now_at = version.entry.schedule, cluster.now_at
    if not version.entry.enabled or version.to_at is not None:
        return []
    if isinstance(schedule, Crontab):
        dues = (due.at for due in crontabs.dues_from(schedule, now_at) if due.flag != "dst_repeat")
        return list(islice((at for at in dues if not past or at > past[-1].due_at), FUTURE))
    if isinstance(schedule, Interval):
        return _chain(schedule, past, version.from_at, now_at)
    return []


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


def _evidence(connection: Connection, entry: Known, cluster: _Cluster) -> str:
    """How the newest fire of the entry is known."""
    recent = cluster.recent.get(entry.id)
    if recent:
        return max(recent, key=lambda fire: fire.at).source
    fire = schema.fire.c
    mine = fire.entry_id == entry.id
    known = mine if cluster.at is None else and_(mine, fire.fired_at <= cluster.at)
    question = select(fire.evidence).where(known).order_by(fire.fired_at.desc()).limit(1)
    return connection.scalar(question) or "none yet"

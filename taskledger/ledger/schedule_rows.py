"""The questions about schedules: each entry with its newest due times, judged up to now, and those to come.

Whatever the number of entries, the number of questions to the database is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select, true

from taskledger import crontabs
from taskledger.crontabs import DAY, SECOND, Crontab
from taskledger.ledger import dialects, schedule_minutes, schedule_then, schema, tick_counts, tick_notes
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger.ledger.beat_answers import Adherence
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_judge import Cluster, gather, has_due, judged, scope_of
from taskledger.ledger.schedule_known import Beats, Known, KnownVersion
from taskledger.ledger.schedule_runs import with_run_flags
from taskledger.ledger.schedule_ticks import (
    Final,
    Outcomes,
    Tasks,
    final,
    final_ticks,
    finals,
    last_of,
    notes_of,
    revoked_of,
    tasks_of,
    unsettled,
)
from taskledger.schedule_words import expression, words
from taskledger.schedules import Clocked, Definition, Interval, Unverifiable, step
from taskledger.states import State
from taskledger.ticks import Fire, Scope
from taskledger.verdicts import RECEIVE_WITHIN_S, Verdict

#: due times to come that are shown, in a list and on the page of one entry
FUTURE, MORE_FUTURE = 3, 10
#: microseconds of silence after which what is due now is not known
SILENCE = 60 * SECOND
#: microseconds of which the adherence is told
ADHERENCE = 30 * DAY


def schedules(
    ledger: Ledger,
    now_at: int,
    *,
    ticks: int = 30,
    at: int | None = None,
    by_minute: bool = False,
    name: str | None = None,
) -> tuple[ScheduleRow, ...]:
    """Every entry that a source has now, by name, each with its last `ticks` due times and up to 3 to come.

    `at`, here and below: as of that moment, which is then `now_at`, by what was known of it. `by_minute`: of what is
    due more than once a minute, the due times of `ticks` minutes (schedule_minutes.py). `name`: only that one.
    """
    with ledger.read() as connection:
        return rows_and_entries(connection, ledger.labels, now_at, ticks, at, by_minute=by_minute, name=name)[0]


def rows_and_entries(
    connection: Connection,
    labels: Labels,
    now_at: int,
    ticks: int,
    at: int | None,
    *,
    by_minute: bool = False,
    name: str | None = None,
) -> tuple[tuple[ScheduleRow, ...], Sequence[Known]]:
    """As `schedules`, and all entries that there are."""
    asked = replace(_asked(connection, now_at, ticks, at), by_minute=by_minute)
    current = (entry for entry in asked.entries if entry.latest.to_at is None)
    mine = [entry for entry in current if name in (None, entry.name)]
    return _rows(connection, labels, mine, asked), asked.entries


def schedule(ledger: Ledger, name: str, now_at: int, *, ticks: int = 200, at: int | None = None) -> ScheduleRow | None:
    """One entry, even if its source no longer has it, its ticks with all details; None if there never was one."""
    with ledger.read() as connection:
        asked = replace(_asked(connection, now_at, ticks, at), is_whole=True)
        mine = [entry for entry in asked.entries if entry.name == name][:1]
        row = next(iter(_rows(connection, ledger.labels, mine, asked)), None)
        if row is None or at is not None:
            return row
        most_s = mine[0].settings.max_runtime_s
        told = with_run_flags(connection, mine[0].cluster_id, row.ticks, most_s, now_at)
        return replace(row, ticks=tuple(told))


@dataclass(frozen=True, slots=True)
class _Asked:
    """All entries there are, and what is asked of some."""

    entries: Sequence[Known]
    told: Mapping[int, Beats]
    now_at: int
    limit: int
    at: int | None
    #: with the details of each tick
    is_whole: bool = False
    #: of entries that are due more than once a minute, the due times of so many minutes
    by_minute: bool = False

    def a_slot(self, entry: Known) -> int:
        """How many due times of an entry one mark may stand for."""
        return schedule_minutes.per_minute(entry.latest.entry.schedule) if self.by_minute else 1


def _asked(connection: Connection, now_at: int, limit: int, at: int | None) -> _Asked:
    told = entries_of.beats(connection)
    if at is not None:
        told = {cluster_id: schedule_then.beats_at(beats, at) for cluster_id, beats in told.items()}
    entries = entries_of.known_with(connection, told, now_at)
    return _Asked(entries if at is None else schedule_then.entries_at(entries, at), told, now_at, limit, at)


class _Seen:
    """A cluster up to now: with what was heard and sent since the jobs last looked."""

    def __init__(self, connection: Connection, labels: Labels, cluster_id: int, asked: _Asked) -> None:
        mine = [entry for entry in asked.entries if entry.cluster_id == cluster_id]
        self.now_at = asked.now_at
        self.name = labels.value(cluster_id) or ""
        heard = facts.heard(connection, cluster_id) or Heard([], 0)
        self.heard = heard if asked.at is None else schedule_then.heard_at(heard, asked.at)
        self.cluster = Cluster(cluster_id, mine, self.heard, asked.told.get(cluster_id, Beats()))
        first_at = min(entry.versions[0].from_at for entry in mine)
        seen_at = facts.mark(connection, facts.fires_mark(cluster_id)) or first_at
        until_at = asked.now_at + SECOND * (asked.at is None)
        self.recent, _ = facts.sends(connection, labels, mine, seen_at - facts.LOOK_BACK, until_at)
        #: up to when there is something to judge by: a recorder that goes on is a moment behind
        is_behind = asked.now_at - self.heard.until_at < SILENCE
        self.judged_at = min(asked.now_at, self.heard.until_at) if is_behind else asked.now_at


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found of all entries that are asked about, each by the number of its entry."""

    final: Mapping[int, Sequence[Final]]
    open: Mapping[int, Sequence[tuple[Verdict, str | None]]]
    tasks: Tasks
    outcomes: Mapping[int, Outcomes]
    adherence: Mapping[int, Adherence]
    newest: Mapping[int, Row[Any]]
    errors: Mapping[tuple[int, int], str]
    acknowledged: Mapping[int, set[int]]


def _rows(connection: Connection, labels: Labels, mine: Sequence[Known], asked: _Asked) -> tuple[ScheduleRow, ...]:
    clusters = {key: _Seen(connection, labels, key, asked) for key in sorted({entry.cluster_id for entry in mine})}
    found = _found(connection, labels, mine, clusters, asked)
    return tuple(_row(entry, clusters[entry.cluster_id], found, asked) for entry in mine)


def _found(
    connection: Connection, labels: Labels, mine: Sequence[Known], clusters: Mapping[int, _Seen], asked: _Asked
) -> _Found:
    ids = [entry.id for entry in mine]
    newest = _final_ticks(connection, mine, asked)
    is_open: dict[int, list[tuple[Verdict, str | None]]] = {}
    for key, seen in clusters.items():
        its = [entry for entry in mine if entry.cluster_id == key]
        is_open |= _open_ticks(connection, labels, its, seen, newest, asked.at)
    sent = [(one.cluster_id, verdict.task_id) for one in mine for verdict, _ in is_open.get(one.id, ())]
    tasks = tasks_of(connection, [(key, task_id) for key, task_id in sent if task_id is not None], asked.at)
    revoked = [key for key, row in tasks.items() if row.state == State.REVOKED]
    for entry in mine:
        revoked += [(entry.cluster_id, task_id) for task_id in revoked_of(newest.get(entry.id, ()))]
    notes = notes_of(connection, revoked, asked.at)
    return _Found(
        newest,
        is_open,
        tasks,
        {key: Outcomes(notes, seen.judged_at, seen.heard.spans) for key, seen in clusters.items()},
        tick_counts.adherence(connection, ids, asked.now_at - ADHERENCE + DAY, asked.at),
        _newest_fires(connection, ids, asked.at),
        _errors(connection, ids) if asked.is_whole else {},
        tick_notes.acknowledged(connection, ids, asked.at),
    )


def _final_ticks(connection: Connection, mine: Sequence[Known], asked: _Asked) -> dict[int, list[Final]]:
    """One question for each number of due times that is asked of some entries: for all of them the same, as a rule."""
    limits: dict[int, list[int]] = {}
    for entry in mine:
        limits.setdefault(schedule_minutes.ticks_of(asked.limit, asked.a_slot(entry)), []).append(entry.id)
    found: dict[int, list[Final]] = {}
    for limit, ids in limits.items():
        found |= final_ticks(connection, ids, limit, asked.at, is_whole=asked.is_whole)
    return found


def _row(entry: Known, seen: _Seen, found: _Found, asked: _Asked) -> ScheduleRow:
    past, a_slot = _past(entry, found, asked), asked.a_slot(entry)
    dues = due_next(entry, past, seen.now_at, MORE_FUTURE if asked.is_whole else FUTURE * a_slot)
    coming = dues[: FUTURE * a_slot]
    future = [TickRow(at, "pending", None, None, None, None, is_final=False, note=None) for at in coming]
    late = sorted([tick.lateness_s for tick in past if tick.lateness_s is not None and tick.fire != "failed_to_send"])
    ran = [tick.runtime_s for tick in past if tick.runtime_s is not None] if asked.is_whole else []
    last = next((tick for tick in reversed(past) if tick.fired_at is not None and tick.fire != "failed_to_send"), None)
    newest = found.newest.get(entry.id)
    last_fired = (last.fired_at, last.task_id) if last else (None, None)
    if newest is not None and newest.fired_at > (last_fired[0] or 0):
        last_fired = (newest.fired_at, newest.task_id)
    version = entry.latest
    definition = version.entry
    said = _in_words(definition.schedule)
    return ScheduleRow(
        name=entry.name,
        cluster=seen.name,
        task=definition.task,
        expression=said[0],
        words=said[1],
        timezone=definition.schedule.tz,
        source=version.source or entry.source,
        enabled=definition.enabled and entry.latest.to_at is None,
        read_at=entry.read_at,
        evidence=_evidence(entry, version, seen, newest),
        ticks=(*past, *future),
        next_due_at=dues[0] if dues else None,
        median_lateness_s=median(late) if late else None,
        adherence=found.adherence.get(entry.id, Adherence()),
        settings=entry.settings,
        next_dues_at=tuple(dues),
        lateness_p95_s=late[(len(late) * 95 - 1) // 100] if late else None,
        runtime_p50_s=median(ran) if ran else None,
        last_fired_at=last_fired[0],
        last_task_id=last_fired[1],
        is_by_minute=schedule_minutes.per_minute(definition.schedule) > 1,
    )


@lru_cache(maxsize=4096)
def _in_words(definition: Definition) -> tuple[str, str]:
    return expression(definition), words(definition)


def _past(entry: Known, found: _Found, asked: _Asked) -> list[TickRow]:
    a_slot = asked.a_slot(entry)
    limit = schedule_minutes.ticks_of(asked.limit, a_slot)
    is_open = found.open.get(entry.id, ())[-limit:]
    rows = found.final.get(entry.id, ())
    rows = rows[max(0, len(rows) + len(is_open) - limit) :]
    past = tick_notes.marked(_ticks(entry, rows, is_open, found, asked), found.acknowledged.get(entry.id))
    return past if a_slot == 1 else schedule_minutes.of_last(past, asked.limit)


def _ticks(
    entry: Known,
    rows: Sequence[Final],
    is_open: Sequence[tuple[Verdict, str | None]],
    found: _Found,
    asked: _Asked,
) -> list[TickRow]:
    within_s = entry.settings.receive_within_s or RECEIVE_WITHIN_S
    key, outcomes, errors = entry.cluster_id, found.outcomes[entry.cluster_id], found.errors
    still_open = (unsettled(verdict, note, key, found.tasks, outcomes, within_s) for verdict, note in is_open)
    if not asked.is_whole:
        return [*finals(rows, key, outcomes, within_s), *still_open]
    return [*(final(row, key, outcomes, within_s, errors.get((entry.id, row[4]))) for row in rows), *still_open]


def _open_ticks(
    connection: Connection,
    labels: Labels,
    entries: Sequence[Known],
    seen: _Seen,
    newest: Mapping[int, Sequence[Final]],
    at: int | None,
) -> dict[int, list[tuple[Verdict, str | None]]]:
    """What was due and is not final yet, judged by what is known now."""
    scopes: dict[int, Scope] = {}
    for entry in entries:
        scope = scope_of(entry, seen.heard, last_of(newest.get(entry.id, ())), seen.now_at)
        if scope is not None and has_due(entry, scope):
            scopes[entry.id] = replace(scope, now_at=seen.judged_at)
    if not scopes:
        return {}
    gathered = gather(connection, labels, seen.cluster, scopes, seen.now_at, seen.recent)
    if at is not None:
        schedule_then.cut(gathered, at)
    return {entry.id: [*judged(entry, gathered).verdicts] for entry in entries if entry.id in scopes}


def _newest_fires(connection: Connection, entry_ids: Sequence[int], at: int | None) -> dict[int, Row[Any]]:
    """The newest fire of each entry."""
    entry, found = schema.schedule_entry.c, dict[int, Row[Any]]()
    for chunk in dialects.chunks(entry_ids):
        question = _newest_fire(connection, at).where(dialects.among(connection, entry.id, chunk))
        found |= {row.entry_id: row for row in connection.execute(question)}
    return found


def _newest_fire(connection: Connection, at: int | None) -> Select[Any]:
    """Of all entries; PostgreSQL needs one look for each where others need two."""
    fire, inner, entry = schema.fire, schema.fire.alias("inner"), schema.schedule_entry
    its = inner.c.entry_id == entry.c.id
    its = its if at is None else and_(its, inner.c.fired_at <= at)
    newest = select(inner.c.entry_id, inner.c.fired_at, inner.c.task_id, inner.c.evidence)
    newest = newest.where(its).order_by(inner.c.fired_at.desc()).limit(1)
    if connection.dialect.name == "postgresql":
        found = newest.lateral("newest")
        return select(found).select_from(entry.join(found, true()))
    fired_at = newest.with_only_columns(inner.c.fired_at).correlate(entry).scalar_subquery()
    same = and_(fire.c.entry_id == entry.c.id, fire.c.fired_at == fired_at)
    columns = (fire.c.entry_id, fire.c.fired_at, fire.c.task_id, fire.c.evidence)
    return select(*columns).select_from(entry.join(fire, same))


def _errors(connection: Connection, entry_ids: Sequence[int]) -> dict[tuple[int, int], str]:
    """Why sends failed, by entry and moment; the newest thousand of them."""
    failure = schema.send_failure.c
    question = select(failure.entry_id, failure.at, failure.exception, failure.message)
    question = question.where(failure.entry_id.in_(entry_ids)).order_by(failure.at.desc()).limit(1_000)
    return {
        (row.entry_id, row.at): ": ".join(filter(None, (row.exception, row.message)))
        for row in connection.execute(question)
    }


def due_next(entry: Known, past: Sequence[TickRow], now_at: int, number: int) -> list[int]:
    """The next due times, as far as they follow from the definition."""
    version = entry.latest
    definition, schedule = version.entry, version.entry.schedule
    is_done = definition.one_off and any((tick.fired_at or 0) >= version.from_at for tick in past)
    if not definition.enabled or entry.latest.to_at is not None or is_done:
        return []
    from_at = max(now_at, definition.starts_at or 0)
    found: list[int] = []
    match schedule:
        case Crontab():
            found = crontabs.next_dues(schedule, max(from_at, past[-1].due_at + 1 if past else from_at), number)
        case Interval():
            found = _chain(schedule, past, max(version.from_at, definition.starts_at or 0), now_at, number)
        case Clocked(at):
            found = [at] if at >= from_at else []
        case Unverifiable():
            found = []
    return [at for at in found if definition.expires_at is None or at < definition.expires_at]


def _chain(interval: Interval, past: Sequence[TickRow], from_at: int, now_at: int, number: int) -> list[int]:
    at = from_at
    if past:
        at = past[-1].due_at if past[-1].fired_at is None else past[-1].fired_at
    every = round(interval.every_s * SECOND)
    # What lies between was due while nobody judged it; a step each would take for ever where an interval is short.
    at += max(0, now_at - at - 1) // max(every, 1) * every
    found: list[int] = []
    while len(found) < number:
        at = step(interval, at).first_at
        if at >= now_at:
            found.append(at)
    return found


def _evidence(entry: Known, version: KnownVersion, seen: _Seen, newest: Row[Any] | None) -> str:
    """How the newest fire of the entry is known."""
    recent: Sequence[Fire] = seen.recent.get(entry.id, ())
    if version.source == "probe":
        return "probe"
    if recent:
        return max(recent, key=lambda fire: fire.at).source
    return newest.evidence if newest is not None else "none yet"

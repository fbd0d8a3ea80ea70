"""How many due times came to what in each stretch of a span, for pages that draw days and weeks; and those to come."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, literal, select, tuple_
from sqlalchemy import null as no_value

from taskledger.crontabs import DAY
from taskledger.ledger import dialects, schedule_then, schema, then
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger.ledger.beat_answers import Tally
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_rows import due_next
from taskledger.ledger.schedule_ticks import Outcomes, final_at
from taskledger.ledger.types import Moment
from taskledger.verdicts import RECEIVE_WITHIN_S

#: due times of one entry in the span from which on it is not looked at what became of the tasks
MANY = 20_000
#: due times to come of one entry that are told
MOST_AHEAD = 100


def tallies(
    ledger: Ledger,
    rows: Sequence[ScheduleRow],
    span: Span,
    width: int,
    now_at: int,
    at: int | None = None,
    *,
    many: int = MANY,
) -> tuple[Tally, ...]:
    """The due times of some entries by stretches of `width` microseconds of the span, earliest first.

    What is not final yet is in the rows, and not counted here. Of entries with more due times than `many` in the span
    it is not looked at what became of the tasks.
    """
    with ledger.read() as connection:
        mine = _entries(connection, ledger, rows)
        if not mine:
            return ()
        plain = _many(connection, list(mine), span, many)
        asked = _Asked(span, width, at)
        found = _counted(connection, [key for key in mine if key not in plain], asked, with_tasks=True)
        found += _counted(connection, sorted(plain), asked, with_tasks=False)
        single = _tasks(connection, [(row.entry_id, row.first_at) for row in found if row.number == 1])
        outcomes = _outcomes(connection, {row.cluster_id for row in found}, now_at, at)
        made = [
            _tally(row, mine[row.entry_id], None if row.entry_id in plain else outcomes[row.cluster_id], single, asked)
            for row in found
        ]
    return tuple(sorted(made, key=lambda one: one.from_at))


def due_ahead(
    ledger: Ledger, rows: Sequence[ScheduleRow], now_at: int, until_at: int, at: int | None = None
) -> dict[tuple[str, str], tuple[int, ...]]:
    """By (cluster, name) the due times from now to then, as far as its definition says; at most 100 each."""
    wanted = {(row.cluster, row.name): row for row in rows if row.next_due_at is not None}
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    with ledger.read() as connection:
        told = entries_of.beats(connection)
        for name in dict.fromkeys(name for _, name in wanted):
            entries = entries_of.known_with(connection, told, now_at, name=name)
            for entry in entries if at is None else schedule_then.entries_at(entries, at):
                key = (ledger.labels.value(entry.cluster_id) or "", name)
                if key in wanted:
                    past = [tick for tick in wanted[key].ticks if tick.fire != "pending"]
                    dues = due_next(entry, past, now_at, MOST_AHEAD)
                    found[key] = tuple(due_at for due_at in dues if due_at < until_at)
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    span: Span
    width: int
    at: int | None


def _entries(connection: Connection, ledger: Ledger, rows: Sequence[ScheduleRow]) -> dict[int, ScheduleRow]:
    """The entries of the rows by their numbers."""
    wanted, entry = {(row.cluster, row.name): row for row in rows}, schema.schedule_entry.c
    found: dict[int, ScheduleRow] = {}
    for chunk in dialects.chunks([digest(row.name) for row in rows]):
        for row in connection.execute(select(entry.id, entry.cluster_id, entry.name).where(entry.digest.in_(chunk))):
            key = (ledger.labels.value(row.cluster_id) or "", row.name)
            if key in wanted:
                found[row.id] = wanted[key]
    return found


def _many(connection: Connection, entry_ids: Sequence[int], span: Span, many: int) -> set[int]:
    """The entries with more due times than their tasks can be looked at for a page."""
    count = schema.tick_count.c
    days = and_(count.day_at > span.from_at - DAY, count.day_at < span.to_at, count.entry_id.in_(entry_ids))
    numbers = select(count.entry_id).where(days).group_by(count.entry_id).having(func.sum(count.number) > many)
    return set(connection.execute(numbers).scalars())


def _counted(connection: Connection, entry_ids: Sequence[int], asked: _Asked, *, with_tasks: bool) -> list[Row[Any]]:
    if not entry_ids:
        return []
    inner = _ticks(entry_ids, asked, with_tasks=with_tasks).subquery("ticks")
    names = ("entry_id", "cluster_id", "part", "fire", "flags", "state")
    columns = [inner.c[name] for name in names]
    numbers = (
        func.count().label("number"),
        func.min(inner.c.due_at).label("first_at"),
        func.max(inner.c.due_at).label("last_at"),
        func.max(inner.c.fired_at).label("fired_at"),
    )
    rows: Any = connection.execute(select(*columns, *numbers).group_by(*columns)).all()
    return list(rows)


def _ticks(entry_ids: Sequence[int], asked: _Asked, *, with_tasks: bool) -> Select[Any]:
    """The ticks of the span, each with its part of it and the state of its task."""
    tick, entry, task, span = schema.tick, schema.schedule_entry, schema.task, asked.span
    part = ((tick.c.due_at - literal(span.from_at, Moment)) // literal(asked.width, Moment)).label("part")
    state: ColumnElement[Any] = no_value() if not with_tasks else task.c.state
    state = state if asked.at is None or not with_tasks else then.state(asked.at)
    columns = (tick.c.entry_id, entry.c.cluster_id, part, tick.c.fire, tick.c.flags, state.label("state"))
    joined = tick.join(entry, entry.c.id == tick.c.entry_id)
    if with_tasks:
        its_task = and_(task.c.id == tick.c.task_id, task.c.cluster_id == entry.c.cluster_id)
        its_task = its_task if asked.at is None else and_(its_task, task.c.first_at <= asked.at)
        joined = joined.outerjoin(task, its_task)
    question = select(*columns, tick.c.due_at, tick.c.fired_at).select_from(joined)
    inside = and_(tick.c.entry_id.in_(entry_ids), tick.c.due_at >= span.from_at, tick.c.due_at < span.to_at)
    return question.where(inside, *final_at(asked.at))


def _tasks(connection: Connection, single: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str | None]:
    """The tasks of due times that are alone in their stretch."""
    tick, found = schema.tick.c, dict[tuple[int, int], str | None]()
    for chunk in dialects.chunks(single):
        question = select(tick.entry_id, tick.due_at, tick.task_id)
        question = question.where(tuple_(tick.entry_id, tick.due_at).in_(chunk))
        found |= {(row.entry_id, row.due_at): row.task_id for row in connection.execute(question)}
    return found


def _outcomes(connection: Connection, clusters: set[int], now_at: int, at: int | None) -> dict[int, Outcomes]:
    made: dict[int, Outcomes] = {}
    for cluster_id in clusters:
        heard = facts.heard(connection, cluster_id) or Heard([], 0)
        heard = heard if at is None else schedule_then.heard_at(heard, at)
        made[cluster_id] = Outcomes(defaultdict(lambda: None), min(now_at, heard.until_at), heard.spans)
    return made


def _tally(
    row: Row[Any],
    entry: ScheduleRow,
    outcomes: Outcomes | None,
    single: Mapping[tuple[int, int], str | None],
    asked: _Asked,
) -> Tally:
    within_s = entry.settings.receive_within_s if entry.settings else None
    became = None
    if outcomes is not None and row.fired_at is not None:
        # Of several it is the last one's: what is still waiting was sent last.
        became = outcomes.of(row.cluster_id, "", row.state, row.fired_at, within_s or RECEIVE_WITHIN_S)
    return Tally(
        cluster=entry.cluster,
        entry=entry.name,
        from_at=asked.span.from_at + int(row.part) * asked.width,
        fire=row.fire,
        outcome=became,
        flags=tuple(row.flags.split()) if row.flags else (),
        number=row.number,
        first_at=row.first_at,
        last_at=row.last_at,
        task_id=single.get((row.entry_id, row.first_at)) if row.number == 1 else None,
    )

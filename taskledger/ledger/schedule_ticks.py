"""The due times of entries as pages show them: the newest that are final, with what became of their tasks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Row, Select, and_, func, select, true

from taskledger.crontabs import SECOND
from taskledger.ledger import dialects, schema, then
from taskledger.ledger.answers import TickRow
from taskledger.ledger.schedule_judge import Last
from taskledger.ledger.schedule_proofs import ticks_since
from taskledger.ledger.types import unpack_task_id
from taskledger.states import State
from taskledger.ticks import Spans
from taskledger.verdicts import Verdict, outcome

#: (cluster, task id) -> the row of a task, with its state; and the note of the last run of one that was revoked
Tasks = Mapping[tuple[int, str], Row[Any]]
#: a final tick as the driver gives it: `_SAID`, the state of its task, and `_TIMES` where these are asked for
Final = tuple[Any, ...]
Notes = Mapping[tuple[int, str], str | None]
#: states that tell the outcome by themselves
_PLAIN = {
    int(state): outcome(state, None, 0, 0, ())
    for state in State
    if state not in (State.UNKNOWN, State.PENDING, State.REVOKED)
}
_REVOKED = int(State.REVOKED)
#: what a row of a final tick begins with, before the state of its task
_SAID = ("entry_id", "due_at", "fire", "flags", "fired_at", "task_id", "note", "evidence")
_DUE_AT = itemgetter(1)
_TIMES = ("received_at", "started_at", "ended_at", "wait_s", "runtime_s")
#: what a list does not ask for: the error, and the times of the task; and what it adds later: that it is acknowledged
_NOTHING = (*((None,) * (1 + len(_TIMES))), False)


class Outcomes:
    """What became of the tasks of ticks, as far as is known at a moment."""

    def __init__(self, notes: Notes, judged_at: int, spans: Spans) -> None:
        self._notes, self._judged_at, self._spans = notes, judged_at, spans

    def of(self, cluster_id: int, task_id: str, state: int | None, fired_at: int, within_s: float) -> str:
        """The outcome of one fire; state None: the ledger has no such task."""
        if state is None:
            return "unknown"
        plain = _PLAIN.get(state)
        if plain is not None:
            return plain
        note = self._notes.get((cluster_id, task_id))
        return outcome(State(state), note, fired_at, self._judged_at, self._spans, within_s)


def final_ticks(
    connection: Connection, entry_ids: Sequence[int], limit: int, at: int | None, *, is_whole: bool
) -> dict[int, list[Final]]:
    """The newest final ticks of each entry, earliest first, with the states of their tasks; `is_whole`: and times.

    As of a moment `at`, that are those after which another was due by then.
    """
    found: dict[int, list[Final]] = defaultdict(list)
    for chunk in dialects.chunks(entry_ids):
        newest = _newest(connection, chunk, limit if at is None else limit + 1, at)
        question = with_tasks(newest, at, is_whole=is_whole)
        for row in raw(connection.execute(question)):
            found[row[0]].append(row)
    for rows in found.values():
        rows.sort(key=_DUE_AT)
    return found if at is None else {entry_id: rows[:-1] for entry_id, rows in found.items() if rows[:-1]}


def raw(result: CursorResult[Any]) -> Sequence[Final]:
    """The rows as the driver has them: making ten thousand into SQLAlchemy's takes as long as asking for them."""
    with result:
        return result.cursor.fetchall() if result.cursor is not None else ()


def _newest(connection: Connection, entry_ids: Sequence[int], limit: int, at: int | None) -> Any:
    """The newest ticks of each entry, with its cluster, to select from.

    PostgreSQL would look for the oldest of them anew for each tick there is, and knows a better way.
    """
    tick, entry = schema.tick, schema.schedule_entry
    if connection.dialect.name == "postgresql":
        its = select(tick).where(tick.c.entry_id == entry.c.id)
        its = its if at is None else its.where(tick.c.due_at <= at)
        newest = its.order_by(tick.c.due_at.desc()).limit(limit).lateral("newest")
        joined = select(newest, entry.c.cluster_id).select_from(entry.join(newest, true()))
        return joined.where(dialects.among(connection, entry.c.id, entry_ids)).subquery("ticks")
    since = ticks_since(entry_ids, limit, at)
    mine = and_(tick.c.entry_id == since.c.id, tick.c.due_at >= since.c.since_at)
    mine = mine if at is None else and_(mine, tick.c.due_at <= at)
    return select(tick, since.c.cluster_id).select_from(since.join(tick, mine)).subquery("ticks")


def final_at(at: int | None) -> Iterator[ColumnElement[bool]]:
    """What holds of ticks that are final, as of a moment: another was due by then; of all of them now."""
    if at is not None:
        tick, inner = schema.tick.c, schema.tick.alias("newest").c
        newest = select(func.max(inner.due_at)).where(inner.entry_id == tick.entry_id, inner.due_at <= at)
        yield tick.due_at < newest.correlate(schema.tick).scalar_subquery()


def with_tasks(ticks: Any, at: int | None, *, is_whole: bool) -> Select[Any]:
    """The ticks of a subquery with the states of their tasks; `is_whole`: and times."""
    task, tick = schema.task.c, ticks.c
    columns: list[Any] = [tick[name] for name in _SAID]
    its_task = and_(task.id == tick.task_id, task.cluster_id == tick.cluster_id)
    if at is None and not is_whole:
        # One look each into the key of the tasks: a join may read them all.
        return select(*columns, select(task.state).where(its_task).scalar_subquery().label("state"))
    state = task.state if at is None else then.state(at).label("state")
    its_task = its_task if at is None else and_(its_task, task.first_at <= at)
    times = [task[name] for name in _TIMES] if is_whole else []
    return select(*columns, state, *times).select_from(ticks.outerjoin(schema.task, its_task))


def tasks_of(connection: Connection, sent: Iterable[tuple[int, str]], at: int | None) -> Tasks:
    """The rows of tasks, (cluster, id)."""
    task, wanted, found = schema.task.c, set(sent), dict[tuple[int, str], Row[Any]]()
    state = task.state if at is None else then.state(at).label("state")
    for chunk in dialects.chunks(sorted({task_id for _, task_id in wanted})):
        question = select(task.cluster_id, task.id, state, *(task[name] for name in _TIMES))
        question = question.where(dialects.among(connection, task.id, chunk))
        question = question if at is None else question.where(task.first_at <= at)
        found |= {(row.cluster_id, row.id): row for row in connection.execute(question)}
    return found


def notes_of(connection: Connection, revoked: Iterable[tuple[int, str]], at: int | None) -> Notes:
    """The note of the last run of each task tells why it was revoked."""
    run, wanted, found = schema.run.c, set(revoked), dict[tuple[int, str], str | None]()
    for chunk in dialects.chunks(sorted({task_id for _, task_id in wanted})):
        notes = select(run.cluster_id, run.task_id, run.note).where(run.task_id.in_(chunk))
        notes = notes if at is None else notes.where(run.ended_at <= at)
        found |= {(row.cluster_id, row.task_id): row.note for row in connection.execute(notes.order_by(run.number))}
    return found


def last_of(rows: Sequence[Final]) -> Last | None:
    """What the ticks after these follow from."""
    return Last(rows[-1][1], rows[-1][2], rows[-1][4]) if rows else None


def revoked_of(rows: Iterable[Final]) -> list[str]:
    """The tasks of final ticks that were revoked."""
    return [unpack_task_id(row[5]) for row in rows if row[8] == _REVOKED]


def finals(rows: Iterable[Final], cluster_id: int, outcomes: Outcomes, within_s: float) -> Iterator[TickRow]:
    """Final ticks from their rows without times; a page has ten thousand of them."""
    make, plain = tuple.__new__, _PLAIN
    # A row of the class as it makes one itself, in half the time.
    for _, due_at, fire, flags, fired_at, packed, note, evidence, state in rows:
        told = tuple(flags.split()) if flags else ()
        task_id = None if packed is None else unpack_task_id(packed)
        if fired_at is None:
            yield make(TickRow, (due_at, fire, None, None, None, task_id, True, note, told, evidence, *_NOTHING))
            continue
        became = None if task_id is None else plain.get(state)
        if became is None and task_id is not None:
            became = outcomes.of(cluster_id, task_id, state, fired_at, within_s)
        late_s = (fired_at - due_at) / SECOND
        yield make(TickRow, (due_at, fire, became, fired_at, late_s, task_id, True, note, told, evidence, *_NOTHING))


def final(row: Final, cluster_id: int, outcomes: Outcomes, within_s: float, error: str | None) -> TickRow:
    """A final tick from its row with times, and why its send failed."""
    (tick,) = finals([row[: -len(_TIMES)]], cluster_id, outcomes, within_s)
    error = None if tick.fired_at is None else error
    times = [None] * len(_TIMES) if tick.fired_at is None else row[-len(_TIMES) :]
    return tick._replace(error=error, **dict(zip(_TIMES, times, strict=True)))


def unsettled(
    verdict: Verdict, note: str | None, cluster_id: int, tasks: Tasks, outcomes: Outcomes, within_s: float
) -> TickRow:
    """A tick that is not final yet."""
    fired_at, task_id = verdict.fired_at, verdict.task_id
    task = None if task_id is None else tasks.get((cluster_id, task_id))
    became = None
    if task_id is not None and fired_at is not None:
        became = outcomes.of(cluster_id, task_id, None if task is None else task.state, fired_at, within_s)
    times: list[Any] = [None] * len(_TIMES) if task is None else [getattr(task, name) for name in _TIMES]
    return TickRow(
        verdict.due_at, verdict.fire, became, fired_at, verdict.lateness_s, task_id, False, note, verdict.flags,
        verdict.source, verdict.error, *times,
    )  # fmt: skip

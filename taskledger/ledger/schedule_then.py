"""Schedules as of a moment: what is known of entries, and all that verdicts rest on, without what came later.

A verdict that is final today may have been open then: which of them were final by the moment follows from the due
times, and what was open is judged again by what had been sent by then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, RowMapping, and_, select

from taskledger.ledger import dialects, schema, then
from taskledger.ledger.schedule_facts import Heard, Known, KnownVersion
from taskledger.ledger.schedule_judge import Case
from taskledger.states import State
from taskledger.ticks import Fire


def entries_at(entries: Iterable[Known], at: int) -> list[Known]:
    """The entries that had been read by a moment, with the versions that there were."""
    found = ((entry, tuple(_versions_at(entry.versions, at))) for entry in entries)
    return [replace(entry, read_at=_read_at(entry, mine, at), versions=mine) for entry, mine in found if mine]


def heard_at(heard: Heard, at: int) -> Heard:
    """When somebody listened, up to a moment."""
    spans = [(from_at, min(to_at, at)) for from_at, to_at in heard.spans if from_at < at]
    return Heard(spans, min(heard.until_at, at))


def last_ticks_at(connection: Connection, entry_ids: Iterable[int], at: int) -> dict[int, RowMapping]:
    """The newest tick of each entry that was surely final by a moment: one after which another was due by then."""
    tick = schema.tick
    found: dict[int, RowMapping] = {}
    for entry_id in entry_ids:
        due = select(tick).where(tick.c.entry_id == entry_id, tick.c.due_at <= at).order_by(tick.c.due_at.desc())
        rows = connection.execute(due.limit(2)).mappings().all()
        if len(rows) == 2:
            found[entry_id] = rows[1]
    return found


def case_at(case: Case, at: int) -> Case:
    """The case without what was sent after a moment."""
    scope = replace(case.scope, to_at=min(case.scope.to_at, at), now_at=min(case.scope.now_at, at))
    return replace(
        case,
        scope=scope,
        fires=_until(case.fires, at),
        rival_fires=_until(case.rival_fires, at),
        others=_until(case.others, at),
    )


def fates_at(
    connection: Connection, cluster_id: int, task_ids: Sequence[str], at: int
) -> dict[str, tuple[State, str | None]]:
    """How tasks had fared by a moment, with the note of the last run that was over; see `schedule_rows`."""
    task, run = schema.task.c, schema.run.c
    fates: dict[str, tuple[State, str | None]] = {}
    for chunk in dialects.chunks(task_ids):
        mine = and_(task.cluster_id == cluster_id, task.id.in_(chunk), task.first_at <= at)
        stood = select(task.id, then.state(at).label("state")).where(mine)
        fates |= {row.id: (State(row.state), None) for row in connection.execute(stood)}
    revoked = [task_id for task_id, (state, _) in fates.items() if state is State.REVOKED]
    for chunk in dialects.chunks(revoked):
        over = and_(run.cluster_id == cluster_id, run.task_id.in_(chunk), run.ended_at <= at)
        for row in connection.execute(select(run.task_id, run.note).where(over).order_by(run.number)):
            fates[row.task_id] = (State.REVOKED, row.note)
    return fates


def _versions_at(versions: Iterable[KnownVersion], at: int) -> Iterable[KnownVersion]:
    for version in versions:
        if version.from_at <= at:
            is_over = version.to_at is not None and version.to_at <= at
            yield version if is_over else replace(version, to_at=None)


def _read_at(entry: Known, versions: Sequence[KnownVersion], at: int) -> int:
    """When it was last read, as far as that is known: when its version began it was."""
    return entry.read_at if entry.read_at <= at else versions[-1].from_at


def _until(fires: Iterable[Fire], at: int) -> list[Fire]:
    return [fire for fire in fires if fire.at <= at]

"""The due times of one entry in a span, with all that is known of each; and from when on they are kept."""

from sqlalchemy import Connection, func, select

from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_then, schema, tick_notes
from taskledger.ledger.answers import ScheduleRow, Span, TickRow
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_judge import TASKS_PRUNED
from taskledger.ledger.schedule_runs import with_run_flags
from taskledger.ledger.schedule_ticks import Final, Outcomes, final, final_at, notes_of, raw, revoked_of, with_tasks
from taskledger.verdicts import RECEIVE_WITHIN_S


def due_times(
    ledger: Ledger,
    row: ScheduleRow,
    span: Span,
    now_at: int,
    at: int | None = None,
    *,
    limit: int = 300,
    skip: int = 0,
) -> tuple[TickRow, ...]:
    """The final ones of a span, earliest first: the newest `limit` but for the `skip` newest. Others are in the row."""
    with ledger.read() as connection:
        found = _entry(connection, ledger, row)
        if found is None:
            return ()
        entry_id, cluster_id = found
        rows = _rows(connection, entry_id, span, at, limit, skip)
        revoked = [(cluster_id, task_id) for task_id in revoked_of(rows)]
        heard = facts.heard(connection, cluster_id) or Heard([], 0)
        heard = heard if at is None else schedule_then.heard_at(heard, at)
        outcomes = Outcomes(notes_of(connection, revoked, at), min(now_at, heard.until_at), heard.spans)
        within_s = row.settings.receive_within_s if row.settings else None
        errors = _errors(connection, entry_id, span)
        ticks = [final(one, cluster_id, outcomes, within_s or RECEIVE_WITHIN_S, errors.get(one[4])) for one in rows]
        ticks = tick_notes.marked(ticks, tick_notes.acknowledged(connection, [entry_id], at).get(entry_id))
        most_s = row.settings.max_runtime_s if row.settings else None
        return tuple(ticks if at is not None else with_run_flags(connection, cluster_id, ticks, most_s, now_at))


def kept_from(ledger: Ledger, row: ScheduleRow) -> int:
    """The moment before which due times of the entry may have been pruned; 0 if none ever were."""
    with ledger.read() as connection:
        found = _entry(connection, ledger, row)
        pruned_at = facts.mark(connection, TASKS_PRUNED) or 0
        if found is None or not pruned_at:
            return 0
        first_at = connection.scalar(select(func.min(schema.tick.c.due_at)).where(schema.tick.c.entry_id == found[0]))
        return pruned_at if first_at is None else min(pruned_at, first_at)


def _entry(connection: Connection, ledger: Ledger, row: ScheduleRow) -> tuple[int, int] | None:
    """Its number, and that of its cluster."""
    entry = schema.schedule_entry.c
    question = select(entry.id, entry.cluster_id, entry.name).where(entry.digest == digest(row.name))
    for one in connection.execute(question):
        if one.name == row.name and ledger.labels.value(one.cluster_id) == row.cluster:
            return one.id, one.cluster_id
    return None


def _rows(connection: Connection, entry_id: int, span: Span, at: int | None, limit: int, skip: int) -> list[Final]:
    tick, entry = schema.tick, schema.schedule_entry
    mine = select(tick, entry.c.cluster_id).join(entry, entry.c.id == tick.c.entry_id)
    mine = mine.where(tick.c.entry_id == entry_id, tick.c.due_at >= span.from_at, tick.c.due_at < span.to_at)
    newest = mine.where(*final_at(at)).order_by(tick.c.due_at.desc()).limit(limit).offset(skip)
    rows = raw(connection.execute(with_tasks(newest.subquery("ticks"), at, is_whole=True)))
    return sorted(rows, key=lambda row: row[1])


def _errors(connection: Connection, entry_id: int, span: Span) -> dict[int, str]:
    """Why sends of the span failed, by their moment."""
    failure = schema.send_failure.c
    question = select(failure.at, failure.exception, failure.message).where(failure.entry_id == entry_id)
    found = connection.execute(question.where(failure.at >= span.from_at).order_by(failure.at).limit(1_000))
    return {one.at: ": ".join(filter(None, (one.exception, one.message))) for one in found}

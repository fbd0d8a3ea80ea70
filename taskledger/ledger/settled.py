"""What was settled: the rows of `settlement` as facts, and facts as rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.settlements import MAX_NOTE_CHARS, SettledBy, Settlement
from taskledger.states import State
from taskledger.texts import MAX_TRACEBACK_CHARS, cut, kept, text

S = schema.settlement.c


def of(connection: Connection, labels: Labels, cluster_id: int, task_ids: Sequence[str]) -> dict[str, list[Settlement]]:
    """Task id -> all that was settled of it."""
    found: dict[str, list[Settlement]] = defaultdict(list)
    for chunk in dialects.chunks(task_ids):
        mine = select(schema.settlement).where(S.task_id.in_(chunk), S.cluster_id == cluster_id)
        for row in connection.execute(mine):
            found[row.task_id].append(fact_of(labels, row))
    return found


def fact_of(labels: Labels, row: Any) -> Settlement:
    """The fact that a row tells."""
    return Settlement(
        labels.value(row.host_id or None),
        row.begun_at or None,
        SettledBy(row.settled_by),
        row.known_at,
        None if row.state is None else State(row.state),
        row.at,
        row.is_exact,
        labels.value(row.name_id),
        row.args,
        row.kwargs,
        row.result,
        row.exception,
        row.traceback,
        row.note,
    )


def names(facts: Sequence[Settlement]) -> set[tuple[Kind, str]]:
    """The names that need numbers before these facts can be written."""
    hosts = {(Kind.HOST, fact.worker) for fact in facts if fact.worker}
    return hosts | {(Kind.NAME, fact.name) for fact in facts if fact.name}


def keep(connection: Connection, labels: Labels, cluster_id: int, facts: Mapping[str, Sequence[Settlement]]) -> None:
    """Write facts of tasks whose rows are locked. What was known before in the same way stays as it is.

    The tasks are marked, so that whoever projects them again asks for what was settled.
    """
    rows = [_row(labels, cluster_id, task_id, fact) for task_id, those in facts.items() for fact in those]
    if not rows:
        return
    connection.execute(dialects.insert_ignore(connection, schema.settlement), rows)
    task = schema.task.c
    for chunk in dialects.chunks(sorted(facts)):
        mine = update(schema.task).where(task.id.in_(chunk), task.cluster_id == cluster_id)
        connection.execute(mine.where(task.settled_by.is_(None)).values(settled_by=0))


def _row(labels: Labels, cluster_id: int, task_id: str, fact: Settlement) -> dict[str, Any]:
    texts = {key: kept(getattr(fact, key)) for key in ("args", "kwargs", "result", "exception")}
    return {
        "task_id": task_id,
        "cluster_id": cluster_id,
        "host_id": labels.number(Kind.HOST, fact.worker) if fact.worker else 0,
        "begun_at": fact.begun_at or 0,
        "settled_by": int(fact.settled_by),
        "known_at": fact.known_at,
        "at": fact.at,
        "state": None if fact.state is None else int(fact.state),
        "is_exact": fact.is_exact,
        "name_id": labels.number(Kind.NAME, fact.name) if fact.name else None,
        "traceback": cut(text(fact.traceback), MAX_TRACEBACK_CHARS),
        "note": (text(fact.note) or "")[:MAX_NOTE_CHARS] or None,
        **texts,
    }

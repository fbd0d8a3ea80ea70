"""What is odd about how the tasks of due times ran: twice, into the next due time, or longer than they should."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, and_, func, select

from taskledger.ledger import dialects, schema
from taskledger.ledger.answers import TickRow
from taskledger.verdicts import Delivery, run_flags

Runs = dict[str, list[Any]]


def with_run_flags(
    connection: Connection, cluster_id: int, ticks: Sequence[TickRow], max_runtime_s: float | None, now_at: int
) -> list[TickRow]:
    """The ticks, earliest first, with the flags of their runs; one without an end went on until its worker's last sign.

    `max_runtime_s` None: any run may take as long as it wants.
    """
    runs = _runs(connection, cluster_id, [tick.task_id for tick in ticks if tick.task_id])
    last = {tick.due_at: following.due_at for tick, following in pairwise(ticks)}
    return [
        _flagged(tick, runs.get(tick.task_id or "", ()), last.get(tick.due_at), max_runtime_s, now_at) for tick in ticks
    ]


def _flagged(
    tick: TickRow, runs: Sequence[Any], next_due_at: int | None, max_runtime_s: float | None, now_at: int
) -> TickRow:
    if not runs:
        return tick
    seen_until_at = min(now_at, max(run.last_at or run.started_at or 0 for run in runs))
    deliveries = [Delivery(run.retries or 0, run.started_at, run.ended_at) for run in runs]
    flags = run_flags(deliveries, next_due_at, seen_until_at, max_runtime_s)
    return tick._replace(flags=(*tick.flags, *flags)) if flags else tick


def _runs(connection: Connection, cluster_id: int, task_ids: Sequence[str]) -> Runs:
    """Task id -> its runs in their order, each with the last sign of its worker."""
    run, session = schema.run.c, schema.worker_session.c
    mine = and_(session.host_id == run.worker_id, session.cluster_id == run.cluster_id)
    last_at = select(func.max(session.last_at)).where(mine).scalar_subquery().label("last_at")
    found: Runs = defaultdict(list)
    for chunk in dialects.chunks(sorted(set(task_ids))):
        question = select(run.task_id, run.retries, run.started_at, run.ended_at, last_at)
        question = question.where(run.task_id.in_(chunk), run.cluster_id == cluster_id).order_by(run.number)
        for row in connection.execute(question):
            found[row.task_id].append(row)
    return found

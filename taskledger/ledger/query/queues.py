"""Questions about queues: what waits in each, for how long, and how much of it is running."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from taskledger.ledger import schema, then
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.momentary import QueueRow, Queues
from taskledger.ledger.query.moment import alive, listening_at, running_at
from taskledger.states import State

T = schema.task.c
#: states of a task that is not running and not over
_WAITING = (State.PENDING, State.RECEIVED, State.CANCELLED, State.RETRY)


@dataclass(slots=True)
class _Tally:
    numbers: Counter[str] = field(default_factory=Counter)
    oldest_at: int | None = None


def queues_at(ledger: Ledger, at: int, now_at: int) -> Queues:
    """The queues in which anything was waiting or running at a moment, those with the most waiting first.

    That something waits is known where it was announced (`task_send_sent_event`), else once a worker has it.
    """
    running = running_at(ledger, at, now_at)
    tallies: dict[tuple[str, str | None], _Tally] = {}
    for task in running.tasks:
        tallies.setdefault((task.cluster, task.queue), _Tally()).numbers["running"] += 1
    for task in running.unknown:
        tallies.setdefault((task.cluster, task.queue), _Tally()).numbers["unknown"] += 1
    for one, _ in listening_at(ledger, at, now_at).every.values():
        cluster_id = ledger.labels.number(Kind.CLUSTER, one.cluster)
        for row in _waiting(ledger, at, cluster_id, one.since_at):
            _add(tallies.setdefault((one.cluster, ledger.labels.value(row.queue_id)), _Tally()), row)
    rows = (_row(cluster, queue, tally) for (cluster, queue), tally in tallies.items())
    return Queues(at, running.heard, tuple(sorted(rows, key=_fullest)))


def _waiting(ledger: Ledger, at: int, cluster_id: int, heard_since_at: int | None) -> list[Any]:
    """Rows of (queue_id, state, is_later, is_known, number, oldest_at)."""
    with ledger.read() as connection:
        conditions = [and_(T.cluster_id == cluster_id, condition) for condition in alive(connection, at)]
        return [row for each in conditions for row in connection.execute(_counted(each, at, heard_since_at))]


def _counted(condition: ColumnElement[bool], at: int, heard_since_at: int | None) -> Select[Any]:
    heard_of_at = func.coalesce(case((T.sent_at <= at, T.sent_at)), T.first_at)
    columns = [
        T.queue_id,
        then.state(at).label("state"),
        case((T.eta_at > at, 1), else_=0).label("is_later"),
        _is_known(at, heard_since_at).label("is_known"),
        # What waited for its time waited in the queue from then on.
        case((T.eta_at > heard_of_at, T.eta_at), else_=heard_of_at).label("since_at"),
    ]
    one = select(*columns).where(condition, or_(T.expires_at.is_(None), T.expires_at > at)).subquery()
    kinds = [one.c.queue_id, one.c.state, one.c.is_later, one.c.is_known]
    numbers = [func.count().label("number"), func.min(one.c.since_at).label("oldest_at")]
    return select(*kinds, *numbers).where(one.c.state.in_([int(state) for state in _WAITING])).group_by(*kinds)


def _is_known(at: int, heard_since_at: int | None) -> ColumnElement[Any]:
    """Whether it cannot have run unheard: it went on after the moment, or somebody listened ever since it was sent."""
    went_on = or_(T.received_at > at, T.started_at > at, T.ended_at > at)
    if heard_since_at is None:
        return case((went_on, 1), else_=0)
    last_at = func.coalesce(case((T.received_at <= at, T.received_at)), T.sent_at, T.first_at)
    return case((or_(went_on, last_at >= heard_since_at), 1), else_=0)


def _add(tally: _Tally, row: Any) -> None:
    state = State(row.state)
    if not row.is_known:
        tally.numbers["unknown"] += row.number
    elif row.is_later or state == State.RETRY:
        tally.numbers["scheduled"] += row.number
    else:
        tally.numbers["waiting"] += row.number
        tally.numbers["reserved"] += row.number if state == State.RECEIVED else 0
        tally.oldest_at = row.oldest_at if tally.oldest_at is None else min(tally.oldest_at, row.oldest_at)


def _row(cluster: str, queue: str | None, tally: _Tally) -> QueueRow:
    numbers = {name: tally.numbers[name] for name in ("waiting", "reserved", "scheduled", "running", "unknown")}
    return QueueRow(name=queue, cluster=cluster, **numbers, oldest_at=tally.oldest_at)


def _fullest(row: QueueRow) -> tuple[int, int, str, str]:
    return -row.waiting, -row.running, row.name or "", row.cluster

"""Questions about one moment: what was running, what was waiting, which workers were there, and who listened just then.

What is known today of that moment, also by what came later: a run that ended after it was running then.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, true

from taskledger.ledger import lasting, schema
from taskledger.ledger.answers import HeardAt, Running, RunningTask, Span
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.query.listening import coverage
from taskledger.ledger.query.lives import Beat, Lives, beats, lives
from taskledger.ledger.query.then import started
from taskledger.standing import LOST, RUNNING, UNKNOWN, Moment, of_open_run
from taskledger.states import State

#: runs that one answer lists
MOST = 10_000
#: microseconds after a moment in which a recorder that had died may have seemed to go on
_AFTER = 60_000_000
#: microseconds for which what a lost worker was at is still told
LOST_TOLD = 86_400_000_000

T, R = schema.task.c, schema.run.c
_OPEN = [int(state) for state in State if State.UNKNOWN < state < State.REJECTED]


def heard_at(ledger: Ledger, at: int, now_at: int) -> tuple[HeardAt, ...]:
    """Of each cluster that was ever recorded, by name: whether anybody listened at a moment."""
    names = sorted(name for name in map(ledger.labels.value, ledger.labels.ids(Kind.CLUSTER, lambda _: True)) if name)
    return tuple(_heard(ledger, name, at, now_at) for name in names)


def running_at(ledger: Ledger, at: int, now_at: int, *, worker: str | None = None, queue: str | None = None) -> Running:
    """The runs that were under way at a moment, on all workers and of all queues unless one is named."""
    heard = heard_at(ledger, at, now_at)
    which = [_named(ledger, Kind.HOST, worker, R.worker_id), _named(ledger, Kind.QUEUE, queue, T.queue_id)]
    with ledger.read() as connection:
        rows = _under_way(connection, at, which)
        hosts = sorted({row.worker_id for row in rows if row.ended_at is None and row.worker_id is not None})
        found = lives(connection, at, hosts)
        told = beats(connection, ledger.labels, at, found)
    moments = {one.cluster: Moment(at, now_at, one.since_at) for one in heard}
    sorted_out: dict[str, list[RunningTask]] = defaultdict(list)
    for row in sorted(rows[:MOST], key=lambda row: (row.started_at, row.task_id)):
        moment = moments.get(ledger.labels.value(row.cluster_id) or "", Moment(at, now_at, None))
        certain = _certainty(row, found, told, moment)
        if certain is not None:
            sorted_out[certain[0]].append(_running(ledger, row, *certain))
    return Running(
        at=at,
        heard=heard,
        tasks=tuple(sorted_out[RUNNING]),
        unknown=tuple(sorted_out[UNKNOWN]),
        lost=tuple(sorted_out[LOST]),
        is_whole=len(rows) <= MOST,
    )


def alive(connection: Connection, at: int) -> Iterable[ColumnElement[bool]]:
    """Conditions that find, each by an index, the tasks that had been heard of by a moment and were not over."""
    yield and_(T.state.in_(_OPEN), T.first_at <= at)
    stretches = [and_(T.first_at >= from_at, T.first_at < to_at) for from_at, to_at in lasting.ranges(connection, at)]
    # A task whose last run is over may have had another that took longer: the broker had delivered it twice.
    yield and_(T.state >= int(State.REJECTED), or_(*stretches), or_(T.ended_at > at, T.runs > 1))


def _heard(ledger: Ledger, cluster: str, at: int, now_at: int) -> HeardAt:
    """By the holes of the cluster's coverage, which the moment may lie in, or after."""
    found = coverage(ledger, Span(0, max(min(at + _AFTER, now_at), at + 1)), now_at, cluster=cluster)
    inside = next((hole for hole in found.holes if hole.from_at <= at < hole.to_at), None)
    if found.began_at is None or inside is not None or at > now_at:
        cause = inside.cause if inside else "no recorder had listened to it" if found.began_at is None else "to come"
        return HeardAt(cluster, is_heard=False, since_at=None, cause=cause)
    since_at = max((hole.to_at for hole in found.holes if hole.to_at <= at), default=found.began_at)
    return HeardAt(cluster, is_heard=True, since_at=since_at, cause=None)


def _named(ledger: Ledger, kind: Kind, name: str | None, column: ColumnElement[Any]) -> ColumnElement[bool]:
    if name is None:
        return true()
    number = ledger.labels.find(kind, name)
    return false() if number is None else column == number


def _under_way(connection: Connection, at: int, which: Sequence[ColumnElement[bool]]) -> list[Any]:
    """Runs that had begun and had not ended, as rows; one more than MOST when there are more."""
    begun = started(R).label("started_at")
    query = (
        select(R.task_id, R.cluster_id, R.number, R.worker_id, R.pid, R.state, R.ended_at, begun)
        .add_columns(T.name_id, T.queue_id, T.first_at, T.parent_id)
        .join(schema.run, and_(R.task_id == T.id, R.cluster_id == T.cluster_id))
        .where(begun <= at, or_(R.ended_at.is_(None), R.ended_at > at), *which)
    )
    found: list[Any] = []
    for condition in alive(connection, at):
        found += connection.execute(query.where(condition).order_by(T.first_at.desc()).limit(MOST + 1)).all()
    return found


def _certainty(
    row: Any, found: Lives, told: dict[tuple[int, int], Beat], moment: Moment
) -> tuple[str, int | None] | None:
    """What a run was at the moment, and its worker's last sign; None when it was over, though nobody told."""
    if row.ended_at is not None:
        return RUNNING, None
    key = (row.worker_id, row.cluster_id)
    certain = of_open_run(found.get(key, ()), row.started_at, row.pid, moment)
    if certain is None:
        return None
    beat = told.get(key)
    if certain[1] is None and beat is not None and beat.active == 0 and beat.at > row.started_at:
        # A task that raised Ignore ends without an event (celery/app/trace.py); the heartbeats show that it did.
        return None
    if certain[0] == LOST and moment.at - (certain[1] or 0) > LOST_TOLD:
        return None
    return certain


def _running(ledger: Ledger, row: Any, certainty: str, last_sign_at: int | None) -> RunningTask:
    label = ledger.labels.value
    return RunningTask(
        id=row.task_id,
        name=label(row.name_id),
        state=State.STARTED,
        first_at=row.first_at,
        parent_id=row.parent_id,
        cluster=label(row.cluster_id) or "",
        worker=label(row.worker_id),
        queue=label(row.queue_id),
        run=row.number,
        started_at=round(row.started_at),
        ended_at=row.ended_at,
        became=State(row.state),
        certainty=certainty,
        last_sign_at=last_sign_at,
    )

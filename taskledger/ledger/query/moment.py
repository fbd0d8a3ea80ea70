"""Questions about one moment: what was running, what was waiting, which workers were there, and who listened just then.

What is known today of that moment, also by what came later: a run that ended after it was running then.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, true

from taskledger.ledger import dialects, lasting, schema
from taskledger.ledger.answers import Coverage, Span
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.momentary import HeardAt, Running, RunningTask
from taskledger.ledger.query.certainty import LOST_TOLD, certain
from taskledger.ledger.query.listening import GIVEN_UP, coverage
from taskledger.ledger.then import started
from taskledger.standing import LOST, RUNNING, UNKNOWN, Moment
from taskledger.states import State

#: runs that one answer lists
MOST = 10_000
#: microseconds after a moment in which a recorder that had died may have seemed to go on
_AFTER = 60_000_000

T, R = schema.task.c, schema.run.c
_OPEN = [int(state) for state in State if State.UNKNOWN < state < State.REJECTED]


class Listening(NamedTuple):
    """Who was heard at a moment: the clusters in question; and of all, the moment and what silence before it means."""

    heard: tuple[HeardAt, ...]
    every: dict[str, tuple[HeardAt, Moment]]


def heard_at(ledger: Ledger, at: int, now_at: int) -> tuple[HeardAt, ...]:
    """Whether anybody listened at a moment, to each cluster that was recorded by then, and in the week before."""
    return listening_at(ledger, at, now_at).heard


def listening_at(ledger: Ledger, at: int, now_at: int) -> Listening:
    """The same with all stretches before in which nobody did, and for clusters that are recorded no more, too."""
    every, asked = {}, []
    for name in _clusters(ledger):
        recorded = _coverage(ledger, name, at, now_at)
        holes = tuple((hole.from_at, hole.to_at) for hole in recorded.holes if hole.from_at <= at)
        never = recorded.began_at is None or at > now_at
        heard = _heard(name, at, now_at, recorded)
        every[name] = (heard, Moment(at, now_at, ((0, at + 1),) if never else holes))
        if (recorded.began_at or 0) <= at and (recorded.until_at or at) >= at - GIVEN_UP:
            asked.append(heard)
    # Before the first recording of all, every cluster is one that nobody listened to.
    return Listening(tuple(asked) or tuple(heard for heard, _ in every.values()), every)


def running_at(ledger: Ledger, at: int, now_at: int, *, worker: str | None = None, queue: str | None = None) -> Running:
    """The runs that were under way at a moment, on all workers and of all queues unless one is named."""
    listening = listening_at(ledger, at, now_at)
    which = [_named(ledger, Kind.HOST, worker, R.worker_id), _named(ledger, Kind.QUEUE, queue, T.queue_id)]
    with ledger.read() as connection:
        rows = _under_way(connection, at, which)
        moment_of = {ledger.labels.number(Kind.CLUSTER, name): one[1] for name, one in listening.every.items()}
        judged = certain(connection, ledger.labels, rows[:MOST], moment_of)
    sorted_out: dict[str, list[RunningTask]] = defaultdict(list)
    for row, (certainty, last_sign_at) in judged:
        sorted_out[certainty].append(_running(ledger, row, certainty, last_sign_at))
    return Running(
        at=at,
        heard=listening.heard,
        tasks=tuple(sorted_out[RUNNING]),
        unknown=tuple(sorted_out[UNKNOWN]),
        lost=tuple(sorted_out[LOST]),
        is_whole=len(rows) <= MOST,
    )


def alive(connection: Connection, at: int) -> Iterable[ColumnElement[bool]]:
    """Conditions that find, each by an index, the tasks that had been heard of by a moment and were not over."""
    yield and_(T.state.in_(_OPEN), T.first_at <= at)
    # A task whose last run is over may have had another that took longer: the broker had delivered it twice.
    went_on = and_(T.state >= int(State.REJECTED), or_(T.ended_at > at, T.runs > 1))
    places = lasting.places(connection, at)
    yield and_(went_on, or_(*(and_(T.first_at >= from_at, T.first_at < to_at) for from_at, to_at in places.ranges)))
    for chunk in dialects.chunks(places.moments):
        yield and_(went_on, T.first_at.in_(chunk))


def _clusters(ledger: Ledger) -> list[str]:
    found = map(ledger.labels.value, ledger.labels.ids(Kind.CLUSTER, lambda _: True))
    return sorted(name for name in found if name)


def _coverage(ledger: Ledger, cluster: str, at: int, now_at: int) -> Coverage:
    found = coverage(ledger, Span(0, max(min(at + _AFTER, now_at), at + 1)), now_at, cluster=cluster)
    # A hole that reaches up to now has not ended, and now lies in it.
    holes = tuple(replace(hole, to_at=now_at + 1) if hole.to_at == now_at else hole for hole in found.holes)
    return replace(found, holes=holes)


def _heard(cluster: str, at: int, now_at: int, found: Coverage) -> HeardAt:
    """By the holes of the cluster's coverage, which the moment may lie in, or after."""
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
        select(
            R.task_id, R.cluster_id, R.number, R.worker_id, R.pid, R.state, R.ended_at, R.settled_by, R.runtime_s, begun
        )
        .add_columns(T.name_id, T.queue_id, T.first_at, T.parent_id)
        .join(schema.run, and_(R.task_id == T.id, R.cluster_id == T.cluster_id))
        .where(begun <= at, or_(R.ended_at.is_(None), R.ended_at > at, _left(R, at)), *which)
    )
    found: dict[tuple[str, int, int], Any] = {}
    for condition in (*alive(connection, at), and_(_left(T, at), T.first_at <= at)):
        for row in connection.execute(query.where(condition).order_by(T.first_at.desc()).limit(MOST + 1)):
            found[row.task_id, row.cluster_id, row.number] = row
    return list(found.values())


def _left(of: Any, at: int) -> ColumnElement[bool]:
    """Of tasks, or of runs: what a worker left behind when it was lost is settled soon, and told for a day."""
    return and_(of.state == int(State.LOST), of.settled_by.is_not(None), of.ended_at > at - LOST_TOLD)


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
        started_at=row.started_at,
        ended_at=row.ended_at,
        became=State(row.state),
        certainty=certainty,
        last_sign_at=last_sign_at,
    )

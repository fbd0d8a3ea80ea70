"""Questions about one moment: what was running, what was waiting, which workers were there, and who listened just then.

What is known today of that moment, also by what came later: a run that ended after it was running then.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, or_, select, true

from taskledger.ledger import lasting, schema
from taskledger.ledger.answers import Coverage, HeardAt, Running, RunningTask, Span
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.query.listening import coverage
from taskledger.ledger.query.lives import Beat, Lives, beats, lives
from taskledger.ledger.query.then import started
from taskledger.standing import LOST, RUNNING, UNKNOWN, Moment, of_open_run
from taskledger.states import State
from taskledger.workers import Session

#: runs that one answer lists
MOST = 10_000
#: microseconds after a moment in which a recorder that had died may have seemed to go on
_AFTER = 60_000_000
#: microseconds for which what a lost worker was at is still told
LOST_TOLD = 86_400_000_000

#: heartbeats that are looked up to find out which of several runs was over
MOST_LOOKS = 20

#: running, unknown or lost; and the last sign of the worker where that tells
Certainty = tuple[str, int | None]

T, R = schema.task.c, schema.run.c
_OPEN = [int(state) for state in State if State.UNKNOWN < state < State.REJECTED]


def heard_at(ledger: Ledger, at: int, now_at: int) -> tuple[HeardAt, ...]:
    """Of each cluster that was ever recorded, by name: whether anybody listened at a moment."""
    return tuple(heard for heard, _ in moments(ledger, at, now_at).values())


def moments(ledger: Ledger, at: int, now_at: int) -> dict[str, tuple[HeardAt, Moment]]:
    """The same with all stretches before in which nobody did: what silence then can mean, cluster by cluster."""
    found = {}
    for name in _clusters(ledger):
        recorded = _coverage(ledger, name, at, now_at)
        holes = tuple((hole.from_at, hole.to_at) for hole in recorded.holes if hole.from_at <= at)
        never = recorded.began_at is None or at > now_at
        heard = _heard(name, at, now_at, recorded)
        found[name] = (heard, Moment(at, now_at, ((0, at + 1),) if never else holes))
    return found


def running_at(ledger: Ledger, at: int, now_at: int, *, worker: str | None = None, queue: str | None = None) -> Running:
    """The runs that were under way at a moment, on all workers and of all queues unless one is named."""
    known = moments(ledger, at, now_at)
    which = [_named(ledger, Kind.HOST, worker, R.worker_id), _named(ledger, Kind.QUEUE, queue, T.queue_id)]
    with ledger.read() as connection:
        rows = _under_way(connection, at, which)
        judged = _Judge(connection, ledger, at, {name: moment for name, (_, moment) in known.items()})
        certain = judged.all(rows[:MOST])
    sorted_out: dict[str, list[RunningTask]] = defaultdict(list)
    for row, (certainty, last_sign_at) in certain:
        sorted_out[certainty].append(_running(ledger, row, certainty, last_sign_at))
    return Running(
        at=at,
        heard=tuple(heard for heard, _ in known.values()),
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


def _clusters(ledger: Ledger) -> list[str]:
    found = map(ledger.labels.value, ledger.labels.ids(Kind.CLUSTER, lambda _: True))
    return sorted(name for name in found if name)


def _coverage(ledger: Ledger, cluster: str, at: int, now_at: int) -> Coverage:
    return coverage(ledger, Span(0, max(min(at + _AFTER, now_at), at + 1)), now_at, cluster=cluster)


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
        select(R.task_id, R.cluster_id, R.number, R.worker_id, R.pid, R.state, R.ended_at, begun)
        .add_columns(T.name_id, T.queue_id, T.first_at, T.parent_id)
        .join(schema.run, and_(R.task_id == T.id, R.cluster_id == T.cluster_id))
        .where(begun <= at, or_(R.ended_at.is_(None), R.ended_at > at), *which)
    )
    found: list[Any] = []
    for condition in alive(connection, at):
        found += connection.execute(query.where(condition).order_by(T.first_at.desc()).limit(MOST + 1)).all()
    return found


class _Judge:
    """Tells what runs without an end were at a moment: by the lives of their workers, and by what those counted."""

    def __init__(self, connection: Connection, ledger: Ledger, at: int, known: Mapping[str, Moment]) -> None:
        self._connection, self._labels, self._at, self._known = connection, ledger.labels, at, known

    def all(self, rows: Sequence[Any]) -> list[tuple[Any, Certainty]]:
        """Each run that was, or may have been, under way, in the order of their beginning."""
        ended = [(row, (RUNNING, None)) for row in rows if row.ended_at is not None]
        by_worker: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for row in rows:
            if row.ended_at is None and row.worker_id is not None:
                by_worker[row.worker_id, row.cluster_id].append(row)
        found = lives(self._connection, self._at, sorted({host for host, _ in by_worker}))
        told = self._counts(found)
        counted = Counter((row.worker_id, row.cluster_id) for row, _ in ended if _was_counted(row, told))
        judged: list[tuple[Any, Certainty]] = [*ended]
        for key, open_runs in by_worker.items():
            mine = self._of_worker(open_runs, found.get(key, ()))
            judged += self._as_counted(mine, told.get(key), counted[key], {key: found.get(key, ())})
        return sorted(judged, key=lambda pair: (pair[0].started_at, pair[0].task_id))

    def _counts(self, found: Lives) -> dict[tuple[int, int], Beat]:
        """The last heartbeats that could be heard: where nobody listens at the moment, those of before."""
        told: dict[tuple[int, int], Beat] = {}
        for cluster, moment in self._known.items():
            mine = {key: lived for key, lived in found.items() if self._labels.value(key[1]) == cluster}
            told |= beats(self._connection, self._labels, moment.heard_until_at, mine)
        return told

    def _of_worker(self, open_runs: Sequence[Any], sessions: Sequence[Session]) -> list[tuple[Any, Certainty]]:
        """By the worker's life, without those that are over or were lost long before."""
        moment = self._known[self._labels.value(open_runs[0].cluster_id) or ""]
        judged = [(row, of_open_run(sessions, row.started_at, row.pid, moment)) for row in open_runs]
        kept = [(row, certain) for row, certain in judged if certain is not None]
        return [(row, (what, at)) for row, (what, at) in kept if what != LOST or self._at - (at or 0) <= LOST_TOLD]

    def _as_counted(
        self, judged: list[tuple[Any, Certainty]], beat: Beat | None, ended: int, mine: Lives
    ) -> list[tuple[Any, Certainty]]:
        """Without those that the worker did not count any more in its last heartbeat; who, may not be known.

        A task that raises Ignore ends without an event (celery/app/trace.py), and events may be lost.
        """
        before = sorted(
            (row for row, (_, last_at) in judged if last_at is None and beat and row.started_at <= beat.at),
            key=lambda row: row.started_at,
        )
        if beat is None or beat.active is None or len(before) + ended <= beat.active:
            return judged
        over = before if beat.active <= ended else self._idle_after(before, mine)
        left = [pair for pair in judged if pair[0] not in over]
        if len(before) - len(over) + ended <= beat.active:
            return left
        return [(row, (UNKNOWN, None) if row in before else certain) for row, certain in left]

    def _idle_after(self, before: Sequence[Any], mine: Lives) -> Sequence[Any]:
        """Of runs in the order of their beginning, those after which the worker was found idle before another began."""
        for number in range(len(before) - 1, max(len(before) - 1 - MOST_LOOKS, 0), -1):
            (beat,) = beats(self._connection, self._labels, before[number].started_at - 1, mine).values() or (None,)
            if beat is not None and beat.active == 0 and beat.at > before[number - 1].started_at:
                return before[:number]
        return ()


def _was_counted(row: Any, told: Mapping[tuple[int, int], Beat]) -> bool:
    beat = told.get((row.worker_id, row.cluster_id))
    return beat is not None and row.started_at <= beat.at < row.ended_at


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

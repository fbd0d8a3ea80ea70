"""What runs without an end were at a moment: by the lives of their workers, and by what those counted in heartbeats."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from taskledger.ledger.labels import Labels
from taskledger.ledger.query.lives import Beat, Lives, beats, last_beat, lives
from taskledger.standing import LOST, RUNNING, UNKNOWN, Moment, of_open_run
from taskledger.workers import Session

SECOND = 1_000_000
#: microseconds for which what a lost worker was at is still told
LOST_TOLD = 86_400_000_000
#: heartbeats that are looked up to find out which of several runs was over
MOST_LOOKS = 20

#: running, unknown or lost; and the last sign of the worker where that tells
Certainty = tuple[str, int | None]
#: a run as a row, with what it was
Judged = tuple[Any, Certainty]
#: a worker: its host and its cluster
Key = tuple[int, int]


def certain(
    connection: Connection, labels: Labels, rows: Sequence[Any], moment_of: Mapping[int, Moment]
) -> list[Judged]:
    """Each run that was, or may have been, under way, in the order of their beginning; `moment_of` cluster.

    Those that are over, though nobody heard it, are left out, and those that were lost long before.
    """
    judged: list[Judged] = [(row, (RUNNING, None)) for row in rows if _is_end_known(row)]
    open_runs: dict[Key, list[Any]] = defaultdict(list)
    for row in rows:
        if not _is_end_known(row) and row.worker_id is not None:
            open_runs[row.worker_id, row.cluster_id].append(row)
    hosts = sorted({host for host, _ in open_runs})
    found = lives(connection, max((moment.at for moment in moment_of.values()), default=0), hosts)
    told = _counts(connection, labels, found, moment_of)
    counted = Counter((row.worker_id, row.cluster_id) for row, _ in judged if _was_counted(row, told))
    for key, mine in open_runs.items():
        lived = {key: found.get(key, ())}
        left = _by_life(mine, lived[key], moment_of[key[1]])
        judged += _by_count(connection, labels, left, told.get(key), counted[key], lived)
    return sorted(judged, key=lambda pair: (pair[0].started_at, pair[0].task_id))


def _is_end_known(row: Any) -> bool:
    """Whether it is known when the run ended: of most that were settled only by when it had."""
    return row.ended_at is not None and (row.settled_by is None or row.runtime_s is not None)


def _counts(connection: Connection, labels: Labels, found: Lives, moment_of: Mapping[int, Moment]) -> dict[Key, Beat]:
    """The last heartbeats that could be heard: where nobody listens, or a worker is gone, those of before."""
    told: dict[Key, Beat] = {}
    for cluster_id, moment in moment_of.items():
        mine = {key: lived for key, lived in found.items() if key[1] == cluster_id}
        told |= {key: beat for key, lived in mine.items() if (beat := last_beat(lived, moment.at)) is not None}
        told |= beats(connection, labels, moment.heard_until_at, mine)
    return told


def _by_life(open_runs: Sequence[Any], sessions: Sequence[Session], moment: Moment) -> list[Judged]:
    judged = [(row, of_open_run(sessions, row.started_at, row.pid, moment)) for row in open_runs]
    kept = [(row, what) for row, what in judged if what is not None]
    return [(row, what) for row, what in kept if what[0] != LOST or moment.at - (what[1] or 0) <= LOST_TOLD]


def _by_count(
    connection: Connection, labels: Labels, judged: list[Judged], beat: Beat | None, ended: int, mine: Lives
) -> list[Judged]:
    """Without those that the worker's last heartbeat did not count any more; which, may not be known.

    A task that raises Ignore ends without an event (celery/app/trace.py), and events may be lost. `ended` are those of
    its runs that were counted, and of which an end is known.
    """
    if beat is None or beat.active is None:
        return judged
    there = (row for row, _ in judged if _is_of(row, beat) and row.started_at <= beat.at)
    before = sorted(there, key=lambda row: row.started_at)
    if len(before) + ended <= beat.active:
        return judged
    over = before if beat.active <= ended else _idle_after(connection, labels, before, mine)
    left = [pair for pair in judged if pair[0] not in over]
    if len(before) - len(over) + ended <= beat.active:
        return left
    return [(row, (UNKNOWN, None) if what[0] == RUNNING and row in before else what) for row, what in left]


def _idle_after(connection: Connection, labels: Labels, before: Sequence[Any], mine: Lives) -> Sequence[Any]:
    """Of runs in the order of their beginning, those after which the worker was found idle before another began."""
    for number in range(len(before) - 1, max(len(before) - 1 - MOST_LOOKS, 0), -1):
        (beat,) = beats(connection, labels, before[number].started_at - 1, mine).values() or (None,)
        if beat is not None and beat.active == 0 and beat.at > before[number - 1].started_at:
            return before[:number]
    return ()


def _was_counted(row: Any, told: Mapping[Key, Beat]) -> bool:
    beat = told.get((row.worker_id, row.cluster_id))
    # A worker counts a task no more a moment before it tells of the end (celery/worker/request.py).
    return beat is not None and _is_of(row, beat) and row.started_at <= beat.at < row.ended_at - SECOND


def _is_of(row: Any, beat: Beat) -> bool:
    # Two processes may go by one name, and each counts its own.
    return row.pid is None or beat.pid is None or row.pid == beat.pid

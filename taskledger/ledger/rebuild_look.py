"""What all events make of workers, their sessions and the counts of events, beside the rows as they are.

Events are told in the order of their time, which is that of their ids but for those of one millisecond.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from taskledger import workers as core
from taskledger.errors import EventDamaged
from taskledger.events import TASK_EVENT_TYPES, WORKER_EVENT_TYPES
from taskledger.ledger import fold, retain, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.record import HOUR
from taskledger.ledger.schedule_judge import TASKS_PRUNED
from taskledger.ledger.sessions import OPEN_SESSIONS, minute_of, session_of

#: rows of events in memory at once
ROWS_A_STEP = 5_000

#: (cluster, host), and (hour, cluster, type)
Host = tuple[int, int]
Count = tuple[int, int, int]
_TELLING = TASK_EVENT_TYPES - {"task-sent"}


@dataclass(slots=True)
class Life:
    """What events told of one host, in the order of their time."""

    #: sessions that are over for good, and those that events can still belong to
    done: list[core.Session] = field(default_factory=list)
    open: tuple[core.Session, ...] = ()
    first_at: int | None = None
    task_event_at: int | None = None
    #: greatest id of a worker event
    last_id: bytes = b""
    #: whether some event cannot be read
    is_damaged: bool = False

    def tell(self, rows: Iterable[Any]) -> None:
        """Worker events: rows of id, time, lag, codec and body."""
        for event_id, at, lag_ms, codec, body in rows:
            self.last_id = max(self.last_id, event_id)
            try:
                event = fold.event_of(None, event_id, at, codec, body)
            except EventDamaged:
                self.is_damaged = True
                continue
            self.open = core.fold(self.open, event, at + lag_ms * 1000)
            over = len(self.open) - OPEN_SESSIONS
            if over > 0:
                self.done.extend(self.open[:over])
                self.open = self.open[over:]

    @property
    def sessions(self) -> frozenset[core.Session]:
        return frozenset([*self.done, *self.open])


@dataclass(slots=True)
class Look:
    """What one look saw: rows as they are, and what all events make."""

    #: since when no event without a task, and none of a task, has been pruned: what is earlier cannot be judged by what
    #: is left
    workers_from_at: int
    tasks_from_at: int
    worker_types: frozenset[int]
    #: events of workers that were told
    worker_events: int = 0
    lives: dict[Host, Life] = field(default_factory=lambda: defaultdict(Life))
    counted: Counter[Count] = field(default_factory=Counter)
    workers: dict[Host, tuple[int, int | None]] = field(default_factory=dict)
    sessions: dict[Host, frozenset[core.Session]] = field(default_factory=lambda: defaultdict(frozenset))
    counts: dict[Count, int] = field(default_factory=dict)

    @property
    def all_from_at(self) -> int:
        """Since when no event at all has been pruned."""
        return max(self.workers_from_at, self.tasks_from_at)

    def right_sessions(self, host: Host, rows: Iterable[core.Session]) -> frozenset[core.Session]:
        """Those that events made, and of the rows those that begin before what is whole."""
        return joined(self.lives[host].sessions, self.kept(rows))

    def kept(self, rows: Iterable[core.Session]) -> frozenset[core.Session]:
        return frozenset(session for session in rows if session.first_at < self.workers_from_at)


class Types:
    """The numbers of the types of events that tell of workers."""

    def __init__(self, ledger: Ledger) -> None:
        labels = ledger.labels
        self.worker = frozenset(labels.ids(Kind.TYPE, WORKER_EVENT_TYPES.__contains__))
        self.telling = frozenset(labels.ids(Kind.TYPE, _TELLING.__contains__))


def whole_from_at(connection: Connection) -> tuple[int, int]:
    """Since when no event without a task has been pruned, and none of a task: that may be later than the task's end."""
    marks = {
        name: facts.mark(connection, name) or 0
        for name in (retain.EVENTS_PRUNED, retain.OTHER_EVENTS_PRUNED, TASKS_PRUNED)
    }
    tasks_at = marks[TASKS_PRUNED] and marks[TASKS_PRUNED] + retain.LATE
    events_at = marks[retain.EVENTS_PRUNED]
    return max(events_at, marks[retain.OTHER_EVENTS_PRUNED]), max(events_at, tasks_at)


def read_rows(connection: Connection, look: Look) -> None:
    for row in connection.execute(select(schema.worker)):
        look.workers[row.cluster_id, row.host_id] = (row.first_at, row.task_event_at)
    found: dict[Host, list[core.Session]] = defaultdict(list)
    for row in connection.execute(select(schema.worker_session)):
        found[row.cluster_id, row.host_id].append(session_of(row))
    look.sessions |= {host: frozenset(rows) for host, rows in found.items()}
    for row in connection.execute(select(schema.event_count)):
        look.counts[row.hour_at, row.cluster_id, row.type_id] = row.number


def events(connection: Connection, worker_types: Iterable[int]) -> Iterator[Sequence[Any]]:
    """All events in the order of their ids, some at a time; only those of workers with their body."""
    types = ", ".join(map(str, worker_types)) or "NULL"
    body = f"CASE WHEN type_id IN ({types}) THEN body END"
    sql = f"SELECT id, at, cluster_id, type_id, host_id, lag_ms, codec, {body} FROM event ORDER BY id"
    result = connection.exec_driver_sql(sql, execution_options={"stream_results": True, "yield_per": ROWS_A_STEP})
    try:
        yield from result.partitions(ROWS_A_STEP)
    finally:
        result.close()


def tell(look: Look, types: Types, rows: Sequence[Any]) -> None:
    """Take in some more events."""
    lived: dict[Host, list[Any]] = defaultdict(list)
    for event_id, at, cluster_id, type_id, host_id, lag_ms, codec, body in rows:
        look.counted[at - at % HOUR, cluster_id, type_id] += 1
        if host_id is None:
            continue
        host = (cluster_id, host_id)
        if type_id in types.worker:
            look.lives[host].first_at = min(look.lives[host].first_at or at, at)
            if at >= look.workers_from_at:
                lived[host].append((event_id, at, lag_ms, codec, body))
        elif type_id in types.telling:
            life = look.lives[host]
            life.first_at = min(life.first_at or at, at)
            life.task_event_at = max(life.task_event_at or 0, minute_of(at)) or None
    for host, mine in lived.items():
        life = look.lives[host]
        if not life.last_id:
            # What began before the rest is whole goes on from its row.
            life.open = _newest(look.kept(look.sessions[host]))
        life.tell(in_time(mine))
        look.worker_events += len(mine)


def in_time(rows: Iterable[Any]) -> list[Any]:
    """Rows that are in the order of their ids, by time: an id begins with its millisecond only."""
    return [
        row for _, same in groupby(rows, lambda row: bytes(row[0])[:6]) for row in sorted(same, key=lambda row: row[1])
    ]


def _newest(sessions: Iterable[core.Session]) -> tuple[core.Session, ...]:
    return tuple(sorted(sessions, key=lambda session: (session.first_at, session.pid))[-OPEN_SESSIONS:])


def joined(made: frozenset[core.Session], kept: frozenset[core.Session]) -> frozenset[core.Session]:
    """Also a session that is kept may have been told more of: then it is among those that were made."""
    known = {(session.pid, session.first_at) for session in made}
    return made | {session for session in kept if (session.pid, session.first_at) not in known}


def continued(sessions: frozenset[core.Session], rows: Sequence[Any]) -> frozenset[core.Session]:
    """The sessions after more events, as a recorder folds them."""
    newest = _newest(sessions)
    life = Life(list(sessions - frozenset(newest)), newest)
    life.tell(rows)
    return life.sessions


def wrong_counts(look: Look) -> tuple[list[tuple[Count, int]], int]:
    """By how much the counts are wrong, and how many tell of more events than are left after pruning."""
    wrong, left = [], 0
    for key in sorted(look.counted.keys() | look.counts.keys()):
        difference = look.counted[key] - look.counts.get(key, 0)
        whole_from_at = look.workers_from_at if key[2] in look.worker_types else look.all_from_at
        if difference < 0 and key[0] < whole_from_at:
            left += 1
        elif difference:
            wrong.append((key, difference))
    return wrong, left


def right_worker(look: Look, host: Host) -> tuple[int, int | None] | None:
    """First sign and last event of a task; what a row has of a time whose events are pruned is believed."""
    life, row = look.lives[host], look.workers.get(host)
    if life.first_at is None:
        return row
    if row is None:
        return life.first_at, life.task_event_at
    first_at = row[0] if row[0] < min(life.first_at, look.all_from_at) else life.first_at
    told_at = row[1] if life.task_event_at is None and (row[1] or 0) < look.all_from_at else life.task_event_at
    return first_at, told_at

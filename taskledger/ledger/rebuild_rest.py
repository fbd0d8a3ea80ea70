"""Workers, their sessions and the counts of events, as all events make them: read once, in one consistent look.

The rows are read in the same look. A count that is wrong is wrong by a number that no recorder changes by adding to it,
so that number is added. A worker is compared again under its lock: what a recorder has folded into its sessions since
is folded into ours as well, and if the two then tell of different events, all is read once more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, delete, select, update

from taskledger import workers as core
from taskledger.errors import EventDamaged
from taskledger.events import TASK_EVENT_TYPES, WORKER_EVENT_TYPES
from taskledger.ledger import bulk, dialects, fold, retain, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.record import HOUR
from taskledger.ledger.schedule_judge import TASKS_PRUNED

if TYPE_CHECKING:
    from taskledger.ledger.rebuild import Rebuilding

#: rows of events in memory at once, and of counts in one transaction
ROWS_A_STEP = 5_000
COUNTS_A_STEP = 500
#: how often all is read again for workers that changed in a way that could not be followed
ROUNDS = 3
#: how often a worker is looked at again that changed between a look and its lock
TRIES = 8

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
    #: id of the last worker event
    last_id: bytes = b""
    #: whether some event cannot be read
    is_damaged: bool = False

    def tell(self, rows: Iterable[Any]) -> None:
        """Worker events: rows of id, time, lag, codec and body."""
        for event_id, at, lag_ms, codec, body in rows:
            self.last_id = event_id
            try:
                event = fold.event_of(None, event_id, at, codec, body)
            except EventDamaged:
                self.is_damaged = True
                continue
            self.open = core.fold(self.open, event, at + lag_ms * 1000)
            over = len(self.open) - fold.OPEN_SESSIONS
            if over > 0:
                self.done, self.open = [*self.done, *self.open[:over]], self.open[over:]

    @property
    def sessions(self) -> frozenset[core.Session]:
        return frozenset([*self.done, *self.open])


@dataclass(slots=True)
class Look:
    """What one look saw: rows as they are, and what all events make."""

    #: since when no event of the kind has been pruned; earlier rows cannot be judged by what is left
    whole_from_at: int
    lives: dict[Host, Life] = field(default_factory=lambda: defaultdict(Life))
    counted: Counter[Count] = field(default_factory=Counter)
    workers: dict[Host, tuple[int, int | None]] = field(default_factory=dict)
    sessions: dict[Host, frozenset[core.Session]] = field(default_factory=lambda: defaultdict(frozenset))
    counts: dict[Count, int] = field(default_factory=dict)

    def right_sessions(self, host: Host, rows: Iterable[core.Session]) -> frozenset[core.Session]:
        """Those that events made, and of the rows those that begin before what is whole."""
        return _joined(self.lives[host].sessions, self.kept(rows))

    def kept(self, rows: Iterable[core.Session]) -> frozenset[core.Session]:
        return frozenset(session for session in rows if session.first_at < self.whole_from_at)


def settle(work: "Rebuilding") -> None:
    """Put right what differs, and count what cannot be judged."""
    rest = _Rest(work)
    look = rest.look()
    if look is None:
        return
    rest.settle_counts(look)
    rest.count_left(look)
    moving = rest.settle_hosts(look, look.workers.keys() | look.lives.keys())
    for _ in range(ROUNDS - 1):
        again = rest.look() if moving else None
        if again is None:
            break
        moving = rest.settle_hosts(again, moving)
    work.number["workers_left"] = len(moving)


class _Rest:
    def __init__(self, work: "Rebuilding") -> None:
        self._work, self._ledger = work, work.ledger

    def look(self) -> Look | None:
        """None when it was stopped in between."""
        with self._work.snapshot() as connection:
            look = Look(_whole_from_at(connection))
            _read_rows(connection, look)
            types = _Types(self._ledger)
            for rows in _events(connection, types.worker):
                self._work.number["events"] += _tell(look, types, rows)
                self._work.step(len(rows))
                if self._work.is_stopped():
                    return None
        return look

    def settle_counts(self, look: Look) -> None:
        wrong, left = _wrong_counts(look)
        self._work.number["event_counts"] += len(wrong)
        self._work.number["event_counts_left"] += left
        if not self._work.dry_run:
            for few in dialects.chunks(wrong, COUNTS_A_STEP):
                self._work.write(partial(_add_to_counts, wrong=few))

    def count_left(self, look: Look) -> None:
        """Sessions that cannot be judged: their events are pruned, or nobody told of them."""
        for host, rows in look.sessions.items():
            told = look.lives[host].sessions
            self._work.number["worker_sessions_left"] += len(look.kept(rows) if told else rows)

    def settle_hosts(self, look: Look, hosts: Iterable[Host]) -> list[Host]:
        """Put the workers right; those are returned that changed in a way that could not be followed."""
        told = [host for host in sorted(hosts) if host in look.lives]
        return [host for host in told if not self._settle_host(look, host)]

    def _settle_host(self, look: Look, host: Host) -> bool:
        worker = _right_worker(look, host)
        if worker != look.workers.get(host):
            self._work.number["workers"] += 1
            if not self._work.dry_run:
                self._work.write(lambda connection: _put_worker(connection, host, look.workers.get(host), worker))
        seen = look.sessions[host]
        if look.lives[host].is_damaged:
            self._work.number["worker_sessions_left"] += len(seen)
            return True
        wrong = look.right_sessions(host, seen) ^ seen if look.lives[host].sessions else frozenset()
        if not wrong:
            return True
        if self._work.dry_run or self._put_sessions(look, host):
            self._work.number["worker_sessions"] += len({(session.pid, session.first_at) for session in wrong})
            return True
        return False

    def _put_sessions(self, look: Look, host: Host) -> bool:
        """Replace the sessions of a worker by the right ones; False if it changed in a way that cannot be followed."""
        for _ in range(TRIES):
            with self._work.snapshot() as connection:
                now = _sessions_of(connection, host)
                new = self._events_since(connection, look, host) if now != look.sessions[host] else []
            ours = _continued(look.lives[host].sessions, new)
            if now != _continued(look.sessions[host], new):
                return False
            right = _joined(ours, look.kept(now))
            if self._work.write(partial(_replace_sessions, host=host, seen=now, right=right)):
                return True
        return False

    def _events_since(self, connection: Connection, look: Look, host: Host) -> list[Any]:
        """The worker's events after the last one that the look saw; they are near the end, or it would be silent."""
        types = ", ".join(map(str, _Types(self._ledger).worker)) or "NULL"
        sql = (
            f"SELECT id, at, lag_ms, codec, body FROM event WHERE id > {bulk.mark(connection)}"
            f" AND cluster_id = {host[0]} AND host_id = {host[1]} AND type_id IN ({types}) ORDER BY id"
        )
        return _in_time(connection.exec_driver_sql(sql, (look.lives[host].last_id,)).all())


class _Types:
    """The numbers of the types of events that tell of workers."""

    def __init__(self, ledger: Ledger) -> None:
        labels = ledger.labels
        self.worker = frozenset(labels.ids(Kind.TYPE, WORKER_EVENT_TYPES.__contains__))
        self.telling = frozenset(labels.ids(Kind.TYPE, _TELLING.__contains__))


def _whole_from_at(connection: Connection) -> int:
    """Since when no event has been pruned, whatever it tells of."""
    names = (retain.EVENTS_PRUNED, TASKS_PRUNED, retain.OTHER_EVENTS_PRUNED)
    marks = [facts.mark(connection, name) for name in names]
    return max((mark + retain.LATE for mark in marks if mark is not None), default=0)


def _read_rows(connection: Connection, look: Look) -> None:
    for row in connection.execute(select(schema.worker)):
        look.workers[row.cluster_id, row.host_id] = (row.first_at, row.task_event_at)
    found: dict[Host, list[core.Session]] = defaultdict(list)
    for row in connection.execute(select(schema.worker_session)):
        found[row.cluster_id, row.host_id].append(fold.session_of(row))
    look.sessions |= {host: frozenset(rows) for host, rows in found.items()}
    for row in connection.execute(select(schema.event_count)):
        look.counts[row.hour_at, row.cluster_id, row.type_id] = row.number


def _events(connection: Connection, worker_types: Iterable[int]) -> Iterator[Sequence[Any]]:
    """All events in the order of their ids, some at a time; only those of workers with their body."""
    types = ", ".join(map(str, worker_types)) or "NULL"
    body = f"CASE WHEN type_id IN ({types}) THEN body END"
    sql = f"SELECT id, at, cluster_id, type_id, host_id, lag_ms, codec, {body} FROM event ORDER BY id"
    result = connection.exec_driver_sql(sql, execution_options={"stream_results": True, "yield_per": ROWS_A_STEP})
    try:
        yield from result.partitions(ROWS_A_STEP)
    finally:
        result.close()


def _tell(look: Look, types: _Types, rows: Sequence[Any]) -> int:
    """Take in some events; how many were of workers."""
    lived: dict[Host, list[Any]] = defaultdict(list)
    for event_id, at, cluster_id, type_id, host_id, lag_ms, codec, body in rows:
        look.counted[at - at % HOUR, cluster_id, type_id] += 1
        if host_id is None:
            continue
        host = (cluster_id, host_id)
        if type_id in types.worker:
            look.lives[host].first_at = min(look.lives[host].first_at or at, at)
            if at >= look.whole_from_at:
                lived[host].append((event_id, at, lag_ms, codec, body))
        elif type_id in types.telling:
            life = look.lives[host]
            life.first_at = min(life.first_at or at, at)
            life.task_event_at = max(life.task_event_at or 0, fold.minute_of(at)) or None
    for host, mine in lived.items():
        life = look.lives[host]
        if not life.last_id:
            # What began before the rest is whole goes on from its row.
            life.open = _newest(look.kept(look.sessions[host]))
        life.tell(_in_time(mine))
    return sum(map(len, lived.values()))


def _in_time(rows: Iterable[Any]) -> list[Any]:
    """Rows that are in the order of their ids, by time: an id begins with its millisecond only."""
    return [
        row for _, same in groupby(rows, lambda row: bytes(row[0])[:6]) for row in sorted(same, key=lambda row: row[1])
    ]


def _newest(sessions: Iterable[core.Session]) -> tuple[core.Session, ...]:
    return tuple(sorted(sessions, key=lambda session: (session.first_at, session.pid))[-fold.OPEN_SESSIONS :])


def _joined(made: frozenset[core.Session], kept: frozenset[core.Session]) -> frozenset[core.Session]:
    """Also a session that is kept may have been told more of: then it is among those that were made."""
    known = {(session.pid, session.first_at) for session in made}
    return made | {session for session in kept if (session.pid, session.first_at) not in known}


def _continued(sessions: frozenset[core.Session], rows: Sequence[Any]) -> frozenset[core.Session]:
    """The sessions after more events, as a recorder folds them."""
    newest = _newest(sessions)
    life = Life(list(sessions - frozenset(newest)), newest)
    life.tell(rows)
    return life.sessions


def _wrong_counts(look: Look) -> tuple[list[tuple[Count, int]], int]:
    """By how much the counts are wrong, and how many tell of more events than are left after pruning."""
    wrong, left = [], 0
    for key in sorted(look.counted.keys() | look.counts.keys()):
        difference = look.counted[key] - look.counts.get(key, 0)
        if difference < 0 and key[0] < look.whole_from_at:
            left += 1
        elif difference:
            wrong.append((key, difference))
    return wrong, left


def _add_to_counts(connection: Connection, *, wrong: Sequence[tuple[Count, int]]) -> None:
    table = schema.event_count
    pruned_at = facts.mark(connection, retain.EVENTS_PRUNED) or 0
    names = ("hour_at", "cluster_id", "type_id")
    rows = [
        dict(zip(names, key, strict=True)) | {"number": difference} for key, difference in wrong if key[0] >= pruned_at
    ]
    if rows:
        connection.execute(dialects.upsert(connection, table, add=("number",)), rows)
        connection.execute(delete(table).where(table.c.number == 0))


def _right_worker(look: Look, host: Host) -> tuple[int, int | None] | None:
    """First sign and last event of a task; what a row has of a time whose events are pruned is believed."""
    life, row = look.lives[host], look.workers.get(host)
    if life.first_at is None:
        return row
    if row is None:
        return life.first_at, life.task_event_at
    first_at = row[0] if row[0] < min(life.first_at, look.whole_from_at) else life.first_at
    told_at = row[1] if life.task_event_at is None and (row[1] or 0) < look.whole_from_at else life.task_event_at
    return first_at, told_at


def _put_worker(
    connection: Connection, host: Host, seen: tuple[int, int | None] | None, right: tuple[int, int | None] | None
) -> None:
    """Write the row under its lock; what a recorder has changed in it since is true as well."""
    if right is None:
        return
    table, (cluster_id, host_id) = schema.worker, host
    row = {"host_id": host_id, "cluster_id": cluster_id, "first_at": right[0], "task_event_at": right[1]}
    connection.execute(dialects.insert_ignore(connection, table), [row])
    mine = and_(table.c.host_id == host_id, table.c.cluster_id == cluster_id)
    now = connection.execute(select(table.c.first_at, table.c.task_event_at).where(mine).with_for_update()).one()
    first_at = right[0] if seen and now.first_at == seen[0] else min(right[0], now.first_at)
    told_at = right[1] if seen and now.task_event_at == seen[1] else max(right[1] or 0, now.task_event_at or 0) or None
    connection.execute(update(table).where(mine).values(first_at=first_at, task_event_at=told_at))


def _sessions_of(connection: Connection, host: Host) -> frozenset[core.Session]:
    table = schema.worker_session
    mine = and_(table.c.cluster_id == host[0], table.c.host_id == host[1])
    return frozenset(fold.session_of(row) for row in connection.execute(select(table).where(mine)))


def _replace_sessions(
    connection: Connection, *, host: Host, seen: frozenset[core.Session], right: frozenset[core.Session]
) -> bool:
    """Write the sessions under the lock of their worker, if they are still those that were seen."""
    table, worker, (cluster_id, host_id) = schema.worker_session, schema.worker.c, host
    mine = and_(worker.host_id == host_id, worker.cluster_id == cluster_id)
    connection.execute(select(worker.first_at).where(mine).with_for_update())
    if _sessions_of(connection, host) != seen:
        return False
    for gone in seen - right:
        key = and_(table.c.pid == gone.pid, table.c.first_at == gone.first_at)
        connection.execute(delete(table).where(table.c.cluster_id == cluster_id, table.c.host_id == host_id, key))
    rows = [{"host_id": host_id, "cluster_id": cluster_id, **asdict(one)} for one in right - seen]
    if rows:
        connection.execute(table.insert(), rows)
    return True

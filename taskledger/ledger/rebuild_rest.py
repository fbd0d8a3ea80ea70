"""Workers, their sessions and the counts of events, as all events make them: read once, in one consistent look.

The rows are read in the same look. A count that is wrong is wrong by a number that no recorder changes by adding to it,
so that number is added. A worker is compared again under its lock: what a recorder has folded into its sessions since
is folded into ours as well, and if the two then tell of different events, all is read once more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from taskledger import workers as core
from taskledger.ledger import bulk, dialects, retain, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.rebuild_look import (
    Count,
    Host,
    Look,
    Types,
    continued,
    events,
    in_time,
    joined,
    read_rows,
    right_worker,
    tell,
    whole_from_at,
    wrong_counts,
)
from taskledger.ledger.rebuilding import Rebuilding
from taskledger.ledger.sessions import session_of

#: rows of counts in one transaction
COUNTS_A_STEP = 500
#: how often all is read again for workers that changed in a way that could not be followed
ROUNDS = 3
#: how often a worker is looked at again that changed between a look and its lock
TRIES = 8


def settle(work: Rebuilding) -> None:
    """Put right what differs, and count what cannot be judged."""
    rest = _Rest(work)
    look = rest.look()
    if look is None:
        return
    work.number["events"] += look.worker_events
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
    def __init__(self, work: Rebuilding) -> None:
        self._work, self._ledger = work, work.ledger

    def look(self) -> Look | None:
        """None when it was stopped in between."""
        with self._work.snapshot() as connection:
            types = Types(self._ledger)
            look = Look(*whole_from_at(connection), types.worker)
            read_rows(connection, look)
            for rows in events(connection, types.worker):
                tell(look, types, rows)
                self._work.step(len(rows))
                if self._work.is_stopped():
                    return None
        return look

    def settle_counts(self, look: Look) -> None:
        wrong, left = wrong_counts(look)
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
        worker = right_worker(look, host)
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
            ours = continued(look.lives[host].sessions, new)
            if now != continued(look.sessions[host], new):
                return False
            right = joined(ours, look.kept(now))
            if self._work.write(partial(_replace_sessions, host=host, seen=now, right=right)):
                return True
        return False

    def _events_since(self, connection: Connection, look: Look, host: Host) -> list[Any]:
        """The worker's events after the last one that the look saw; they are near the end, or it would be silent."""
        types = ", ".join(map(str, Types(self._ledger).worker)) or "NULL"
        sql = (
            f"SELECT id, at, lag_ms, codec, body FROM event WHERE id > {bulk.mark(connection)}"
            f" AND cluster_id = {host[0]} AND host_id = {host[1]} AND type_id IN ({types}) ORDER BY id"
        )
        return in_time(connection.exec_driver_sql(sql, (look.lives[host].last_id,)).all())


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
    return frozenset(session_of(row) for row in connection.execute(select(table).where(mine)))


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

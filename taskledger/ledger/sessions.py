"""Bring the rows of workers in line with their events, inside the transaction that wrote the events."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, select, update

from taskledger import workers as core
from taskledger.events import WORKER_EVENT_TYPES, Event
from taskledger.ledger import dialects, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.prepare import AT, HOST, TYPE, Prepared

#: (cluster, host) -> the first event of a task that the host was noted to tell of, and the minute of the last
Heard = dict[tuple[int, int], tuple[int, int]]

#: microseconds: a worker's last event of a task is noted to the minute, so that not each of them is a write
HEARD_EVERY = 60_000_000
#: sessions of a worker that new events can still belong to
OPEN_SESSIONS = 5


def fold(connection: Connection, ledger: Ledger, prepared: Prepared) -> Heard:
    """Fold worker events into the sessions of their nodes, and note which nodes tell of their tasks.

    That is noted to the minute: it answers whether a worker has -E, and not when. Returns what was noted.
    """
    cluster_id = prepared.cluster_id
    lives = _lives(ledger.labels, prepared.apart)
    heard = {key: noted for key, noted in _heard(prepared) if _says_more(noted, ledger.heard.get(key))}
    for host_id in sorted(lives.keys() | {host_id for _, host_id in heard}):
        mine, noted = lives.get(host_id, []), heard.get((cluster_id, host_id))
        first_at = min([*(event.at for event in mine), *(noted or ())[:1]])
        _touch_worker(connection, cluster_id, host_id, first_at, noted[1] if noted else None)
        _fold_sessions(connection, cluster_id, host_id, mine, prepared.received_at)
    return {key: _both(noted, ledger.heard.get(key)) for key, noted in heard.items()}


def _lives(labels: Labels, events: Iterable[Event]) -> dict[int, list[Event]]:
    """What each host says of itself."""
    lives: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event.hostname is not None and event.type in WORKER_EVENT_TYPES:
            lives[labels.number(Kind.HOST, event.hostname)].append(event)
    return lives


def _heard(prepared: Prepared) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """When each host told of its tasks: first, and last to the minute."""
    kinds = set(prepared.of_workers)
    told: dict[int, list[int]] = defaultdict(list)
    for row in prepared.rows:
        if row[TYPE] in kinds and row[HOST] is not None:
            told[row[HOST]].append(row[AT])
    for host_id, moments in told.items():
        yield (prepared.cluster_id, host_id), (min(moments), minute_of(max(moments)))


def minute_of(at: int) -> int:
    """When its minute began."""
    return at // HEARD_EVERY * HEARD_EVERY


def _says_more(noted: tuple[int, int], before: tuple[int, int] | None) -> bool:
    return before is None or noted[0] < before[0] or noted[1] > before[1]


def _both(noted: tuple[int, int], before: tuple[int, int] | None) -> tuple[int, int]:
    return noted if before is None else (min(noted[0], before[0]), max(noted[1], before[1]))


def _touch_worker(connection: Connection, cluster_id: int, host_id: int, first_at: int, told_at: int | None) -> None:
    """Make sure the worker has a row, and lock it: it is the lock of its sessions."""
    table = schema.worker
    mine = (table.c.host_id == host_id) & (table.c.cluster_id == cluster_id)
    row = {"host_id": host_id, "cluster_id": cluster_id, "first_at": first_at}
    connection.execute(dialects.insert_ignore(connection, table), [row])
    found = connection.execute(select(table.c.first_at, table.c.task_event_at).where(mine).with_for_update()).one()
    values = {
        "first_at": min(found.first_at, first_at),
        "task_event_at": max(found.task_event_at or 0, told_at or 0) or None,
    }
    if values != {"first_at": found.first_at, "task_event_at": found.task_event_at}:
        connection.execute(update(table).where(mine).values(values))


def _fold_sessions(
    connection: Connection, cluster_id: int, host_id: int, events: Sequence[Event], received_at: int
) -> None:
    if not events:
        return
    table = schema.worker_session
    mine = (table.c.host_id == host_id) & (table.c.cluster_id == cluster_id)
    newest = connection.execute(select(table).where(mine).order_by(table.c.first_at.desc()).limit(OPEN_SESSIONS)).all()
    before = tuple(session_of(found) for found in reversed(newest))
    after = before
    for event in sorted(events, key=lambda event: event.at):
        after = core.fold(after, event, received_at)
    for gone in (session for session in before if session not in after):
        connection.execute(delete(table).where(mine, table.c.pid == gone.pid, table.c.first_at == gone.first_at))
    rows = [{"host_id": host_id, "cluster_id": cluster_id, **asdict(one)} for one in after if one not in before]
    if rows:
        connection.execute(table.insert(), rows)


def session_of(row: Any) -> core.Session:
    """The session of a row of `worker_session`."""
    values = row._asdict()
    del values["host_id"], values["cluster_id"]
    return core.Session(**values)

"""Bring the rows of tasks, runs and workers in line with their events, inside the transaction that wrote the events."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, select, update

from taskledger import bodies, failures
from taskledger import workers as core
from taskledger.events import TASK_EVENT_TYPES, WORKER_EVENT_TYPES, Event, integer, restore
from taskledger.ledger import bulk, dialects, lasting, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.stories import Stories
from taskledger.ledger.types import pack_task_id, unpack_task_id
from taskledger.runs import Run
from taskledger.tasks import Task, project

#: (cluster, task id) -> all events of a task that may get more; None for one that needs no remembering
Told = dict[tuple[int, str], list[Event] | None]
#: (cluster, host) -> when the host was noted to tell of tasks
Heard = dict[tuple[int, int], int]

#: Events from which a task is projected: of a longer story its first and its last half, so that nobody can make us read
#: a million events for each new one.
MAX_STORY = 1_000
#: microseconds between two notes that a worker tells of its tasks
HEARD_EVERY = 60_000_000
#: sessions of a worker that new events can still belong to
OPEN_SESSIONS = 5

E = schema.event.c
_STORY = "SELECT task_id, id, at, codec, body FROM event"


def tasks(connection: Connection, ledger: Ledger, cluster_id: int, fresh: Mapping[str, Sequence[Event]]) -> Told:
    """Project again each task that got new events; what is to be remembered of them once this is committed.

    A task's row is its lock: whoever holds it sees every committed event of the task, so the last to write is right.
    """
    pending = {pack_task_id(task_id): task_id for task_id in fresh}
    told: Told = {}
    while pending:
        known = _lock(connection, cluster_id, sorted(pending))
        stories = _stories(connection, ledger.stories, cluster_id, known, fresh)
        made = {key: _projected(task_id, known, stories, fresh) for key, task_id in pending.items()}
        told |= {(cluster_id, one.id): _remembered(one, known, stories, fresh) for one in made.values()}
        rows = _Rows(ledger.labels, cluster_id)
        replaced = [key for key in made if made[key].id in known]
        _delete(connection, cluster_id, replaced)
        _insert(connection, rows, [made[key] for key in replaced])
        new = [made[key] for key in made if made[key].id not in known]
        # Another recorder may have made these rows meanwhile: then they are there to be locked.
        pending = {} if _insert_new(connection, rows, new) else {pack_task_id(one.id): one.id for one in new}
        lasting.keep(connection, made.values())
    return told


def _lock(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> dict[str, int]:
    """The tasks that have a row, locked, each with its count of events so far."""
    lock = "" if connection.dialect.name == "sqlite" else "FOR UPDATE"
    after = f"AND cluster_id = {cluster_id} ORDER BY id {lock}"
    found = bulk.select_in(connection, "SELECT id, events FROM task", "id", keys, after=after)
    return {unpack_task_id(bytes(key)): events for key, events in found}


def _stories(
    connection: Connection,
    kept: Stories,
    cluster_id: int,
    known: Mapping[str, int],
    fresh: Mapping[str, Sequence[Event]],
) -> dict[str, list[Event]]:
    """All events of the tasks that had some before: remembered where that is still all of them, else read."""
    stories: dict[str, list[Event]] = {}
    unknown: list[str] = []
    for task_id, events in known.items():
        before = kept.of(cluster_id, task_id)
        if events + len(fresh[task_id]) > MAX_STORY:
            stories[task_id] = _ends_of(connection, cluster_id, task_id)
        elif before is not None and len(before) == events:
            stories[task_id] = [*before, *fresh[task_id]]
        else:
            unknown.append(task_id)
            stories[task_id] = []
    keys = [pack_task_id(task_id) for task_id in unknown]
    for row in bulk.select_in(connection, _STORY, "task_id", keys, after=f"AND cluster_id = {cluster_id}"):
        event = event_of(*row)
        stories[event.task_id or ""].append(event)
    return stories


def _ends_of(connection: Connection, cluster_id: int, task_id: str) -> list[Event]:
    columns = select(E.task_id, E.id, E.at, E.codec, E.body)
    mine = columns.where(E.task_id == task_id, E.cluster_id == cluster_id).limit(MAX_STORY // 2)
    rows = [row for order in (E.id.asc(), E.id.desc()) for row in connection.execute(mine.order_by(order))]
    return [event_of(pack_task_id(row[0]), *row[1:]) for row in rows]


def event_of(key: bytes, event_id: bytes, at: int, codec: int, data: bytes) -> Event:
    """The event of a row of a task, as it was decoded."""
    body = bodies.unpack(codec, bytes(data))
    fields = restore(body)
    hostname = fields.get("hostname")
    host = hostname if isinstance(hostname, str) and hostname else None
    pid, clock = integer(fields.get("pid")), integer(fields.get("clock"))
    return Event(bytes(event_id), fields["type"], at, host, pid, clock, unpack_task_id(bytes(key)), body, fields)


def _projected(
    task_id: str, known: Mapping[str, int], stories: Mapping[str, list[Event]], fresh: Mapping[str, Sequence[Event]]
) -> Task:
    if task_id not in known:
        return project(task_id, fresh[task_id])
    events, story = known[task_id] + len(fresh[task_id]), stories[task_id]
    cut_at = story[MAX_STORY // 2 - 1].at if events > MAX_STORY else None
    return project(task_id, story, cut_at=cut_at)._replace(events=events)


def _remembered(
    one: Task, known: Mapping[str, int], stories: Mapping[str, list[Event]], fresh: Mapping[str, Sequence[Event]]
) -> list[Event] | None:
    if one.state.is_end or one.events > MAX_STORY:
        return None
    story = stories[one.id] if one.id in known else fresh[one.id]
    for event in story:
        event.forget()
    return list(story)


def _delete(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> None:
    after = f"AND cluster_id = {cluster_id}"
    bulk.delete_in(connection, schema.run, "task_id", keys, after=after)
    bulk.delete_in(connection, schema.task, "id", keys, after=after)


def _insert(connection: Connection, rows: "_Rows", made: Sequence[Task]) -> None:
    bulk.insert(connection, schema.task, [rows.task(one) for one in made])
    _insert_runs(connection, rows, made)


def _insert_new(connection: Connection, rows: "_Rows", made: Sequence[Task]) -> bool:
    """Whether none of the rows was there; else nothing is inserted."""
    if not bulk.insert_if_all_new(connection, schema.task, [rows.task(one) for one in made]):
        return False
    _insert_runs(connection, rows, made)
    return True


def _insert_runs(connection: Connection, rows: "_Rows", made: Sequence[Task]) -> None:
    groups = {group["fingerprint"]: group for one in made for run in one.runs if (group := rows.group(one, run))}
    if groups:
        ordered = [groups[key] for key in sorted(groups)]
        connection.execute(dialects.insert_ignore(connection, schema.failure_group), ordered)
    bulk.insert(connection, schema.run, [rows.run(one, run) for one in made for run in one.runs])


class _Rows:
    """Makes the rows of tasks and runs, in the order of the columns of their tables."""

    def __init__(self, labels: Labels, cluster_id: int) -> None:
        self._labels, self._cluster_id = labels, cluster_id

    def task(self, one: Task) -> bulk.Row:
        return (
            one.first_at,
            one.sent_at,
            one.received_at,
            one.started_at,
            one.ended_at,
            one.eta_at,
            one.expires_at,
            one.wait_s,
            one.runtime_s,
            self._cluster_id,
            self._number(Kind.NAME, one.name),
            self._number(Kind.HOST, one.worker),
            self._number(Kind.HOST, one.client),
            self._number(Kind.QUEUE, one.queue),
            self._number(Kind.ROUTING_KEY, one.routing_key),
            one.retries,
            one.events,
            len([run for run in one.runs if run.started_at is not None]),
            int(one.state),
            pack_task_id(one.id),
            None if one.root_id is None else pack_task_id(one.root_id),
            None if one.parent_id is None else pack_task_id(one.parent_id),
            one.args,
            one.kwargs,
            one.result,
            one.exception,
        )

    def run(self, one: Task, run: Run) -> bulk.Row:
        return (
            run.sent_at,
            run.received_at,
            run.started_at,
            run.ended_at,
            run.runtime_s,
            self._cluster_id,
            run.number,
            self._number(Kind.HOST, run.worker),
            run.pid,
            run.retries,
            int(run.state),
            pack_task_id(one.id),
            failures.fingerprint(one.name, run.failure) if run.failure else None,
            run.exception,
            run.traceback,
            run.note,
        )

    def group(self, one: Task, run: Run) -> dict[str, Any] | None:
        if run.failure is None:
            return None
        return {
            "fingerprint": failures.fingerprint(one.name, run.failure),
            "rule": failures.RULE,
            "name_id": self._number(Kind.NAME, one.name),
            "title": run.failure.title,
            "frame": run.failure.frame,
        }

    def _number(self, kind: Kind, value: str | None) -> int | None:
        return None if value is None else self._labels.number(kind, value)


def workers(
    connection: Connection, ledger: Ledger, cluster_id: int, events: Sequence[Event], received_at: int
) -> Heard:
    """Fold worker events into the sessions of their nodes, and note which nodes tell of their tasks.

    The note is renewed once in HEARD_EVERY: it answers whether a worker has -E, and not when. Returns what was noted.
    """
    lives: dict[int, list[Event]] = {}
    told: dict[int, int] = {}
    for event in events:
        if event.hostname is None or event.type == "task-sent":
            continue
        host_id = ledger.labels.number(Kind.HOST, event.hostname)
        if event.type in WORKER_EVENT_TYPES:
            lives.setdefault(host_id, []).append(event)
        elif event.type in TASK_EVENT_TYPES:
            told[host_id] = max(event.at, told.get(host_id, 0))
    heard = ledger.stories.heard
    told = {host: at for host, at in told.items() if at - heard.get((cluster_id, host), 0) > HEARD_EVERY}
    for host_id in sorted(lives.keys() | told.keys()):
        mine = lives.get(host_id, [])
        _touch_worker(connection, cluster_id, host_id, [event.at for event in mine], told.get(host_id))
        _fold_sessions(connection, cluster_id, host_id, mine, received_at)
    return {(cluster_id, host_id): at for host_id, at in told.items()}


def _touch_worker(
    connection: Connection, cluster_id: int, host_id: int, lived_at: Sequence[int], told_at: int | None
) -> None:
    """Make sure the worker has a row, and lock it: it is the lock of its sessions."""
    table = schema.worker
    mine = (table.c.host_id == host_id) & (table.c.cluster_id == cluster_id)
    first_at = min(lived_at) if lived_at else told_at
    row = {"host_id": host_id, "cluster_id": cluster_id, "first_at": first_at}
    connection.execute(dialects.insert_ignore(connection, table), [row])
    found = connection.execute(select(table.c.first_at, table.c.task_event_at).where(mine).with_for_update()).one()
    values = {
        "first_at": min(found.first_at, first_at or found.first_at),
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

"""Bring the rows of tasks, runs and workers in line with their events, inside the transaction that wrote the events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, select, update

from taskledger import failures
from taskledger import workers as core
from taskledger.events import TASK_EVENT_TYPES, WORKER_EVENT_TYPES, Event, restore
from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind
from taskledger.tasks import Run, Task, name, project, text

#: (kind, name) -> number, for every name of a batch
Names = Mapping[tuple[int, str], int]

#: Events from which a task is projected: of a longer story its first and its last half, so that nobody can make us read
#: a million events for each new one.
MAX_STORY = 1_000
#: sessions of a worker that new events can still belong to
OPEN_SESSIONS = 5


def label(value: str) -> str:
    """A name as the label table holds it."""
    return name(value) or ""


def plain(value: str) -> str:
    """A text as every database can hold it."""
    return text(value) or ""


def names_of(event: Event) -> Iterable[tuple[Kind, str]]:
    """Every name an event brings, as labels."""
    yield Kind.TYPE, label(event.type)
    if event.hostname:
        yield Kind.HOST, label(event.hostname)
    if event.task_id is None:
        return
    for kind, key in ((Kind.NAME, "name"), (Kind.QUEUE, "queue"), (Kind.ROUTING_KEY, "routing_key")):
        value = name(event.fields.get(key))
        if value:
            yield kind, value


def tasks(connection: Connection, cluster_id: int, fresh: Mapping[str, Sequence[Event]], names: Names) -> None:
    """Project again each task that got new events.

    A task's row is its lock: whoever holds it sees every committed event of the task, so the last to write is right.
    """
    pending = dict(sorted(fresh.items()))
    while pending:
        known = _lock(connection, cluster_id, list(pending))
        stories = _stories(connection, cluster_id, known, pending)
        made = {task_id: _projected(task_id, known, stories, pending) for task_id in pending}
        _replace(connection, cluster_id, [made[task_id] for task_id in pending if task_id in known], names)
        lost = _insert(connection, cluster_id, [made[task_id] for task_id in pending if task_id not in known], names)
        # Another recorder made these rows meanwhile: they are there to be locked now.
        pending = {task_id: pending[task_id] for task_id in lost}


def _lock(connection: Connection, cluster_id: int, ids: Sequence[str]) -> dict[str, int]:
    """The tasks that have a row, locked, each with its count of events so far."""
    table, found = schema.task, {}
    for chunk in dialects.chunks(ids):
        query = select(table.c.id, table.c.events).where(table.c.id.in_(chunk), table.c.cluster_id == cluster_id)
        query = query.order_by(table.c.id).with_for_update()
        found.update({row.id: row.events for row in connection.execute(query)})
    return found


def _stories(
    connection: Connection, cluster_id: int, known: Mapping[str, int], fresh: Mapping[str, Sequence[Event]]
) -> dict[str, list[Event]]:
    """The events of the tasks that had some before."""
    stories: dict[str, list[Event]] = {task_id: [] for task_id in known}
    usual = [task_id for task_id in known if known[task_id] + len(fresh[task_id]) <= MAX_STORY]
    for chunk in dialects.chunks(usual):
        for task_id, event in _read(connection, cluster_id, _events().where(schema.event.c.task_id.in_(chunk))):
            stories[task_id].append(event)
    for task_id in known.keys() - set(usual):
        stories[task_id] = _ends_of(connection, cluster_id, task_id)
    return stories


def _ends_of(connection: Connection, cluster_id: int, task_id: str) -> list[Event]:
    mine = _events().where(schema.event.c.task_id == task_id).limit(MAX_STORY // 2)
    both = [mine.order_by(schema.event.c.id), mine.order_by(schema.event.c.id.desc())]
    return [event for query in both for _, event in _read(connection, cluster_id, query)]


def _events() -> Select[Any]:
    columns = schema.event.c
    return select(columns.id, columns.at, columns.task_id, columns.pid, columns.clock, columns.body, columns.cluster_id)


def _read(connection: Connection, cluster_id: int, query: Select[Any]) -> Iterable[tuple[str, Event]]:
    for row in connection.execute(query):
        if row.cluster_id == cluster_id:
            yield row.task_id, event_of(row)


def event_of(row: Any) -> Event:
    """The event a row holds, as it was decoded."""
    fields = restore(row.body)
    hostname = fields.get("hostname")
    host = hostname if isinstance(hostname, str) and hostname else None
    return Event(bytes(row.id), fields["type"], row.at, host, row.pid, row.clock, row.task_id, fields, row.body)


def _projected(
    task_id: str, known: Mapping[str, int], stories: Mapping[str, list[Event]], fresh: Mapping[str, Sequence[Event]]
) -> Task:
    if task_id not in known:
        return project(task_id, fresh[task_id])
    return replace(project(task_id, stories[task_id]), events=known[task_id] + len(fresh[task_id]))


def _replace(connection: Connection, cluster_id: int, made: Sequence[Task], names: Names) -> None:
    if not made:
        return
    connection.execute(dialects.upsert(connection, schema.task), [task_row(task, cluster_id, names) for task in made])
    for chunk in dialects.chunks([task.id for task in made]):
        mine = schema.run.c.task_id.in_(chunk) & (schema.run.c.cluster_id == cluster_id)
        connection.execute(delete(schema.run).where(mine))
    _insert_runs(connection, cluster_id, made, names)


def _insert(connection: Connection, cluster_id: int, made: Sequence[Task], names: Names) -> list[str]:
    """Insert rows of tasks that had none; returns the ids that another recorder inserted first."""
    if not made:
        return []
    rows = [task_row(task, cluster_id, names) for task in made]
    if connection.dialect.name != "postgresql":
        connection.execute(schema.task.insert(), rows)
        _insert_runs(connection, cluster_id, made, names)
        return []
    insert = dialects.insert_ignore(connection, schema.task).returning(schema.task.c.id)
    mine = set(connection.scalars(insert, rows))
    _insert_runs(connection, cluster_id, [task for task in made if task.id in mine], names)
    return [task.id for task in made if task.id not in mine]


def _insert_runs(connection: Connection, cluster_id: int, made: Sequence[Task], names: Names) -> None:
    rows = [run_row(task, run, cluster_id, names) for task in made for run in task.runs]
    groups = {row["fingerprint"]: row for task in made for run in task.runs if (row := _group_row(task, run, names))}
    if groups:
        connection.execute(
            dialects.insert_ignore(connection, schema.failure_group), [groups[key] for key in sorted(groups)]
        )
    if rows:
        connection.execute(schema.run.insert(), rows)


def task_row(task: Task, cluster_id: int, names: Names) -> dict[str, Any]:
    """The row of a task."""
    row = {column.name: getattr(task, column.name) for column in _PLAIN_TASK_COLUMNS}
    return row | {
        "cluster_id": cluster_id,
        "name_id": _number(names, Kind.NAME, task.name),
        "worker_id": _number(names, Kind.HOST, task.worker),
        "client_id": _number(names, Kind.HOST, task.client),
        "queue_id": _number(names, Kind.QUEUE, task.queue),
        "routing_key_id": _number(names, Kind.ROUTING_KEY, task.routing_key),
        "runs": sum(1 for run in task.runs if run.started_at is not None),
    }


_PLAIN_TASK_COLUMNS = [
    column
    for column in schema.task.columns
    if column.name not in ("cluster_id", "name_id", "worker_id", "client_id", "queue_id", "routing_key_id", "runs")
]
_PLAIN_RUN_COLUMNS = [
    column for column in schema.run.columns if column.name not in ("task_id", "cluster_id", "worker_id", "fingerprint")
]


def run_row(task: Task, run: Run, cluster_id: int, names: Names) -> dict[str, Any]:
    """The row of a run."""
    row = {column.name: getattr(run, column.name) for column in _PLAIN_RUN_COLUMNS}
    return row | {
        "task_id": task.id,
        "cluster_id": cluster_id,
        "worker_id": _number(names, Kind.HOST, run.worker),
        "fingerprint": failures.fingerprint(task.name, run.failure) if run.failure else None,
    }


def _group_row(task: Task, run: Run, names: Names) -> dict[str, Any] | None:
    if run.failure is None:
        return None
    return {
        "fingerprint": failures.fingerprint(task.name, run.failure),
        "rule": failures.RULE,
        "name_id": _number(names, Kind.NAME, task.name),
        "title": run.failure.title,
        "frame": run.failure.frame,
    }


def _number(names: Names, kind: Kind, value: str | None) -> int | None:
    return None if value is None else names[kind, value]


def workers(connection: Connection, cluster_id: int, events: Sequence[Event], names: Names) -> None:
    """Fold worker events into the sessions of their nodes, and note which nodes tell of their tasks."""
    by_host: dict[int, list[Event]] = {}
    for event in events:
        if event.hostname and (event.type in WORKER_EVENT_TYPES or event.type in TASK_EVENT_TYPES - {"task-sent"}):
            by_host.setdefault(names[Kind.HOST, label(event.hostname)], []).append(event)
    for host_id, mine in sorted(by_host.items()):
        _touch_worker(connection, cluster_id, host_id, mine)
        _fold_sessions(connection, cluster_id, host_id, [event for event in mine if event.type in WORKER_EVENT_TYPES])


def _touch_worker(connection: Connection, cluster_id: int, host_id: int, events: Sequence[Event]) -> None:
    """Make sure the worker has a row, and lock it: it is the lock of its sessions."""
    table = schema.worker
    mine = (table.c.host_id == host_id) & (table.c.cluster_id == cluster_id)
    row = {"host_id": host_id, "cluster_id": cluster_id, "first_at": min(event.at for event in events)}
    connection.execute(dialects.insert_ignore(connection, table), [row])
    found = connection.execute(select(table.c.first_at, table.c.task_event_at).where(mine).with_for_update()).one()
    told = max((event.at for event in events if event.type in TASK_EVENT_TYPES), default=0)
    values = {
        "first_at": min(found.first_at, row["first_at"]),
        "task_event_at": max(found.task_event_at or 0, told) or None,
    }
    if values != {"first_at": found.first_at, "task_event_at": found.task_event_at}:
        connection.execute(update(table).where(mine).values(values))


def _fold_sessions(connection: Connection, cluster_id: int, host_id: int, events: Sequence[Event]) -> None:
    table = schema.worker_session
    mine = (table.c.host_id == host_id) & (table.c.cluster_id == cluster_id)
    newest = connection.execute(select(table).where(mine).order_by(table.c.first_at.desc()).limit(OPEN_SESSIONS)).all()
    before = tuple(_session_of(found) for found in reversed(newest))
    after = before
    for event in sorted(events, key=lambda event: event.at):
        after = core.fold(after, event)
    for gone in (session for session in before if session not in after):
        connection.execute(delete(table).where(mine, table.c.pid == gone.pid, table.c.first_at == gone.first_at))
    rows = [{"host_id": host_id, "cluster_id": cluster_id, **asdict(one)} for one in after if one not in before]
    if rows:
        connection.execute(table.insert(), rows)


def _session_of(row: Any) -> core.Session:
    values = row._asdict()
    del values["host_id"], values["cluster_id"]
    return core.Session(**values)

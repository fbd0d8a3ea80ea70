"""Bring the rows of tasks and runs in line with their events, inside the transaction that wrote the events."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection, and_, select

from taskledger import bodies
from taskledger.events import Event, integer, restore
from taskledger.ledger import bulk, dialects, lasting, schema, settled
from taskledger.ledger.engine import Ledger
from taskledger.ledger.rows import Rows
from taskledger.ledger.stories import Stories
from taskledger.ledger.types import pack_task_id, unpack_task_id
from taskledger.settlements import OPEN, Settlement
from taskledger.tasks import Task, project

#: (cluster, task id) -> all events of a task that may get more; None for one that needs no remembering
Told = dict[tuple[int, str], list[Event] | None]
#: task id -> what was settled of it
Facts = Mapping[str, Sequence[Settlement]]

#: Events from which a task is projected: of a longer story its first and its last half, so that nobody can make us read
#: a million events for each new one.
MAX_STORY = 1_000

E = schema.event.c
STORY = "SELECT task_id, id, at, codec, body FROM event"


def tasks(connection: Connection, ledger: Ledger, cluster_id: int, fresh: Mapping[str, Sequence[Event]]) -> Told:
    """Project again each task that got new events; what is to be remembered of them once this is committed.

    A task's row is its lock: whoever holds it sees every committed event of the task, so the last to write is right.
    """
    pending = {pack_task_id(task_id): task_id for task_id in fresh}
    told: Told = {}
    while pending:
        known, has_facts = lock(connection, cluster_id, sorted(pending))
        settlements = settled.of(connection, ledger.labels, cluster_id, has_facts) if has_facts else {}
        stories = _stories(connection, ledger.stories, cluster_id, known, fresh)
        facts = {
            key: (stories.get(task_id) or fresh[task_id], known.get(task_id, 0) + len(fresh[task_id]))
            for key, task_id in pending.items()
        }
        made = list(projections(facts, settlements).values())
        told |= {(cluster_id, one.id): _remembered(one, known, stories, fresh) for one in made}
        pending = put(connection, Rows(ledger.labels, cluster_id), made, known)
    return told


def projections(
    facts: Mapping[bytes, tuple[Sequence[Event], int]], settlements: Facts = MappingProxyType({})
) -> dict[bytes, Task]:
    """The tasks that all of their stored facts make, by their packed ids: here and nowhere else, live and in a rebuild.

    `facts` is the events of each, and how many it has: of a long story they may be its ends only.
    """
    made: dict[bytes, Task] = {}
    for key, (story, events) in facts.items():
        task_id = unpack_task_id(key)
        made[key] = projected(task_id, story, events, settlements.get(task_id, ()))
    return made


def projected(task_id: str, story: Sequence[Event], events: int, settlements: Sequence[Settlement] = ()) -> Task:
    """The task that so many events make; of more than MAX_STORY the first and the last half are looked at."""
    if events <= MAX_STORY:
        made = project(task_id, story, settlements=settlements)
        return made if made.events == events else made._replace(events=events)
    ordered = sorted(story, key=lambda event: event.id)
    first, last = ordered[: MAX_STORY // 2], ordered[-MAX_STORY // 2 :]
    return project(task_id, [*first, *last], cut_at=first[-1].at, settlements=settlements)._replace(events=events)


def put(connection: Connection, rows: Rows, made: Sequence[Task], known: Collection[str]) -> dict[bytes, str]:
    """Write the rows of tasks; the `known` ones are locked, and replaced.

    Another recorder may have made the rows of new ones meanwhile: then none of these is written, and they are returned,
    by their keys, to be locked and done again.
    """
    replaced = [one for one in made if one.id in known]
    _delete(connection, rows.cluster_id, [pack_task_id(one.id) for one in replaced])
    _insert(connection, rows, replaced)
    _note_left_open(connection, rows.cluster_id, made)
    lasting.keep(connection, made)
    new = [one for one in made if one.id not in known]
    return {} if _insert_new(connection, rows, new) else {pack_task_id(one.id): one.id for one in new}


def hold(connection: Connection, cluster_id: int, ids: Collection[str]) -> set[str]:
    """Those of the tasks that are still there; nobody else changes them now, so they can be projected again."""
    columns = schema.task.c
    locked: set[str] = set()
    while True:
        mine = and_(columns.id.in_(set(ids) - locked), columns.cluster_id == cluster_id)
        there = set(connection.scalars(select(columns.id).where(mine)))
        if not there:
            return locked
        # A recorder replaces rows: one that it held while we waited is gone, and another is there in its place.
        locked.update(connection.scalars(select(columns.id).where(mine).order_by(columns.id).with_for_update()))


def lock(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> tuple[dict[str, int], list[str]]:
    """The tasks that have a row, locked, each with its count of events; and those of which something was settled."""
    lock = "" if connection.dialect.name == "sqlite" else "FOR UPDATE"
    after = f"AND cluster_id = {cluster_id} ORDER BY id {lock}"
    found = bulk.select_in(connection, "SELECT id, events, settled_by FROM task", "id", keys, after=after)
    has_facts = [unpack_task_id(bytes(key)) for key, _, settled_by in found if settled_by is not None]
    return {unpack_task_id(bytes(key)): events for key, events, _ in found}, has_facts


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
            stories[task_id] = ends_of(connection, cluster_id, task_id)
        elif before is not None and len(before) == events:
            stories[task_id] = [*before, *fresh[task_id]]
        else:
            unknown.append(task_id)
            stories[task_id] = []
    keys = [pack_task_id(task_id) for task_id in unknown]
    for row in bulk.select_in(connection, STORY, "task_id", keys, after=f"AND cluster_id = {cluster_id}"):
        event = event_of(*row)
        stories[event.task_id or ""].append(event)
    return stories


def ends_of(connection: Connection, cluster_id: int, task_id: str) -> list[Event]:
    """The first and the last events of a long story, MAX_STORY in all."""
    columns = select(E.task_id, E.id, E.at, E.codec, E.body)
    mine = columns.where(E.task_id == task_id, E.cluster_id == cluster_id).limit(MAX_STORY // 2)
    rows = [row for order in (E.id.asc(), E.id.desc()) for row in connection.execute(mine.order_by(order))]
    return [event_of(pack_task_id(row[0]), *row[1:]) for row in rows]


def event_of(key: bytes | None, event_id: bytes, at: int, codec: int, data: bytes) -> Event:
    """The event of a row, as it was decoded; `key` is the packed id of its task."""
    return _event(None if key is None else unpack_task_id(bytes(key)), event_id, at, bodies.unpack(codec, bytes(data)))


def events_of(rows: Iterable[tuple[str, bytes, int, int, bytes]]) -> list[Event]:
    """As `event_of`, for many: rows of a task id, and the event's id, time, codec and body."""
    read = list(rows)
    unpacked = bodies.unpack_all([(codec, data) for _, _, _, codec, data in read])
    return [
        _event(task_id, event_id, at, body) for (task_id, event_id, at, _, _), body in zip(read, unpacked, strict=True)
    ]


def _event(task_id: str | None, event_id: bytes, at: int, body: bytes) -> Event:
    fields = restore(body)
    get = fields.get
    hostname, pid, clock = get("hostname"), get("pid"), get("clock")
    host = hostname if hostname and isinstance(hostname, str) else None
    return Event(event_id, fields["type"], at, host, integer(pid), integer(clock), task_id, body, fields)


def _remembered(
    one: Task, known: Mapping[str, int], stories: Mapping[str, list[Event]], fresh: Mapping[str, Sequence[Event]]
) -> list[Event] | None:
    if one.state.is_end or one.events > MAX_STORY:
        return None
    story = stories[one.id] if one.id in known else fresh[one.id]
    for event in story:
        event.forget()
    return list(story)


def _note_left_open(connection: Connection, cluster_id: int, made: Collection[Task]) -> None:
    """Note the tasks that went on although a run of them did not end: their state does not show that, so who settles
    runs would not find them.
    """
    rows = [
        {"cluster_id": cluster_id, "task_id": one.id}
        for one in made
        if len(one.runs) > 1 and any(run.state in OPEN for run in one.runs) and one.state.is_end
    ]
    if rows:
        connection.execute(dialects.insert_ignore(connection, schema.left_open), rows)


def _delete(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> None:
    after = f"AND cluster_id = {cluster_id}"
    bulk.delete_in(connection, schema.run, "task_id", keys, after=after)
    bulk.delete_in(connection, schema.task, "id", keys, after=after)


def _insert(connection: Connection, rows: Rows, made: Sequence[Task]) -> None:
    bulk.insert(connection, schema.task, [rows.task(one) for one in made])
    _insert_runs(connection, rows, made)


def _insert_new(connection: Connection, rows: Rows, made: Sequence[Task]) -> bool:
    """Whether none of the rows was there; else nothing is inserted."""
    if not bulk.insert_if_all_new(connection, schema.task, [rows.task(one) for one in made]):
        return False
    _insert_runs(connection, rows, made)
    return True


def _insert_runs(connection: Connection, rows: Rows, made: Sequence[Task]) -> None:
    groups = {group["fingerprint"]: group for one in made for run in one.runs if (group := rows.group(one, run))}
    if groups:
        ordered = [groups[key] for key in sorted(groups)]
        connection.execute(dialects.insert_ignore(connection, schema.failure_group), ordered)
    bulk.insert(connection, schema.run, [rows.run(one, run) for one in made for run in one.runs])

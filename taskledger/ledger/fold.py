"""Bring the rows of tasks and runs in line with their events, inside the transaction that wrote the events."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection, and_, select

from taskledger import bodies
from taskledger.events import Event, integer, restore
from taskledger.ledger import bulk, dialects, lasting, schema, settled
from taskledger.ledger.engine import Ledger
from taskledger.ledger.rows import NEVER, Locked, Plan, Rows, holds
from taskledger.ledger.types import pack_task_id, unpack_task_id
from taskledger.settlements import Settlement
from taskledger.tasks import Task, project

#: task id -> what was settled of it
Facts = Mapping[str, Sequence[Settlement]]

#: Events from which a task is projected: of a longer story its first and its last half, so that nobody can make us read
#: a million events for each new one.
MAX_STORY = 1_000

E = schema.event.c
STORY = "SELECT task_id, id, at, codec, body FROM event"


#: packed id -> the stored events (id, time, codec, body) of a task that may get more; None for one that does not
Told = dict[bytes, list[tuple[bytes, int, int, bytes]] | None]


def tasks(connection: Connection, ledger: Ledger, cluster_id: int, planned: Iterable[Plan]) -> Told:
    """Write each task that got new events as it was planned; where the plan does not hold, as all its events make it.

    A task's row is its lock: whoever holds it sees every committed event of the task, so the last to write is right.
    Returns what was found of those whose plans did not hold.
    """
    pending = {plan.key: plan for plan in planned}
    told: Told = {}
    while pending:
        known = lock(connection, cluster_id, sorted(pending))
        right = [plan for plan in pending.values() if holds(plan, known.get(plan.key))]
        if len(right) < len(pending):
            sizes = {key: pending[key].events for key in pending.keys() - {plan.key for plan in right}}
            sizes |= {key: sizes[key] + known[key].events for key in sizes.keys() & known.keys()}
            settled_keys = [key for key in sizes.keys() & known.keys() if known[key].is_settled]
            made, found = _from_events(connection, ledger, cluster_id, sizes, settled_keys)
            right += made
            told |= found
        pending = {key: pending[key] for key in put(connection, cluster_id, right, known)}
    return told


def again(connection: Connection, ledger: Ledger, cluster_id: int, task_ids: Iterable[str]) -> None:
    """Project these tasks again, of which something else has changed."""
    tasks(connection, ledger, cluster_id, [Plan(pack_task_id(task_id), NEVER, 0) for task_id in task_ids])


def _from_events(
    connection: Connection,
    ledger: Ledger,
    cluster_id: int,
    sizes: Mapping[bytes, int],
    settled_keys: Collection[bytes],
) -> tuple[list[Plan], Told]:
    """What all of their stored events make of tasks that have so many; and these, where there may be more."""
    facts_of = [unpack_task_id(key) for key in settled_keys]
    settlements = settled.of(connection, ledger.labels, cluster_id, facts_of) if facts_of else {}
    told = _stored(connection, cluster_id, sizes)
    stories = {
        key: ends_of(connection, cluster_id, unpack_task_id(key))
        if found is None
        else [event_of(key, *row) for row in found]
        for key, found in told.items()
    }
    facts = {key: (story, sizes[key]) for key, story in stories.items()}
    made, rows = projections(facts, settlements), Rows(ledger.labels, cluster_id)
    found: Told = {key: None if one.state.is_end else told[key] for key, one in made.items()}
    return [rows.plan(one, key) for key, one in made.items()], found


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


def put(connection: Connection, cluster_id: int, plans: Sequence[Plan], known: Collection[bytes]) -> list[bytes]:
    """Write the rows of tasks; the `known` ones are locked, and replaced.

    Another recorder may have made the rows of new ones meanwhile: then none of these is written, and their keys are
    returned, to be locked and done again.
    """
    replaced = [plan for plan in plans if plan.key in known]
    _delete(connection, cluster_id, [plan.key for plan in replaced])
    bulk.insert(connection, schema.task, [plan.task for plan in replaced])
    _insert_runs(connection, replaced)
    _note_left_open(connection, cluster_id, plans)
    lasting.keep(connection, [plan.lasted for plan in plans if plan.lasted])
    new = [plan for plan in plans if plan.key not in known]
    if not bulk.insert_if_all_new(connection, schema.task, [plan.task for plan in new]):
        return [plan.key for plan in new]
    _insert_runs(connection, new)
    return []


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


def lock(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> dict[bytes, Locked]:
    """The tasks that have a row, locked."""
    lock = "" if connection.dialect.name == "sqlite" else "FOR UPDATE"
    after = f"AND cluster_id = {cluster_id} ORDER BY id {lock}"
    found = bulk.select_in(connection, "SELECT id, events, first_at, settled_by FROM task", "id", keys, after=after)
    return {bytes(key): Locked(events, first_at, settled_by is not None) for key, events, first_at, settled_by in found}


def _stored(connection: Connection, cluster_id: int, sizes: Mapping[bytes, int]) -> Told:
    """The stored events of tasks that have so many; None for a long story."""
    stored: Told = {key: [] if number <= MAX_STORY else None for key, number in sizes.items()}
    short = sorted(key for key, number in sizes.items() if number <= MAX_STORY)
    for row in bulk.select_in(connection, STORY, "task_id", short, after=f"AND cluster_id = {cluster_id}"):
        story = stored[bytes(row[0])]
        if story is not None:
            story.append((bytes(row[1]), row[2], row[3], bytes(row[4])))
    return stored


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


def _note_left_open(connection: Connection, cluster_id: int, plans: Iterable[Plan]) -> None:
    """Note the tasks that went on although a run of them did not end: their state does not show that, so who settles
    runs would not find them.
    """
    rows = [{"cluster_id": cluster_id, "task_id": unpack_task_id(plan.key)} for plan in plans if plan.is_left_open]
    if rows:
        connection.execute(dialects.insert_ignore(connection, schema.left_open), rows)


def _delete(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> None:
    after = f"AND cluster_id = {cluster_id}"
    bulk.delete_in(connection, schema.run, "task_id", keys, after=after)
    bulk.delete_in(connection, schema.task, "id", keys, after=after)


def _insert_runs(connection: Connection, plans: Iterable[Plan]) -> None:
    groups = {group["fingerprint"]: group for plan in plans for group in plan.groups}
    if groups:
        ordered = [groups[key] for key in sorted(groups)]
        connection.execute(dialects.insert_ignore(connection, schema.failure_group), ordered)
    bulk.insert(connection, schema.run, [run for plan in plans for run in plan.runs])

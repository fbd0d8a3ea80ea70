"""What the ledger knows of schedule entries: their versions, when somebody listened, and what looks as beat sent it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection, RowMapping, and_, func, select

from taskledger.crontabs import SECOND
from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.schedules import Entry, Sent, entry_from
from taskledger.states import State
from taskledger.ticks import Fire, Version, merged

#: A recorder and a worker gather events before they pass them on: what is this much older than the newest that was
#: recorded will not change any more.
SETTLE = 15 * SECOND
#: how far back sends are looked for again, for events that came late
LOOK_BACK = 60 * SECOND
#: tasks, and fires of an entry, that are looked at in one go, at most
MOST_SENDS = 20_000
MOST_FIRES = 20_000
#: evidence that beat itself gave; anything else is what a worker said of it
BY_BEAT = ("task-sent", "probe")


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """An entry as it was from one moment to another."""

    id: int
    from_at: int
    to_at: int | None
    entry: Entry

    @property
    def rule(self) -> Version:
        return Version(self.from_at, self.to_at, self.entry.schedule, self.entry.enabled)


@dataclass(frozen=True, slots=True)
class Known:
    """A schedule entry with all its versions, earliest first."""

    id: int
    cluster_id: int
    name: str
    source: str
    read_at: int
    versions: tuple[KnownVersion, ...]

    @property
    def latest(self) -> KnownVersion:
        return self.versions[-1]

    def in_force(self, at: int) -> KnownVersion | None:
        """The version that was in force; before the first one, the first: a fire may come a little early."""
        if at < self.versions[0].from_at:
            return self.versions[0]
        return next(
            (version for version in self.versions if at < (version.to_at or at + 1) and version.from_at <= at), None
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """When somebody listened to a cluster (merged spans), and the last moment that is vouched for."""

    spans: list[tuple[int, int]]
    until_at: int


@dataclass(frozen=True, slots=True)
class KnownFire:
    """A task that an entry's beat sent, as far as can be told, with how it fared since; state None if it was pruned."""

    fire: Fire
    state: State | None


def digest(name: str) -> bytes:
    """16 bytes by which an entry is found: names have any length."""
    return blake2b(name.encode(), digest_size=16).digest()


def known(connection: Connection, *, name: str | None = None) -> list[Known]:
    """All schedule entries by name, or those of one name in any cluster."""
    entries = select(schema.schedule_entry).order_by(schema.schedule_entry.c.name)
    if name is not None:
        entries = entries.where(schema.schedule_entry.c.digest == digest(name))
    rows = [row for row in connection.execute(entries).mappings() if name in (None, row["name"])]
    versions = _versions(connection, rows)
    return [
        Known(row["id"], row["cluster_id"], row["name"], row["source"], row["read_at"], versions[row["id"]])
        for row in rows
        if row["id"] in versions
    ]


def heard(connection: Connection, cluster_id: int) -> Heard | None:
    """When somebody listened to a cluster; None if nobody ever did."""
    table = schema.coverage
    rows = connection.execute(select(table.c.from_at, table.c.until_at).where(table.c.cluster_id == cluster_id)).all()
    if not rows:
        return None
    return Heard(merged((row.from_at, row.until_at) for row in rows), max(row.until_at for row in rows))


def sends(
    connection: Connection, labels: Labels, entries: Sequence[Known], from_at: int, to_at: int
) -> tuple[dict[int, list[Fire]], int]:
    """By entry id, the tasks of one cluster that look as its beat sends them, and up to when they were looked for.

    That is to_at, or earlier when there is more than can be looked at in one go.
    """
    rows = _candidates(connection, labels, entries, from_at, to_at)
    seen_at = to_at if len(rows) < MOST_SENDS else rows[-1]["first_at"]
    found: dict[int, list[Fire]] = defaultdict(list)
    for row in rows:
        sent, fire = _sent(row, labels), _fire(row, labels)
        if fire is None:
            continue
        for entry in entries:
            version = entry.in_force(fire.at)
            if version and version.entry.is_sent_as(sent):
                found[entry.id].append(fire)
    return found, seen_at


def fires(connection: Connection, labels: Labels, entry: Known, from_at: int) -> list[KnownFire]:
    """The fires of an entry from a moment on, earliest first."""
    fire, task = schema.fire, schema.task
    joined = fire.outerjoin(task, and_(task.c.id == fire.c.task_id, task.c.cluster_id == entry.cluster_id))
    question = (
        select(fire.c.task_id, fire.c.fired_at, fire.c.evidence, task.c.client_id, task.c.state)
        .select_from(joined)
        .where(fire.c.entry_id == entry.id, fire.c.fired_at >= from_at)
        .order_by(fire.c.fired_at)
        .limit(MOST_FIRES)
    )
    return [
        KnownFire(
            Fire(row.fired_at, row.task_id, row.evidence, labels.value(row.client_id)),
            None if row.state is None else State(row.state),
        )
        for row in connection.execute(question)
    ]


def last_sends(connection: Connection, cluster_id: int, before_at: int) -> list[Fire]:
    """The newest fire of each entry of a cluster before a moment."""
    fire, entry = schema.fire.c, schema.schedule_entry.c
    # One seek in the index for each entry; a maximum over all of them would read every fire there is.
    newest = (
        select(fire.fired_at, fire.evidence)
        .where(fire.entry_id == entry.id, fire.fired_at < before_at)
        .order_by(fire.fired_at.desc())
        .limit(1)
    )
    columns = [newest.with_only_columns(column).scalar_subquery() for column in (fire.fired_at, fire.evidence)]
    rows = connection.execute(select(*columns).select_from(schema.schedule_entry).where(entry.cluster_id == cluster_id))
    return [Fire(fired_at, None, evidence) for fired_at, evidence in rows if fired_at is not None]


def last_ticks(connection: Connection, entry_ids: Iterable[int]) -> dict[int, RowMapping]:
    """The newest final tick of each entry that has one."""
    tick = schema.tick
    found: dict[int, RowMapping] = {}
    for chunk in dialects.chunks(list(entry_ids)):
        newest = (
            select(tick.c.entry_id, func.max(tick.c.due_at).label("due_at"))
            .where(tick.c.entry_id.in_(chunk))
            .group_by(tick.c.entry_id)
            .subquery()
        )
        same = and_(tick.c.entry_id == newest.c.entry_id, tick.c.due_at == newest.c.due_at)
        for row in connection.execute(select(tick).join(newest, same)).mappings():
            found[row["entry_id"]] = row
    return found


def fires_mark(cluster_id: int) -> str:
    """The mark up to which the sends of a cluster have been looked for and kept."""
    return f"fires_seen_at:{cluster_id}"


def mark(connection: Connection, name: str) -> int | None:
    """A position of the ledger; None if it was never set."""
    return connection.scalar(select(schema.mark.c.value).where(schema.mark.c.name == name))


def set_mark(connection: Connection, name: str, value: int) -> None:
    connection.execute(dialects.upsert(connection, schema.mark), {"name": name, "value": value})


def _versions(connection: Connection, rows: Sequence[RowMapping]) -> dict[int, tuple[KnownVersion, ...]]:
    table = schema.schedule_version
    names = {row["id"]: row["name"] for row in rows}
    found: dict[int, list[KnownVersion]] = defaultdict(list)
    for chunk in dialects.chunks(list(names)):
        question = select(table).where(table.c.entry_id.in_(chunk)).order_by(table.c.valid_from_at, table.c.id)
        for row in connection.execute(question):
            entry = entry_from(names[row.entry_id], row.definition)
            found[row.entry_id].append(KnownVersion(row.id, row.valid_from_at, row.valid_to_at, entry))
    return {entry_id: tuple(versions) for entry_id, versions in found.items()}


def _candidates(
    connection: Connection, labels: Labels, entries: Sequence[Known], from_at: int, to_at: int
) -> Sequence[RowMapping]:
    """Tasks with a name and arguments of any of the entries that no other task sent, by the time they were heard of."""
    task = schema.task.c
    versions = [version.entry for entry in entries for version in entry.versions]
    names = {name for entry in versions for name in (entry.task, entry.shadow)}
    name_ids = labels.ids(Kind.NAME, names.__contains__)
    wanted = {entry.args for entry in versions}
    if not name_ids:
        return []
    question = (
        select(
            task.id, task.name_id, task.first_at, task.sent_at, task.received_at,
            task.args, task.kwargs, task.queue_id, task.client_id,
        )
        .where(task.cluster_id == entries[0].cluster_id, task.name_id.in_(name_ids), task.parent_id.is_(None))
        .where(task.root_id.is_(None), task.first_at >= from_at, task.first_at < to_at)
        .order_by(task.first_at)
        .limit(MOST_SENDS)
    )  # fmt: skip
    if None not in wanted:
        question = question.where(task.args.in_(wanted))
    return connection.execute(question).mappings().all()


def _sent(row: RowMapping, labels: Labels) -> Sent:
    return Sent(
        labels.value(row["name_id"]), row["args"], row["kwargs"], labels.value(row["queue_id"]), has_parent=False
    )


def _fire(row: RowMapping, labels: Labels) -> Fire | None:
    """Sent when its task-sent says; without one, when a worker received it, which includes the wait in the queue."""
    if row["sent_at"] is not None:
        return Fire(row["sent_at"], row["id"], "task-sent", labels.value(row["client_id"]))
    if row["received_at"] is not None:
        return Fire(row["received_at"], row["id"], "worker only")
    return None

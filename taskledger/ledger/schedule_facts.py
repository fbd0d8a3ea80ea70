"""What the ledger holds about sends of schedule entries: who listened when, which tasks look as beat sends them, fires.

Each question is asked once for all entries, whatever their number.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, and_, func, select

from taskledger.crontabs import SECOND
from taskledger.ledger import dialects, schema
from taskledger.ledger.beat_entries import PROBE
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.schedule_definitions import counted_mark
from taskledger.ledger.schedule_known import Beats, Known, known
from taskledger.schedules import Sent
from taskledger.ticks import Count, Fire, merged

__all__ = ["Heard", "Known", "known"]

#: A recorder and a worker gather events before they pass them on: what is this much older than the newest that was
#: recorded will not change any more.
SETTLE = 15 * SECOND
#: how far back sends are looked for again, for events that came late
LOOK_BACK = 60 * SECOND
#: tasks, and fires, that are looked at in one go, at most
MOST_SENDS = 20_000
MOST_FIRES = 50_000
#: evidence that beat itself gave; anything else is what a worker said of it
BY_BEAT = ("task-sent", PROBE)
#: microseconds after which counters that are no longer read are no evidence
COUNTS_AGE = 600 * SECOND


@dataclass(frozen=True, slots=True)
class Heard:
    """When somebody listened to a cluster (merged spans), and the last moment that is vouched for."""

    spans: list[tuple[int, int]]
    until_at: int


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
    senders, told = _senders(entries), _told(connection, entries, [row["id"] for row in rows])
    found: dict[int, list[Fire]] = defaultdict(list)
    for row in rows:
        sent, fire = _sent(row, labels), _fire(row, labels)
        if fire is None:
            continue
        for entry in {one.id: one for key in (sent.args, None) for one in senders[sent.name, key]}.values():
            version = entry.in_force(fire.at)
            # Beat's probe said whose it is: it is nobody else's, however alike they are.
            if version and version.entry.is_sent_as(sent) and entry.id in told.get(fire.task_id, (entry.id,)):
                found[entry.id].append(fire)
    return found, seen_at


def _told(connection: Connection, entries: Sequence[Known], task_ids: Sequence[str]) -> dict[str | None, set[int]]:
    """By task, the entries that sent it, where beat's probe told so."""
    fire, found = schema.fire.c, defaultdict[str | None, set[int]](set)
    entry_ids = [entry.id for entry in entries if any(version.source == PROBE for version in entry.versions)]
    for chunk in dialects.chunks(task_ids if entry_ids else []):
        question = select(fire.task_id, fire.entry_id).where(fire.task_id.in_(chunk), fire.evidence == PROBE)
        for some in dialects.chunks(entry_ids):
            for row in connection.execute(question.where(fire.entry_id.in_(some))):
                found[row.task_id].add(row.entry_id)
    return found


def fires(
    connection: Connection, labels: Labels, from_at: Mapping[int, int], told: Beats
) -> tuple[dict[int, list[Fire]], dict[int, int]]:
    """The fires of entries, each from its moment on, earliest first, failed ones included.

    Where there are more than can be looked at in one go, the second tells up to when they were, by entry.
    """
    found: dict[int, list[Fire]] = {entry_id: [] for entry_id in from_at}
    reached: dict[int, int] = {}
    beat_ids = {life.id: life.beat_id for life in told.lives}
    for ids, since_at in alike(from_at):
        rows = _fires(connection, ids, since_at)
        if len(rows) == MOST_FIRES:
            reached |= dict.fromkeys(ids, rows[-1]["fired_at"])
        for row in rows:
            if row["fired_at"] >= from_at[row["entry_id"]]:
                found[row["entry_id"]].append(_kept_fire(row, labels, beat_ids))
        for entry_id, fire in _failures(connection, ids, since_at, beat_ids):
            if fire.at >= from_at[entry_id]:
                found[entry_id].append(fire)
    for mine in found.values():
        mine.sort(key=_at)
    return found, reached


def explicit_dues(connection: Connection, from_at: Mapping[int, int]) -> dict[int, list[int]]:
    """What beat announced of entries whose due times only it knows: with its schedule, and with each send."""
    found: dict[int, list[int]] = defaultdict(list)
    due = schema.explicit_due.c
    for ids, since_at in alike(from_at):
        for chunk in dialects.chunks(ids):
            announced = select(due.entry_id, due.due_at).where(due.entry_id.in_(chunk), due.due_at >= since_at)
            for entry_id, due_at in (*connection.execute(announced), *_following(connection, chunk, since_at)):
                found[entry_id].append(due_at)
    return found


def _following(connection: Connection, entry_ids: Sequence[int], since_at: int) -> Iterable[Any]:
    """What sends announced as next; the last one before a moment may have announced what is due after it."""
    fire, before, entry = schema.fire.c, schema.fire.alias(), schema.schedule_entry.c
    last = select(before.c.fired_at).where(before.c.entry_id == entry.id, before.c.fired_at < since_at)
    since = func.coalesce(
        last.order_by(before.c.fired_at.desc()).limit(1).correlate(schema.schedule_entry).scalar_subquery(), since_at
    )
    mine = and_(fire.entry_id == entry.id, fire.fired_at >= since)
    question = select(fire.entry_id, fire.next_due_at).select_from(schema.fire.join(schema.schedule_entry, mine))
    return connection.execute(question.where(entry.id.in_(entry_ids), fire.next_due_at >= since_at))


def counts(
    connection: Connection, cluster_id: int, from_at: Mapping[int, int], now_at: int
) -> tuple[dict[int, list[Count]], int | None]:
    """The readings of run counters, from the last one before each moment on, and up to when they are known.

    None if nobody reads any now: then nothing is to be waited for.
    """
    read_at = mark(connection, counted_mark(cluster_id))
    if read_at is None:
        return {}, None
    found: dict[int, list[Count]] = defaultdict(list)
    counter = schema.run_counter.c
    for ids, since_at in alike(from_at):
        for chunk in dialects.chunks(ids):
            before = select(counter.entry_id, func.max(counter.read_at).label("read_at"))
            newest = before.where(counter.entry_id.in_(chunk), counter.read_at < since_at)
            newest_of = newest.group_by(counter.entry_id).subquery()
            same = and_(counter.entry_id == newest_of.c.entry_id, counter.read_at == newest_of.c.read_at)
            earlier = select(schema.run_counter).join(newest_of, same)
            later = select(schema.run_counter).where(counter.entry_id.in_(chunk), counter.read_at >= since_at)
            for row in (*connection.execute(earlier), *connection.execute(later.order_by(counter.read_at))):
                found[row.entry_id].append(Count(row.read_at, row.last_run_at, row.run_count))
    return found, read_at if now_at - read_at < COUNTS_AGE else None


def alike(from_at: Mapping[int, int]) -> Iterator[tuple[list[int], int]]:
    """Ids in groups that want about the same stretch of time, and the moment from which each group is asked for.

    A monthly entry must not have the fires of a month read of one that is due each second.
    """
    newest = max(from_at.values(), default=0)
    groups: dict[int, list[int]] = defaultdict(list)
    for entry_id, at in from_at.items():
        groups[((newest - at) // (10 * LOOK_BACK)).bit_length()].append(entry_id)
    for _, ids in sorted(groups.items()):
        yield ids, min(from_at[entry_id] for entry_id in ids)


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


def last_ticks(connection: Connection, entry_ids: Iterable[int]) -> dict[int, Row[Any]]:
    """The newest final tick of each entry that has one."""
    tick, entry = schema.tick, schema.schedule_entry.c
    found: dict[int, Row[Any]] = {}
    # A seek for each entry, again.
    newest = select(tick.c.due_at).where(tick.c.entry_id == entry.id).order_by(tick.c.due_at.desc()).limit(1)
    same = and_(tick.c.entry_id == entry.id, tick.c.due_at == newest.correlate(schema.schedule_entry).scalar_subquery())
    for chunk in dialects.chunks(list(entry_ids)):
        question = select(tick).join(schema.schedule_entry, same).where(entry.id.in_(chunk))
        found |= {row.entry_id: row for row in connection.execute(question)}
    return found


def fires_mark(cluster_id: int) -> str:
    """The mark up to which the sends of a cluster have been looked for and kept."""
    return f"fires_seen_at:{cluster_id}"


def mark(connection: Connection, name: str) -> int | None:
    """A position of the ledger; None if it was never set."""
    return connection.scalar(select(schema.mark.c.value).where(schema.mark.c.name == name))


def set_mark(connection: Connection, name: str, value: int) -> None:
    connection.execute(dialects.upsert(connection, schema.mark), {"name": name, "value": value})


def _at(fire: Fire) -> int:
    return fire.at


def _fires(connection: Connection, entry_ids: Sequence[int], from_at: int) -> Sequence[RowMapping]:
    fire, entry, task = schema.fire, schema.schedule_entry, schema.task
    same = and_(task.c.id == fire.c.task_id, task.c.cluster_id == entry.c.cluster_id)
    joined = fire.join(entry, entry.c.id == fire.c.entry_id).outerjoin(task, same)
    question = (
        select(fire, task.c.client_id)
        .select_from(joined)
        .where(fire.c.entry_id.in_(entry_ids), fire.c.fired_at >= from_at)
        .order_by(fire.c.fired_at)
        .limit(MOST_FIRES)
    )
    return connection.execute(question).mappings().all()


def _kept_fire(row: RowMapping, labels: Labels, beat_ids: Mapping[int, str]) -> Fire:
    if row["evidence"] != PROBE:
        return Fire(row["fired_at"], row["task_id"], row["evidence"], labels.value(row["client_id"]))
    return Fire(
        row["fired_at"],
        row["task_id"],
        PROBE,
        beat_ids.get(row["process_id"]),
        row["due_at"],
        None,
        row["prev_run_at"],
        _before(row["run_count"]),
    )


def _before(run_count: int | None) -> int | None:
    """The probe counts the run that it tells of as well; a fire has the count from before it."""
    return None if run_count is None else max(0, run_count - 1)


def _failures(
    connection: Connection, entry_ids: Sequence[int], from_at: int, beat_ids: Mapping[int, str]
) -> Iterator[tuple[int, Fire]]:
    failure = schema.send_failure.c
    question = select(schema.send_failure).where(failure.entry_id.in_(entry_ids), failure.at >= from_at)
    for row in connection.execute(question):
        error = ": ".join(filter(None, (row.exception, row.message))) or "no reason was told"
        beat_id = beat_ids.get(row.process_id)
        yield row.entry_id, Fire(row.at, None, row.evidence, beat_id, row.due_at, error, None, _before(row.run_count))


def _senders(entries: Iterable[Known]) -> dict[tuple[str | None, str | None], list[Known]]:
    """The entries by what tells their sends: the task's name and its arguments; None where any would do."""
    found: dict[tuple[str | None, str | None], dict[int, Known]] = defaultdict(dict)
    for entry in entries:
        for definition in {version.entry for version in entry.versions}:
            for name in {definition.task, definition.shadow} - {None}:
                found[name, definition.args][entry.id] = entry
    senders: dict[tuple[str | None, str | None], list[Known]] = defaultdict(list)
    for key, mine in found.items():
        senders[key] = [*mine.values()]
    return senders


def _candidates(
    connection: Connection, labels: Labels, entries: Sequence[Known], from_at: int, to_at: int
) -> Sequence[RowMapping]:
    """Tasks with a name and arguments of any of the entries that no other task sent, by the time they were heard of."""
    task = schema.task.c
    versions = [version.entry for entry in entries for version in entry.versions]
    names = {name for entry in versions for name in (entry.task, entry.shadow)}
    name_ids = labels.ids(Kind.NAME, names.__contains__, connection)
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
        question = question.where(dialects.among(connection, task.args, sorted(wanted)))
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

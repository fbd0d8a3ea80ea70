"""Keep the definitions and run counters that sources have, with their history."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, insert, or_, select, update

from taskledger.crontabs import SECOND
from taskledger.ledger import dialects, schema
from taskledger.ledger.beat_entries import PROBE, digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.schedules import Entry, definition_hash, entry_text

#: an entry's own count of its runs: its name, when it ran last, and how often by then
RunCount = tuple[str, int | None, int]

#: sources that beat itself reads or writes; what an app says counts less than they
DATABASES = ("django-celery-beat", "redbeat", "sqlalchemy-celery-beat")
#: microseconds for which an entry belongs to the source that read it, if that ranks higher
RANK_HOLDS = 600 * SECOND


def keep_definitions(
    ledger: Ledger, cluster: str, source: str, entries: Iterable[Entry], now_at: int, since_at: int | None = None
) -> int:
    """Keep the entries that a source has now; how many versions were opened or closed.

    An entry whose definition changed, or that the source no longer has, gets its version closed at now_at. What a
    source of a higher rank has read within the last ten minutes is left to that: beat's databases come before the
    settings of an app. What the probe told is not touched; see `schedule_known`. `since_at`: when it was read before,
    if later than the ledger was told so: what changed, changed since then.
    """
    cluster_id = ledger.labels.intern([(Kind.CLUSTER, cluster)])[Kind.CLUSTER, cluster]
    wanted = {digest(entry.name): entry for entry in entries}
    with ledger.write() as connection:
        for key in _outranked(connection, cluster_id, source, now_at):
            wanted.pop(key, None)
        read_at = _read_at(connection, cluster_id, since_at or 0)
        ids = _keep_entries(connection, cluster_id, source, wanted, now_at)
        open_versions = _open_versions(connection, cluster_id)
        changed = _close_gone(connection, cluster_id, source, set(ids.values()), now_at, read_at)
        for key, entry in wanted.items():
            in_force = open_versions.get(ids[key])
            changed += _keep_version(connection, ids[key], source, entry, in_force, now_at, read_at.get(ids[key]))
    return changed


def keep_counts(ledger: Ledger, cluster: str, counts: Iterable[RunCount], now_at: int) -> int:
    """Keep the run counters that differ from those read before; how many. Entries nobody knows are left out."""
    cluster_id = ledger.labels.intern([(Kind.CLUSTER, cluster)])[Kind.CLUSTER, cluster]
    told = {digest(name): (last_run_at, number) for name, last_run_at, number in counts}
    with ledger.write() as connection:
        entry = schema.schedule_entry.c
        mine = select(entry.id, entry.digest).where(entry.cluster_id == cluster_id)
        ids = {row.id: told[bytes(row.digest)] for row in connection.execute(mine) if bytes(row.digest) in told}
        newest = newest_counts(connection, cluster_id)
        rows = [
            {"entry_id": entry_id, "read_at": now_at, "last_run_at": count[0], "run_count": count[1]}
            for entry_id, count in sorted(ids.items())
            if newest.get(entry_id) != count
        ]
        if rows:
            connection.execute(dialects.insert_ignore(connection, schema.run_counter), rows)
        connection.execute(
            dialects.upsert(connection, schema.mark), {"name": counted_mark(cluster_id), "value": now_at}
        )
    return len(rows)


def counted_mark(cluster_id: int) -> str:
    """The mark of when the run counters of a cluster were read last, changed or not."""
    return f"counts_read_at:{cluster_id}"


def newest_counts(connection: Connection, cluster_id: int) -> dict[int, tuple[int | None, int]]:
    """By entry, (last_run_at, run_count) as read last."""
    counter, inner, entry = schema.run_counter.c, schema.run_counter.alias("inner").c, schema.schedule_entry.c
    newest = select(func.max(inner.read_at)).where(inner.entry_id == entry.id).correlate(schema.schedule_entry)
    same = and_(entry.id == counter.entry_id, counter.read_at == newest.scalar_subquery())
    question = (
        select(counter.entry_id, counter.last_run_at, counter.run_count)
        .select_from(schema.schedule_entry.join(schema.run_counter, same))
        .where(entry.cluster_id == cluster_id)
    )
    return {row.entry_id: (row.last_run_at, row.run_count) for row in connection.execute(question)}


def _outranked(connection: Connection, cluster_id: int, source: str, now_at: int) -> list[bytes]:
    """The entries that belong to a source of a higher rank; all databases of beat's have the same."""
    if source in DATABASES:
        return []
    entry = schema.schedule_entry.c
    recent = and_(entry.source.in_(DATABASES), entry.read_at > now_at - RANK_HOLDS)
    return [
        bytes(key) for key in connection.scalars(select(entry.digest).where(entry.cluster_id == cluster_id, recent))
    ]


def _keep_entries(
    connection: Connection, cluster_id: int, source: str, wanted: Mapping[bytes, Entry], now_at: int
) -> dict[bytes, int]:
    """A row for each entry, as read now; digest of the name -> id."""
    table = schema.schedule_entry
    rows = [
        {"cluster_id": cluster_id, "digest": key, "name": entry.name, "source": source, "read_at": now_at}
        for key, entry in wanted.items()
    ]
    if not rows:
        return {}
    question = select(table.c.id, table.c.digest, table.c.one_off).where(table.c.cluster_id == cluster_id)
    known = {bytes(row.digest) for row in connection.execute(question)}
    fresh = [row for row in rows if row["digest"] not in known]
    if fresh:
        connection.execute(dialects.insert_ignore(connection, table), fresh)
    found = [row for row in connection.execute(question) if bytes(row.digest) in wanted]
    for chunk in dialects.chunks([row.id for row in found]):
        connection.execute(update(table).where(table.c.id.in_(chunk)).values(source=source, read_at=now_at))
    for value in (True, False):
        wrong = [row.id for row in found if wanted[bytes(row.digest)].one_off is value and row.one_off is not value]
        for chunk in dialects.chunks(wrong):
            connection.execute(update(table).where(table.c.id.in_(chunk)).values(one_off=value))
    return {bytes(row.digest): row.id for row in found}


def _read_at(connection: Connection, cluster_id: int, since_at: int) -> dict[int, int]:
    """When each entry was read last."""
    entry = schema.schedule_entry.c
    rows = connection.execute(select(entry.id, entry.read_at).where(entry.cluster_id == cluster_id))
    return {row.id: max(row.read_at, since_at) for row in rows}


def _polled() -> Any:
    """The versions that no probe told."""
    source = schema.schedule_version.c.source
    return or_(source.is_(None), source != PROBE)


def _open_versions(connection: Connection, cluster_id: int) -> dict[int, RowMapping]:
    version, entry = schema.schedule_version, schema.schedule_entry
    joined = select(version).join(entry, entry.c.id == version.c.entry_id)
    still_open = joined.where(entry.c.cluster_id == cluster_id, version.c.valid_to_at.is_(None), _polled())
    return {row["entry_id"]: row for row in connection.execute(still_open).mappings()}


def _keep_version(
    connection: Connection,
    entry_id: int,
    source: str,
    entry: Entry,
    in_force: RowMapping | None,
    now_at: int,
    read_at: int | None,
) -> int:
    table = schema.schedule_version
    text = entry_text(entry)
    hash_ = definition_hash(text)
    if in_force is not None:
        if bytes(in_force["definition_hash"]) == hash_:
            return 0
        close = update(table).where(table.c.id == in_force["id"])
        connection.execute(close.values(valid_to_at=now_at, sure_until_at=read_at))
    row = {
        "entry_id": entry_id,
        "valid_from_at": now_at,
        "definition_hash": hash_,
        "definition": text,
        "enabled": entry.enabled,
        "source": source,
    }
    connection.execute(insert(table), row)
    return 1


def _close_gone(
    connection: Connection,
    cluster_id: int,
    source: str,
    kept: Collection[int],
    now_at: int,
    read_at: Mapping[int, int],
) -> int:
    """Close the versions of entries that this source no longer has."""
    entry, version = schema.schedule_entry, schema.schedule_version
    mine = select(entry.c.id).where(entry.c.cluster_id == cluster_id, entry.c.source == source)
    gone = [entry_id for entry_id in connection.scalars(mine) if entry_id not in kept]
    sure_until_at = min((read_at[entry_id] for entry_id in gone), default=None)
    changed = 0
    for chunk in dialects.chunks(gone):
        still_open = and_(version.c.entry_id.in_(chunk), version.c.valid_to_at.is_(None), _polled())
        close = update(version).where(still_open).values(valid_to_at=now_at, sure_until_at=sure_until_at)
        changed += connection.execute(close).rowcount
    return changed

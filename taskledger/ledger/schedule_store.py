"""Keep what beat promised, and what became of it: definitions with their history, fires, and final verdicts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from taskledger.crontabs import DAY
from taskledger.ledger import dialects, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.schedule_facts import SETTLE, Heard, Known
from taskledger.ledger.schedule_judge import Case, has_due, judged, scope_of
from taskledger.ledger.schedule_rows import schedule, schedules
from taskledger.schedules import Entry, definition_hash, entry_text
from taskledger.verdicts import Verdict

__all__ = ["judge_due", "keep_definitions", "schedule", "schedules"]

#: microseconds of sends that one call catches up with
MOST_CATCH_UP = 7 * DAY


def keep_definitions(ledger: Ledger, cluster: str, source: str, entries: Iterable[Entry], now_at: int) -> int:
    """Keep the entries that a source has now; how many versions were opened or closed.

    An entry whose definition changed, or that the source no longer has, gets its version closed at now_at.
    """
    cluster_id = ledger.labels.intern([(Kind.CLUSTER, cluster)])[Kind.CLUSTER, cluster]
    wanted = {facts.digest(entry.name): entry for entry in entries}
    with ledger.write() as connection:
        ids = _keep_entries(connection, cluster_id, source, wanted, now_at)
        open_versions = _open_versions(connection, cluster_id)
        changed = _close_gone(connection, cluster_id, source, set(ids.values()), now_at)
        for key, entry in wanted.items():
            changed += _keep_version(connection, ids[key], entry, open_versions.get(ids[key]), now_at)
    return changed


def judge_due(ledger: Ledger, now_at: int) -> int:
    """Keep the fires and the final verdicts that are due; how many verdicts. Says nothing for times nobody heard of."""
    with ledger.read() as connection:
        entries = facts.known(connection)
    clusters: dict[int, list[Known]] = defaultdict(list)
    for entry in entries:
        clusters[entry.cluster_id].append(entry)
    return sum(_judge_cluster(ledger, cluster_id, mine, now_at) for cluster_id, mine in clusters.items())


def _judge_cluster(ledger: Ledger, cluster_id: int, entries: Sequence[Known], now_at: int) -> int:
    with ledger.read() as connection:
        heard = facts.heard(connection, cluster_id)
    if heard is None:
        return 0
    settled_at = _keep_fires(ledger, cluster_id, entries, min(now_at, heard.until_at) - SETTLE)
    with ledger.read() as connection:
        last = facts.last_ticks(connection, [entry.id for entry in entries])
    return sum(_judge_entry(ledger, entry, entries, heard, last.get(entry.id), settled_at) for entry in entries)


def _judge_entry(
    ledger: Ledger, entry: Known, entries: Sequence[Known], heard: Heard, last: RowMapping | None, settled_at: int
) -> int:  # fmt: skip
    scope = scope_of(entry, heard, last, settled_at)
    if scope is None or not has_due(entry, scope):
        return 0
    with ledger.read() as connection:
        case = Case.gather(connection, ledger.labels, entry, entries, heard, scope)
    final = []
    for verdict, note in judged(case):
        if verdict.closes_at > settled_at:
            break
        final.append(_tick_row(entry, verdict, note))
    return _keep_ticks(ledger, entry.id, last, final) if final else 0


def _keep_ticks(ledger: Ledger, entry_id: int, last: RowMapping | None, rows: list[dict[str, Any]]) -> int:
    """Write final verdicts, unless another process judged this entry in between."""
    with ledger.write() as connection:
        table = schema.schedule_entry
        connection.execute(select(table.c.id).where(table.c.id == entry_id).with_for_update())
        now_last = facts.last_ticks(connection, [entry_id]).get(entry_id)
        if (now_last and now_last["due_at"]) != (last and last["due_at"]):
            return 0
        connection.execute(insert(schema.tick), rows)
    return len(rows)


def _tick_row(entry: Known, verdict: Verdict, note: str | None) -> dict[str, Any]:
    version = entry.in_force(verdict.due_at) or entry.latest
    return {
        "entry_id": entry.id,
        "due_at": verdict.due_at,
        "version_id": version.id,
        "fire": verdict.fire,
        "flags": " ".join(verdict.flags) or None,
        "fired_at": verdict.fired_at,
        "task_id": verdict.task_id,
        "note": note,
    }


def _keep_fires(ledger: Ledger, cluster_id: int, entries: Sequence[Known], settled_at: int) -> int:
    """Keep what was sent since the last time; up to when it was looked for, which bounds what can be judged."""
    name = facts.fires_mark(cluster_id)
    with ledger.read() as connection:
        seen_at = facts.mark(connection, name) or min(entry.versions[0].from_at for entry in entries)
        if seen_at >= settled_at:
            return seen_at
        to_at = min(settled_at, seen_at + MOST_CATCH_UP)
        found, reached_at = facts.sends(connection, ledger.labels, entries, seen_at - facts.LOOK_BACK, to_at)
    rows = [
        {"entry_id": entry_id, "task_id": fire.task_id, "fired_at": fire.at, "evidence": fire.source}
        for entry_id, fires in found.items()
        for fire in fires
    ]
    reached_at = max(reached_at, seen_at + 1)
    with ledger.write() as connection:
        if rows:
            connection.execute(dialects.insert_ignore(connection, schema.fire), rows)
        facts.set_mark(connection, name, reached_at)
    return reached_at


def _keep_entries(
    connection: Connection, cluster_id: int, source: str, wanted: dict[bytes, Entry], now_at: int
) -> dict[bytes, int]:
    """A row for each entry, as read now; digest of the name -> id."""
    table = schema.schedule_entry
    rows = [
        {"cluster_id": cluster_id, "digest": key, "name": entry.name, "source": source, "read_at": now_at}
        for key, entry in wanted.items()
    ]
    if not rows:
        return {}
    ids: dict[bytes, int] = {}
    known = {
        bytes(row.digest) for row in connection.execute(select(table.c.digest).where(table.c.cluster_id == cluster_id))
    }
    fresh = [row for row in rows if row["digest"] not in known]
    if fresh:
        connection.execute(dialects.insert_ignore(connection, table), fresh)
    for row in connection.execute(select(table.c.id, table.c.digest).where(table.c.cluster_id == cluster_id)):
        if bytes(row.digest) in wanted:
            ids[bytes(row.digest)] = row.id
    for chunk in dialects.chunks(list(ids.values())):
        connection.execute(update(table).where(table.c.id.in_(chunk)).values(source=source, read_at=now_at))
    return ids


def _open_versions(connection: Connection, cluster_id: int) -> dict[int, RowMapping]:
    version, entry = schema.schedule_version, schema.schedule_entry
    joined = select(version).join(entry, entry.c.id == version.c.entry_id)
    still_open = joined.where(entry.c.cluster_id == cluster_id, version.c.valid_to_at.is_(None))
    return {row["entry_id"]: row for row in connection.execute(still_open).mappings()}


def _keep_version(connection: Connection, entry_id: int, entry: Entry, in_force: RowMapping | None, now_at: int) -> int:
    table = schema.schedule_version
    text = entry_text(entry)
    digest = definition_hash(text)
    if in_force is not None:
        if bytes(in_force["definition_hash"]) == digest:
            return 0
        connection.execute(update(table).where(table.c.id == in_force["id"]).values(valid_to_at=now_at))
    row = {
        "entry_id": entry_id,
        "valid_from_at": now_at,
        "definition_hash": digest,
        "definition": text,
        "enabled": entry.enabled,
    }
    connection.execute(insert(table), row)
    return 1


def _close_gone(connection: Connection, cluster_id: int, source: str, kept: set[int], now_at: int) -> int:
    """Close the versions of entries that this source no longer has."""
    entry, version = schema.schedule_entry, schema.schedule_version
    mine = select(entry.c.id).where(entry.c.cluster_id == cluster_id, entry.c.source == source)
    gone = [entry_id for entry_id in connection.scalars(mine) if entry_id not in kept]
    changed = 0
    for chunk in dialects.chunks(gone):
        still_open = version.c.entry_id.in_(chunk) & version.c.valid_to_at.is_(None)
        changed += connection.execute(update(version).where(still_open).values(valid_to_at=now_at)).rowcount
    return changed

"""Keep what became of what beat promised: fires found among the tasks, final verdicts, and how many of each a day."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select

from taskledger.crontabs import DAY, SECOND
from taskledger.ledger import beat_versions, dialects, schedule_proofs, schema, tick_counts
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_definitions import keep_counts, keep_definitions
from taskledger.ledger.schedule_facts import SETTLE, Heard
from taskledger.ledger.schedule_judge import Cluster, Judged, gather, has_due, judged, may_be_final, scope_of
from taskledger.ledger.schedule_known import LOOKS_EVERY, Beats, Known
from taskledger.ledger.schedule_rows import schedule, schedules
from taskledger.ticks import Scope
from taskledger.verdicts import Extra, Verdict

__all__ = ["judge_due", "keep_counts", "keep_definitions", "schedule", "schedules"]

#: microseconds of sends that one call catches up with
MOST_CATCH_UP = 7 * DAY
#: microseconds after a broken promise of beat's until what it did not tell of counts as not done
AWAITED = 60 * SECOND
#: microseconds that a verdict by a definition waits for its source to be read again; a source may be away for ever
CONFIRMED = 120 * SECOND
#: entries whose verdicts are written in one transaction
ENTRIES_A_STEP = 250


def judge_due(ledger: Ledger, now_at: int) -> int:
    """Keep the fires and the final verdicts that are due; how many verdicts. Says nothing for times nobody heard of."""
    with ledger.read() as connection:
        told = entries_of.beats(connection)
    for cluster_id in told:
        # Time passes as well: a beat that broke its promise no longer stands by its schedule where another goes on.
        with ledger.write() as connection:
            beat_versions.settle(connection, cluster_id)
    with ledger.read() as connection:
        entries = entries_of.known_with(connection, told, now_at)
    clusters: dict[int, list[Known]] = defaultdict(list)
    for entry in entries:
        clusters[entry.cluster_id].append(entry)
    return sum(_judge_cluster(ledger, key, mine, told.get(key, Beats()), now_at) for key, mine in clusters.items())


def _judge_cluster(ledger: Ledger, cluster_id: int, entries: Sequence[Known], told: Beats, now_at: int) -> int:
    with ledger.read() as connection:
        heard = facts.heard(connection, cluster_id)
    if heard is None:
        return 0
    cluster = Cluster(cluster_id, entries, heard, told)
    settled_at = _keep_fires(ledger, cluster, min(now_at, heard.until_at) - SETTLE)
    with ledger.read() as connection:
        last = facts.last_ticks(connection, [entry.id for entry in entries])
        scopes = _due(entries, heard, last, settled_at)
        if not scopes:
            return 0
        gathered = gather(connection, ledger.labels, cluster, scopes, now_at)
        mine = [entry for entry in entries if entry.id in scopes]
        made = {entry.id: judged(entry, gathered) for entry in mine}
    finals = [_Final(entry, made[entry.id], cluster, settled_at) for entry in mine]
    number = sum(
        _keep_finals(ledger, [final for final in few if final.rows or final.extras], last)
        for few in dialects.chunks(finals, ENTRIES_A_STEP)
    )
    schedule_proofs.prove(ledger, gathered, {entry.id: (entry, made[entry.id]) for entry in mine}, last)
    return number


def _due(entries: Sequence[Known], heard: Heard, last: Mapping[int, Row[Any]], settled_at: int) -> dict[int, Scope]:
    """By entry what is to be judged, where anything may be due."""
    scopes = ((entry, scope_of(entry, heard, last.get(entry.id), settled_at)) for entry in entries)
    return {
        entry.id: scope
        for entry, scope in scopes
        if scope is not None and has_due(entry, scope) and may_be_final(entry, scope)
    }


class _Final:
    """What of the verdicts on an entry will not change any more."""

    def __init__(self, entry: Known, made: Judged, cluster: Cluster, settled_at: int) -> None:
        self.entry = entry
        self.rows: list[dict[str, Any]] = []
        reached_at = settled_at
        for verdict, note in made.verdicts:
            is_open = verdict.closes_at > settled_at or _is_unconfirmed(entry, verdict, cluster.beats, settled_at)
            if is_open or _is_awaited(entry, verdict, cluster.beats, settled_at):
                reached_at = verdict.due_at
                break
            self.rows.append(_tick_row(entry, verdict, note))
        is_begun = bool(made.verdicts)
        self.extras = [
            _extra_row(entry, one) for one in made.extras if is_begun and one.task_id and one.at < reached_at
        ]


def _is_awaited(entry: Known, verdict: Verdict, told: Beats, settled_at: int) -> bool:
    """Whether beat may yet tell that it was sent: its news comes late when it could not reach its broker."""
    if verdict.fire not in ("missed", "unknown") or not entry.is_probed(verdict.due_at):
        return False
    return any(life.is_awaited(verdict.closes_at) and settled_at < life.over_at + AWAITED for life in told.lives)


def _is_unconfirmed(entry: Known, verdict: Verdict, told: Beats, settled_at: int) -> bool:
    """Whether its definition may have been changed by then, which the next reading will tell."""
    at = max(verdict.due_at, verdict.fired_at or 0)
    if verdict.fire not in ("late", "missed"):
        return False
    if entry.is_probed(verdict.due_at):
        return told.looks_again_at(at) and settled_at < at + LOOKS_EVERY
    version = entry.in_force(at)
    return version is not None and version.to_at is None and entry.read_at < at and settled_at < at + CONFIRMED


def _keep_finals(ledger: Ledger, finals: Sequence[_Final], last: Mapping[int, Row[Any]]) -> int:
    """Write final verdicts, but for entries that another process judged in between; how many."""
    ids = sorted(final.entry.id for final in finals)
    if not ids:
        return 0
    with ledger.write() as connection:
        table = schema.schedule_entry
        for chunk in dialects.chunks(ids):
            connection.execute(select(table.c.id).where(table.c.id.in_(chunk)).order_by(table.c.id).with_for_update())
        now_last = facts.last_ticks(connection, ids)
        same = [final for final in finals if _due_at(now_last, final) == _due_at(last, final)]
        rows = [row for final in same for row in final.rows]
        extras = [row for final in same for row in final.extras]
        if rows:
            connection.execute(insert(schema.tick), rows)
            tick_counts.add(connection, Counter((row["entry_id"], row["due_at"], row["fire"]) for row in rows))
        if extras:
            connection.execute(dialects.insert_ignore(connection, schema.extra_fire), extras)
    return len(rows)


def _due_at(last: Mapping[int, Row[Any]], final: _Final) -> int | None:
    row = last.get(final.entry.id)
    return None if row is None else row.due_at


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
        "evidence": verdict.source,
    }


def _extra_row(entry: Known, extra: Extra) -> dict[str, Any]:
    return {"entry_id": entry.id, "at": extra.at, "task_id": extra.task_id, "reason": extra.reason}


def _keep_fires(ledger: Ledger, cluster: Cluster, settled_at: int) -> int:
    """Keep what was sent since the last time; up to when it was looked for, which bounds what can be judged."""
    name, entries = facts.fires_mark(cluster.id), {entry.id: entry for entry in cluster.entries}
    with ledger.read() as connection:
        seen_at = facts.mark(connection, name) or min(entry.versions[0].from_at for entry in cluster.entries)
        if seen_at >= settled_at:
            return seen_at
        to_at = min(settled_at, seen_at + MOST_CATCH_UP)
        found, reached_at = facts.sends(connection, ledger.labels, cluster.entries, seen_at - facts.LOOK_BACK, to_at)
    rows = [
        {"entry_id": entry_id, "task_id": fire.task_id, "fired_at": fire.at, "evidence": fire.source}
        for entry_id, fires in found.items()
        for fire in fires
        # Where the probe speaks, what only looks like a send is none.
        if not (cluster.beats.speak_at(fire.at) and entries[entry_id].is_probed(fire.at))
    ]
    reached_at = max(reached_at, seen_at + 1)
    with ledger.write() as connection:
        if rows:
            connection.execute(dialects.insert_ignore(connection, schema.fire), rows)
        facts.set_mark(connection, name, reached_at)
    return reached_at

"""Verdicts that were unknown and that beat's memory has proven since: the one way in which a final verdict changes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, and_, func, select, update

from taskledger import proofs
from taskledger.ledger import dialects, schema, tick_counts
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_judge import Gathered, Judged
from taskledger.ledger.schedule_known import Known
from taskledger.schedules import Interval
from taskledger.ticks import Facts, Fire, early_of, grace_of

#: ticks of an entry that are looked through for the one that a run was for
MOST_TICKS = 500


def prove(
    ledger: Ledger,
    gathered: Gathered,
    made: Mapping[int, tuple[Known, Judged]],
    last: Mapping[int, Row[Any]],
) -> int:
    """Update the unknown ticks that what was heard since proves to have been sent; how many."""
    runs = {
        entry_id: found
        for entry_id, (entry, judged) in made.items()
        # A run that was heard leaves nothing open: the run before the next one is that.
        if entry_id in last and last[entry_id].fired_at is None and (found := _runs(entry, judged, gathered))
    }
    if not runs:
        return 0
    with ledger.read() as connection:
        ticks = newest_ticks(connection, list(runs), MOST_TICKS)
    changes = [
        change
        for entry_id, found in runs.items()
        for run in found
        if (change := _change(made[entry_id][0], ticks[entry_id], run)) is not None
    ]
    return _write(ledger, changes) if changes else 0


def newest_ticks(connection: Connection, entry_ids: Sequence[int], limit: int) -> dict[int, list[RowMapping]]:
    """The newest final ticks of each entry, at most so many, earliest first."""
    tick, found = schema.tick, defaultdict[int, list[RowMapping]](list)
    for chunk in dialects.chunks(list(entry_ids)):
        since = ticks_since(chunk, limit)
        mine = and_(tick.c.entry_id == since.c.id, tick.c.due_at >= since.c.since_at)
        for row in connection.execute(select(tick).join(since, mine).order_by(tick.c.due_at)).mappings():
            found[row["entry_id"]].append(row)
    return found


def ticks_since(entry_ids: Sequence[int], limit: int, until_at: int | None = None) -> Any:
    """By entry (`id`, with its `cluster_id`) the due time of the oldest of its newest ticks: `since_at`.

    One seek each in the key of the ticks, on every database; numbering the rows would read them all.
    """
    tick, entry = schema.tick.alias("oldest").c, schema.schedule_entry.c
    mine = select(tick.due_at).where(tick.entry_id == entry.id)
    mine = mine if until_at is None else mine.where(tick.due_at <= until_at)
    oldest = mine.order_by(tick.due_at.desc()).offset(limit - 1).limit(1).correlate(schema.schedule_entry)
    since_at = func.coalesce(oldest.scalar_subquery(), 0).label("since_at")
    return select(entry.id, entry.cluster_id, since_at).where(entry.id.in_(entry_ids)).subquery("since")


def _runs(entry: Known, judged: Judged, gathered: Gathered) -> list[Fire]:
    """The runs that beat remembers and nobody heard, from before what is judged now."""
    scope, counts = gathered.scope(entry), gathered.counts_of(entry)
    rules = [version.rule for version in entry.versions]
    known = Facts(rules, judged.fires, gathered.coverage(entry), counts=counts)
    tolerance = proofs.tolerance_of(known, scope)
    until_at = judged.verdicts[0][0].due_at - tolerance if judged.verdicts else scope.to_at
    return [run for run in proofs.proven(known, tolerance) if run.at < until_at]


def _change(entry: Known, ticks: Sequence[RowMapping], run: Fire) -> dict[str, Any] | None:
    """What becomes of the unknown tick that a run was for; None where it was for none."""
    version = entry.in_force(run.at)
    if version is None or run.source == proofs.BY_COUNTER:
        # A counter counts what could not be sent as well.
        return None
    schedule = version.entry.schedule
    place = next((tick for tick in reversed(ticks) if tick["due_at"] - early_of(schedule) <= run.at), None)
    if place is None or place["fire"] != "unknown":
        return None
    is_late = run.at - place["due_at"] > grace_of(schedule, entry.settings.grace_s)
    if is_late and isinstance(schedule, Interval):
        # What it was counted from was not heard either: how late it was is not known.
        return None
    flags = [flag for flag in (place["flags"] or "").split() if flag != "inferred"]
    return {
        "entry_id": entry.id,
        "due_at": place["due_at"],
        "fire": "late" if is_late else "on_time",
        "flags": " ".join([*flags, "inferred"]),
        "fired_at": run.at,
        "note": "nobody heard this send; the next one said when it was",
        "evidence": run.source,
    }


def _write(ledger: Ledger, changes: Sequence[dict[str, Any]]) -> int:
    tick = schema.tick
    counts: Counter[tuple[int, int, str]] = Counter()
    with ledger.write() as connection:
        for change in changes:
            mine = and_(tick.c.entry_id == change["entry_id"], tick.c.due_at == change["due_at"])
            # Only what is unknown may become known, and only once.
            done = connection.execute(update(tick).where(mine, tick.c.fire == "unknown").values(change)).rowcount
            counts[change["entry_id"], change["due_at"], "unknown"] -= done
            counts[change["entry_id"], change["due_at"], change["fire"]] += done
        tick_counts.add(connection, counts)
    return -sum(number for (_, _, fire), number in counts.items() if fire == "unknown")

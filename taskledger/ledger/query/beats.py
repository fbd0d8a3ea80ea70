"""The questions about beat: its processes, what is wrong with it, the history of an entry, and whether all is well."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from taskledger import sequences
from taskledger.crontabs import SECOND
from taskledger.findings import PROMISE_GRACE_S
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger import schedule_rows, schema
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger.ledger.beat_answers import Adherence, BeatRow, BeatVerdict, Change, FindingRow, ScheduleVersionRow
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_findings import of_rows
from taskledger.ledger.schedule_known import Known, KnownVersion
from taskledger.ledger.tick_counts import JUDGED
from taskledger.schedule_words import expression, words
from taskledger.schedules import Entry
from taskledger.ticks import is_covered

#: sends of a process from which its lag is told; processes that are shown, the newest
LAST_SENDS, MOST_BEATS = 100, 100
#: ticks of each entry in which findings are looked for
TICKS = 30
_GRACE = round(PROMISE_GRACE_S * SECOND)
#: worst first
_BAD = ("missed", "failed_to_send", "late")


def beats(ledger: Ledger, now_at: int) -> tuple[BeatRow, ...]:
    """The beat processes with the probe, the one heard of last first."""
    with ledger.read() as connection:
        table = schema.beat_process.c
        newest = select(schema.beat_process).order_by(table.last_seen_at.desc(), table.id.desc()).limit(MOST_BEATS)
        rows = connection.execute(newest).all()
        if not rows:
            return ()
        lags = _lags(connection, [row.id for row in rows])
        heard = {key: facts.heard(connection, key) for key in {row.cluster_id for row in rows}}
        spans = {key: [] if one is None else one.spans for key, one in heard.items()}
        return tuple(_beat(row, ledger.labels, lags.get(row.id, ()), spans[row.cluster_id], now_at) for row in rows)


def findings(ledger: Ledger, now_at: int) -> tuple[FindingRow, ...]:
    """What is wrong beyond single due times, the gravest first."""
    return tuple(of_rows(ledger, schedule_rows.schedules(ledger, now_at, ticks=TICKS), now_at))


def schedule_history(ledger: Ledger, name: str, now_at: int | None = None) -> tuple[ScheduleVersionRow, ...]:
    """The definitions of an entry up to now, the newest first, each with what it changed; () if there never was one."""
    now_at = time.time_ns() // 1000 if now_at is None else now_at
    with ledger.read() as connection:
        entries = entries_of.known(connection, now_at, name=name)
    rows: list[ScheduleVersionRow] = []
    for entry in entries[:1]:
        before: KnownVersion | None = None
        for version in entry.versions:
            rows.append(_version(entry, version, before))
            before = version
    return tuple(reversed(rows))


def beat_verdict(ledger: Ledger, span: Span, now_at: int, entry: str | None = None) -> BeatVerdict | None:
    """Whether all that was due in a span was sent; None if there never was an entry of that name.

    Muted entries are left out, unless one is asked for by its name.
    """
    rows = _asked(ledger, now_at, entry)
    if rows is None:
        return None
    counts = _counts(ledger, rows, span)
    problems = [sentence for row in rows for sentence in _problem(row.name, counts[row.cluster, row.name])]
    unknown = [sentence for row in rows for sentence in _unknown(row, counts[row.cluster, row.name], span)]
    names = {row.name for row in rows}
    found = tuple(
        one
        for one in of_rows(ledger, rows, now_at)
        if one.from_at < span.to_at and (one.to_at or now_at) >= span.from_at and one.entry in {None, *names}
    )
    together = sum(counts.values(), Counter[str]())
    alarms = sum(one.severity == "alarm" for one in found)
    return _verdict(rows, together, found, sorted(problems, key=_gravity), unknown, alarms)


def _asked(ledger: Ledger, now_at: int, entry: str | None) -> list[ScheduleRow] | None:
    if entry is not None:
        row = schedule_rows.schedule(ledger, entry, now_at, ticks=TICKS)
        return None if row is None else [row]
    rows = schedule_rows.schedules(ledger, now_at, ticks=TICKS)
    return [row for row in rows if row.settings is None or (row.settings.muted_until_at or 0) <= now_at]


def _counts(ledger: Ledger, rows: Sequence[ScheduleRow], span: Span) -> dict[tuple[str, str], Counter[str]]:
    """By entry, (cluster, name), the verdicts of the span, those that are not final yet included."""
    tick, entry = schema.tick.c, schema.schedule_entry.c
    due = and_(tick.entry_id == entry.id, tick.due_at >= span.from_at, tick.due_at < span.to_at)
    question = select(entry.cluster_id, entry.name, tick.fire, func.count().label("number"))
    joined = question.select_from(schema.schedule_entry.join(schema.tick, due))
    wanted = {(row.cluster, row.name) for row in rows}
    if len(wanted) == 1:
        joined = joined.where(entry.digest == digest(rows[0].name))
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    with ledger.read() as connection:
        for row in connection.execute(joined.group_by(entry.cluster_id, entry.name, tick.fire)):
            key = (ledger.labels.value(row.cluster_id) or "", row.name)
            if key in wanted:
                found[key][row.fire] += row.number
    for one in rows:
        is_open = (tick for tick in one.ticks if not tick.is_final and span.from_at <= tick.due_at < span.to_at)
        found[one.cluster, one.name].update(tick.fire for tick in is_open)
    return found


def _problem(name: str, counts: Mapping[str, int]) -> Iterator[str]:
    bad = [f"{counts[kind]:,} {kind.replace('_', ' ')}" for kind in _BAD if counts[kind]]
    bad += [f"{counts['overdue']:,} overdue"] if counts["overdue"] else []
    if bad:
        due = sum(counts[kind] for kind in (*JUDGED, "overdue"))
        yield f"{name}: {', '.join(bad)} of {due:,} due"


def _gravity(sentence: str) -> tuple[bool, bool, str]:
    return "missed" not in sentence, "failed" not in sentence, sentence


def _unknown(row: ScheduleRow, counts: Mapping[str, int], span: Span) -> Iterator[str]:
    if counts["unknown"]:
        notes = (
            tick.note
            for tick in reversed(row.ticks)
            if tick.fire == "unknown" and span.from_at <= tick.due_at < span.to_at
        )
        due = sum(counts[kind] for kind in (*JUDGED, "overdue"))
        why = next((f": {note}" for note in notes if note), "")
        yield f"{row.name}: {counts['unknown']:,} of {due:,} due{why}"
    elif not counts and row.words.endswith("(due times not known)"):
        yield f"{row.name}: nobody knows when it was due; beat's probe would say"


def _verdict(
    rows: Sequence[ScheduleRow],
    counts: Counter[str],
    found: tuple[FindingRow, ...],
    problems: Sequence[str],
    unknown: Sequence[str],
    alarms: int,
) -> BeatVerdict:
    numbers = {kind: counts[kind] for kind in JUDGED}
    made = Adherence(**numbers, excluded=counts["disabled"] + counts["dst_skipped"])
    due = sum(numbers.values()) + counts["overdue"]
    if problems or alarms:
        bad = sum(counts[kind] for kind in (*_BAD, "overdue"))
        parts = [f"{bad:,} of {due:,} due times were not sent on time"] if bad else []
        parts += [f"{alarms:,} {'thing is' if alarms == 1 else 'things are'} wrong with beat"] if alarms else []
        return BeatVerdict("not_well", f"not well: {'; '.join(parts)}", made, found, tuple(problems), tuple(unknown))
    if not rows:
        sentence = "cannot tell: no schedule is known"
    elif unknown:
        sentence = f"cannot tell: of {counts['unknown']:,} of {due:,} due times it is not known whether they were sent"
    else:
        said = f"all {due:,} due times were sent on time" if due else "nothing was due"
        return BeatVerdict("well", f"well: {said}", made, found, (), ())
    return BeatVerdict("cannot_tell", sentence, made, found, (), tuple(unknown))


def _lags(connection: Connection, process_ids: Sequence[int]) -> dict[int, list[float]]:
    """Seconds from due to sent of the newest sends of each process, least first."""
    fire, oldest, process = schema.fire.c, schema.fire.alias("oldest").c, schema.beat_process.c
    since = select(oldest.fired_at).where(oldest.process_id == process.id).order_by(oldest.fired_at.desc())
    since_at = since.offset(LAST_SENDS - 1).limit(1).correlate(schema.beat_process).scalar_subquery()
    mine = and_(fire.process_id == process.id, fire.fired_at >= func.coalesce(since_at, 0))
    question = select(process.id, fire.fired_at, fire.due_at).select_from(schema.beat_process.join(schema.fire, mine))
    found: dict[int, list[float]] = defaultdict(list)
    for row in connection.execute(question.where(process.id.in_(process_ids), fire.due_at.is_not(None))):
        found[row.id].append((row.fired_at - row.due_at) / SECOND)
    return {process_id: sorted(lags) for process_id, lags in found.items()}


def _beat(
    row: Row[Any], labels: Labels, lags: Sequence[float], spans: Sequence[tuple[int, int]], now_at: int
) -> BeatRow:
    runs = sequences.from_text(row.seen)
    return BeatRow(
        cluster=labels.value(row.cluster_id) or "",
        beat_id=row.beat_id,
        hostname=labels.value(row.host_id) or "",
        pid=row.pid,
        scheduler=row.scheduler,
        version=row.version,
        timezone=row.timezone,
        online_at=row.online_at or row.first_at,
        offline_at=row.offline_at,
        reason=row.reason,
        last_seen_at=row.last_seen_at,
        promised_at=row.promised_at,
        lost=sequences.lost(runs),
        dropped=row.dropped,
        state=_state(row, spans, now_at),
        lag_p95_s=lags[(len(lags) * 95 - 1) // 100] if lags else None,
    )


def _state(row: Row[Any], spans: Sequence[tuple[int, int]], now_at: int) -> str:
    if row.offline_at is not None:
        return "offline"
    due_at = max(row.last_seen_at, row.promised_at or row.last_seen_at + 5 * 60 * SECOND)
    if now_at <= due_at + _GRACE:
        return "online"
    return "silent" if is_covered(spans, due_at, due_at + _GRACE) else "unknown"


def _version(entry: Known, version: KnownVersion, before: KnownVersion | None) -> ScheduleVersionRow:
    schedule = version.entry.schedule
    return ScheduleVersionRow(
        valid_from_at=version.from_at,
        valid_to_at=version.to_at,
        source=version.source or entry.source,
        enabled=version.entry.enabled,
        expression=expression(schedule),
        words=words(schedule),
        timezone=schedule.tz,
        changes=() if before is None else tuple(_changes(before, version)),
    )


def _changes(before: KnownVersion, after: KnownVersion) -> Iterator[Change]:
    # Only whoever has the app's code foresees problems.
    hidden = () if before.source == after.source else ("problem",)
    for (name, was), (_, became) in zip(_fields(before.entry), _fields(after.entry), strict=True):
        if was != became and name not in hidden:
            yield Change(name, was, became)


def _fields(entry: Entry) -> Iterator[tuple[str, str | None]]:
    """All that can change, in words."""
    moments = (("not before", entry.starts_at), ("expires", entry.expires_at))
    yield "schedule", f"{words(entry.schedule)} ({expression(entry.schedule)})"
    yield "time zone", entry.schedule.tz
    yield "task", entry.task
    yield "args", entry.args
    yield "kwargs", entry.kwargs
    yield "queue", entry.queue
    yield "shadow", entry.shadow
    yield "message expires", None if entry.expires_s is None else f"after {entry.expires_s:g} s"
    yield "enabled", "yes" if entry.enabled else "no"
    yield "one-off", "yes" if entry.one_off else "no"
    for name, at in moments:
        yield name, None if at is None else f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
    yield "problem", entry.problem

"""What no single due time shows, found in the newest due times, in sends that none explains, and in beat processes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from taskledger import findings as core
from taskledger.crontabs import DAY, SECOND
from taskledger.findings import Finding, Process
from taskledger.ledger import dialects, schema
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger import schedule_known as entries_of
from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger.ledger.beat_answers import FindingRow, Severity
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Labels
from taskledger.ledger.schedule_definitions import newest_counts
from taskledger.ledger.schedule_known import Known
from taskledger.schedules import Interval
from taskledger.ticks import Fire
from taskledger.verdicts import Verdict

#: microseconds of which surplus sends and ended beats are told; of lost locks, which come back for days
LATELY, LOCKS = DAY, 14 * DAY
#: surplus sends that are looked at, and due times with two beats whose senders are named
MOST_EXTRAS, MOST_DOUBLES = 20_000, 50
_WELL = ("on_time", "late")


def of_rows(ledger: Ledger, rows: Sequence[ScheduleRow], now_at: int) -> list[FindingRow]:
    """The findings about entries, from their newest ticks, and about their beats; the gravest first."""
    with ledger.read() as connection:
        told = entries_of.beats(connection)
        known = entries_of.known_with(connection, told, now_at)
        return of_known(connection, ledger.labels, known, rows, now_at)


def of_known(
    connection: Connection, labels: Labels, known: Iterable[Known], rows: Sequence[ScheduleRow], now_at: int
) -> list[FindingRow]:
    """As `of_rows`, where all entries there are were read before."""
    by_name = {(entry.cluster_id, entry.name): entry for entry in known}
    names = {cluster_id: labels.value(cluster_id) or "" for cluster_id, _ in by_name}
    found: list[FindingRow] = []
    for cluster_id, name in names.items():
        mine = [(by_name[cluster_id, row.name], row) for row in rows if row.cluster == name]
        cluster = _Cluster.read(connection, labels, cluster_id, mine, now_at)
        found += [_row(one, name) for one in _of_cluster(connection, labels, cluster)]
    return sorted(found, key=lambda one: (one.severity != "alarm", -one.from_at))


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The entries of a cluster with their ticks, and its beats."""

    id: int
    entries: Sequence[tuple[Known, ScheduleRow]]
    processes: Sequence[Process]
    extras: Mapping[int, Sequence[Fire]]
    #: of the entries of which no send is known, those that have a final tick that was sent, and what was counted
    sent: frozenset[int]
    runs: Mapping[int, tuple[int | None, int]]
    coverage: Sequence[tuple[int, int]]
    now_at: int

    @classmethod
    def read(
        cls,
        connection: Connection,
        labels: Labels,
        cluster_id: int,
        entries: Sequence[tuple[Known, ScheduleRow]],
        now_at: int,
    ) -> "_Cluster":
        heard = facts.heard(connection, cluster_id)
        silent = [entry.id for entry, row in entries if row.enabled and row.last_fired_at is None]
        return cls(
            cluster_id,
            entries,
            processes(connection, labels, cluster_id, now_at - LOCKS),
            _extras(connection, cluster_id, now_at - LATELY),
            _sent(connection, silent),
            newest_counts(connection, cluster_id) if silent else {},
            [] if heard is None else heard.spans,
            now_at,
        )

    @property
    def recent(self) -> list[Process]:
        """The beats that were there lately, and the newest in any case."""
        newest = max((one.last_seen_at for one in self.processes), default=0)
        return [one for one in self.processes if one.over_at > self.now_at - LATELY or one.last_seen_at == newest]


def processes(connection: Connection, labels: Labels, cluster_id: int, since_at: int) -> list[Process]:
    """The beat processes of a cluster that were heard of since a moment."""
    table = schema.beat_process.c
    mine = select(schema.beat_process).where(table.cluster_id == cluster_id, table.last_seen_at >= since_at)
    return [
        Process(
            row.beat_id, name_of(row, labels), row.online_at or row.first_at, row.last_seen_at, row.promised_at,
            row.offline_at, row.reason, row.version,
        )
        for row in connection.execute(mine.order_by(table.first_at))
    ]  # fmt: skip


def name_of(row: Row[Any], labels: Labels) -> str:
    """A process for people: where it runs, and its pid."""
    host = (labels.value(row.host_id) or "").rpartition("@")[2]
    return f"{host or 'of unknown host'} (pid {row.pid})" if row.pid else host or row.beat_id


def _of_cluster(connection: Connection, labels: Labels, cluster: _Cluster) -> Iterator[Finding]:
    recent = cluster.recent
    yield from core.broken_promises(recent, cluster.now_at, cluster.coverage)
    lock = core.locks_lost(cluster.processes)
    if lock is not None:
        yield lock
    fired_at = max((row.last_fired_at or 0 for _, row in cluster.entries), default=0) or None
    unsent = [
        (entry.name, tick.due_at)
        for entry, row in cluster.entries
        for tick in row.ticks
        if tick.fire in ("overdue", "missed")
    ]
    yield from core.stuck(recent, unsent, fired_at, cluster.now_at)
    double = _two_beats(connection, labels, cluster)
    if double is not None:
        yield double
    for entry, row in cluster.entries:
        yield from _of_entry(cluster, entry, row)


def _of_entry(cluster: _Cluster, entry: Known, row: ScheduleRow) -> Iterator[Finding]:
    extras = cluster.extras.get(entry.id, ())
    schedule = entry.latest.entry.schedule
    if extras:
        yield from core.refire_storms(entry.name, schedule, _passed(row), extras, cluster.processes)
    if not row.enabled:
        return
    if entry.id not in cluster.sent and row.last_fired_at is None:
        has_run = cluster.runs[entry.id][1] > 0 if entry.id in cluster.runs else None
        never = core.never_fired(entry.name, entry.versions[0].from_at, _passed(row), has_run)
        if never is not None:
            yield never
    if isinstance(schedule, Interval):
        reset = core.timer_reset(entry.name, schedule, cluster.processes, row.last_fired_at, cluster.now_at)
        if reset is not None:
            yield reset


def _passed(row: ScheduleRow) -> list[Verdict]:
    return [_verdict(tick) for tick in row.ticks if tick.fire != "pending"]


def _two_beats(connection: Connection, labels: Labels, cluster: _Cluster) -> Finding | None:
    since_at = cluster.now_at - LATELY
    doubles = [
        (entry, [_verdict(tick) for tick in row.ticks if "two_beats" in tick.flags and tick.due_at >= since_at])
        for entry, row in cluster.entries
    ]
    doubles = [(entry, verdicts[-MOST_DOUBLES:]) for entry, verdicts in doubles if verdicts]
    if not doubles:
        return None
    from_at = {entry.id: verdicts[0].due_at - 2 * SECOND for entry, verdicts in doubles[:MOST_DOUBLES]}
    beats = entries_of.beats(connection).get(cluster.id, entries_of.Beats())
    fires, _ = facts.fires(connection, labels, from_at, beats)
    named = {one.beat_id: one.name for one in cluster.processes}
    judged = [(entry.name, verdicts, _beside(verdicts, fires.get(entry.id, ()))) for entry, verdicts in doubles]
    return core.two_beats(judged, named)


def _beside(verdicts: Sequence[Verdict], fires: Iterable[Fire]) -> list[Fire]:
    """The fires near those of the verdicts, as if they were these: a final tick keeps one id only."""
    near = [(verdict.fired_at or 0, verdict.task_id) for verdict in verdicts]
    return [
        Fire(fire.at, task_id, fire.source, fire.beat_id)
        for fire in fires
        for at, task_id in near
        if at <= fire.at <= at + 60 * SECOND
    ]


def _verdict(tick: TickRow) -> Verdict:
    return Verdict(
        tick.due_at, tick.due_at, tick.fire, tick.fired_at, tick.task_id, tick.evidence, tick.flags, (), tick.error
    )


def _extras(connection: Connection, cluster_id: int, since_at: int) -> dict[int, list[Fire]]:
    extra, entry, fire, process = schema.extra_fire, schema.schedule_entry, schema.fire, schema.beat_process
    its_fire = (fire.c.entry_id == extra.c.entry_id) & (fire.c.task_id == extra.c.task_id)
    joined = extra.join(entry, entry.c.id == extra.c.entry_id).outerjoin(fire, its_fire)
    joined = joined.outerjoin(process, process.c.id == fire.c.process_id)
    columns = (extra.c.entry_id, extra.c.at, extra.c.task_id, fire.c.evidence, process.c.beat_id)
    question = select(*columns).select_from(joined).where(entry.c.cluster_id == cluster_id, extra.c.at >= since_at)
    found: dict[int, list[Fire]] = defaultdict(list)
    for row in connection.execute(question.order_by(extra.c.at.desc()).limit(MOST_EXTRAS)):
        found[row.entry_id].append(Fire(row.at, row.task_id, row.evidence or "task-sent", row.beat_id))
    return found


def _sent(connection: Connection, entry_ids: Sequence[int]) -> frozenset[int]:
    count, found = schema.tick_count.c, set[int]()
    for chunk in dialects.chunks(entry_ids):
        mine = select(count.entry_id).where(count.entry_id.in_(chunk), count.fire.in_(_WELL), count.number > 0)
        found.update(connection.scalars(mine.distinct()))
    return frozenset(found)


def _row(one: Finding, cluster: str) -> FindingRow:
    severity: Severity = "alarm" if one.severity == "critical" else "warning"
    return FindingRow(one.kind, cluster, one.entry, one.from_at, one.to_at, one.number, one.sentence, severity)

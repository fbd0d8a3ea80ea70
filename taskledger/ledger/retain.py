"""Forget what has outlived its time, in steps so small that a recorder beside it never has to wait long."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, select, tuple_

from taskledger.crontabs import DAY, SECOND
from taskledger.events import first_id_at
from taskledger.ledger import beat_versions, dialects, lasting, prunable, schema, steps
from taskledger.ledger import schedule_facts as facts
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_judge import TASKS_PRUNED
from taskledger.retention import Retention

#: tasks, or rows of other tables, that one transaction deletes
TASKS_A_STEP = 500
ROWS_A_STEP = 2_000
#: seconds between two transactions, for whoever else wants to write
PAUSE_S = 0.02
#: the mark before which events are refused, as they have been pruned
EVENTS_PRUNED = "pruned_before_at"
#: the mark before which events without a task may be gone
OTHER_EVENTS_PRUNED = "other_events_pruned_before_at"
#: events may come this much later than their time and still be found by the next pruning
LATE = DAY

T = TypeVar("T")
Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, or would go; everything from before `before_at` is gone."""

    before_at: int
    tasks: int = 0
    runs: int = 0
    #: of those tasks
    events: int = 0
    #: that belong to no task
    worker_events: int = 0
    notes: int = 0
    settlements: int = 0
    ticks: int = 0
    fires: int = 0
    send_failures: int = 0
    run_counters: int = 0
    #: processes of beat's that its probe told of, and parts of the schedules that these told
    beats: int = 0
    beat_schedules: int = 0
    coverage: int = 0
    quarantined: int = 0
    sessions: int = 0
    counts: int = 0
    #: of tasks that lasted (see `lasting`)
    marks: int = 0

    def __str__(self) -> str:
        """E.g. "1,204 tasks, 1 run, 4,816 events"; "nothing" when that is so."""
        numbers = {name.replace("_", " "): number for name, number in asdict(self).items() if name != "before_at"}
        words = [
            f"{number:,} {name.removesuffix('s') if number == 1 else name}"
            for name, number in numbers.items()
            if number
        ]
        return ", ".join(words) or "nothing"


def prune(
    ledger: Ledger,
    retention: Retention,
    now_at: int,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Pruned:
    """Delete what the retention no longer keeps, oldest first; `dry_run` only counts.

    A task goes with its runs, events and notes. `progress` is called with (tasks done, tasks to do); `stop` ends it
    between two steps. Whatever was deleted when it ends stays deleted. Raises LedgerAway when the database is away.
    """
    before_at = now_at - round(prunable.longest_s(retention) * SECOND)
    pruning = _Pruning(ledger, retention, now_at, before_at, progress or (lambda _done, _total: None), stop)
    return pruning.count() if dry_run else pruning.run()


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a table that go together under one name."""

    name: str
    table: Table
    condition: ColumnElement[bool]


@dataclass(slots=True)
class _Pruning:
    ledger: Ledger
    retention: Retention
    now_at: int
    before_at: int
    progress: Progress
    stop: threading.Event | None
    gone: Counter[str] = field(default_factory=Counter)

    def count(self) -> Pruned:
        with self.ledger.read() as connection:
            for batch in self._task_batches():
                self._count_tasks(connection, batch.condition)
            for target in self._rest(connection):
                self.gone[target.name] += _number(connection, target.table, target.condition)
        return self._result()

    def run(self) -> Pruned:
        self._move_marks()
        batches = self._task_batches()
        with self.ledger.read() as connection:
            total = sum(_number(connection, schema.task, batch.condition) for batch in batches)
            rest = self._rest(connection)
        self.progress(0, total)
        for batch in batches:
            self._prune_tasks(batch.condition, total)
        self._forget_schedules()
        for target in rest:
            self._prune_rows(target)
        if not self._is_stopped():
            self._set_marks(self._event_marks())
        return self._result()

    def _forget_schedules(self) -> None:
        """What beats told that go now is not to be taken back: their definitions were in force."""
        default_at = self.now_at - round(self.retention.default_s * SECOND)
        with self.ledger.write() as connection:
            for cluster_id, ids in _old_beats(connection, default_at).items():
                beat_versions.forget(connection, cluster_id, ids)

    def _result(self) -> Pruned:
        return Pruned(self.before_at, **self.gone)

    def _task_batches(self) -> list[prunable.Batch]:
        return list(prunable.task_batches(self.retention, self.ledger.labels, self.now_at))

    def _move_marks(self) -> None:
        """Before anything goes: what is gone must not come back by a late redelivery, nor be called missed."""
        newest_gone_at = self.now_at - round(prunable.shortest_task_s(self.retention) * SECOND)
        others_gone_at = self.now_at - round(prunable.shortest_event_s(self.retention) * SECOND)
        self._set_marks({
            EVENTS_PRUNED: self.before_at, TASKS_PRUNED: newest_gone_at, OTHER_EVENTS_PRUNED: others_gone_at
        })  # fmt: skip

    def _set_marks(self, marks: dict[str, int]) -> None:
        with self.ledger.write() as connection:
            for name, value in marks.items():
                facts.set_mark(connection, name, max(value, facts.mark(connection, name) or 0))

    def _count_tasks(self, connection: Connection, condition: ColumnElement[bool]) -> None:
        task, run, note = schema.task, schema.run.c, schema.note.c
        tasks, events = connection.execute(select(func.count(), func.sum(task.c.events)).where(condition)).one()
        mine = and_(run.task_id == task.c.id, run.cluster_id == task.c.cluster_id)
        self.gone["tasks"] += tasks
        self.gone["events"] += int(events or 0)
        self.gone["runs"] += _number(connection, schema.run.join(task, mine), condition)
        self.gone["notes"] += _number(connection, schema.note.join(task, note.task_id == task.c.id), condition)

    def _prune_tasks(self, condition: ColumnElement[bool], total: int) -> None:
        since_at: int | None = 0
        while since_at is not None and not self._is_stopped():
            done, since_at = self._step(partial(_delete_tasks, condition=condition, since_at=since_at))
            self.gone += done
            self.progress(self.gone["tasks"], max(total, self.gone["tasks"]))

    def _prune_rows(self, target: _Rows) -> None:
        after: object = None
        is_more = True
        while is_more and not self._is_stopped():
            number, after = self._step(partial(_delete_rows, target=target, after=after))
            self.gone[target.name] += number
            is_more = number == ROWS_A_STEP

    def _step(self, work: Callable[[Connection], T]) -> T:
        """One transaction, tried again when it met another writer; then a pause."""
        return steps.step(self.ledger, work, self._pause)

    def _pause(self) -> None:
        if self.stop is None:
            time.sleep(PAUSE_S)
        else:
            self.stop.wait(PAUSE_S)

    def _is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _rest(self, connection: Connection) -> list[_Rows]:
        """All that is not part of a task; coverage and counts stay as long as any task may."""
        default_at = self.now_at - round(self.retention.default_s * SECOND)
        coverage, session, count = schema.coverage.c, schema.worker_session.c, schema.event_count.c
        first, last = lasting.before(self.before_at)
        return [
            *self._worker_events(connection),
            *_of_entries(connection, default_at),
            *_of_beats(connection, default_at),
            _Rows("quarantined", schema.quarantine, schema.quarantine.c.received_at < default_at),
            _Rows("coverage", schema.coverage, and_(coverage.until_at < self.before_at, coverage.cause.is_not(None))),
            _Rows("sessions", schema.worker_session, session.last_at < self.before_at),
            _Rows("counts", schema.event_count, count.hour_at < self.before_at),
            _Rows("marks", schema.mark, and_(schema.mark.c.name > first, schema.mark.c.name < last)),
        ]

    def _worker_events(self, connection: Connection) -> Iterator[_Rows]:
        """Events without a task, by their ids, which sort by time; from where the pruning before got to."""
        event = schema.event.c
        for before_at, type_ids in prunable.event_batches(self.retention, self.ledger.labels, self.now_at).items():
            since_at = (facts.mark(connection, self._events_mark(before_at)) or 0) - LATE
            span = and_(event.id >= first_id_at(since_at), event.id < first_id_at(before_at))
            yield _Rows("worker_events", schema.event, and_(span, event.task_id.is_(None), event.type_id.in_(type_ids)))

    def _events_mark(self, before_at: int) -> str:
        return f"events_pruned_at:{(self.now_at - before_at) // SECOND}"

    def _event_marks(self) -> dict[str, int]:
        batches = prunable.event_batches(self.retention, self.ledger.labels, self.now_at)
        return {self._events_mark(before_at): before_at for before_at in batches}


def _of_entries(connection: Connection, before_at: int) -> Iterator[_Rows]:
    """Ticks and fires, but for each entry's newest tick: judging goes on from it."""
    tick, fire = schema.tick.c, schema.fire.c
    entry_ids = list(connection.scalars(select(schema.schedule_entry.c.id)))
    for entry_id, last in facts.last_ticks(connection, entry_ids).items():
        old = and_(tick.entry_id == entry_id, tick.due_at < min(before_at, last.due_at))
        yield _Rows("ticks", schema.tick, old)
    failure, due, count = schema.send_failure.c, schema.explicit_due.c, schema.tick_count.c
    extra, said = schema.extra_fire.c, schema.tick_note.c
    for entry_id in entry_ids:
        yield _Rows("fires", schema.fire, and_(fire.entry_id == entry_id, fire.fired_at < before_at))
        yield _Rows("send_failures", schema.send_failure, and_(failure.entry_id == entry_id, failure.at < before_at))
        yield _Rows("notes", schema.tick_note, and_(said.entry_id == entry_id, said.due_at < before_at))
        yield _Rows("fires", schema.extra_fire, and_(extra.entry_id == entry_id, extra.at < before_at))
        yield _Rows("ticks", schema.explicit_due, and_(due.entry_id == entry_id, due.due_at < before_at))
        yield _Rows("counts", schema.tick_count, and_(count.entry_id == entry_id, count.day_at < before_at - DAY))
    yield from _run_counters(connection, entry_ids, before_at)


def _run_counters(connection: Connection, entry_ids: Sequence[int], before_at: int) -> Iterator[_Rows]:
    """Readings of counters, but for each entry's newest: the next one is held against it."""
    counter = schema.run_counter.c
    newest = select(counter.entry_id, func.max(counter.read_at).label("read_at")).group_by(counter.entry_id)
    for row in connection.execute(newest.where(counter.entry_id.in_(entry_ids))):
        old = and_(counter.entry_id == row.entry_id, counter.read_at < min(before_at, row.read_at))
        yield _Rows("run_counters", schema.run_counter, old)


def _of_beats(connection: Connection, before_at: int) -> Iterator[_Rows]:
    """Beat processes that nobody heard of for long, but for the newest of each cluster: its schedule holds still."""
    for ids in _old_beats(connection, before_at).values():
        for chunk in dialects.chunks(ids):
            yield _Rows("beat_schedules", schema.beat_schedule, schema.beat_schedule.c.process_id.in_(chunk))
            yield _Rows("beats", schema.beat_process, schema.beat_process.c.id.in_(chunk))


def _old_beats(connection: Connection, before_at: int) -> dict[int, list[int]]:
    """By cluster, the processes that may go."""
    process = schema.beat_process.c
    newest = select(process.cluster_id, func.max(process.last_seen_at).label("at")).group_by(process.cluster_id)
    found = {}
    for cluster in connection.execute(newest).all():
        old = and_(process.cluster_id == cluster.cluster_id, process.last_seen_at < min(before_at, cluster.at))
        found[cluster.cluster_id] = list(connection.scalars(select(process.id).where(old)))
    return {cluster_id: ids for cluster_id, ids in found.items() if ids}


def _number(connection: Connection, table: Any, condition: ColumnElement[bool]) -> int:
    return int(connection.scalar(select(func.count()).select_from(table).where(condition)) or 0)


def _delete_tasks(
    connection: Connection, *, condition: ColumnElement[bool], since_at: int
) -> tuple[Counter[str], int | None]:
    """Delete the oldest tasks from a moment on; how many rows went, and the moment to go on from, None at the end."""
    task = schema.task.c
    oldest = select(task.id, task.cluster_id, task.first_at).where(condition, task.first_at >= since_at)
    rows = connection.execute(oldest.order_by(task.first_at).limit(TASKS_A_STEP).with_for_update()).all()
    clusters: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        clusters[row.cluster_id].append(row.id)
    gone: Counter[str] = Counter()
    for cluster_id, ids in clusters.items():
        gone += _delete_stories(connection, cluster_id, ids)
    return gone, rows[-1].first_at if len(rows) == TASKS_A_STEP else None


def _delete_stories(connection: Connection, cluster_id: int, ids: Sequence[str]) -> Counter[str]:
    """Delete tasks with all that tells of them; remarks stay while a task of the same id lives in another cluster."""
    task, run, event, note = schema.task.c, schema.run.c, schema.event.c, schema.note.c
    settlement, left = schema.settlement.c, schema.left_open.c
    orphaned = note.task_id.in_(ids) & ~exists().where(task.id == note.task_id)
    questions = {
        "runs": delete(schema.run).where(run.task_id.in_(ids), run.cluster_id == cluster_id),
        "events": delete(schema.event).where(event.task_id.in_(ids), event.cluster_id == cluster_id),
        "tasks": delete(schema.task).where(task.id.in_(ids), task.cluster_id == cluster_id),
        "notes": delete(schema.note).where(orphaned),
        "settlements": delete(schema.settlement).where(
            settlement.task_id.in_(ids), settlement.cluster_id == cluster_id
        ),
    }
    connection.execute(delete(schema.left_open).where(left.task_id.in_(ids), left.cluster_id == cluster_id))
    return Counter({name: connection.execute(question).rowcount for name, question in questions.items()})


def _delete_rows(connection: Connection, *, target: _Rows, after: object) -> tuple[int, object]:
    """Delete some rows of a table by their keys; how many, and the last key."""
    keys = list(target.table.primary_key)
    question = select(*keys).where(target.condition).order_by(*keys).limit(ROWS_A_STEP)
    if after is not None:
        # What is kept between the deleted ones need not be looked at again.
        question = question.where(keys[0] >= after)
    rows = [tuple(row) for row in connection.execute(question)]
    if rows:
        mine = keys[0].in_([row[0] for row in rows]) if len(keys) == 1 else tuple_(*keys).in_(rows)
        connection.execute(delete(target.table).where(mine))
    return len(rows), rows[-1][0] if rows else None

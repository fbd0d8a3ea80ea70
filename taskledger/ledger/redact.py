"""Bring what was recorded before in line with the redaction of now, in steps so small that nobody has to wait long.

A step looks first, without any lock; only what has something to hide is then rewritten, in one transaction. So it may
end after any step, and doing it twice changes nothing. Identities stay as they are.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, RowMapping, Table, and_, bindparam, delete, exists, func, or_, select, update

from taskledger import bodies
from taskledger.errors import LedgerConflict
from taskledger.events import Event, Malformed, first_id_at, restore
from taskledger.ledger import dialects, fold, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.types import pack_task_id
from taskledger.redaction import NONE_MARK, Redaction, redacted, redacted_entry, redacted_malformed, redacted_rows
from taskledger.redaction_rules import Keep
from taskledger.schedules import definition_hash, entry_from, entry_text
from taskledger.texts import CUT
from taskledger.texts import text as plain

#: tasks, and events of these, that one step looks at; a task with more events is a step of its own
TASKS_A_STEP, EVENTS_A_STEP = 200, 2_000
#: rows of other tables that one step looks at, and events that are in memory at once
ROWS_A_STEP = 500
#: seconds between two transactions, for whoever else wants to write
PAUSE_S = 0.02
#: how often a step that met another writer is tried again
TRIES = 8

#: table -> its texts that may hold a secret, besides those of events
_TEXTS = {
    "task": ("args", "kwargs", "result"),
    "run": ("traceback",),
    "settlement": ("args", "kwargs", "result", "exception", "traceback"),
}

Progress = Callable[[int, int], object]
Changes = list[dict[str, Any]]
#: a row of a table, and what is to stand in it
_Change = tuple[Table, Any, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Redacted:
    """How many rows were changed, or would be."""

    tasks: int = 0
    #: of those tasks
    events: int = 0
    #: that belong to no task
    other_events: int = 0
    quarantined: int = 0
    schedule_versions: int = 0
    #: of what beat's probe told: parts of schedules, and failures to send
    beat_rows: int = 0

    def __str__(self) -> str:
        """E.g. "3 tasks, 9 events"; "nothing" when that is so."""
        numbers = {name.replace("_", " "): number for name, number in asdict(self).items() if number}
        words = [f"{number:,} {name.removesuffix('s') if number == 1 else name}" for name, number in numbers.items()]
        return ", ".join(words) or "nothing"


def redact(
    ledger: Ledger,
    redaction: Redaction,
    *,
    since_at: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Redacted:
    """Redact tasks first seen since then, oldest first, and the events, quarantine and schedule of that time.

    `dry_run` only counts. `progress` is called with (tasks looked at, tasks to look at); `stop` ends it between two
    steps. Raises LedgerAway when the database is away.
    """
    work = _Redacting(ledger, redaction, since_at, progress or (lambda _done, _total: None), dry_run=dry_run)
    for _ in work.steps():
        if stop is not None and stop.is_set():
            break
    return Redacted(**work.changed)


class _Story(NamedTuple):
    """A task whose events are looked at."""

    id: str
    cluster_id: int
    keep: Keep
    events: int


class _Redacting:
    def __init__(
        self, ledger: Ledger, redaction: Redaction, since_at: int, progress: Progress, *, dry_run: bool
    ) -> None:
        self.changed: Counter[str] = Counter()
        self._ledger, self._redaction, self._since_at = ledger, redaction, since_at
        self._progress, self._dry_run = progress, dry_run

    def steps(self) -> Iterator[None]:
        """All the work, with a stop after each step."""
        done, total = 0, self._number_of_tasks()
        for stories in self._task_pages():
            self._redact_tasks(stories)
            done += len(stories)
            self._progress(done, max(done, total))
            yield
        for table, name, look in (
            (schema.event, "other_events", self._event_change),
            (schema.quarantine, "quarantined", self._quarantine_change),
            (schema.schedule_version, "schedule_versions", self._version_change),
        ):
            for rows in self._pages(table):
                self._write_changes(table, name, [change for row in rows if (change := look(row))])
                yield
        self._redact_beats()

    def _number_of_tasks(self) -> int:
        with self._ledger.read() as connection:
            wanted = select(func.count()).where(schema.task.c.first_at >= self._since_at)
            return connection.scalar(wanted) or 0

    def _task_pages(self) -> Iterator[list[_Story]]:
        """The tasks in the order of their first event; as many at once as have few enough events."""
        columns = schema.task.c
        wanted = select(columns.first_at, columns.id, columns.cluster_id, columns.name_id, columns.events)
        order = (columns.first_at, columns.id, columns.cluster_id)
        beyond: Any = columns.first_at >= self._since_at
        while True:
            with self._ledger.read() as connection:
                rows = connection.execute(wanted.where(beyond).order_by(*order).limit(TASKS_A_STEP)).all()
            if not rows:
                return
            number = _fitting([row.events for row in rows])
            yield [self._story(row) for row in rows[:number]]
            last = rows[number - 1]
            later = or_(columns.id > last.id, and_(columns.id == last.id, columns.cluster_id > last.cluster_id))
            beyond = or_(columns.first_at > last.first_at, and_(columns.first_at == last.first_at, later))

    def _story(self, row: Any) -> _Story:
        payloads = self._redaction.payloads
        name = self._ledger.labels.value(row.name_id)
        keep = payloads.strictest if payloads.rules and name is None else payloads.keep_of(name or "")
        return _Story(row.id, row.cluster_id, keep, row.events)

    def _redact_tasks(self, stories: Sequence[_Story]) -> None:
        with self._ledger.read() as connection:
            stale = self._stale(connection, stories)
            changes = [self._count_changes(connection, story) for story in stories]
        dirty = [story for story, number in zip(stories, changes, strict=True) if number or story in stale]
        self.changed["tasks"] += len(dirty)
        if dirty and not self._dry_run:
            self._write(lambda connection: self._rewrite_tasks(connection, dirty))

    def _stale(self, connection: Connection, stories: Sequence[_Story]) -> set[_Story]:
        """The tasks whose own texts hold a secret: a recorder projected them from what it remembered of before."""
        known = {(story.id, story.cluster_id): story for story in stories}
        stale = set()
        for table in (schema.task, schema.run, schema.settlement):
            names = _TEXTS[table.name]
            key = table.c.id if table is schema.task else table.c.task_id
            wanted = select(key, table.c.cluster_id, *(table.c[name] for name in names))
            for row in connection.execute(wanted.where(key.in_([story.id for story in stories]))):
                story = known.get((row[0], row[1]))
                if story and any(self._is_stale(text, story.keep) for text in row[2:] if text is not None):
                    stale.add(story)
        return stale

    def _is_stale(self, text: str, keep: Keep) -> bool:
        # What is cut may look as if it had a secret at its end; its event tells better.
        if keep is Keep.FULL or CUT in text:
            return False
        return NONE_MARK not in text if keep is Keep.NONE else self._redaction.text(text) != text

    def _count_changes(self, connection: Connection, story: _Story) -> int:
        """How many events of a task have something to hide; names that appear by redaction get their numbers."""
        number = 0
        for changes in self._changes(connection, story):
            number += len(changes)
            if not self._dry_run:
                self._ledger.labels.intern(_names(changes))
        self.changed["events"] += number
        return number

    def _changes(self, connection: Connection, story: _Story) -> Iterator[list[Event]]:
        """The redacted events of a task, those that differ, in pieces."""
        columns, after = schema.event.c, b""
        mine = and_(columns.task_id == story.id, columns.cluster_id == story.cluster_id)
        wanted = select(columns.id, columns.at, columns.codec, columns.body).where(mine).order_by(columns.id)
        while True:
            rows = connection.execute(wanted.where(columns.id > after).limit(ROWS_A_STEP)).all()
            events = [_event(story.id, row) for row in rows]
            made = [(event, redacted(event, self._redaction, story.keep)) for event in events]
            yield [after_it for before_it, after_it in made if after_it is not before_it]
            if len(rows) < ROWS_A_STEP:
                return
            after = bytes(rows[-1].id)

    def _rewrite_tasks(self, connection: Connection, stories: Sequence[_Story]) -> None:
        """Rewrite the events, and project their tasks again: the same as if they had come so."""
        clusters = {story.cluster_id for story in stories}
        for cluster_id in sorted(clusters):
            mine = [story for story in stories if story.cluster_id == cluster_id]
            ids = fold.hold(connection, cluster_id, [story.id for story in mine])
            groups = _groups_of(connection, cluster_id, sorted(ids))
            for story in (story for story in mine if story.id in ids):
                self._redact_facts(connection, story)
                for changes in self._changes(connection, story):
                    _update(connection, schema.event, [_packed(event) for event in changes])
            # What is remembered of them is what they were before.
            self._ledger.stories.keep({(cluster_id, pack_task_id(task_id)): None for task_id in ids})
            fold.again(connection, self._ledger, cluster_id, ids)
            _forget_groups(connection, groups)

    def _redact_facts(self, connection: Connection, story: _Story) -> None:
        """What was settled of a task came as texts, and is redacted as such."""
        columns, texts = schema.settlement.c, _TEXTS["settlement"]
        key = ("task_id", "cluster_id", "begun_at", "host_id", "settled_by")
        mine = and_(columns.task_id == story.id, columns.cluster_id == story.cluster_id)
        for row in connection.execute(select(schema.settlement).where(mine)).mappings().all():
            made = {name: self._fact_text(row[name], story.keep) for name in texts}
            if any(made[name] != row[name] for name in texts):
                same = and_(*(columns[name] == row[name] for name in key))
                connection.execute(update(schema.settlement).where(same).values(made))

    def _fact_text(self, text: str | None, keep: Keep) -> str | None:
        if text is None or keep is Keep.FULL:
            return text
        return NONE_MARK if keep is Keep.NONE else self._redaction.text(text)

    def _pages(self, table: Table) -> Iterator[Sequence[RowMapping]]:
        """The rows of a table since then, in the order of its key."""
        key = next(iter(table.primary_key))
        wanted = select(table).order_by(key).limit(ROWS_A_STEP)
        beyond = _since(table, self._since_at)
        while True:
            with self._ledger.read() as connection:
                rows = connection.execute(wanted.where(*beyond)).mappings().all()
            yield rows
            if len(rows) < ROWS_A_STEP:
                return
            beyond = [*_since(table, self._since_at), key > rows[-1][key.name]]

    def _write_changes(self, table: Table, name: str, changes: Changes) -> None:
        self.changed[name] += len(changes)
        if changes and not self._dry_run:
            self._write(lambda connection: _update(connection, table, changes))

    def _event_change(self, row: RowMapping) -> dict[str, Any] | None:
        before = _event(None, row)
        after = redacted(before, self._redaction)
        return None if after is before else _packed(after)

    def _quarantine_change(self, row: RowMapping) -> dict[str, Any] | None:
        before = Malformed(bytes(row["id"]), row["reason"], row["detail"], bytes(row["body"]), row["size"])
        after = redacted_malformed(before, self._redaction)
        if after == before:
            return None
        return {"key": row["id"], "detail": plain(after.detail), "body": after.body}

    def _version_change(self, row: RowMapping) -> dict[str, Any] | None:
        before = row["definition"]
        after = entry_text(redacted_entry(entry_from("", before), self._redaction))
        # A definition of an older program may be spelled otherwise, which alone is no reason to touch it.
        if json.loads(after).items() <= json.loads(before).items():
            return None
        return {"key": row["id"], "definition": after, "definition_hash": definition_hash(after)}

    def _redact_beats(self) -> None:
        """What beat's probe told: its schedules, from which definitions may be made again, and why sends failed."""
        told, failure = schema.beat_schedule, schema.send_failure
        with self._ledger.read() as connection:
            changes: list[_Change] = [
                (told, row, self._schedule_change(row)) for row in connection.execute(select(told))
            ]
            rows = connection.execute(select(failure).where(failure.c.message.is_not(None)))
            changes += [(failure, row, {"message": self._redaction.text(row.message)}) for row in rows]
        wrong = [one for one in changes if any(getattr(one[1], key) != value for key, value in one[2].items())]
        self.changed["beat_rows"] += len(wrong)
        for few in dialects.chunks([] if self._dry_run else wrong, ROWS_A_STEP):
            self._write(partial(_change_all, changes=few))

    def _schedule_change(self, row: Any) -> dict[str, Any]:
        entries = orjson.loads(bodies.unpack(row.codec, bytes(row.entries)))
        made = redacted_rows(entries, self._redaction)
        if made == entries:
            return {}
        codec, packed = bodies.pack(orjson.dumps(made))
        return {"codec": codec, "entries": packed}

    def _write(self, work: Callable[[Connection], None]) -> None:
        """One transaction, tried again when it met another writer; then a pause."""
        for attempt in range(TRIES):
            try:
                with self._ledger.write() as connection:
                    work(connection)
            except LedgerConflict:
                if attempt == TRIES - 1:
                    raise
            else:
                return
            finally:
                time.sleep(PAUSE_S)


def _fitting(events: Sequence[int]) -> int:
    """How many of the tasks with so many events make a step; at least one."""
    total = 0
    for number, events_of_one in enumerate(events):
        total += events_of_one
        if total > EVENTS_A_STEP:
            return max(1, number)
    return len(events)


def _since(table: Table, since_at: int) -> list[Any]:
    if table is schema.event:
        return [table.c.task_id.is_(None), table.c.id >= first_id_at(since_at)]
    return [table.c["received_at" if table is schema.quarantine else "valid_from_at"] >= since_at]


def _event(task_id: str | None, row: Any) -> Event:
    """The event of a row, as far as redaction asks."""
    values = row if isinstance(row, RowMapping) else row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    body = bodies.unpack(values["codec"], bytes(values["body"]))
    fields = restore(body)
    return Event(bytes(values["id"]), fields["type"], values["at"], None, None, None, task_id, body, fields)


def _packed(event: Event) -> dict[str, Any]:
    codec, body = bodies.pack(event.body)
    return {"key": event.id, "codec": codec, "body": body}


def _names(events: Iterable[Event]) -> set[tuple[Kind, str]]:
    kinds = ((Kind.NAME, "name"), (Kind.QUEUE, "queue"), (Kind.ROUTING_KEY, "routing_key"))
    return {(kind, str(event.fields[key])) for event in events for kind, key in kinds if event.fields.get(key)}


def _groups_of(connection: Connection, cluster_id: int, ids: Sequence[str]) -> list[bytes]:
    columns = schema.run.c
    mine = and_(columns.task_id.in_(ids), columns.cluster_id == cluster_id, columns.fingerprint.is_not(None))
    return [bytes(found) for found in connection.scalars(select(columns.fingerprint).where(mine).distinct())]


def _forget_groups(connection: Connection, fingerprints: Sequence[bytes]) -> None:
    """A redacted failure is of another group; the old one, which nobody is in any more, has the secret in its title."""
    group = schema.failure_group.c
    for chunk in dialects.chunks(fingerprints):
        is_left = exists().where(schema.run.c.fingerprint == group.fingerprint)
        connection.execute(delete(schema.failure_group).where(group.fingerprint.in_(chunk), ~is_left))


def _update(connection: Connection, table: Table, changes: Changes) -> None:
    if not changes:
        return
    names = [name for name in changes[0] if name != "key"]
    key = next(iter(table.primary_key))
    statement = update(table).where(key == bindparam("key")).values({name: bindparam(f"_{name}") for name in names})
    connection.execute(statement, [{"key": row["key"]} | {f"_{name}": row[name] for name in names} for row in changes])


def _change_all(connection: Connection, *, changes: Sequence[_Change]) -> None:
    for table, row, values in changes:
        mine = and_(*(column == getattr(row, column.name) for column in table.primary_key))
        connection.execute(update(table).where(mine).values(values))

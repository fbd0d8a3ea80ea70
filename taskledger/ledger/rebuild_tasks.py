"""Tasks, runs and failure groups, folded again from all events of all tasks.

A page of events is read in the order of their ids, and tasks are projected from it and compared with their rows. Those
that differ, most of them because their story goes on beyond the page, are compared once more with all of their events.
Those that still differ are written, under their locks, as a recorder writes them.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from taskledger.errors import EventDamaged
from taskledger.events import Event, first_id_at
from taskledger.ledger import bulk, dialects, fold, schema, settled
from taskledger.ledger.rebuild_groups import Groups
from taskledger.ledger.rebuilding import Rebuilding
from taskledger.ledger.rows import Rows
from taskledger.ledger.types import unpack_task_id
from taskledger.tasks import Task

#: events of one page, and the bytes of their bodies as they are stored
PAGE, PAGE_BYTES = 20_000, 16 * 1024 * 1024
#: tasks of a page whose events are unpacked at once
TASKS_AT_ONCE = 1_000
#: rows that are fetched at once
FETCH = 500
#: tasks, and events of these, that are compared at once with all of their events, or written in one transaction
TASKS_A_STEP, EVENTS_A_STEP = 100, 1_000
#: rows of tasks that are asked at once whether they have events at all
ROWS_A_STEP = 5_000
#: tasks that were compared with all of their events lately, and need not be when the next page tells of them
MAX_CHECKED = 100_000

_SIZES = "SELECT task_id, count(*) FROM event"
_COLUMNS = {table: ", ".join(column.name for column in table.columns) for table in (schema.task, schema.run)}
_PLACES = {
    (table, name): list(table.columns.keys()).index(name)
    for table, name in ((schema.task, "id"), (schema.task, "events"), (schema.run, "task_id"), (schema.run, "number"))
}


def fold_all(work: Rebuilding, from_at: int) -> None:
    """Fold the tasks that events from that moment on tell of; then count the tasks of which no event tells."""
    folding = _Folding(work)
    folding.run(from_at)
    folding.count_without_events()


class _Folding:
    def __init__(self, work: Rebuilding) -> None:
        self._work, self._ledger = work, work.ledger
        self._groups = Groups(work)
        self._checked: OrderedDict[tuple[int, bytes], None] = OrderedDict()

    def run(self, from_at: int) -> None:
        after = first_id_at(from_at)
        while not self._work.is_stopped():
            with self._work.snapshot() as connection:
                page, is_last = _page(connection, after)
                looked = self._look(connection, page)
            for cluster_id, found in looked.items():
                self._put_right(cluster_id, found.wrong)
                self._look_closer(cluster_id, found.doubtful)
            self._groups.settle()
            if page:
                after = page[-1][2]
                # What comes later in the same millisecond is looked at by whoever goes on from here.
                self._work.reached(int.from_bytes(after[:6], "big") * 1000)
            self._work.step(len(page))
            if is_last:
                return

    def _look(self, connection: Connection, page: Sequence[Any]) -> dict[int, "_Looked"]:
        """The tasks whose rows are not what the events of this page make of them, by their clusters."""
        stories: dict[int, dict[bytes, list[Any]]] = defaultdict(dict)
        for cluster_id, *row in page:
            if (cluster_id, row[0]) not in self._checked:
                stories[cluster_id].setdefault(row[0], []).append(row)
        return {cluster_id: self._look_at(connection, cluster_id, mine) for cluster_id, mine in stories.items()}

    def _look_at(self, connection: Connection, cluster_id: int, stories: Mapping[bytes, list[Any]]) -> "_Looked":
        looked = _Looked([], [])
        for keys in dialects.chunks(list(stories), TASKS_AT_ONCE):
            short = [key for key in keys if len(stories[key]) <= fold.MAX_STORY]
            try:
                told = _stories([row for key in short for row in stories[key]])
                settlements = settled.of(connection, self._ledger.labels, cluster_id, _ids(told))
                made = fold.projections(_whole(told), settlements)
            except EventDamaged:
                made = {}
            found = self._compare(connection, cluster_id, made)
            # A row that counts no more events than this page has is wrong, wherever there may be others. One that
            # counts more is so most often because the story goes on beyond the page.
            looked.wrong.extend(found.wrong)
            looked.doubtful.extend(key for key in keys if key not in made or key in found.richer)
            self._groups.expect(cluster_id, [made[key] for key in found.right])
        return looked

    def _look_closer(self, cluster_id: int, keys: Sequence[bytes]) -> None:
        """Compare these with all of their events, and put right those that differ even so."""
        for portion in self._portions(keys):
            self._do_readable(portion, partial(self._judge, cluster_id))
            self._remember(cluster_id, portion)

    def _judge(self, cluster_id: int, sizes: Mapping[bytes, int]) -> None:
        with self._work.snapshot() as connection:
            made = self._made(connection, cluster_id, sizes)
            found = self._compare(connection, cluster_id, made)
        self._work.number["tasks_left"] += len(found.richer)
        self._groups.expect(cluster_id, [made[key] for key in found.right])
        self._put_right(cluster_id, found.wrong)

    def _put_right(self, cluster_id: int, keys: Collection[bytes]) -> None:
        """Write these tasks, which are wrong, as all of their events make them."""
        for portion in self._portions(list(keys)):
            self._do_readable(portion, partial(self._put, cluster_id))
            self._remember(cluster_id, portion)

    def _put(self, cluster_id: int, sizes: Mapping[bytes, int]) -> None:
        if self._work.dry_run:
            with self._ledger.read() as connection:
                made = self._made(connection, cluster_id, sizes)
                self._groups.expect(cluster_id, made.values())
            self._work.number["tasks"] += len(made)
        else:
            fold_again = partial(self._fold_again, cluster_id=cluster_id, sizes=sizes)
            self._work.number["tasks"] += self._work.write(fold_again)

    def _do_readable(self, sizes: Mapping[bytes, int], act: Callable[[Mapping[bytes, int]], None]) -> None:
        """A task of which an event cannot be read stays as it is, and holds up no other."""
        try:
            act(sizes)
        except EventDamaged:
            if len(sizes) == 1:
                self._work.number["tasks_left"] += 1
            else:
                for key, number in sizes.items():
                    self._do_readable({key: number}, act)

    def _fold_again(self, connection: Connection, *, cluster_id: int, sizes: Mapping[bytes, int]) -> int:
        """Write these tasks anew under their locks; how many."""
        number, pending = 0, sorted(sizes)
        while pending:
            # Whoever has the row sees all events of the task that are committed: as in fold.tasks.
            known = fold.lock(connection, cluster_id, pending)
            made = self._made(connection, cluster_id, {key: sizes[key] for key in pending})
            counted = {key: row.events for key, row in known.items()}
            right = {key: made[key] for key in sorted(made) if counted.get(key, 0) <= made[key].events}
            # Runs without a task would be in the way of its own.
            new = [key for key in right if key not in known]
            bulk.delete_in(connection, schema.run, "task_id", new, after=f"AND cluster_id = {cluster_id}")
            # Writing tasks makes their groups as well, and says of none whether it was there.
            self._groups.expect(cluster_id, right.values())
            self._groups.settle(connection)
            rows = Rows(self._ledger.labels, cluster_id)
            plans = [rows.plan(one, key) for key, one in right.items()]
            pending = sorted(fold.put(connection, cluster_id, plans, known))
            number += len(right) - len(pending)
        return number

    def _portions(self, keys: Sequence[bytes]) -> Iterator[dict[bytes, int]]:
        """The tasks in portions for one step, each with how many events it has, at most."""
        for few in dialects.chunks(keys, TASKS_A_STEP):
            with self._ledger.read() as connection:
                sizes = _sizes(connection, few)
            yield from _fitting(sizes)

    def _made(self, connection: Connection, cluster_id: int, sizes: Mapping[bytes, int]) -> dict[bytes, Task]:
        """The tasks that all of their events make; none of one that has none any more."""
        mine = f"AND cluster_id = {cluster_id}"
        short = [key for key, number in sizes.items() if number <= fold.MAX_STORY]
        told = _whole(_stories(bulk.select_in(connection, fold.STORY, "task_id", short, after=mine)))
        long = [key for key in sizes if sizes[key] > fold.MAX_STORY]
        for key, number in bulk.select_in(connection, _SIZES, "task_id", long, after=f"{mine} GROUP BY task_id"):
            told[key] = (fold.ends_of(connection, cluster_id, unpack_task_id(key)), number)
        settlements = settled.of(connection, self._ledger.labels, cluster_id, _ids(told))
        return fold.projections(told, settlements)

    def _compare(self, connection: Connection, cluster_id: int, made: Mapping[bytes, Task]) -> "_Compared":
        return _compared(connection, Rows(self._ledger.labels, cluster_id), made)

    def _remember(self, cluster_id: int, keys: Iterable[bytes]) -> None:
        # What comes to a task after this is folded by whoever records it.
        for key in keys:
            self._checked[cluster_id, key] = None
        while len(self._checked) > MAX_CHECKED:
            self._checked.popitem(last=False)

    def count_without_events(self) -> None:
        """How many tasks have a row and not one event: these stay."""
        after = b""
        while not self._work.is_stopped():
            with self._work.snapshot() as connection:
                tasks = _tasks_after(connection, after)
                told = _sizes(connection, list(tasks))
            self._work.number["tasks_left"] += sum(number for key, number in tasks.items() if key not in told)
            self._work.step(0)
            if len(tasks) < ROWS_A_STEP:
                return
            after = max(tasks)


class _Looked(NamedTuple):
    """Of one page: tasks whose rows are wrong, and those that must be looked at with all of their events."""

    wrong: list[bytes]
    doubtful: list[bytes]


class _Compared(NamedTuple):
    """Tasks whose rows are what was made, are not, and, apart, count more events than there are."""

    right: frozenset[bytes]
    wrong: frozenset[bytes]
    richer: frozenset[bytes]


def _compared(connection: Connection, rows: Rows, made: Mapping[bytes, Task]) -> _Compared:
    tasks = {key: found[0] for key, found in _found(connection, schema.task, "id", rows.cluster_id, made).items()}
    runs = _found(connection, schema.run, "task_id", rows.cluster_id, made)
    differing = {
        key
        for key, one in made.items()
        if tasks.get(key) != rows.task(one) or not _same_runs(rows, one, runs.get(key, []))
    }
    events = _PLACES[schema.task, "events"]
    richer = frozenset(key for key in differing & tasks.keys() if tasks[key][events] > made[key].events)
    return _Compared(frozenset(made.keys() - differing), frozenset(differing - richer), richer)


def _found(
    connection: Connection, table: Any, column: str, cluster_id: int, keys: Collection[bytes]
) -> dict[bytes, list[bulk.Row]]:
    """The rows of a table by their packed task ids, values as the driver gives them."""
    sql, place = f"SELECT {_COLUMNS[table]} FROM {table.name}", _PLACES[table, column]
    found: dict[bytes, list[bulk.Row]] = defaultdict(list)
    for row in bulk.select_in(connection, sql, column, list(keys), after=f"AND cluster_id = {cluster_id}"):
        found[row[place]].append(tuple(row))
    return found


def _same_runs(rows: Rows, one: Task, found: Sequence[bulk.Row]) -> bool:
    number = _PLACES[schema.run, "number"]
    return sorted(found, key=lambda row: row[number]) == [rows.run(one, run) for run in one.runs]


def _page(connection: Connection, after: bytes) -> tuple[list[Any], bool]:
    """Events of tasks in the order of their ids, and whether there are no more.

    Rows of cluster, packed task id, id, time, codec and body.
    """
    names, mark = "cluster_id, task_id, id, at, codec, body", bulk.mark(connection)
    sql = f"SELECT {names} FROM event WHERE id > {mark} AND task_id IS NOT NULL ORDER BY id LIMIT {PAGE}"
    page: list[Any] = []
    size = 0
    result = connection.exec_driver_sql(sql, (after,), execution_options={"stream_results": True})
    try:
        for rows in result.partitions(FETCH):
            page += rows
            size += sum([len(row[5]) for row in rows])
            if size > PAGE_BYTES:
                return page, False
    finally:
        result.close()
    return page, len(page) < PAGE


def _whole(stories: Mapping[bytes, Sequence[Event]]) -> dict[bytes, tuple[Sequence[Event], int]]:
    """As facts of tasks that have these events and no others."""
    return {key: (story, len(story)) for key, story in stories.items()}


def _stories(rows: Sequence[Any]) -> dict[bytes, list[Event]]:
    """The events of the rows (packed task id, id, time, codec and body), by their tasks."""
    names = {key: unpack_task_id(key) for key in {row[0] for row in rows}}
    stories: dict[bytes, list[Event]] = {}
    events = fold.events_of((names[key], *rest) for key, *rest in rows)
    for row, event in zip(rows, events, strict=True):
        stories.setdefault(row[0], []).append(event)
    return stories


def _ids(told: Iterable[bytes]) -> list[str]:
    return [unpack_task_id(key) for key in told]


def _sizes(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
    """How many events each of the tasks has, in whatever cluster: the index alone tells that."""
    return dict(tuple(row) for row in bulk.select_in(connection, _SIZES, "task_id", keys, after="GROUP BY task_id"))


def _fitting(sizes: Mapping[bytes, int]) -> Iterator[dict[bytes, int]]:
    """As many of the tasks at once as have few enough events; at least one."""
    portion: dict[bytes, int] = {}
    total = 0
    for key, number in sizes.items():
        total += min(number, fold.MAX_STORY)
        if portion and total > EVENTS_A_STEP:
            yield portion
            portion, total = {}, min(number, fold.MAX_STORY)
        portion[key] = number
    if portion:
        yield portion


def _tasks_after(connection: Connection, after: bytes) -> dict[bytes, int]:
    """Packed ids of tasks in their order, and in how many clusters each is."""
    which = f"WHERE id > {bulk.mark(connection)} GROUP BY id ORDER BY id LIMIT {ROWS_A_STEP}"
    return dict(tuple(row) for row in connection.exec_driver_sql(f"SELECT id, count(*) FROM task {which}", (after,)))

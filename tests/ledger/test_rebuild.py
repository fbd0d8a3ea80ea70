"""Folding all events again: it changes nothing that is right, puts right what is not, and disturbs nobody."""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from stories import NOON, TASK, TRACEBACK, decoded, failed, raw, retried_twice, succeeded, task_event

from benchmarks import corpus
from taskledger.errors import LedgerBusy
from taskledger.events import Event
from taskledger.ledger import (
    Ledger,
    leases,
    open_ledger,
    rebuild,
    rebuild_look,
    rebuild_tasks,
    rebuilding,
    retain,
    schema,
)
from taskledger.ledger.query import task
from taskledger.ledger.record import Batch, record
from taskledger.retention import parse_retention

NOON_AT = round(NOON * 1e6)
HOUR = 3_600_000_000
#: all that is made from events
TABLES = (
    schema.task, schema.run, schema.failure_group, schema.worker, schema.worker_session, schema.event_count
)  # fmt: skip


def rows(ledger: Ledger, *tables: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of these tables, or of all that a rebuild makes."""
    with ledger.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in tables or TABLES
        }


def put(ledger: Ledger, *told: dict[str, Any], received_at: int | None = None, cluster: str = "default") -> None:
    """Record events as they were sent."""
    record(ledger, Batch(cluster, decoded(*told), received_at=received_at or NOON_AT + HOUR))


def tasks_told(seed: int, number: int) -> list[dict[str, Any]]:
    """Events of tasks of every fate, somewhat out of order."""
    rng = random.Random(seed)
    ids = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(number // 4)]
    told = corpus.events(number, seed)
    for place, one in enumerate(ids):
        at_s = NOON + rng.random() * number / 100
        told += (retried_twice, failed, succeeded)[place % 3](at_s, one)
        if place % 3 == 1:
            # Celery 5.7 tells of a hard time limit twice, and a redelivery is another run.
            error = {"exception": "ExceptionWithTraceback()", "traceback": TRACEBACK}
            told.append(task_event("failed", at_s + 1.75, one, **error))
            told.append(task_event("received", at_s + 60, one, hostname="w2@vm", pid=7, name="billing.charge"))
    order = {id(each): each["timestamp"] + rng.expovariate(1 / 2) for each in told}
    return sorted(told, key=lambda each: order[id(each)])


def workers_told(seed: int, minutes: int) -> list[dict[str, Any]]:
    """Heartbeats of four workers; one is started again under its pid, one under another, one leaves."""
    rng, told = random.Random(seed), []
    for number in range(4):
        host, at_s, processed = f"celery@mail-worker-{number}.prod.example.com", NOON + number, 0
        for life in range(3):
            pid = 7 + (life if number == 1 else 0)
            about: dict[str, Any] = {"hostname": host, "pid": pid, "freq": 2.0, "sw_ident": "py-celery"}
            told.append(raw("worker-online", at_s, **about))
            for _ in range(minutes * 10):
                at_s += 2
                processed += rng.randint(0, 5)
                beat = about | {
                    "processed": processed,
                    "active": rng.randint(0, 4),
                    "loadavg": [0.1, 0.2, rng.random()],
                }
                told.append(raw("worker-heartbeat", at_s, **beat))
            if number != 2:
                told.append(raw("worker-offline", at_s + 0.5, **about))
            at_s, processed = at_s + 30, 0
    return sorted(told, key=lambda each: each["timestamp"])


def corpus_told(seed: int = 1, number: int = 400) -> list[dict[str, Any]]:
    """Tasks and workers together."""
    tasks, beats = tasks_told(seed, number), iter(workers_told(seed, 2))
    told = []
    for place, each in enumerate(tasks):
        told.append(each)
        if place % 2 == 0:
            told += [beat for beat in [next(beats, None)] if beat]
    return [*told, *beats]


def record_all(ledger: Ledger, told: Sequence[dict[str, Any]], size: int = 173, lag_at: int = 250_000) -> None:
    """In batches as a recorder makes them, each received a little after its newest event."""
    for start in range(0, len(told), size):
        few = told[start : start + size]
        put(ledger, *few, received_at=max(round(each["timestamp"] * 1e6) for each in few) + lag_at)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and steps so small that even a few hundred tasks are many of them."""
    monkeypatch.setattr(rebuild_tasks, "PAGE", 150)
    monkeypatch.setattr(rebuild_tasks, "TASKS_A_STEP", 20)
    monkeypatch.setattr(rebuild_tasks, "ROWS_A_STEP", 64)
    monkeypatch.setattr(rebuilding, "PAUSE_S", 0.001)
    monkeypatch.setattr(rebuild_look, "ROWS_A_STEP", 100)


@pytest.mark.usefixtures("small_pages")
def test_changes_nothing(ledger: Ledger) -> None:
    """After a realistic day every row is as it was, whatever the tasks and workers went through."""
    told = corpus_told()
    record_all(ledger, told)
    put(ledger, *succeeded(NOON, "in another cluster"), *failed(NOON), cluster="eu")
    before = rows(ledger, *schema.metadata.sorted_tables)
    done = rebuild.rebuild(ledger)
    after = rows(ledger, *schema.metadata.sorted_tables)
    lease = after.pop("lease")

    assert (str(done), done.left, done.is_whole, done.from_at) == ("nothing", "nothing", True, None)
    assert done.events == len(told) + 8
    assert {name: found for name, found in before.items() if name != "lease"} == after
    assert [row[:1] for row in lease] == [("rebuild",)]
    assert min(len(before[table.name]) for table in TABLES) > 3


DAMAGE = {
    "task states": update(schema.task).values(state=30, ended_at=None, runtime_s=None),
    "task texts": update(schema.task).values(args="('x',)", kwargs=None, worker_id=None),
    "task counts": update(schema.task).values(events=1, runs=0),
    "no tasks": delete(schema.task),
    "runs": update(schema.run).values(exception="E: x", traceback=None, pid=1),
    "no runs": delete(schema.run),
    "fingerprints": update(schema.run).values(fingerprint=None),
    "groups": update(schema.failure_group).values(title="x"),
    "no groups": delete(schema.failure_group),
    "workers": update(schema.worker).values(first_at=schema.worker.c.first_at + 1, task_event_at=None),
    "workers too early": update(schema.worker).values(first_at=1, task_event_at=NOON_AT * 2),
    "no workers": delete(schema.worker),
    "sessions": update(schema.worker_session).values(last_at=NOON_AT * 2, processed=0, lag_ms=-7),
    "begins of sessions": update(schema.worker_session).values(first_at=schema.worker_session.c.first_at + 1),
    "no sessions": delete(schema.worker_session),
    "counts": update(schema.event_count).values(number=schema.event_count.c.number * 2 + 1),
    "no counts": delete(schema.event_count),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.usefixtures("small_pages")
def test_puts_right(sqlite_ledger: Ledger, damage: str) -> None:
    """Whatever was done to the rows, they are again what the events say; a second time there is nothing to do."""
    _damaged_and_put_right(sqlite_ledger, DAMAGE[damage])


@pytest.mark.usefixtures("small_pages")
def test_puts_right_on_every_database(ledger: Ledger) -> None:
    """All damage at once, on each database."""
    _damaged_and_put_right(ledger, *DAMAGE.values())


def _damaged_and_put_right(ledger: Ledger, *damages: Any) -> None:
    record_all(ledger, corpus_told(number=80))
    before = rows(ledger)
    with ledger.write() as connection:
        for damage in damages:
            connection.execute(damage)
    broken = rows(ledger)
    dry = rebuild.rebuild(ledger, dry_run=True)
    assert rows(ledger) == broken != before
    done = rebuild.rebuild(ledger)

    assert _told(rows(ledger)) == _told(before)
    assert dry == done
    assert str(done) != "nothing"
    assert str(rebuild.rebuild(ledger)) == "nothing"


def _told(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """What events say, in any order: not the line that the first of a group failed at, nor groups that were left."""
    place = list(schema.run.columns.keys()).index("fingerprint")
    filled = {run[place] for run in found["run"]}
    return found | {"failure_group": [row[:4] for row in found["failure_group"] if row[0] in filled]}


def test_only_what_differs_is_written(ledger: Ledger) -> None:
    """One damaged task among many is the one that is put right."""
    record_all(ledger, corpus_told(number=80))
    with ledger.write() as connection:
        one = connection.scalar(select(schema.task.c.id).limit(1))
        connection.execute(update(schema.task).where(schema.task.c.id == one).values(name_id=None))

    assert str(rebuild.rebuild(ledger)) == "1 task"


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("after_steps", [1, 4, 15, 17])
def test_goes_on_where_it_was_interrupted(ledger: Ledger, after_steps: int) -> None:
    """Interrupted at any moment, it leaves a sound ledger, does the rest the next time, and then forgets about it."""
    told = corpus_told(number=200)
    record_all(ledger, told)
    before = rows(ledger)
    with ledger.write() as connection:
        connection.execute(update(schema.task).values(state=30))
    steps: list[int] = []

    def interrupt(done: int, _total: int) -> None:
        steps.append(done)
        if len(steps) == after_steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild.rebuild(ledger, progress=interrupt)
    with ledger.read() as connection:
        right = connection.scalar(select(func.count()).where(schema.task.c.state != 30)) or 0
    second = rebuild.rebuild(ledger)

    assert _told(rows(ledger)) == _told(before)
    assert right > 0
    assert second.from_at is not None
    assert second.events < len(told) * 2 - steps[-1] + 2 * rebuild_tasks.PAGE
    assert (rebuild.rebuild(ledger).from_at, rows(ledger, schema.mark)) == (None, {"mark": []})


def test_stops_between_two_steps(ledger: Ledger) -> None:
    """Told to stop it ends soon, says so, and frees the lease."""
    record_all(ledger, corpus_told(number=80))
    stop = threading.Event()
    done = rebuild.rebuild(ledger, stop=stop, progress=lambda *_: stop.set())

    assert not done.is_whole
    assert rebuild.rebuild(ledger).is_whole


def test_from_the_start(ledger: Ledger) -> None:
    """What an earlier one had done is done again if that is asked for, and by another version always."""
    told = corpus_told(number=80)
    record_all(ledger, told)
    with ledger.write() as connection:
        connection.execute(schema.mark.insert(), {"name": rebuilding.MARK, "value": NOON_AT + 2_000_000})
        connection.execute(schema.mark.insert(), {"name": f"{rebuilding.MARKS}0.0.1", "value": NOON_AT * 2})
    first = rebuild.rebuild(ledger, dry_run=True)
    second = rebuild.rebuild(ledger, from_start=True)

    assert (first.from_at, second.from_at) == (NOON_AT + 2_000_000, None)
    assert first.events < second.events
    assert rows(ledger, schema.mark) == {"mark": []}


def test_one_at_a_time(ledger: Ledger) -> None:
    """A second rebuild is refused in a sentence that says who is at it; when the first has ended it may."""
    record_all(ledger, corpus_told(number=40))
    refused: list[str] = []

    def second(_done: int, _total: int) -> None:
        if not refused:
            with open_ledger(ledger.engine.url.render_as_string(hide_password=False)) as beside:
                with pytest.raises(LedgerBusy) as caught:
                    rebuild.rebuild(beside)
                refused.append(str(caught.value))

    rebuild.rebuild(ledger, progress=second)

    assert "a rebuild of this ledger is going on already, in process " in refused[0]
    assert rebuild.rebuild(ledger).is_whole


def test_ends_when_another_took_over(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that slept longer than its lease does not go on beside the one that took it."""
    record_all(ledger, corpus_told(number=40))
    monkeypatch.setattr(rebuild, "RENEW_S", 0.0)

    def lose(_done: int, _total: int) -> None:
        leases.take(ledger, rebuild.LEASE, "elsewhere:1:x", time.time_ns() // 1000 + 120_000_000, 60)

    with pytest.raises(LedgerBusy, match="in process 1 on elsewhere"):
        rebuild.rebuild(ledger, progress=lose)


class _Recording(threading.Thread):
    """A recorder that writes what is told, in batches, until there is no more."""

    def __init__(self, ledger: Ledger, told: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._url = ledger.engine.url.render_as_string(hide_password=False)
        self._told = told

    def run(self) -> None:
        try:
            with open_ledger(self._url) as opened:
                record_all(opened, self._told, size=40)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.error = error


@pytest.mark.usefixtures("small_pages")
def test_beside_a_recorder(ledger: Ledger, database_engine: str) -> None:
    """While recorders go on writing the same tasks and workers, and rows are damaged, the end is as from scratch."""
    told = corpus_told(number=200)
    half = len(told) // 2
    record_all(ledger, told[:half])
    with ledger.write() as connection:
        connection.execute(update(schema.task).values(state=30, args=None))
        connection.execute(update(schema.worker_session).values(processed=-1))
        connection.execute(update(schema.event_count).values(number=schema.event_count.c.number + 7))
    recording = _Recording(ledger, told[half:])
    recording.start()
    rounds = [rebuild.rebuild(ledger)]
    while recording.is_alive():
        rounds.append(rebuild.rebuild(ledger))
    recording.join()
    found = rows(ledger)
    _fold_from_scratch(ledger, told)

    assert recording.error is None
    assert rounds[0].tasks > 0
    assert _told(found) == _told(rows(ledger))


def _fold_from_scratch(ledger: Ledger, told: Sequence[dict[str, Any]]) -> None:
    with ledger.write() as connection:
        for table in (*TABLES, schema.event):
            connection.execute(table.delete())
    ledger.heard.clear()
    half = len(told) // 2
    record_all(ledger, told[:half])
    record_all(ledger, told[half:], size=40)


def test_no_page_misses_a_task_meanwhile(ledger: Ledger) -> None:
    """At no moment is a task that is put right missing, or half of it to be seen."""
    record_all(ledger, [*retried_twice(), *corpus_told(number=60)])
    with ledger.write() as connection:
        connection.execute(update(schema.task).values(args="damaged"))
        connection.execute(update(schema.run).values(note="damaged"))
    seen: set[tuple[Any, ...]] = set()
    done = threading.Event()

    def look_on() -> None:
        with open_ledger(ledger.engine.url.render_as_string(hide_password=False)) as beside:
            while not done.is_set():
                seen.add(_shown(beside))

    looking = threading.Thread(target=look_on)
    looking.start()
    rebuild.rebuild(ledger)
    done.set()
    looking.join()
    damaged, right = (("damaged", "damaged"),) * 3, (("()", None),) * 3

    assert seen <= {damaged, right}
    assert _shown(ledger) == right


def _shown(ledger: Ledger) -> tuple[tuple[Any, ...], ...]:
    """Arguments and notes of a task that was retried twice, as a page asks for them."""
    joined = schema.task.join(schema.run, schema.task.c.id == schema.run.c.task_id)
    wanted = select(schema.task.c.args, schema.run.c.note).select_from(joined).where(schema.task.c.id == TASK)
    with ledger.read() as connection:
        return tuple(tuple(row) for row in connection.execute(wanted))


def test_what_was_pruned_stays(ledger: Ledger) -> None:
    """Tasks whose events are gone, all or in part, stay as they are, and so does what was counted and lived then."""
    put(ledger, *succeeded(NOON, "all gone"), *failed(NOON, "half gone"), *succeeded(NOON, "whole"))
    record_all(ledger, workers_told(1, 1))
    with ledger.write() as connection:
        event = schema.event.c
        half = select(event.id).where(event.task_id == "half gone").order_by(event.id).limit(2)
        gone = [bytes(found) for found in connection.scalars(half)]
        connection.execute(delete(schema.event).where((event.task_id == "all gone") | event.id.in_(gone)))
        connection.execute(delete(schema.event).where(event.task_id.is_(None), event.at < NOON_AT + 60_000_000))
        for name in (retain.EVENTS_PRUNED, retain.OTHER_EVENTS_PRUNED):
            connection.execute(schema.mark.insert(), {"name": name, "value": NOON_AT + 60_000_000})
        connection.execute(update(schema.task).where(schema.task.c.id == "whole").values(state=30))
    before = rows(ledger)
    done = rebuild.rebuild(ledger)
    after = rows(ledger)

    assert (done.tasks, done.tasks_left, str(done)) == (1, 2, "1 task")
    place = list(schema.worker_session.columns.keys()).index("first_at")
    began_before = [session for session in before["worker_session"] if session[place] < NOON_AT + 60_000_000]
    assert 0 < len(began_before) == done.worker_sessions_left < len(before["worker_session"])
    assert done.event_counts_left > 0
    assert {name: after[name] for name in after if name != "task"} == {
        name: before[name] for name in before if name != "task"
    }
    assert [task(ledger, name).task.state.name for name in ("all gone", "half gone", "whole")] == [
        "SUCCESS", "FAILURE", "SUCCESS"
    ]  # fmt: skip


def test_after_pruning_it_changes_nothing(ledger: Ledger) -> None:
    """What the retention has taken is not missed, and what it left is what the events say."""
    record_all(ledger, corpus_told(number=100))
    later = [each | {"timestamp": each["timestamp"] + 40 * 86_400} for each in corpus_told(2, 100)]
    record_all(ledger, later)
    now_at = NOON_AT + 41 * 86_400 * 1_000_000
    retain.prune(ledger, parse_retention("30d,state:failure=60d,worker-heartbeat=2d"), now_at)
    before = rows(ledger)
    done = rebuild.rebuild(ledger)

    assert str(done) == "nothing"
    assert rows(ledger) == before


def test_a_story_without_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task with thousands of events only as many are read as a recorder reads, and the row is the same."""
    for uuid_, size in (("a", 600), ("b", 1_200)):
        events = [task_event("retried", NOON + n / 100, uuid_, clock=n, exception=f"E({n})") for n in range(1_200)]
        for start in range(0, 1_200, size):
            put(ledger, *events[start : start + size])
    before = rows(ledger)
    seen = _story_sizes(monkeypatch)
    done = rebuild.rebuild(ledger)
    with ledger.write() as connection:
        connection.execute(update(schema.task).values(events=3, exception="x"))
    mended = rebuild.rebuild(ledger)

    assert (str(done), str(mended)) == ("nothing", "2 tasks")
    assert rows(ledger) == before
    assert max(seen) == 1_000


def _story_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from taskledger.ledger import fold  # noqa: PLC0415 - only to look on

    seen: list[int] = []
    whole = fold.projected

    def projected(task_id: str, story: Sequence[Event], *more: Any) -> Any:
        seen.append(len(story))
        return whole(task_id, story, *more)

    monkeypatch.setattr(fold, "projected", projected)
    return seen


def test_an_empty_ledger(ledger: Ledger) -> None:
    """Where nothing was recorded there is nothing to do."""
    assert rebuild.rebuild(ledger) == rebuild.Rebuilt()


def test_words() -> None:
    """What was done is said in words, in the right number."""
    done = rebuild.Rebuilt(tasks=1_204, failure_groups=1, worker_sessions=2, tasks_left=3)

    assert str(done) == "1,204 tasks, 1 failure group, 2 worker sessions"
    assert done.left == "3 tasks"


def test_damaged_events(ledger: Ledger) -> None:
    """A task or worker of which an event cannot be read stays as it is, and holds up no other."""
    record_all(ledger, [*corpus_told(number=60), *succeeded(NOON, "unreadable")])
    event = schema.event.c
    with ledger.write() as connection:
        beat = connection.scalar(select(event.id).where(event.task_id.is_(None)).order_by(event.id).limit(1))
        broken = (event.task_id == "unreadable") | (event.id == bytes(beat or b""))
        connection.execute(update(schema.event).where(broken).values(body=b"\x00", codec=1))
    before = rows(ledger)
    with ledger.write() as connection:
        connection.execute(update(schema.task).where(schema.task.c.id != "unreadable").values(state=30))
    done = rebuild.rebuild(ledger)

    assert rows(ledger) == before
    assert (done.tasks > 10, done.tasks_left, done.worker_sessions_left) == (True, 1, 3)

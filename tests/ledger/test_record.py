"""Writing batches: new rows once, projections right, counters exact, on every database."""

import json
import random
import threading
import uuid

import pytest
from sqlalchemy import func, select
from stories import NOON, TASK, decoded, failed, raw, retried_twice, succeeded, task_event

from taskledger.bodies import unpack
from taskledger.errors import LedgerAway
from taskledger.events import decode, restore
from taskledger.ledger import Ledger, open_ledger, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.presence import begin, listen
from taskledger.ledger.query import event_counts, quarantined, stretches, task, workers
from taskledger.ledger.record import Batch, Position, Recorded, record
from taskledger.states import State

NOON_AT = round(NOON * 1e6)
EVERYTHING = Span(0, 2**62)


def put(ledger: Ledger, *events, **more) -> Recorded:
    return record(ledger, Batch("default", decoded(*events), received_at=NOON_AT, **more))


def rows(ledger: Ledger, table, *columns):
    with ledger.read() as connection:
        return connection.execute(select(*(columns or [table])).select_from(table)).all()


def test_a_life_is_recorded_and_read_back(ledger):
    """The events of a task become its row, its run and its events, each event whole."""
    story = succeeded()

    assert put(ledger, *story) == Recorded(new=4)

    found = task(ledger, TASK)

    assert found is not None
    assert (found.task.state, found.task.name, found.task.worker) == (State.SUCCESS, "billing.charge", "w1@vm")
    assert (found.client, found.routing_key, len(found.runs)) == ("gen7@web", "bill", 1)
    assert [event.fields for event in found.events] == story


def test_the_same_batch_again_changes_nothing(ledger):
    """A redelivered batch is all duplicates: no row, no count and no state changes."""
    story = [*retried_twice(), raw("worker-heartbeat", NOON, processed=3)]
    put(ledger, *story)
    before = {name: sorted(map(repr, rows(ledger, table))) for name, table in schema.metadata.tables.items()}

    assert put(ledger, *story) == Recorded(duplicate=len(story))
    assert {name: sorted(map(repr, rows(ledger, table))) for name, table in schema.metadata.tables.items()} == before


@pytest.mark.parametrize("seed", range(4))
def test_any_split_into_batches_in_any_order_gives_the_same_rows(ledger, seed):
    """However the events of several tasks are cut into batches, shuffled and repeated, the projection is the same."""
    ids = [str(uuid.UUID(int=n, version=4)) for n in range(1, 5)]
    events = [*succeeded(uuid=ids[0]), *failed(uuid=ids[1]), *retried_twice(uuid=ids[2]), *succeeded(uuid=ids[3])[:2]]
    expected = {one: _as_one_batch(ledger, events, one) for one in ids}
    _empty(ledger)
    rng = random.Random(seed)
    shuffled = rng.sample(events * 2, len(events) * 2)
    while shuffled:
        cut = rng.randint(1, 7)
        put(ledger, *shuffled[:cut])
        shuffled = shuffled[cut:]

    assert {one: task(ledger, one) for one in ids} == expected
    assert sum(count.number for count in event_counts(ledger, EVERYTHING)) == len(events)


def _as_one_batch(ledger, events, task_id):
    put(ledger, *events)
    return task(ledger, task_id)


def _empty(ledger):
    with ledger.write() as connection:
        for name, table in schema.metadata.tables.items():
            if name != "label":
                connection.execute(table.delete())


def test_counts_are_of_new_rows_only(ledger):
    """Per hour and type, the count is the number of different events."""
    put(ledger, *succeeded(), *succeeded())
    put(ledger, *succeeded(uuid="other")[:2])
    put(ledger, *succeeded(uuid="other", at_s=NOON + 7200)[:2])

    assert {count.type: count.number for count in event_counts(ledger, EVERYTHING)} == {
        "task-sent": 4,
        "task-received": 4,
        "task-started": 2,
        "task-succeeded": 2,
    }
    within = Span(NOON_AT, NOON_AT + 3_600_000_000)
    assert sum(count.number for count in event_counts(ledger, within)) == 10


def test_malformed_input_is_kept_and_the_rest_of_its_batch_lands(ledger):
    """What cannot be used is in quarantine with its reason and bytes, once, and the events around it are stored."""
    items = decode(json.dumps([*succeeded(), {"type": "task-failed", "timestamp": NOON}]).encode())
    batch = Batch("default", items[:4], items[4:], NOON_AT)

    assert record(ledger, batch) == Recorded(new=4, quarantined=1)
    assert record(ledger, batch) == Recorded(duplicate=4)
    (kept,) = quarantined(ledger)
    assert (kept.reason, kept.cluster, "task-failed" in kept.excerpt) == ("bad-task-id", "default", True)


HOSTILE = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff x",
    "'; DROP TABLE task; --",
    "%_\\",
    "é" * 300,
    "\u202e",
    "💥",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_text_in_every_field_is_stored(ledger, value):
    """NUL, lone surrogates, quotes, over-long names in any field: the event is stored whole, and the task is found."""
    fields = dict.fromkeys(
        ("name", "args", "kwargs", "queue", "routing_key", "root_id", "parent_id", "eta", "expires"), value
    )
    sent = task_event("sent", NOON, **fields, hostname=value)
    ended = task_event("failed", NOON + 1, exception=value, traceback=value, hostname=value)
    beat = raw("worker-heartbeat", NOON, hostname=value, sw_ident=value)

    assert put(ledger, sent, ended, beat).new == 3
    found = task(ledger, TASK)
    assert found is not None
    assert [event.fields for event in found.events] == [sent, ended]


@pytest.mark.parametrize(
    "task_id",
    ["\x00", "\ud800", "x" * 255, "é" * 255, "15 bytes long..", "16 bytes long...", "\x0015 bytes long..", "A" * 36],
)
def test_any_text_can_be_a_task_id(ledger, task_id):
    """A task id is any text of up to 255 characters; ids that look alike are kept apart."""
    put(ledger, *succeeded(uuid=task_id), *succeeded(uuid=f"{task_id[:-1]}?"))
    found = task(ledger, task_id)

    assert found is not None
    assert (found.task.id, found.task.state) == (task_id, State.SUCCESS)


@pytest.mark.parametrize("value", [None, 7, 2**70, 1.5, True, [], {}, ["x"]])
def test_a_field_of_the_wrong_type_does_not_stop_the_batch(ledger, value):
    """Fields of types that Celery never sends are stored as they are, and do no harm."""
    keys = (
        "name",
        "args",
        "kwargs",
        "queue",
        "retries",
        "eta",
        "result",
        "runtime",
        "root_id",
        "parent_id",
        "pid",
        "clock",
        "hostname",
    )
    story = [event | dict.fromkeys(keys, value) for event in succeeded()]

    assert put(ledger, *story).new == 4
    found = task(ledger, TASK)
    assert found is not None
    assert sorted(map(_spelled, (event.fields for event in found.events))) == sorted(map(_spelled, story))


def _spelled(fields):
    return json.dumps(fields, sort_keys=True)


def test_ids_differ_by_case_and_trailing_space(ledger):
    """Ids and names are compared byte by byte on every database."""
    for name in ("Job", "job", "job ", "jöb", "job\u0301"):
        put(ledger, *succeeded(uuid=name, name=name))

    assert {name: task(ledger, name).task.name for name in ("Job", "job", "job ", "jöb", "job\u0301")} == {
        name: name for name in ("Job", "job", "job ", "jöb", "job\u0301")
    }


def test_workers_and_their_sessions(ledger):
    """Worker events make the worker; task-sent makes none of its sender."""
    put(
        ledger,
        *succeeded(),
        raw("worker-online", NOON, pid=100),
        raw("worker-heartbeat", NOON + 2, pid=100, freq=2.0, processed=1),
    )
    (found,) = workers(ledger, NOON_AT + 3_000_000)

    assert (found.name, found.status, found.pid, found.processed) == ("w1@vm", "online", 100, 1)
    assert found.sends_task_events is True


def test_a_worker_without_task_events_is_known_as_such(ledger):
    """Heartbeats whose count of tasks rises, and not one task event: no -E. One count alone says nothing."""
    put(ledger, raw("worker-heartbeat", NOON, processed=12))
    assert workers(ledger, NOON_AT)[0].sends_task_events is None

    put(ledger, raw("worker-heartbeat", NOON + 2, processed=14))
    assert workers(ledger, NOON_AT)[0].sends_task_events is False


def test_a_worker_that_was_started_again_without_task_events(ledger):
    """What an earlier process of its name told does not hide that this one tells of nothing."""
    put(ledger, *succeeded(), raw("worker-heartbeat", NOON + 2, pid=100, processed=1), raw("worker-offline", NOON + 3))
    assert workers(ledger, NOON_AT)[0].sends_task_events is True

    put(ledger, raw("worker-online", NOON + 200, pid=200), raw("worker-heartbeat", NOON + 202, pid=200, processed=0))
    assert workers(ledger, NOON_AT)[0].sends_task_events is None

    put(ledger, raw("worker-heartbeat", NOON + 204, pid=200, processed=2))
    assert workers(ledger, NOON_AT)[0].sends_task_events is False


@pytest.mark.parametrize("size", [1, 3, 40])
def test_workers_do_not_depend_on_batches(ledger, size):
    """First sign and last event of a task, to the minute, are those of all events, however they are cut and ordered."""
    events = [event for n in range(10) for event in succeeded(NOON + 45 * n, f"t{n}")]
    events += [raw("worker-heartbeat", NOON + 60 * n, processed=n) for n in range(3)]
    shuffled = random.Random(size).sample(events, len(events))
    for start in range(0, len(shuffled), size):
        put(ledger, *shuffled[start : start + size])
    (found,) = rows(ledger, schema.worker, schema.worker.c.first_at, schema.worker.c.task_event_at)

    assert tuple(found) == (NOON_AT, (NOON_AT + 406_500_000) // 60_000_000 * 60_000_000)


def test_the_position_moves_with_the_rows(ledger):
    """The end of the coverage is written in the transaction of the events, and never moves back."""
    coverage_id = listen(ledger, begin(ledger, "r", "1", NOON_AT), "default", "durable queue", NOON_AT)
    put(ledger, *succeeded(), position=Position(coverage_id, NOON_AT + 5))
    put(ledger, position=Position(coverage_id, NOON_AT + 3))

    assert [stretch.until_at for stretch in stretches(ledger, EVERYTHING)] == [NOON_AT + 5]


def test_events_older_than_what_was_pruned_do_not_come_back(ledger):
    """A late redelivery of a pruned event is refused and counted."""
    with ledger.write() as connection:
        connection.execute(schema.mark.insert(), {"name": "pruned_before_at", "value": NOON_AT + 400_000})

    assert put(ledger, *succeeded()) == Recorded(new=2, stale=2)


def test_a_story_without_end_stays_affordable(sqlite_ledger):
    """Of a task with thousands of events the first and the last are projected, and all are counted."""
    events = [task_event("retried", NOON + n, clock=n, exception=f"E({n})") for n in range(2500)]
    for start in range(0, 2500, 500):
        put(sqlite_ledger, *events[start : start + 500])
    with sqlite_ledger.read() as connection:
        number = connection.scalar(select(schema.task.c.events))

    assert number == 2500
    assert task(sqlite_ledger, TASK).task.exception == "E: 2499"


def test_two_recorders_on_the_same_events_make_no_double(database_url):
    """Two recorders that write overlapping batches at once: every event once, every task right, counts exact."""
    ids = [str(uuid.UUID(int=n, version=4)) for n in range(1, 121)]
    events = [event for n, one in enumerate(ids) for event in succeeded(NOON + n, one)]
    outcomes: list[Recorded] = []

    def run(seed: int) -> None:
        rng = random.Random(seed)
        mine = rng.sample(events, len(events))
        with open_ledger(database_url) as opened:
            outcomes.extend(put(opened, *mine[start : start + 40]) for start in range(0, len(mine), 40))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with open_ledger(database_url) as opened:
        with opened.read() as connection:
            states = connection.execute(select(schema.task.c.state, func.count()).group_by(schema.task.c.state)).all()
        assert sum(outcome.new for outcome in outcomes) == len(events)
        assert states == [(State.SUCCESS, len(ids))]
        assert len(rows(opened, schema.run)) == len(ids)
        assert sum(count.number for count in event_counts(opened, EVERYTHING)) == len(events)


def test_a_failing_batch_leaves_nothing_behind(ledger, monkeypatch):
    """If any part of a batch cannot be written, none of it is."""
    monkeypatch.setattr("taskledger.ledger.record._count", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put(ledger, *succeeded())

    assert rows(ledger, schema.event) == rows(ledger, schema.task) == rows(ledger, schema.run) == []


def test_a_database_that_is_away_is_said_in_a_sentence():
    """Names, batches and questions all raise LedgerAway, with the address and no password, when nobody answers."""
    with open_ledger("postgresql://me:secret@127.0.0.1:1/none") as away:
        for ask in (lambda: put(away, *succeeded()), lambda: task(away, TASK), lambda: away.labels.find(3, "w1@vm")):
            with pytest.raises(LedgerAway, match=r"me:\*\*\*@127.0.0.1:1/none"):
                ask()


def test_bodies_hold_the_original(ledger):
    """The stored body is the event that was sent, unknown fields included."""
    sent = raw("custom-thing", NOON, nested={"a": [1, 2**70, None]}, text="\x00\ud800")
    put(ledger, sent)
    ((codec, body),) = rows(ledger, schema.event, schema.event.c.codec, schema.event.c.body)

    assert restore(unpack(codec, bytes(body))) == sent


def test_rows_are_made_in_the_order_of_their_columns(ledger):
    """Rows are tuples for the drivers' bulk paths: each value must stand where its table has its column."""
    put(ledger, *failed(uuid="x"))
    with ledger.read() as connection:
        (one,) = connection.execute(select(schema.task)).mappings().all()
        (run,) = connection.execute(select(schema.run)).mappings().all()
        events = connection.execute(select(schema.event)).mappings().all()

    assert (one["id"], one["state"], one["events"], one["runs"], one["retries"]) == ("x", State.FAILURE, 4, 1, 0)
    assert (one["first_at"], one["started_at"], one["wait_s"]) == (NOON_AT, NOON_AT + 500_000, 0.5)
    assert (run["task_id"], run["number"], run["state"], run["pid"]) == ("x", 1, State.FAILURE, 100)
    assert (run["received_at"], run["ended_at"], run["runtime_s"]) == (NOON_AT + 250_000, NOON_AT + 1_500_000, 1.0)
    assert sorted((event["at"], event["lag_ms"]) for event in events) == [
        (NOON_AT + offset, -offset // 1000) for offset in (0, 250_000, 500_000, 1_500_000)
    ]

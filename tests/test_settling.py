"""Rounds of settling: the backend is asked first, what follows comes after, and each says how it is known."""

import json
import logging

import pytest
import redis
from stories import NOON, TASK, decoded, raw, succeeded, task_event

from taskledger.config import Settings
from taskledger.ledger import presence
from taskledger.ledger.query import task
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.settle import MOST_SUSPECTS
from taskledger.settling import Settling
from taskledger.states import State

S = 1_000_000
NOON_AT = round(NOON * 1e6)


@pytest.fixture
def ledger(sqlite_ledger):
    """A recorder listens for two minutes from noon on; a worker begins a task and is killed after ten seconds."""
    recorder = presence.begin(sqlite_ledger, "here", "1", NOON_AT)
    coverage = presence.listen(sqlite_ledger, recorder, "default", "pub/sub", NOON_AT - 60 * S)
    position = Position(coverage, NOON_AT + 120 * S)
    presence.extend(sqlite_ledger, position, recorder_id=recorder, seen_at=NOON_AT, lag_s=None, recorded=0)
    beats = [raw("worker-heartbeat", NOON + at, freq=2.0, active=1, processed=1) for at in range(-10, 11, 2)]
    put(sqlite_ledger, *beats, *succeeded()[:3])
    return sqlite_ledger


def put(ledger, *events):
    for event in sorted(decoded(*events), key=lambda event: event.at):
        record(ledger, Batch("default", [event], received_at=event.at))


def settling(sqlite_url, backend):
    return Settling(Settings(broker_url="memory://", database_url=sqlite_url, result_backend=backend))


def keep(redis_url, status="SUCCESS", result="done", at="2026-11-21T12:00:08+00:00", **more):
    meta = {"status": status, "result": result, "traceback": None, "children": [], "date_done": at, "task_id": TASK}
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"celery-task-meta-{TASK}", json.dumps(meta | more))


def test_the_backend_is_asked_before_anything_is_inferred(ledger, sqlite_url, redis_url):
    """As soon as a worker is silent its runs are asked about: the result, the moment and the time it took are known."""
    keep(redis_url)
    rounds = settling(sqlite_url, redis_url)

    assert rounds.settle(ledger, NOON_AT + 12 * S) == 0
    assert rounds.settle(ledger, NOON_AT + 18 * S) == 1
    assert rounds.settle(ledger, NOON_AT + 28 * S) == 0
    rounds.close()
    found = task(ledger, TASK).task
    assert (found.state, found.settled_by, found.result) == (State.SUCCESS, "backend", "'done'")
    assert (found.ended_at, found.runtime_s) == (NOON_AT + 8 * S, 7.5)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("redis", "the result backend has no end of it"),
        ("redis://127.0.0.1:1/0", "the result backend could not be asked"),
        ("rpc://", "the result backend cannot be read"),
        ("disabled://", "no result backend is known"),
        (None, "no result backend is known"),
    ],
)
def test_without_an_answer_it_is_inferred_after_the_grace(ledger, sqlite_url, request, caplog, backend, said):
    """Twenty seconds after its worker counts as lost the run does as well, with who was asked; trouble is told once."""
    url = request.getfixturevalue("redis_url") if backend == "redis" else backend
    rounds = settling(sqlite_url, url)
    with caplog.at_level(logging.WARNING):
        assert [rounds.settle(ledger, NOON_AT + after_s * S) for after_s in (18, 28, 35, 38, 48)] == [0, 0, 0, 1, 0]
    rounds.close()
    found = task(ledger, TASK)

    assert (found.task.state, found.task.settled_by, found.task.ended_at) == (State.LOST, "inferred", NOON_AT + 12 * S)
    assert found.runs[0].note == f"no heartbeat of its worker came any more; {said}"
    assert len(caplog.records) == (1 if backend in ("redis://127.0.0.1:1/0", "rpc://") else 0)


def test_an_answer_that_comes_late_replaces_what_was_inferred(ledger, sqlite_url, redis_url):
    """A result that turns up a minute after the run was called lost counts; the event, after it, counts more."""
    rounds = settling(sqlite_url, redis_url)
    rounds.settle(ledger, NOON_AT + 40 * S)
    assert task(ledger, TASK).task.state == State.LOST
    keep(redis_url, "FAILURE", {"exc_type": "KeyError", "exc_message": ["a"], "exc_module": "builtins"})
    rounds.settle(ledger, NOON_AT + 100 * S)
    assert (task(ledger, TASK).task.state, task(ledger, TASK).task.settled_by) == (State.FAILURE, "backend")
    assert task(ledger, TASK).task.exception == "KeyError: a"
    rounds.close()
    put(ledger, succeeded()[3])

    assert (task(ledger, TASK).task.state, task(ledger, TASK).task.settled_by) == (State.SUCCESS, None)
    assert task(ledger, TASK).task.exception is None


def test_a_process_that_is_heard_again_has_its_run_back(ledger, sqlite_url):
    """A worker that was silent for a minute and goes on was not lost: what was inferred is withdrawn."""
    rounds = settling(sqlite_url, None)
    rounds.settle(ledger, NOON_AT + 40 * S)
    put(ledger, raw("worker-heartbeat", NOON + 60, freq=2.0, active=1, processed=1))
    rounds.settle(ledger, NOON_AT + 61 * S)

    assert (task(ledger, TASK).task.state, task(ledger, TASK).settlements) == (State.STARTED, ())


def test_a_worker_that_runs_nothing_has_ended_its_run(ledger, sqlite_url):
    """When heartbeats say for twenty seconds that nothing runs, the run has ended, and nothing is claimed of how."""
    rounds, taken = settling(sqlite_url, None), []
    for at in range(12, 60, 2):
        put(ledger, raw("worker-heartbeat", NOON + at, freq=2.0, active=0, processed=1))
        if at % 8 == 4:
            taken.append(rounds.settle(ledger, NOON_AT + at * S))
    found = task(ledger, TASK)

    # At 12, 20, 28 and 36 s; after the third look twenty seconds have not passed yet.
    assert taken == [0, 0, 0, 1, 0, 0]
    assert (found.task.state, found.task.settled_by) == (State.IGNORED, "inferred")
    assert found.runs[0].note.startswith("its worker says that it runs nothing any more")


def test_after_a_worker_lost_its_broker_the_backend_is_asked_whatever_the_worker_says(ledger, sqlite_url, redis_url):
    """Celery 5.4 may go on to count as active what ended meanwhile; without an answer nothing is claimed."""
    told = {"freq": 2.0, "active": 1, "processed": 1}
    put(ledger, raw("worker-offline", NOON + 11, **told), raw("worker-online", NOON + 18, **told))
    put(ledger, *(raw("worker-heartbeat", NOON + at, **told) for at in range(20, 90, 2)))
    rounds = settling(sqlite_url, redis_url)

    assert [rounds.settle(ledger, NOON_AT + at * S) for at in (21, 31, 61, 85)] == [0, 0, 0, 0]
    assert task(ledger, TASK).task.state == State.STARTED
    keep(redis_url)
    assert rounds.settle(ledger, NOON_AT + 88 * S) == 1
    rounds.close()
    assert (task(ledger, TASK).task.state, task(ledger, TASK).task.settled_by) == (State.SUCCESS, "backend")


def test_a_worker_that_had_thousands_is_settled_at_once(ledger, sqlite_url):
    """More runs than one look takes in do not wait for the next round of the jobs."""
    number = MOST_SUSPECTS + 50
    waiting = [task_event("received", NOON + 9, uuid=f"id-{n}", name="x", retries=0) for n in range(number)]
    record(ledger, Batch("default", decoded(*waiting), received_at=NOON_AT + 9 * S))

    assert settling(sqlite_url, None).settle(ledger, NOON_AT + 60 * S) == number + 1
    assert settling(sqlite_url, None).settle(ledger, NOON_AT + 60 * S) == 0


def test_a_task_revoked_before_it_was_received_gets_its_name(ledger, sqlite_url, redis_url):
    """Name and arguments come from the backend, redacted; the state is the event's."""
    other = "00000000-0000-4000-8000-000000000001"
    put(ledger, task_event("revoked", NOON + 5, other, expired=True))
    meta = {"status": "REVOKED", "name": "shop.pay", "args": [1], "kwargs": {"password": "hunter2"}, "result": None}
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"celery-task-meta-{other}", json.dumps(meta))
    rounds = settling(sqlite_url, redis_url)
    rounds.settle(ledger, NOON_AT + 12 * S)
    rounds.close()
    found = task(ledger, other).task

    assert (found.name, found.args, found.state, found.settled_by) == ("shop.pay", "(1,)", State.REVOKED, None)
    assert "hunter2" not in found.kwargs

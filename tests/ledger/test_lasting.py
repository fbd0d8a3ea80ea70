"""Where the tasks of a moment are found: however long they lasted, and without looking at all tasks."""

import random

import pytest
from sqlalchemy import select
from stories import NOON, decoded, task_event

from taskledger.ledger import lasting, presence, schema
from taskledger.ledger.query import queues_at, running_at
from taskledger.ledger.record import Batch, record
from taskledger.ledger.retain import prune
from taskledger.retention import parse_retention

NOON_AT = round(NOON * 1e6)
SECOND = 1_000_000


def many(ledger, seed, begin_first):
    """Tasks that wait and run for anything between a second and a day; (id, sent, started, ended) of each."""
    rng = random.Random(seed)
    lives, told = [], []
    if begin_first:
        presence.begin(ledger, "r", "1", NOON_AT)
    for number in range(300):
        sent = rng.uniform(0, 86_400)
        started = sent + rng.choice((1, 30, 600, 5_000)) * rng.random()
        ended = started + rng.choice((1, 10, 400, 4_000, 40_000)) * rng.random()
        uuid = f"{number:08d}-0000-4000-8000-000000000000"
        about = {"name": "a.task", "args": "()", "kwargs": "{}", "root_id": uuid, "parent_id": None, "retries": 0}
        told.append(task_event("sent", NOON + sent, uuid, hostname="gen1@web", pid=1, queue="a", **about))
        told.append(task_event("received", NOON + started, uuid, **about))
        told.append(task_event("started", NOON + started, uuid))
        told.append(task_event("succeeded", NOON + ended, uuid, result="1", runtime=ended - started))
        lives.append((uuid, *(round((NOON + second) * SECOND) for second in (sent, started, ended))))
    told.sort(key=lambda event: event["timestamp"])
    for first in range(0, len(told), 100):
        chunk = decoded(*told[first : first + 100])
        record(ledger, Batch("default", chunk, received_at=chunk[-1].at))
    return lives


@pytest.mark.parametrize("begin_first", [True, False])
def test_tasks_that_last_are_found(ledger, begin_first):
    """However long before a task was sent, it is found as running and waiting; also in a ledger without marks."""
    lives = many(ledger, 5, begin_first)
    later_at = NOON_AT + 200_000 * SECOND
    for second in range(0, 100_000, 6_007):
        moment = NOON_AT + second * SECOND
        found = running_at(ledger, moment, later_at)
        assert {one.id for one in found.tasks} == {
            uuid for uuid, _, started, ended in lives if started <= moment < ended
        }
        rows = queues_at(ledger, moment, later_at).rows
        waiting = [sent for _, sent, started, _ in lives if sent <= moment < started]
        assert sum(row.waiting for row in rows) == len(waiting)
        assert [row.oldest_at for row in rows if row.waiting] == ([min(waiting)] if waiting else [])


def test_only_where_tasks_last_is_looked(ledger):
    """Beside the last minutes, only the very tasks are looked at that lasted over the moment; each has one mark."""
    lives = many(ledger, 5, begin_first=True)
    moment = NOON_AT + 50_000 * SECOND
    over = [(sent, ended) for _, sent, _, ended in lives if ended > (sent // lasting.STEP + 2) * lasting.STEP]
    with ledger.read() as connection:
        found = lasting.places(connection, moment)
        rows = connection.execute(schema.mark.select().where(schema.mark.c.name.like("lasting:%"))).all()

    ((from_at, to_at),) = found.ranges
    assert lasting.STEP <= moment - from_at < 2 * lasting.STEP
    assert to_at == moment + 1
    assert set(found.moments) == {sent for sent, ended in over if sent < from_at and ended > moment}
    assert len(rows) == len(over) > 20


@pytest.mark.parametrize("most", [0, 1])
def test_where_many_last_they_share_a_mark(ledger, monkeypatch, most):
    """Where more of a stretch last than have marks of their own, all of it is looked at; the answers are the same."""
    monkeypatch.setattr(lasting, "MOST_OWN", most)
    lives = many(ledger, 6, begin_first=True)
    with ledger.read() as connection:
        names_of = connection.scalars(select(schema.mark.c.name).where(schema.mark.c.name.like("lasting:%"))).all()
    assert any(name.count(":") == 1 for name in names_of)
    for second in range(0, 100_000, 9_001):
        moment = NOON_AT + second * SECOND
        found = running_at(ledger, moment, NOON_AT + 200_000 * SECOND)
        assert {one.id for one in found.tasks} == {one[0] for one in lives if one[2] <= moment < one[3]}


def test_marks_go_with_the_events_of_their_time(ledger):
    """Pruning removes the marks of tasks that it removes, and those alone."""
    many(ledger, 5, begin_first=True)
    names = select(schema.mark.c.name).where(schema.mark.c.name.like("lasting:%"))
    with ledger.read() as connection:
        before = connection.scalars(names).all()
    half_at = NOON_AT + 43_200 * SECOND
    prune(ledger, parse_retention("1d"), half_at + 86_400 * SECOND)
    with ledger.read() as connection:
        after = connection.scalars(names).all()

    kept = [name for name in before if int(name.split(":")[1]) >= half_at // lasting.STEP]
    assert sorted(after) == sorted(kept)
    assert 0 < len(after) < len(before)

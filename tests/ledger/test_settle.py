"""Settling in the ledger: which runs are suspects, and what becomes of their rows, on every database."""

from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select
from stories import NOON, TASK, decoded, raw, succeeded, task_event

from taskledger.ledger import presence, schema, settle
from taskledger.ledger.answers import Span
from taskledger.ledger.query import running_at, task, tasks
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.retain import prune
from taskledger.ledger.search import parse
from taskledger.lives import Sign
from taskledger.retention import Retention
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State

S = 1_000_000
UTC = ZoneInfo("UTC")
NOON_AT = round(NOON * 1e6)
STARTED_AT = NOON_AT + S // 2


def put(ledger, *events):
    """Each event is recorded at its own time, as by one clock."""
    for event in sorted(decoded(*events), key=lambda event: event.at):
        record(ledger, Batch("default", [event], received_at=event.at))


def beats(from_s, to_s, *, pid=100, host="w1@vm", **more):
    """A worker comes online and sends its heartbeats."""
    told = {"freq": 2.0, "active": 1, "processed": 1} | more
    online = raw("worker-online", NOON + from_s, pid=pid, hostname=host, **told)
    times = range(from_s + 2, to_s + 1, 2)
    return [online, *(raw("worker-heartbeat", NOON + at, pid=pid, hostname=host, **told) for at in times)]


def listened(ledger, until_s, from_s=-100, cause=None):
    recorder = presence.begin(ledger, "here", "1", NOON_AT)
    coverage = presence.listen(ledger, recorder, "default", "pub/sub", NOON_AT + from_s * S)
    position = Position(coverage, NOON_AT + until_s * S)
    if cause:
        presence.end(ledger, position, cause)
    else:
        presence.extend(ledger, position, recorder_id=recorder, seen_at=position.until_at, lag_s=None, recorded=0)


def signs(ledger, now_s):
    return [(one.task_id, one.run.number, one.sign) for one in settle.suspects(ledger, NOON_AT + now_s * S)]


def lost(**more):
    told = {"at": NOON_AT + 9 * S, "note": "no heartbeat"} | more
    return Settlement("w1@vm", STARTED_AT, SettledBy.INFERRED, NOON_AT + 30 * S, State.LOST, **told)


def rows(ledger, table):
    with ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_the_run_of_a_silent_worker_is_a_suspect(ledger):
    """As long as its worker beats nothing speaks against a run; when that is silent, it does."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    listened(ledger, 40)

    assert signs(ledger, 12) == []
    (one,) = settle.suspects(ledger, NOON_AT + 40 * S)
    assert (one.cluster, one.task_id, one.sign, one.is_covered, one.is_heard) == (
        "default", TASK, Sign.SILENT, True, True
    )  # fmt: skip
    assert (one.run.worker, one.run.started_at, len(one.runs)) == ("w1@vm", STARTED_AT, 1)


def test_what_a_lost_worker_was_at_is_told_for_a_day(ledger):
    """A run that was settled as lost is still told as what its worker was at, also beside its next delivery."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    listened(ledger, 200)
    settle.write(ledger, {("default", TASK): [lost()]})

    def left(second, worker="w1@vm"):
        found = running_at(ledger, NOON_AT + second * S, NOON_AT + 300_000 * S, worker=worker)
        return [(one.run, one.certainty, one.became) for one in (*found.tasks, *found.unknown, *found.lost)]

    assert left(5) == [(1, "running", State.LOST)]
    assert left(60) == left(86_000) == [(1, "lost", State.LOST)]
    assert left(86_500) == []

    put(ledger, *beats(20, 190, host="w2@vm", pid=200), *again("w2@vm", 200, 100))
    assert left(150) == [(1, "lost", State.LOST)]
    assert left(150, "w2@vm") == [(2, "running", State.STARTED)]


def again(host, pid, second):
    """The task is delivered once more, to another worker, and runs there."""
    told = {"hostname": host, "pid": pid}
    return task_event("received", NOON + second, **told), task_event("started", NOON + second + 1, **told)


def test_a_gap_in_the_coverage_is_noted(ledger):
    """Where nobody listened while the run went on, or since its worker's last sign, the suspect says so."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    listened(ledger, 3, cause="stopped")
    listened(ledger, 40, from_s=5)
    (broken,) = settle.suspects(ledger, NOON_AT + 40 * S)
    (unheard,) = settle.suspects(ledger, NOON_AT + 90 * S)
    listened(ledger, 200, from_s=100)
    (later,) = settle.suspects(ledger, NOON_AT + 190 * S)

    assert (broken.is_covered, broken.is_heard) == (False, True)
    assert unheard.is_heard is False
    assert (later.is_covered, later.is_heard) == (False, True)


def test_a_settled_run_is_closed_and_says_how_it_is_known(ledger):
    """What is written shows in task, run, search and detail; and it is no suspect any more."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    settle.write(ledger, {("default", TASK): [lost()]})
    found = task(ledger, TASK)
    (fact,) = found.settlements

    assert (found.task.state, found.task.ended_at, found.task.settled_by) == (State.LOST, NOON_AT + 9 * S, "inferred")
    assert [(run.state, run.settled_by, run.note) for run in found.runs] == [(State.LOST, "inferred", "no heartbeat")]
    assert (fact.settled_by, fact.state, fact.worker, fact.begun_at) == ("inferred", State.LOST, "w1@vm", STARTED_AT)
    assert signs(ledger, 40) == []
    span = Span(NOON_AT - S, NOON_AT + S)
    assert [row.id for row in tasks(ledger, parse("state:lost is:done", now_at=NOON_AT, zone=UTC), span).rows] == [TASK]
    assert tasks(ledger, parse("state:ended", now_at=NOON_AT, zone=UTC), span).rows == ()


def test_a_real_end_wins_when_it_comes_later(ledger):
    """The event that comes after all replaces what was settled; the fact stays to be seen, and is told no more."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    settle.write(ledger, {("default", TASK): [lost()]})
    put(ledger, succeeded()[3])
    found = task(ledger, TASK)

    assert (found.task.state, found.task.settled_by, found.task.result) == (State.SUCCESS, None, "'done'")
    assert (found.runs[0].settled_by, found.runs[0].note) == (None, None)
    assert len(found.settlements) == 1


def test_other_events_leave_what_was_settled(ledger):
    """A settled task that gets an event which ends nothing stays settled."""
    put(ledger, *succeeded()[1:3])
    settle.write(ledger, {("default", TASK): [lost()]})
    put(ledger, succeeded()[0])

    assert (task(ledger, TASK).task.state, task(ledger, TASK).task.queue) == (State.LOST, "billing")


def test_the_same_fact_again_changes_nothing(ledger):
    """Nothing that is known is overwritten by what is known no better."""
    put(ledger, *succeeded()[:3])
    settle.write(ledger, {("default", TASK): [lost()]})
    before = task(ledger, TASK)
    settle.write(ledger, {("default", TASK): [lost(note="another", at=NOON_AT + 99 * S)]})

    assert task(ledger, TASK) == before


def test_a_better_answer_replaces_what_was_inferred(ledger):
    """When the backend answers after all, its answer counts: what was inferred is looked at again for a while."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    listened(ledger, 40)
    settle.write(ledger, {("default", TASK): [lost()]})
    (one,) = settle.inferred(ledger, NOON_AT + 60 * S)
    answer = Settlement(
        "w1@vm", STARTED_AT, SettledBy.BACKEND, NOON_AT + 60 * S, State.SUCCESS, NOON_AT + 2 * S, True, result="7"
    )
    settle.write(ledger, {(one.cluster, one.task_id): [answer]})
    found = task(ledger, TASK)

    assert (found.task.state, found.task.result, found.task.runtime_s) == (State.SUCCESS, "7", 1.5)
    assert [fact.settled_by for fact in found.settlements] == ["backend", "inferred"]
    assert settle.inferred(ledger, NOON_AT + 60 * S) == []
    assert settle.inferred(ledger, NOON_AT + 10_000 * S) == []


def test_what_was_inferred_of_a_worker_that_comes_back_is_withdrawn(ledger):
    """A run that was called lost goes on when its process is heard again."""
    put(ledger, *beats(-10, 10), *succeeded()[:3])
    listened(ledger, 60)
    settle.write(ledger, {("default", TASK): [lost()]})
    put(ledger, raw("worker-heartbeat", NOON + 50, freq=2.0, active=1, processed=1))
    (one,) = settle.inferred(ledger, NOON_AT + 51 * S)
    assert one.sign == Sign.NONE
    settle.withdraw(ledger, [one])
    found = task(ledger, TASK)

    assert (found.task.state, found.task.settled_by, found.settlements) == (State.STARTED, None, ())


def test_a_run_left_open_beside_a_later_one_is_found(ledger):
    """A first delivery that never ended is a suspect although the second has ended the task; until it is settled."""
    again = {"hostname": "w2@vm", "pid": 200}
    put(
        ledger,
        *beats(-10, 10),
        *succeeded()[:3],
        task_event("received", NOON + 20, retries=0, **again),
        task_event("started", NOON + 21, **again),
        task_event("succeeded", NOON + 22, runtime=1.0, **again),
    )
    listened(ledger, 40)
    assert task(ledger, TASK).task.state == State.SUCCESS
    assert signs(ledger, 40) == [(TASK, 1, Sign.SILENT)]
    settle.write(ledger, {("default", TASK): [lost()]})

    assert [run.state for run in task(ledger, TASK).runs] == [State.LOST, State.SUCCESS]
    assert task(ledger, TASK).task.settled_by is None
    assert (signs(ledger, 40), rows(ledger, schema.left_open)) == ([], 0)


def test_tasks_without_a_name(ledger):
    """A task that was revoked before it was received is asked about for ten minutes, and its name is kept."""
    put(ledger, task_event("revoked", NOON, expired=True))
    assert settle.nameless(ledger, NOON_AT + 60 * S) == [("default", TASK)]
    assert settle.nameless(ledger, NOON_AT + 700 * S) == []
    about = Settlement(None, None, SettledBy.BACKEND, NOON_AT, name="never.heard", args="(1,)", kwargs="{}")
    settle.write(ledger, {("default", TASK): [about]})
    found = task(ledger, TASK).task

    assert (found.name, found.args, found.state, found.settled_by) == ("never.heard", "(1,)", State.REVOKED, None)
    assert settle.nameless(ledger, NOON_AT + 60 * S) == []


def test_tasks_that_were_sent_before_a_gap(ledger):
    """Of a task that was sent and never heard of again others are asked only where nobody listened since."""
    put(ledger, succeeded()[0])
    listened(ledger, 5, cause="stopped")
    assert settle.unheard(ledger, NOON_AT + 6 * S) == []
    listened(ledger, 100, from_s=60)

    assert settle.unheard(ledger, NOON_AT + 100 * S) == [("default", TASK)]
    whole = Settlement("w9@vm", None, SettledBy.BACKEND, NOON_AT, State.SUCCESS, NOON_AT + 30 * S, result="7")
    settle.write(ledger, {("default", TASK): [whole]})
    found = task(ledger, TASK).task
    assert (found.state, found.worker, found.settled_by) == (State.SUCCESS, "w9@vm", "backend")


def test_facts_go_with_their_task(ledger):
    """What is pruned takes along what was settled of it."""
    put(ledger, *succeeded()[:3])
    settle.write(ledger, {("default", TASK): [lost()]})
    pruned = prune(ledger, Retention(default_s=60.0), NOON_AT + 3600 * S)

    assert (pruned.tasks, pruned.settlements, rows(ledger, schema.settlement)) == (1, 1, 0)


@pytest.mark.parametrize("text", ["\x00 nul", "x" * 100_000, "\ud800 lone"])
def test_any_text_can_be_settled(ledger, text):
    """What a backend keeps may be any text: it is written in a form that every database holds."""
    put(ledger, *succeeded()[:3])
    fact = Settlement(
        "w1@vm", STARTED_AT, SettledBy.BACKEND, 1, State.FAILURE, exception=text, traceback=text, note=text
    )
    settle.write(ledger, {("default", TASK): [fact]})

    assert task(ledger, TASK).task.state == State.FAILURE

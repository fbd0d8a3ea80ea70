"""What speaks against a run that events left open, and what may be said of it then."""

import pytest

from taskledger.lives import Life, Sign, begun_at, life_of, sign_of
from taskledger.orphans import GRACE_S, OFFLINE_GRACE_S, Found, Suspect, by_backend, by_inference
from taskledger.runs import Run
from taskledger.settlements import SettledBy
from taskledger.states import State
from taskledger.workers import Session

S = 1_000_000
#: when the run began
AT = 1_000 * S


def run(
    number=1, state=State.STARTED, *, pid=100, received_at=AT, started_at=AT, ended_at=None, worker="w1@vm", **more
):
    made = Run(number, state, worker, pid, 0, None, received_at, started_at, ended_at, None, None, None, None, None)
    return made._replace(**more)


def session(first_at, last_at, pid=100, **more):
    told = {"online_at": first_at, "heartbeat_at": last_at, "freq_s": 2.0, "processed_from": 0, "processed": 3}
    return Session(pid, first_at, last_at, **(told | more))


def sign(sessions, now_at, one=None, open_runs=1):
    one = one or run()
    life = life_of(sessions, one)
    return None if life is None else sign_of(one, life, now_at, open_runs)


def suspect(one=None, sign=Sign.SILENT, runs=None, *, is_covered=True, is_heard=True, **life):
    one = one or run()
    told = {"heard_at": AT + 10 * S, "freq_s": 2.0, "lag_ms": 0, "heartbeat_at": AT + 10 * S} | life
    return Suspect("default", "t", one, runs or (one,), Life(**told), sign, is_covered, is_heard)


ALIVE = session(AT - 60 * S, AT + 20 * S, active=1)


@pytest.mark.parametrize(
    ("sessions", "now_s", "expected"),
    [
        pytest.param([ALIVE], 21, Sign.NONE, id="it beats"),
        pytest.param([ALIVE], 25, Sign.NONE, id="two heartbeats late"),
        pytest.param([ALIVE], 27, Sign.SILENT, id="more than three missing"),
        pytest.param([session(AT - S, AT + 5 * S, offline_at=AT + 5 * S)], 12, Sign.OFFLINE, id="goodbye"),
        pytest.param([ALIVE, session(AT + 30 * S, AT + 40 * S, 200)], 41, Sign.REPLACED, id="another pid after it"),
        pytest.param(
            [ALIVE, session(AT + 30 * S, AT + 40 * S)],
            41,
            Sign.REPLACED,
            id="the same pid, counting from 0: a container",
        ),
        pytest.param(
            [ALIVE, session(AT + 30 * S, AT + 40 * S, processed_from=3, active=1)],
            41,
            Sign.INTERRUPTED,
            id="it lost its broker meanwhile",
        ),
        pytest.param(
            [session(AT - 60 * S, AT - 30 * S), session(AT - 9 * S, AT + 20 * S, processed_from=3, active=1)],
            21,
            Sign.NONE,
            id="it lost its broker before",
        ),
        pytest.param(
            [session(AT - S, AT + 20 * S, active=1), session(AT + S, AT + 20 * S, 200)], 21, Sign.NONE, id="a namesake"
        ),
        pytest.param([session(AT - S, AT + 20 * S, active=0)], 21, Sign.IDLE, id="it runs nothing"),
        pytest.param([session(AT - S, AT + 4 * S, active=0)], 5, Sign.NONE, id="a heartbeat too soon after the start"),
        pytest.param([session(AT + 9 * S, AT + 20 * S, 200, active=1)], 30, Sign.REPLACED, id="only another, later"),
        pytest.param([session(AT - 9 * S, AT - S, 200)], 30, None, id="only another, before: nothing is known"),
        pytest.param([], 30, None, id="never heard of"),
        pytest.param([session(AT - S, AT + 20 * S, lag_ms=60_000, active=1)], 81, Sign.NONE, id="its clock is slow"),
    ],
)
def test_signs_of_a_process(sessions, now_s, expected):
    """A run is under suspicion by what its own process tells or does not tell any more, and not by anybody else's."""
    assert sign(sessions, AT + now_s * S) == expected


def test_a_worker_that_runs_fewer_than_events_left_open():
    """With one active of two that are open nobody can say which has ended: both are asked about."""
    assert sign([ALIVE], AT + 21 * S, open_runs=2) == Sign.FEWER


def test_a_worker_that_lost_its_broker_gives_back_what_it_had_not_begun():
    """What was only received is void once its worker announced itself again; what had begun goes on."""
    sessions = [ALIVE, session(AT + 30 * S, AT + 40 * S, processed_from=3, active=1)]
    waiting = run(state=State.RECEIVED, started_at=None)

    assert sign(sessions, AT + 41 * S, waiting) == Sign.RECONNECTED
    assert sign([ALIVE], AT + 21 * S, waiting) == Sign.NONE


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("SUCCESS", State.SUCCESS),
        ("FAILURE", State.FAILURE),
        ("REVOKED", State.REVOKED),
        ("STARTED", None),
        ("PENDING", None),
        ("PROGRESS", None),
        ("RETRY", State.RETRY),
    ],
)
def test_what_a_backend_says_of_the_only_run(status, state):
    """An end is this run's; STARTED, as after Ignore, and states of a project's own are no answer."""
    fact = by_backend(suspect(), Found(status, done_at=AT + 3 * S, result="7"), AT + 30 * S)

    assert (fact and fact.state) == state
    if fact:
        assert (fact.settled_by, fact.worker, fact.begun_at) == (SettledBy.BACKEND, "w1@vm", AT)
        assert (fact.at, fact.is_exact, fact.result) == (AT + 3 * S, True, "7")


def test_a_time_that_cannot_be_is_not_told():
    """An end before the start, as by a database without zones, is taken as an end, by the last sign at the latest."""
    fact = by_backend(suspect(), Found("SUCCESS", done_at=AT - 3600 * S), AT + 30 * S)

    assert (fact.state, fact.at, fact.is_exact) == (State.SUCCESS, AT + 10 * S, False)
    assert by_backend(suspect(run(received_at=AT * 100, started_at=AT * 100)), Found("SUCCESS", AT), AT * 101) is None


FIRST = run(1, pid=100)
SECOND = run(2, pid=200, worker="w2@vm", received_at=AT + 20 * S, started_at=AT + 21 * S)


@pytest.mark.parametrize(
    ("one", "found", "is_answer"),
    [
        pytest.param(FIRST, Found("SUCCESS", AT + 5 * S), True, id="ended before the second began"),
        pytest.param(FIRST, Found("SUCCESS", AT + 30 * S), False, id="may be the second's"),
        pytest.param(FIRST, Found("SUCCESS", AT + 30 * S, "w1@vm"), True, id="names its worker"),
        pytest.param(FIRST, Found("SUCCESS", AT + 30 * S, "w2@vm"), False, id="names the other's"),
        pytest.param(SECOND, Found("SUCCESS", AT + 30 * S), True, id="the last run, after its start"),
        pytest.param(SECOND, Found("SUCCESS", AT + 5 * S), False, id="the last run, but the first one's end"),
        pytest.param(SECOND, Found("SUCCESS"), False, id="without a time"),
        pytest.param(SECOND, Found("RETRY"), False, id="a retry of who knows which"),
        pytest.param(SECOND, Found("RETRY", None, None, 0), True, id="a retry that counts"),
    ],
)
def test_a_backend_keeps_one_answer_for_all_runs(one, found, is_answer):
    """What is kept of a task that was delivered twice is an answer only for the run that it can be of."""
    fact = by_backend(suspect(one, runs=(FIRST, SECOND), heard_at=AT + 25 * S), found, AT + 60 * S)

    assert (fact is not None) is is_answer


@pytest.mark.parametrize(
    ("one", "state"),
    [
        pytest.param(suspect(), State.LOST, id="silent"),
        pytest.param(suspect(sign=Sign.REPLACED), State.LOST, id="replaced"),
        pytest.param(suspect(is_heard=False), None, id="silent, but nobody listened"),
        pytest.param(suspect(is_covered=False), State.IGNORED, id="gone, and its end may not have been recorded"),
        pytest.param(suspect(heartbeat_at=None), None, id="a worker that sends no heartbeats"),
        pytest.param(suspect(sign=Sign.IDLE), State.IGNORED, id="idle"),
        pytest.param(
            suspect(sign=Sign.IDLE, runs=(run(), run(2, retries=1))), State.RETRY, id="a later attempt was received"
        ),
        pytest.param(suspect(sign=Sign.FEWER), None, id="which of them is not known"),
        pytest.param(suspect(sign=Sign.INTERRUPTED), None, id="its worker says that it runs it"),
        pytest.param(suspect(run(state=State.RECEIVED, started_at=None)), State.CANCELLED, id="never begun"),
        pytest.param(
            suspect(run(state=State.RECEIVED, started_at=None), is_covered=False), None, id="may have begun unseen"
        ),
    ],
)
def test_what_is_inferred(one, state):
    """Lost is what was running when its process ended; where that does not follow, less is said, or nothing."""
    fact = by_inference(one, AT + 700 * S, AT, "nobody was asked")

    assert (fact and fact.state) == state
    if fact:
        assert fact.settled_by == SettledBy.INFERRED
        assert fact.note.endswith("; nobody was asked")
        assert len(fact.note) <= 255


@pytest.mark.parametrize(
    ("one", "grace_s"),
    [
        pytest.param(suspect(), 6 + GRACE_S, id="silent"),
        pytest.param(suspect(heartbeat_at=AT - S), 6 + GRACE_S + 15, id="no heartbeat since it began: maybe solo"),
        pytest.param(suspect(sign=Sign.IDLE), GRACE_S, id="idle"),
        pytest.param(suspect(sign=Sign.OFFLINE), OFFLINE_GRACE_S, id="a warm shutdown finishes what runs"),
    ],
)
def test_nothing_is_inferred_before_its_time(one, grace_s):
    """An event or an answer may still come: how long that is waited for depends on what is known."""
    assert by_inference(one, AT + round((grace_s - 0.1) * S), AT, "") is None
    assert by_inference(one, AT + round((grace_s + 0.1) * S), AT, "") is not None


def test_begun_at_needs_a_worker_that_told():
    """A run of which only the end is known has no begin."""
    with pytest.raises(ValueError, match="no worker"):
        begun_at(run(received_at=None, started_at=None))

"""Facts that did not come as events: they fill what events left open, and nothing else, in whatever order they come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import NOON, TASK, TRACEBACK, decoded, retried_twice, succeeded, task_event

from taskledger.settlements import SettledBy, Settlement
from taskledger.states import ENDS, State
from taskledger.tasks import project

NOON_AT = round(NOON * 1e6)
S = 1_000_000
STARTED_AT = NOON_AT + S // 2
STARTED = decoded(*succeeded()[:3])


def fact(state=State.LOST, by=SettledBy.INFERRED, begun_at=STARTED_AT, worker="w1@vm", **more):
    return Settlement(worker, begun_at, by, more.pop("known_at", NOON_AT + 60 * S), state, **more)


def test_a_lost_run_is_an_end():
    """What was running when its worker's life ended is lost: an end, with its moment, and how it is known."""
    task = project(TASK, STARTED, settlements=[fact(at=NOON_AT + 9 * S, note="no heartbeat")])
    (run,) = task.runs

    assert (task.state, task.ended_at, task.settled_by) == (State.LOST, NOON_AT + 9 * S, SettledBy.INFERRED)
    assert (run.state, run.settled_by, run.note, run.runtime_s) == (State.LOST, 3, "no heartbeat", None)
    assert State.LOST.is_end
    assert State.IGNORED.is_end


def test_the_backends_answer_is_told_as_an_event_would_be():
    """A success that the backend kept has its result and time, a failure its exception and group."""
    done = fact(State.SUCCESS, SettledBy.BACKEND, at=NOON_AT + 2 * S, is_exact=True, result="7")
    error = fact(State.FAILURE, SettledBy.BACKEND, exception="ValueError('invalid')", traceback=TRACEBACK)
    good, bad = (project(TASK, STARTED, settlements=[one]) for one in (done, error))

    assert (good.state, good.result, good.runtime_s, good.settled_by) == (State.SUCCESS, "7", 1.5, SettledBy.BACKEND)
    assert (bad.state, bad.exception) == (State.FAILURE, "ValueError: invalid card for customer 7215")
    assert bad.runs[0].failure.frame == "proj.py:35 in charge"


@pytest.mark.parametrize("kind", ENDS)
def test_a_real_event_wins_whenever_it_comes(kind):
    """Whatever was settled of a run, its own end replaces it; only the mark stays that something was settled."""
    end = task_event(kind.removeprefix("task-"), NOON + 2, exception="E()", runtime=1.5)
    story = [*STARTED, *decoded(end)]
    facts = [fact(at=NOON_AT), fact(State.FAILURE, SettledBy.BACKEND, exception="wrong()", result="wrong")]

    assert project(TASK, story, settlements=facts) == project(TASK, story)._replace(settled_by=0)


def test_the_better_known_fact_counts():
    """What a backend kept beats what a worker said, and that beats what was inferred; of two alike the first known."""
    backend, asked, inferred = (fact(by=by, note=by.name) for by in SettledBy)
    later = fact(by=SettledBy.BACKEND, known_at=NOON_AT + 90 * S, note="later")

    for facts in itertools.permutations([backend, asked, inferred, later]):
        assert project(TASK, STARTED, settlements=facts).runs[0].note == "BACKEND"
    assert project(TASK, STARTED, settlements=[inferred, asked]).runs[0].note == "INSPECT"


def test_a_fact_is_about_one_run():
    """Of a task that was delivered again only the run of that worker and moment is lost; the other ends by itself."""
    again = [
        task_event("received", NOON + 60, hostname="w2@vm", pid=9, retries=0),
        task_event("started", NOON + 61, hostname="w2@vm", pid=9),
    ]
    end = task_event("succeeded", NOON + 70, hostname="w2@vm", pid=9, runtime=9.0)
    going_on = project(TASK, [*STARTED, *decoded(*again)], settlements=[fact(at=NOON_AT + 2 * S)])
    ended = project(TASK, [*STARTED, *decoded(*again, end)], settlements=[fact(at=NOON_AT + 2 * S)])

    assert [run.state for run in going_on.runs] == [State.LOST, State.STARTED]
    assert (going_on.state, going_on.settled_by) == (State.STARTED, 0)
    assert [run.settled_by for run in ended.runs] == [SettledBy.INFERRED, None]
    assert (ended.state, ended.settled_by) == (State.SUCCESS, 0)


def test_a_new_process_of_the_same_worker_has_runs_of_its_own():
    """Delivered again to a worker that was restarted under its name, the task ends in the run of the new process."""
    again = [task_event(kind, NOON + n, pid=200, retries=0) for n, kind in enumerate(("received", "started"), 60)]
    end = task_event("succeeded", NOON + 70, pid=200, runtime=9.0)
    task = project(TASK, [*STARTED, *decoded(*again, end)])

    assert [(run.pid, run.state) for run in task.runs] == [(100, State.STARTED), (200, State.SUCCESS)]


def test_what_follows_from_not_having_begun_is_void_once_it_has():
    """A run that was called given up, because it had not begun, is running when its start turns up."""
    received_at = NOON_AT + S // 4
    given_up = fact(State.CANCELLED, begun_at=received_at)

    assert project(TASK, STARTED[:2], settlements=[given_up]).state == State.CANCELLED
    assert project(TASK, STARTED, settlements=[given_up]).state == State.STARTED


def test_a_second_run_that_was_lost_takes_nothing_from_a_success():
    """A task that succeeded and was delivered once more, to a worker that died with it, has succeeded."""
    again = [task_event(kind, NOON + n, hostname="w2", retries=0) for n, kind in enumerate(("received", "started"), 60)]
    lost = fact(begun_at=NOON_AT + 61 * S, worker="w2", at=NOON_AT + 65 * S)
    task = project(TASK, decoded(*succeeded(), *again), settlements=[lost])

    assert [run.state for run in task.runs] == [State.SUCCESS, State.LOST]
    assert (task.state, task.settled_by) == (State.SUCCESS, 0)


def test_names_and_arguments_come_from_the_backend_where_no_event_says_them():
    """Of a task that was revoked before it was received the backend knows name and arguments; events count first."""
    about = Settlement(None, None, SettledBy.BACKEND, 1, name="billing.charge", args="(1,)", kwargs="{}")
    revoked = decoded(task_event("revoked", NOON, expired=True, terminated=False))
    unnamed, named = project(TASK, revoked, settlements=[about]), project(TASK, STARTED, settlements=[about])

    assert (unnamed.name, unnamed.args, unnamed.kwargs) == ("billing.charge", "(1,)", "{}")
    assert (unnamed.state, unnamed.settled_by) == (State.REVOKED, 0)
    assert (named.name, named.args) == ("billing.charge", "(4187,)")


def test_the_end_of_a_task_that_nobody_heard_of_since_it_was_sent():
    """Where no run was ever seen, the backend's end makes one; as soon as an event tells of a run it is gone."""
    whole = Settlement("w9@vm", None, SettledBy.BACKEND, 1, State.SUCCESS, NOON_AT + S, result="7")
    task = project(TASK, STARTED[:1], settlements=[whole])

    assert (task.state, task.worker, task.result, task.settled_by) == (State.SUCCESS, "w9@vm", "7", SettledBy.BACKEND)
    assert project(TASK, STARTED, settlements=[whole]).state == State.STARTED


def facts_of(story):
    """Facts about any of the runs of this story, about the task as a whole, and about no run at all."""
    moments = [event.at for event in story if event.type in ("task-received", "task-started")]
    return st.builds(
        Settlement,
        st.sampled_from(["w1@vm", "w2@vm", None]),
        st.sampled_from([*moments, NOON_AT + 17, None]),
        st.sampled_from(SettledBy),
        st.integers(1, 9),
        st.sampled_from([*State, None]),
        st.sampled_from([None, NOON_AT + 3 * S]),
        st.booleans(),
        st.sampled_from(["a.b", None]),
        note=st.sampled_from(["this", "that", None]),
    )


def unlike(facts):
    """The ledger keeps one fact of a kind about a run."""
    return list({(one.worker, one.begun_at, one.settled_by): one for one in facts}.values())


@given(st.data())
def test_any_order_of_events_and_facts_gives_one_answer(data):
    """Shuffled and repeated, part of a retried task's events and any facts about it make one task."""
    story = decoded(*retried_twice())
    part = data.draw(st.lists(st.sampled_from(story), min_size=1, unique_by=lambda event: event.id))
    facts = unlike(data.draw(st.lists(facts_of(story), max_size=5)))
    told, known = data.draw(st.permutations(part + part[:2])), data.draw(st.permutations(facts + facts[:2]))

    assert project(TASK, told, settlements=known) == project(TASK, part, settlements=facts)


@given(st.data())
def test_facts_change_no_run_that_events_closed(data):
    """Whatever is settled, each run that ended by its events is as the events have it."""
    story = decoded(*retried_twice())
    part = data.draw(st.lists(st.sampled_from(story), min_size=1, unique_by=lambda event: event.id))
    facts = data.draw(st.lists(facts_of(story), max_size=5))
    plain, filled = project(TASK, part), project(TASK, part, settlements=facts)

    told = [run for run in plain.runs if run.state not in (State.RECEIVED, State.STARTED)]
    assert [run for run in filled.runs if run.number in {run.number for run in told}] == told

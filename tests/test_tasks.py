"""The projection of a task: right for real stories, and the same for any order and repetition of their events."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import NOON, TASK, decoded, failed, raw, retried_twice, succeeded, task_event

from taskledger.runs import AT_ONCE
from taskledger.states import ENDS, State
from taskledger.tasks import _in_order, _searched, _straight, fold, project
from taskledger.texts import MAX_TEXT_CHARS, cut, moment, text

NOON_AT = round(NOON * 1e6)


def made(*events):
    return project(TASK, decoded(*events))


def test_the_usual_life():
    """Sent, received, started, succeeded: one run, with all its times, where it was sent to and what came out."""
    task = made(*succeeded())
    (run,) = task.runs

    assert (task.state, task.name, task.queue, task.routing_key) == (State.SUCCESS, "billing.charge", "billing", "bill")
    assert (task.worker, task.client, task.result) == ("w1@vm", "gen7@web", "'done'")
    assert (task.first_at, task.sent_at, task.received_at) == (NOON_AT, NOON_AT, NOON_AT + 250_000)
    assert (task.started_at, task.ended_at) == (NOON_AT + 500_000, NOON_AT + 1_500_000)
    assert (task.wait_s, task.runtime_s, task.events) == (0.5, 0.875, 4)
    assert (run.number, run.state, run.retries, run.sent_at) == (1, State.SUCCESS, 0, NOON_AT)


def test_what_beat_sent_waits_under_its_name():
    """Of a task that only beat's probe told of, its name and since when it waits are known; later events add to it."""
    told = raw("beat-sent", NOON - 0.5, uuid=TASK, task="billing.charge", entry="nightly", hostname="gen9@beat")

    waiting, done = made(told), made(told, *succeeded()[1:])

    assert (waiting.state, waiting.name, waiting.sent_at) == (State.PENDING, "billing.charge", NOON_AT - 500_000)
    assert (waiting.client, waiting.runs) == ("gen9@beat", ())
    assert (done.state, done.sent_at, done.runs[0].sent_at) == (State.SUCCESS, NOON_AT - 500_000, NOON_AT - 500_000)
    assert done.wait_s == 1.0
    assert made(told, *succeeded()).sent_at == NOON_AT


def test_a_failure_carries_its_class_message_and_measured_time():
    """A failed run has exception, traceback and a run time, although Celery's event has none."""
    task = made(*failed())
    (run,) = task.runs

    assert (task.state, task.exception, task.runtime_s) == (
        State.FAILURE,
        "ValueError: invalid card for customer 7215",
        1.0,
    )
    assert run.failure is not None
    assert (run.failure.cls, run.failure.frame) == ("ValueError", "proj.py:35 in charge")


def test_a_retried_task_is_one_task_with_a_run_for_each_attempt():
    """Two retries and a failure: three runs with their own times, errors and counts; and it is not its own parent."""
    task = made(*retried_twice())

    assert [run.state for run in task.runs] == [State.RETRY, State.RETRY, State.FAILURE]
    assert [run.retries for run in task.runs] == [0, 1, 2]
    assert [run.exception for run in task.runs] == [
        "ConnectionError: gateway 0",
        "ConnectionError: gateway 1",
        "KeyError: 'template'",
    ]
    assert [run.sent_at for run in task.runs] == [NOON_AT + 10_000_000 * attempt for attempt in range(3)]
    assert (task.state, task.retries, task.parent_id) == (State.FAILURE, 2, None)


def test_any_order_of_a_seven_event_story_is_one_task():
    """All 5,040 orders of seven events of a retried task end in one answer."""
    story = decoded(*retried_twice()[:7])
    expected = project(TASK, story)

    assert all(project(TASK, order) == expected for order in itertools.permutations(story))


def test_ten_thousand_shuffles():
    """Ten thousand shuffles of a retried task's events, some of them twice or three times, end in one answer."""
    chance = random.Random(2611)
    story = decoded(*retried_twice())
    expected = project(TASK, story)
    for _ in range(10_000):
        told = [event for event in story for _ in range(chance.randint(1, 3))]
        chance.shuffle(told)
        assert project(TASK, told) == expected


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_repeated_and_shuffled_events_change_nothing(data):
    """Folding any shuffle of a story, each event up to three times, gives the same task."""
    story = decoded(*retried_twice())
    shuffled = data.draw(st.permutations([event for event in story for _ in range(data.draw(st.integers(1, 3)))]))
    task, known = project(TASK, shuffled[:1]), shuffled[:1]
    for event in shuffled[1:]:
        task = fold(task, known, event)
        known.append(event)

    assert task == project(TASK, story)


def test_a_retry_that_waits_is_in_retry():
    """Between a retry and its next start the task is in RETRY, although the worker holds the next attempt already."""
    waiting = made(*retried_twice()[:6])

    assert [run.state for run in waiting.runs] == [State.RETRY, State.RECEIVED]
    assert (waiting.state, waiting.ended_at) == (State.RETRY, None)


def test_a_quick_retry_that_ends_before_its_predecessor_is_told():
    """Where the second attempt succeeds before the worker tells of the first one's retry, each run has its own end."""
    about = {"name": "mail.send", "args": "()", "kwargs": "{}"}
    task = made(
        task_event("received", NOON, retries=0, **about),
        task_event("started", NOON + 0.01),
        task_event("received", NOON + 0.03, retries=1, **about),
        task_event("started", NOON + 0.04),
        task_event("succeeded", NOON + 0.05, result="1", runtime=0.001),
        task_event("retried", NOON + 0.06, exception="ConnectionError('gateway')"),
    )

    assert [(run.retries, run.state) for run in task.runs] == [(0, State.RETRY), (1, State.SUCCESS)]
    assert task.state == State.SUCCESS


def test_two_retries_at_once_say_that_nobody_knows_which_is_whose():
    """Where two attempts that were both followed end at once, their order is a guess, and both runs say so."""
    about = {"name": "mail.send", "args": "()", "kwargs": "{}"}
    told = [task_event("received", NOON, retries=0, **about), task_event("started", NOON + 0.01)]
    for attempt in (1, 2):
        told += [
            task_event("received", NOON + attempt / 10, retries=attempt, **about),
            task_event("started", NOON + attempt / 10 + 0.01),
        ]
    ends = [task_event("retried", NOON + 0.3 + n / 100, exception=f"OSError('{n}')") for n in (1, 2)]
    task = made(*told, *ends, task_event("failed", NOON + 0.4, exception="OSError('3')"))

    assert [run.state for run in task.runs] == [State.RETRY, State.RETRY, State.FAILURE]
    assert [run.note for run in task.runs] == [AT_ONCE, AT_ONCE, None]


def test_a_redelivery_is_another_run():
    """The same message received and started on a second worker: two runs of the task, retries 0 in both."""
    again = [
        task_event("received", NOON + 60, hostname="w2@vm", name="billing.charge", retries=0),
        task_event("started", NOON + 61, hostname="w2@vm"),
    ]
    task = made(*succeeded()[:3], *again, task_event("succeeded", NOON + 70, hostname="w2@vm", runtime=9.0))

    assert [(run.worker, run.state) for run in task.runs] == [("w1@vm", State.STARTED), ("w2@vm", State.SUCCESS)]
    assert (task.state, task.worker) == (State.SUCCESS, "w2@vm")


def test_a_waiting_redelivery_does_not_hide_that_the_first_run_ended():
    """A second delivery that only waits leaves the state that the first run reached since."""
    waiting = task_event("received", NOON + 1, hostname="w2@vm", retries=0)
    task = made(*succeeded(), waiting)

    assert [run.state for run in task.runs] == [State.SUCCESS, State.RECEIVED]
    assert task.state == State.SUCCESS


def test_a_failure_announced_twice_is_one_run():
    """Celery 5.7 sends task-failed twice for a hard time limit: one failed run."""
    again = task_event("failed", NOON + 1.6, exception="ExceptionWithTraceback()", traceback="TimeLimitExceeded: 3\n")
    task = made(*failed(), again)

    assert [run.state for run in task.runs] == [State.FAILURE]
    assert task.events == 5


def test_revoked_before_it_was_received():
    """An expired task announces only task-revoked: a run that was never started, with the reason, name unknown."""
    task = made(task_event("revoked", NOON, terminated=False, signum=None, expired=True))
    (run,) = task.runs

    assert (task.state, task.name) == (State.REVOKED, None)
    assert (run.started_at, run.note) == (None, "expired")


def test_rejected_says_whether_it_comes_back():
    """A rejection is an end of its run, with the note that the broker has it again."""
    task = made(*succeeded()[:3], task_event("rejected", NOON + 2, requeue=True))

    assert (task.state, task.runs[0].note) == (State.REJECTED, "requeued")


def test_cancelled_is_no_end_of_the_task():
    """task-cancelled closes the run; the broker will deliver the task again."""
    task = made(*succeeded()[:3], task_event("cancelled", NOON + 2))

    assert (task.state, task.ended_at, task.runs[0].ended_at) == (State.CANCELLED, None, NOON_AT + 2_000_000)


def test_only_unknown_types_make_a_task_of_unknown_state():
    """A task of which only custom events were seen is known, and its state is not."""
    assert made(raw("task-progress", uuid=TASK)).state == State.UNKNOWN


def test_a_clock_that_runs_ahead_gives_no_negative_wait():
    """A client whose clock is ahead of the worker's: the wait is 0, and the state is still the run's."""
    ahead = succeeded()[0] | {"timestamp": NOON + 30}
    task = made(ahead, *succeeded()[1:])

    assert (task.state, task.wait_s) == (State.SUCCESS, 0.0)


def test_the_eta_of_a_retry_is_not_the_tasks():
    """A retried task that was not scheduled has no ETA, and waited as long as its first attempt did."""
    again = task_event("received", NOON + 3, retries=1, eta="2026-11-21T12:05:00+00:00", expires=None)
    task = made(*succeeded()[:3], task_event("retried", NOON + 2, exception="E()"), again)

    assert (task.eta_at, task.wait_s) == (None, 0.5)


def test_the_wait_of_a_scheduled_task_begins_at_its_eta():
    """What was sent for later did not wait before its ETA."""
    eta = "2026-11-21T12:00:00.400000+00:00"

    assert made(*succeeded(eta=eta)).wait_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-11-21T12:00:00+00:00", NOON_AT),
        ("2026-11-21T13:00:00+01:00", NOON_AT),
        ("2026-11-21T12:00:00", NOON_AT),
        ("tomorrow", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
        (7, None),
        ("x" * 100, None),
    ],
)
def test_etas_are_read_in_any_zone(value, at):
    """An ISO time with or without an offset is a moment; anything else is unknown."""
    assert moment(value) == at


#: what the events of a story may say, and leave out
SAID = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a.b", "", None, 7]),
        "args": st.sampled_from(["[1]", None, 5]),
        "kwargs": st.just("{}"),
        "queue": st.sampled_from(["q", None]),
        "eta": st.sampled_from(["2026-03-14T12:00:05+00:00", None, "soon"]),
        "expires": st.just("2026-03-14T13:00:00+00:00"),
        "retries": st.sampled_from([0, 1, None, True]),
        "parent_id": st.sampled_from(["p", "", TASK]),
        "root_id": st.just("r"),
        "runtime": st.sampled_from([0.5, -1, True, "x"]),
        "result": st.sampled_from(["'r'", None]),
        "pid": st.sampled_from([7, 2**40]),
    },
)
KINDS = st.sampled_from(["sent", "received", "started", "succeeded", *(kind.removeprefix("task-") for kind in ENDS)])


@settings(max_examples=400)
@given(
    st.one_of(
        st.lists(st.tuples(KINDS, st.booleans(), SAID), min_size=1, max_size=5),
        st.tuples(SAID, SAID, SAID, SAID).map(
            lambda said: [
                (kind, False, one) for kind, one in zip(("sent", "received", "started", "succeeded"), said, strict=True)
            ]
        ),
    )
)
def test_a_straight_story_is_told_as_any_other(kinds):
    """Where a story counts as a first attempt that goes straight on, the way that tells any story tells it so too."""
    story = _in_order(
        decoded(
            *(
                task_event(kind, NOON + n, hostname="w2" if other else "w1", **said)
                for n, (kind, other, said) in enumerate(kinds)
            )
        )
    )
    straight = _straight(TASK, story)

    assert straight is None or straight == _searched(TASK, story, None)
    assert _straight(TASK, decoded(*succeeded())) is not None


@given(st.text(st.characters()))
def test_every_text_can_be_written_to_every_database(value):
    """After `text` a string has no NUL and no lone surrogate."""
    clean = text(value)

    assert clean is not None
    assert "\x00" not in clean
    assert clean.encode().decode() == clean


def test_a_long_text_is_cut_in_the_middle_with_a_mark():
    """Of an endless argument the start and the end are kept, and the mark says how much is missing."""
    short = cut("a" * 100_000 + "end")

    assert short is not None
    assert len(short) <= MAX_TEXT_CHARS
    assert "characters cut by taskledger" in short
    assert short.endswith("aend")


def test_no_run_goes_on_across_a_cut():
    """Where events in the middle are left out, an end after the cut does not close a run from before it."""
    early = [task_event("received", NOON, retries=0), task_event("started", NOON + 1)]
    late = [task_event("received", NOON + 100, retries=9), task_event("started", NOON + 101)]
    end = task_event("retried", NOON + 102, exception="E()")
    task = project(TASK, decoded(*early, *late, end), cut_at=NOON_AT + 50_000_000)

    assert [(run.retries, run.state) for run in task.runs] == [(0, State.STARTED), (9, State.RETRY)]
    assert (task.state, task.runs[0].note) == (State.RETRY, "what came after it is left out")


def test_a_task_needs_an_event():
    """No event, no task."""
    with pytest.raises(ValueError, match="at least one event"):
        project(TASK, [])

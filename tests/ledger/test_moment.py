"""The state as of any moment, from the ledger alone, on every database: the scripted incident of tests/incident.py."""

from contextlib import ExitStack

import incident
import pytest
import services
from incident import NAMES, RAN, TASKS, at
from stories import NOON, TASK, decoded, raw, task_event

from taskledger.ledger import migrate, open_ledger, presence
from taskledger.ledger.answers import Span
from taskledger.ledger.query import (
    count_tasks,
    facets,
    heard_at,
    histogram,
    queues_at,
    running_at,
    task,
    tasks,
    workers_at,
)
from taskledger.ledger.record import Batch, record
from taskledger.ledger.search import parse
from taskledger.runs import until
from taskledger.states import State
from taskledger.tasks import project

NOW = at(incident.END_S - 1)
NOON_AT = round(NOON * 1e6)
SECOND = 1_000_000
#: moments between all events of the incident that tell of tasks, before, in and after the gap
MOMENTS = (50, 99.2, 99.7, 105, 150, 250, 305, 320, 495, 600, 700.5, 701.5, 705, 765, 780, 1200, 1500.5, 1505, 1700)
MOMENTS += (2050, 2095, 2200, 2500, 3000.9, 3001.5, 3500, 4500)
WHOLE = Span(at(-3600), at(incident.END_S))


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def happened(request, tmp_path_factory):
    """A ledger that was told the incident, on each database, once: questions change nothing."""
    folder = tmp_path_factory.mktemp("incident")
    with ExitStack() as stack:
        is_file = request.param == "sqlite"
        url = f"sqlite:///{folder / 'l.sqlite3'}" if is_file else stack.enter_context(services.database(request.param))
        migrate.upgrade(url)
        ledger = stack.enter_context(open_ledger(url))
        incident.tell(ledger)
        yield ledger


def names(found):
    return sorted(NAMES[one.id] for one in found)


def running(ledger, second, **which):
    found = running_at(ledger, at(second), NOW, **which)
    return names(found.tasks), names(found.unknown), names(found.lost)


def test_what_was_running_on_a_worker_at_a_moment(happened):
    """Which tasks were running on worker X at a moment: right for each worker where somebody listened before."""
    asked = (50, 99.9, 100, 105, 110, 200, 305, 400, 495, 600, 702, 759, 900.5, 1000, 1505, 3001.5, 3999.9, 4000)
    for worker, ran in RAN.items():
        for second in asked:
            truth = sorted({name for name, begin, end in ran if begin <= second < end})
            assert (worker, second, running(happened, second, worker=f"{worker}@vm")[0]) == (worker, second, truth)


def test_what_was_running_anywhere_and_by_queue(happened):
    """Without a worker all of them are meant; a queue narrows; a worker or a queue that never was runs nothing."""
    assert running(happened, 705) == (["doomed", "long"], [], [])
    assert running(happened, 705, queue="reports") == (["long"], [], [])
    assert running(happened, 705, worker="w9@vm") == running(happened, 705, queue="nowhere") == ([], [], [])


def test_a_run_says_which_one_it_is_and_what_became_of_it(happened):
    """Each answer names task, worker, queue, number and beginning of the run, and how that is known to have ended."""
    (second,) = running_at(happened, at(495), NOW, worker="w2@vm").tasks
    (long,) = running_at(happened, at(705), NOW, worker="w1@vm").tasks

    assert (second.name, second.worker, second.queue, second.run) == ("shop.retried", "w2@vm", "mail", 2)
    assert (second.started_at, second.ended_at, second.became) == (at(490), at(500), State.SUCCESS)
    assert (long.started_at, long.ended_at, long.certainty) == (at(200), at(4000), "running")


def test_a_killed_worker_runs_nothing_for_ever(happened):
    """What a killed worker was at was running until then; afterwards it is lost with the worker, last heard of then."""
    assert running(happened, 759)[0] == ["doomed", "long"]
    for second in (770, 2000, 2500, 4999):
        found = running_at(happened, at(second), NOW, worker="w2@vm")
        assert (names(found.tasks), names(found.unknown), names(found.lost)) == ([], [], ["doomed"])
        assert found.lost[0].last_sign_at == at(759)


def test_in_a_gap_only_what_is_proven_is_said(happened):
    """Where nobody listened, a run that ended later was running, one without an end may have been."""
    assert running(happened, 2050) == (["long", "open"], [], ["doomed"])
    assert running(happened, 2200) == (["long"], ["open"], ["doomed"])
    assert [one.is_heard for one in heard_at(happened, at(2200), NOW)] == [False]
    assert heard_at(happened, at(2200), NOW)[0].cause == "stopped"


def test_after_a_gap_the_heartbeats_tell_what_is_over(happened):
    """A run whose end fell into the gap is over once its worker counts none that are active, whoever heard its end."""
    assert running(happened, 2500) == (["long"], [], ["doomed"])
    (heard,) = heard_at(happened, at(2500), NOW)
    assert (heard.is_heard, heard.since_at) == (True, at(2400))


def test_before_the_first_recording_nothing_is_known(happened):
    """A moment before anybody listened is answered with that, and so is one that is still to come."""
    for second in (-100, 6000):
        (heard,) = heard_at(happened, at(second), NOW)
        assert (second, heard.is_heard, heard.since_at) == (second, False, None)
    assert running(happened, -100) == ([], [], [])
    assert workers_at(happened, at(-100), NOW).rows == ()


@pytest.mark.parametrize(
    ("second", "statuses"),
    [
        (50, ("online", "online", "online")),
        (759, ("online", "online", "online")),
        (770, ("online", "lost", "online")),
        (2099, ("online", "lost", "online")),
        (2200, ("online", "unknown", "online")),
        (2500, ("online", "lost", "online")),
    ],
)
def test_workers_stood_as_they_did(happened, second, statuses):
    """A worker heard before and after was online; one killed was lost; in the gap it may have come back unheard."""
    found = {row.name: row for row in workers_at(happened, at(second), NOW).rows}

    assert tuple(found[f"{worker}@vm"].status for worker in ("w1", "w2", "w3")) == statuses
    assert found["w2@vm"].since_at == (at(0) if second < 760 else at(759))


def test_a_worker_says_what_its_last_heartbeat_said(happened):
    """Active, processed and load are those of the last heartbeat before the moment; no session goes on after it."""
    (row,) = workers_at(happened, at(705.5), NOW, name="w2@vm").rows

    assert (row.last_heartbeat_at, row.active, row.processed, row.loadavg) == (at(705), 1, 3, (0.5, 0.4, 0.3))
    assert [(one.pid, one.first_at, one.last_at) for one in row.sessions] == [(102, at(0), at(705.5))]
    assert [one.name for one in row.running] == ["shop.doomed"]


def queues(ledger, second):
    rows = queues_at(ledger, at(second), NOW).rows
    return {row.name: (row.waiting, row.reserved, row.scheduled, row.running, row.unknown) for row in rows}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (50, {}),
        (99.2, {"mail": (1, 0, 0, 0, 0)}),
        (99.7, {"mail": (1, 1, 0, 0, 0)}),
        (320, {"mail": (0, 0, 1, 0, 0), "reports": (0, 0, 0, 1, 0)}),
        (705, {"mail": (1, 1, 0, 1, 0), "reports": (0, 0, 0, 1, 0)}),
        (765, {"mail": (1, 1, 0, 1, 0), "reports": (1, 0, 0, 1, 0)}),
        (780, {"mail": (1, 1, 0, 0, 0), "reports": (1, 0, 1, 1, 0)}),
        (2095, {"mail": (2, 1, 0, 0, 0), "reports": (0, 0, 1, 2, 0)}),
        (2200, {"mail": (0, 0, 0, 0, 2), "reports": (0, 0, 1, 1, 1)}),
        (3000.9, {"mail": (0, 0, 0, 0, 2), "reports": (1, 1, 0, 1, 0)}),
    ],
)
def test_queues_at_a_moment(happened, second, expected):
    """Queue by queue: waiting, reserved of those, scheduled, running; what a gap leaves open is not known."""
    assert queues(happened, second) == expected


def test_the_oldest_waiting_since(happened):
    """The oldest waits since it was sent, or since its ETA came."""
    rows = {row.name: row.oldest_at for row in queues_at(happened, at(780), NOW).rows}
    later = {row.name: row.oldest_at for row in queues_at(happened, at(3000.9), NOW).rows}

    assert (rows["reports"], rows["mail"]) == (at(760), at(700))
    assert later["reports"] == at(3000)


def test_a_list_shows_each_task_as_it_was(happened):
    """At every moment a list has the tasks heard of by then, each in the state that its events until then say."""
    told = {}
    for event in decoded(*incident.events()):
        if event.task_id is not None:
            told.setdefault(event.task_id, []).append(event)
    for second in MOMENTS:
        rows = {row.id: row for row in tasks(happened, None, WHOLE, at=at(second), limit=50).rows}
        assert set(rows) == {task_id for task_id, events in told.items() if events[0].at <= at(second)}
        for task_id, row in rows.items():
            then = project(task_id, [event for event in told[task_id] if event.at <= at(second)])
            for name in (
                "state",
                "sent_at",
                "received_at",
                "started_at",
                "ended_at",
                "runtime_s",
                "worker",
                "exception",
            ):
                assert (second, NAMES[task_id], name, getattr(row, name)) == (
                    second,
                    NAMES[task_id],
                    name,
                    getattr(then, name),
                )


STATES = "sent received running retrying succeeded failed"


@pytest.mark.parametrize("second", [320, 705, 1200, 2200, 4500])
def test_a_search_counts_and_finds_states_as_they_were(happened, second):
    """List, count, facets and histogram of a search as of a moment agree with the states that the rows have then."""
    rows = tasks(happened, None, WHOLE, at=at(second), limit=50).rows
    counted = {facet.value: facet.number for facet in facets(happened, None, WHOLE, at=at(second))["state"]}
    for word in STATES.split():
        where = parse(f"state:{word}", now_at=at(second), zone=None)
        found = tasks(happened, where, WHOLE, at=at(second), limit=50).rows
        assert [row.id for row in found] == [row.id for row in rows if row in found]
        state = next(iter(row.state.name for row in found), None)
        assert (word, len(found)) == (word, counted.get(state, 0))
        assert count_tasks(happened, where, WHOLE, at=at(second)).number == len(found)
    bars = histogram(happened, None, WHOLE, at=at(second))
    assert sum(bar.succeeded + bar.failed + bar.other for bar in bars) == len(rows) == sum(counted.values())
    assert sum(bar.succeeded for bar in bars) == counted.get("SUCCESS", 0)


def test_a_search_knows_nothing_of_what_came_later(happened):
    """Workers, exceptions, tries and results of a later time are not found as of an earlier one."""
    for query, early, late in (
        ("worker:w2@vm", 299.2, 301),
        ("exc:KeyError", 305, 311),
        ("retries:>0", 305, 495),
        ("has:result", 105, 111),
        ("runtime:>9s", 105, 111),
        ("finished:-10s", 105, 111),
    ):
        where = [parse(query, now_at=at(second), zone=None) for second in (early, late)]
        found = [
            tasks(happened, each, WHOLE, at=at(second)).rows for each, second in zip(where, (early, late), strict=True)
        ]
        assert (query, [len(rows) for rows in found]) == (query, [0, 1])


def test_a_run_of_a_worker_that_began_anew_is_over(ledger):
    """Once its worker has another process, a run without an end is neither running nor told of any more."""
    presence_from(ledger, -10, 500)
    record_all(
        ledger,
        raw("worker-online", NOON, pid=100, freq=2.0),
        *(raw("worker-heartbeat", NOON + second, pid=100, freq=2.0, active=1) for second in range(1, 100, 2)),
        task_event("started", NOON + 50),
        raw("worker-online", NOON + 200, pid=200, freq=2.0),
        *(raw("worker-heartbeat", NOON + second, pid=200, freq=2.0, active=0) for second in range(201, 400, 2)),
    )
    now_at = NOON_AT + 4000 * SECOND
    answers = [running_at(ledger, NOON_AT + second * SECOND, now_at) for second in (60, 150, 300)]

    assert [(len(one.tasks), len(one.unknown), len(one.lost)) for one in answers] == [(1, 0, 0), (0, 0, 1), (0, 0, 0)]


def ignoring(started, counts):
    """Runs without an end that start at these seconds, and what the worker counts in each of its heartbeats."""
    yield raw("worker-online", NOON, pid=100, freq=2.0)
    for number, second in enumerate(started):
        yield task_event("started", NOON + second, f"{number:08d}-0000-4000-8000-000000000000")
    for second in range(1, 100, 2):
        active = next(active for until_s, active in counts if second < until_s)
        yield raw("worker-heartbeat", NOON + second, pid=100, freq=2.0, active=active, processed=1)


@pytest.mark.parametrize(
    ("counts", "answer"),
    [
        (((100, 2),), (["0", "1"], [])),
        (((100, 3),), (["0", "1"], [])),
        (((30, 1), (40, 0), (100, 1)), (["1"], [])),
        (((40, 1), (100, 1)), ([], ["0", "1"])),
        (((60, 2), (100, 0)), ([], [])),
    ],
)
def test_heartbeats_count_what_runs(ledger, counts, answer):
    """Of two runs without an end those go on that the worker counts; if it cannot be told which, neither is known."""
    presence_from(ledger, -10, 500)
    record_all(ledger, *ignoring((10, 40.5), counts))

    found = running_at(ledger, NOON_AT + 90 * SECOND, NOON_AT + 4000 * SECOND)

    assert tuple([one.id[7] for one in part] for part in (found.tasks, found.unknown)) == answer
    assert found.lost == ()


def test_of_two_processes_by_one_name_each_counts_its_own(ledger):
    """A heartbeat of another process of the same name says nothing about a run."""
    presence_from(ledger, -10, 500)
    record_all(
        ledger,
        task_event("started", NOON + 10, pid=100),
        *(raw("worker-heartbeat", NOON + second, pid=100, freq=2.0, active=1) for second in range(1, 100, 2)),
        *(raw("worker-heartbeat", NOON + second, pid=200, freq=2.0, active=0) for second in range(2, 101, 2)),
    )

    assert len(running_at(ledger, NOON_AT + 50 * SECOND, NOON_AT + 4000 * SECOND).tasks) == 1


def test_a_run_delivered_again_while_it_ran(ledger):
    """Of two deliveries that ran at once, the one that took longer was running after the other had ended."""
    presence_from(ledger, -10, 500)
    about = {"name": "a.task", "args": "()", "kwargs": "{}", "root_id": None, "parent_id": None, "retries": 0}
    long = [
        (kind, at_s, {"hostname": "w1@vm"}) for kind, at_s in (("received", 0), ("started", 1), ("succeeded", 9_000))
    ]
    short = [(kind, at_s, {"hostname": "w2@vm"}) for kind, at_s in (("received", 3600), ("started", 3601))]
    short.append(("succeeded", 4000, {"hostname": "w2@vm"}))
    record_all(ledger, *(task_event(kind, NOON + at_s, **about | fields) for kind, at_s, fields in [*long, *short]))

    found = [
        [one.worker for one in running_at(ledger, NOON_AT + second * SECOND, NOON_AT + 90_000 * SECOND).tasks]
        for second in (3000, 3700, 8000, 9000)
    ]

    assert found == [["w1@vm"], ["w1@vm", "w2@vm"], ["w1@vm"], []]


def test_now_is_not_heard_once_the_recorder_has_stopped(happened):
    """Now is a moment like any other: after the last recording nobody listens, and what was open is not known."""
    now_at = at(incident.END_S + 600)
    (heard,) = heard_at(happened, now_at, now_at)
    found = running_at(happened, now_at, now_at)

    assert (heard.is_heard, heard.cause) == (False, "stopped")
    assert (names(found.tasks), names(found.unknown), names(found.lost)) == ([], [], ["doomed"])
    assert {row.status for row in workers_at(happened, now_at, now_at).rows} == {"unknown"}


def test_only_clusters_that_are_recorded_are_in_question(ledger):
    """A cluster counts as unheard from its first recording until a week after its last; its runs are known as ever."""
    day = 86_400
    for cluster, begin, end in (("old", 0, day), ("new", 5 * day, 20 * day)):
        recorder = presence.begin(ledger, "r", "1", NOON_AT + begin * SECOND)
        row = presence.listen(ledger, recorder, cluster, "counted loss", NOON_AT + begin * SECOND)
        presence.end(ledger, presence.Position(row, NOON_AT + end * SECOND), "stopped")

    def asked(when):
        return [
            (one.cluster, one.is_heard)
            for one in heard_at(ledger, NOON_AT + when * SECOND, NOON_AT + 30 * day * SECOND)
        ]

    assert asked(day / 2) == [("old", True)]
    assert asked(3 * day) == [("old", False)]
    assert asked(6 * day) == [("new", True), ("old", False)]
    assert asked(10 * day) == [("new", True)]
    assert asked(-day) == [("new", False), ("old", False)]


def test_a_run_whose_start_nobody_heard(ledger):
    """Where the start was lost, the runtime that its end tells says since when it ran."""
    presence_from(ledger, -10, 500)
    about = {"name": "a.task", "args": "()", "kwargs": "{}", "root_id": None, "parent_id": None, "retries": 0}
    record_all(
        ledger, task_event("received", NOON, **about), task_event("succeeded", NOON + 100, result="1", runtime=60.0)
    )

    found = [
        len(running_at(ledger, NOON_AT + second * SECOND, NOON_AT + 400 * SECOND).tasks) for second in (30, 41, 99)
    ]

    assert found == [0, 1, 1]
    assert task(ledger, TASK).runs[0].started_at is None


def presence_from(ledger, begin, end):
    recorder = presence.begin(ledger, "r", "1", NOON_AT + begin * SECOND)
    row = presence.listen(ledger, recorder, "default", "counted loss", NOON_AT + begin * SECOND)
    presence.end(ledger, presence.Position(row, NOON_AT + end * SECOND), "stopped")


def record_all(ledger, *events):
    made = decoded(*events)
    record(ledger, Batch("default", made, received_at=max(event.at for event in made)))


def test_runs_until_a_moment():
    """A run is as it was: what came later is taken from it, and one that had not begun is not there."""
    (event,) = [
        project(TASKS["retried"][0], [one for one in decoded(*incident.events()) if one.task_id == TASKS["retried"][0]])
    ]
    then = {
        second: [(run.number, run.state, run.ended_at) for run in until(event.runs, at(second))]
        for second in (299, 305, 400, 495, 600)
    }

    assert then == {
        299: [],
        305: [(1, State.STARTED, None)],
        400: [(1, State.RETRY, at(310)), (2, State.RECEIVED, None)],
        495: [(1, State.RETRY, at(310)), (2, State.STARTED, None)],
        600: [(1, State.RETRY, at(310)), (2, State.SUCCESS, at(500))],
    }

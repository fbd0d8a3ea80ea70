"""What events left open, or told twice: workers killed in mid-task, with a result backend and without one; retries."""

import signal
import time
from contextlib import ExitStack
from functools import partial

import celery
import pytest
from crew import crew, until
from sqlalchemy import func, select

from taskledger.ledger import Ledger, migrate, open_ledger, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.query import task
from taskledger.ledger.query.failures import failure_groups
from taskledger.states import State

#: seconds within which a run must be closed
PROMISED_S = 60.0

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


def listening(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return bool(connection.scalar(select(func.count()).select_from(schema.coverage)))


def state_of(ledger: Ledger, task_id: str) -> State | None:
    found = task(ledger, task_id)
    return found.task.state if found else None


def is_in(ledger: Ledger, task_id: str, state: State) -> bool:
    return state_of(ledger, task_id) == state


def runs_of(ledger: Ledger, task_id: str):
    found = task(ledger, task_id)
    return found.runs if found else ()


@pytest.fixture
def stage(redis_url, sqlite_url, tmp_path):
    with crew(redis_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        yield run, ledger


def begin(run, ledger, *names: str, **environ: str) -> None:
    """The recorder listens, and these workers are up."""
    run.environ |= environ
    run.record()
    until(lambda: listening(ledger), f"the recorder listens:\n{run.log('record')}", 30)
    for name in names:
        run.worker(name)
    run.workers_are_up(len(names))


def test_a_worker_killed_in_mid_task_leaves_a_lost_run(redis_url, rabbitmq_url, tmp_path):
    """After SIGKILL the run is closed within a minute as lost, and says that this is inferred, and who was asked."""
    # Two crews at once, because both wait for the same silence.
    scenes = {
        "the result backend has no end of it": (redis_url, {"PROJ_BACKEND": redis_url}),
        "no result backend is known": (rabbitmq_url, {}),
    }
    with ExitStack() as stack:
        killed = {}
        for number, (asked, (broker, environ)) in enumerate(scenes.items()):
            folder = tmp_path / str(number)
            folder.mkdir()
            migrate.upgrade(f"sqlite:///{folder}/ledger.sqlite3")
            ledger = stack.enter_context(open_ledger(f"sqlite:///{folder}/ledger.sqlite3"))
            run = stack.enter_context(crew(broker, f"sqlite:///{folder}/ledger.sqlite3", folder))
            begin(run, ledger, "w1", **environ)
            task_id = run.task("slow", 1, "order", 300)
            until(partial(is_in, ledger, task_id, State.STARTED), "the task runs", 30)
            time.sleep(3)
            run.stop("w1", signal.SIGKILL)
            killed[asked] = (ledger, task_id, time.time_ns() // 1000)

        for asked, (ledger, task_id, killed_at) in killed.items():
            until(partial(is_in, ledger, task_id, State.LOST), "the run is lost", PROMISED_S)

            found = task(ledger, task_id)
            assert found.task.settled_by == found.runs[0].settled_by == "inferred"
            assert found.runs[0].note == f"no heartbeat of its worker came any more; {asked}"
            # Its end is put where its next heartbeat would have come; one comes every two seconds.
            assert abs(found.task.ended_at - killed_at) < 3_000_000


def test_a_task_that_is_delivered_again_has_its_second_run_to_itself(rabbitmq_url, sqlite_url, tmp_path):
    """With acks_late the broker gives a killed task to another worker: the first run is lost, the second succeeds."""
    with crew(rabbitmq_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        begin(run, ledger, "w1", "w2", PROJ_ACKS_LATE="yes")
        task_id = run.task("slow", 1, "order", 8)
        until(lambda: state_of(ledger, task_id) == State.STARTED, "the task runs", 30)
        time.sleep(3)
        run.stop(runs_of(ledger, task_id)[0].worker.partition("@")[0], signal.SIGKILL)

        expected = [State.LOST, State.SUCCESS]
        until(lambda: [one.state for one in runs_of(ledger, task_id)] == expected, "both runs are closed", PROMISED_S)

        first, second = runs_of(ledger, task_id)
        assert (first.settled_by, second.settled_by) == ("inferred", None)
        assert first.worker != second.worker
        assert (task(ledger, task_id).task.state, task(ledger, task_id).task.settled_by) == (State.SUCCESS, None)


def test_a_task_that_ends_without_a_word_does_not_run_for_ever(stage):
    """After Ignore the task is closed within a minute, and nothing is claimed of how it ended."""
    run, ledger = stage
    begin(run, ledger, "w1")
    task_id = run.task("ignored", 1, "order")
    until(lambda: state_of(ledger, task_id) == State.STARTED, "the task began", 30)

    until(lambda: state_of(ledger, task_id) == State.IGNORED, "it is closed", PROMISED_S)

    assert runs_of(ledger, task_id)[0].note.startswith("its worker says that it runs nothing any more")


def test_an_expired_task_gets_its_name_from_the_backend(stage, redis_url):
    """Of a task that expired before it was received no event says the name; with result_extended the backend does."""
    run, ledger = stage
    begin(run, ledger, "w1", PROJ_BACKEND=redis_url, PROJ_SENT_EVENT="no")
    task_id = run.task("ok", 1, "order-7", expires=-1.0)
    until(lambda: state_of(ledger, task_id) == State.REVOKED, "it is revoked", 30)

    until(lambda: task(ledger, task_id).task.name is not None, "its name is known", PROMISED_S)

    found = task(ledger, task_id)
    assert (found.task.name, found.task.args) == ("proj.ok", "(1, 'order-7')")
    assert [(fact.settled_by, fact.state) for fact in found.settlements] == [("backend", None)]


def test_a_worker_that_is_busy_is_asked_which_tasks_it_still_has(rabbitmq_url, sqlite_url, tmp_path):
    """Of two that a worker had begun one goes on; the other ended without a word, as the worker says when asked."""
    with crew(rabbitmq_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        begin(run, ledger, "w1")
        busy, ended = run.task("slow", 1, "order", 300), run.task("ignored", 1, "order")
        until(lambda: state_of(ledger, ended) == State.STARTED, "both began", 30)

        until(lambda: state_of(ledger, ended) == State.IGNORED, "it is closed", PROMISED_S)

        assert (state_of(ledger, busy), task(ledger, ended).task.settled_by) == (State.STARTED, "inspect")


def test_retries_are_runs_and_a_hard_time_limit_is_one_failure(stage):
    """A task retried three times is one with four runs, each with its times, exception and worker; the task that was
    killed for its time limit failed once, although Celery 5.7 says so twice (celery/worker/request.py, on_timeout).
    """
    run, ledger = stage
    begin(run, ledger, "w1")
    retried, overdue = run.task("retry_thrice", 1, "order"), run.task("slow", 1, "order", 300, time_limit=1)
    for task_id in (retried, overdue):
        until(partial(is_in, ledger, task_id, State.FAILURE), "it has failed", 30)
    if celery.__version__ >= "5.7":
        until(lambda: number_of(ledger, overdue, "task-failed") == 2, "Celery has said it twice", 30)

    runs = runs_of(ledger, retried)
    assert [one.state for one in runs] == [State.RETRY] * 3 + [State.FAILURE]
    assert [one.exception for one in runs] == [f"ConnectionError: gateway timeout {n} for order" for n in range(4)]
    assert {one.worker for one in runs} == {"w1@vm"}
    moments = [at for one in runs for at in (one.started_at, one.ended_at)]
    assert moments == sorted(moments)
    assert all(one.received_at <= one.started_at for one in runs)
    (killed,) = runs_of(ledger, overdue)
    assert killed.exception.startswith("TimeLimitExceeded")
    assert killed.started_at < killed.ended_at
    groups = failure_groups(ledger, Span(killed.started_at - 60_000_000, killed.ended_at + 60_000_000))
    assert sorted((group.task_name, group.number) for group in groups) == [("proj.retry_thrice", 1), ("proj.slow", 1)]


def number_of(ledger: Ledger, task_id: str, kind: str) -> int:
    """How many events of that type there are of the task."""
    mine = (schema.event.c.task_id == task_id, schema.label.c.value == kind)
    with ledger.read() as connection:
        with_type = schema.event.join(schema.label, schema.label.c.id == schema.event.c.type_id)
        return connection.scalar(select(func.count()).select_from(with_type).where(*mine))

"""The named questions, on every database."""

from itertools import pairwise

import pytest
from stories import NOON, TASK, decoded, failed, raw, retried_twice, succeeded, task_event

from taskledger.ledger import migrate
from taskledger.ledger.answers import Span
from taskledger.ledger.kept import add_note, delete_view, notes, save_view, views
from taskledger.ledger.presence import begin, extend, listen
from taskledger.ledger.query import (
    count_tasks,
    facets,
    failure_group,
    failure_groups,
    histogram,
    stats,
    task,
    tasks,
    tasks_like,
    worker,
    workers,
)
from taskledger.ledger.record import Batch, Position, record
from taskledger.states import State

NOON_AT = round(NOON * 1e6)
S = 1_000_000
DAY = Span(NOON_AT - 3600 * S, NOON_AT + 23 * 3600 * S)


def put(ledger, *events):
    record(ledger, Batch("default", decoded(*events), received_at=NOON_AT))


def uuid_of(number):
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture
def hundred(ledger):
    """A hundred tasks, one a second; every tenth failed; pairs share their moment."""
    events = [event for n in range(100) for event in (failed if n % 10 == 0 else succeeded)(NOON + n // 2, uuid_of(n))]
    put(ledger, *events)
    return ledger


def pages(ledger, span, **how):
    """Every page from the newest to the oldest."""
    cursor = None
    while True:
        page = tasks(ledger, None, span, after=cursor, **how)
        yield page
        cursor = page.older
        if cursor is None:
            return


def test_pages_show_every_task_once_newest_first(hundred):
    """Walking the cursors down shows each task exactly once, in one order, though many share a moment."""
    rows = [row for page in pages(hundred, DAY, limit=7) for row in page.rows]

    assert len({row.id for row in rows}) == len(rows) == 100
    assert [row.first_at for row in rows] == sorted((row.first_at for row in rows), reverse=True)


def test_walking_up_shows_the_same_pages(hundred):
    """From any page, `newer` leads to the page before it, row for row."""
    down = list(pages(hundred, DAY, limit=9))
    for upper, lower in pairwise(down):
        assert tasks(hundred, None, DAY, before=lower.newer, limit=9).rows == upper.rows
    assert (down[0].newer, down[-1].older) == (None, None)


def test_a_span_is_half_open(hundred):
    """A task at the first moment of a span is in it, one at the last is not."""
    span = Span(NOON_AT, NOON_AT + S)

    assert count_tasks(hundred, None, span).number == 2


def test_counts_stop_at_the_cap(hundred):
    """Up to the cap a count is exact, above it says so."""
    assert (count_tasks(hundred, None, DAY).number, count_tasks(hundred, None, DAY).is_exact) == (100, True)
    assert (count_tasks(hundred, None, DAY, cap=30).number, count_tasks(hundred, None, DAY, cap=30).is_exact) == (
        30,
        False,
    )


def test_facets_count_states_names_queues_and_workers(hundred):
    """The values of a span with how many tasks have them."""
    found = facets(hundred, None, DAY)

    assert {facet.value: facet.number for facet in found["state"]} == {"SUCCESS": 90, "FAILURE": 10}
    assert [(facet.value, facet.number) for facet in found["task"]] == [("billing.charge", 100)]
    assert [(facet.value, facet.number) for facet in found["queue"]] == [("billing", 100)]
    assert [(facet.value, facet.number) for facet in found["worker"]] == [("w1@vm", 100)]


def test_the_histogram_holds_every_task_once(hundred):
    """The bars of a span cover it without a hole, and add up to its tasks."""
    bars = histogram(hundred, None, DAY, bars=96)

    assert (sum(bar.succeeded for bar in bars), sum(bar.failed for bar in bars)) == (90, 10)
    assert [bar.to_at for bar in bars[:-1]] == [bar.from_at for bar in bars[1:]]
    assert (bars[0].from_at, bars[-1].to_at) == (DAY.from_at, DAY.to_at)


def test_a_task_that_is_not_there_is_none(ledger):
    """An id that the ledger never heard gives None, whatever it looks like."""
    assert [task(ledger, odd) for odd in (TASK, "", "\x00", "x" * 300, "\ud800")] == [None] * 5


def test_a_family_is_found_from_each_member(ledger):
    """Root, parent and children are listed on each other's pages, the root first and never the task itself."""
    root, child, grandchild = uuid_of(1), uuid_of(2), uuid_of(3)
    put(ledger, *succeeded(NOON, root), *succeeded(NOON + 1, child, root_id=root, parent_id=root))
    put(ledger, *succeeded(NOON + 2, grandchild, root_id=root, parent_id=child), *succeeded(NOON, uuid_of(9)))
    families = {one: [member.id for member in task(ledger, one).family] for one in (root, child, grandchild)}

    assert families == {root: [child, grandchild], child: [root, grandchild], grandchild: [root, child]}
    assert (task(ledger, grandchild).parent_id, task(ledger, grandchild).root_id) == (child, root)


def test_ids_are_found_by_their_beginning(hundred):
    """The first digits of an id find its task; what is no beginning of an id finds nothing."""
    assert [row.id for row in tasks_like(hundred, "00000000-0000-4000-8000-00000000004")] == [
        uuid_of(n) for n in range(49, 39, -1)
    ]
    assert tasks_like(hundred, "zz") == ()


def test_failures_are_grouped(ledger):
    """Failures of one kind are one group: count, times, workers, queues, newest example; retries are not counted."""
    put(ledger, *failed(NOON, uuid_of(1)), *failed(NOON + 60, uuid_of(2)), *retried_twice(NOON, uuid_of(3)))
    newest, other = failure_groups(ledger, DAY)

    assert (newest.title, newest.number, newest.example_id) == (
        "ValueError: invalid card for customer *",
        2,
        uuid_of(2),
    )
    assert (newest.task_name, newest.frame, newest.queues) == ("billing.charge", "proj.py:35 in charge", ("billing",))
    assert (newest.first_at, newest.last_at, newest.workers) == (NOON_AT + 1_500_000, NOON_AT + 61_500_000, 1)
    assert (sum(newest.trend), len(newest.trend)) == (2, 24)
    assert (other.title, other.number) == ("KeyError: 'template'", 1)
    assert failure_group(ledger, newest.fingerprint, DAY) == newest


@pytest.mark.parametrize(("text", "number"), [("CUSTOMER", 1), ("charge", 1), ("mail.send", 1), ("100%", 0), ("_", 0)])
def test_failures_are_found_by_text(ledger, text, number):
    """Groups are found by their title, frame or task name, whatever the case; % and _ are letters."""
    put(ledger, *failed(NOON, uuid_of(1)), *retried_twice(NOON, uuid_of(3)))

    assert len(failure_groups(ledger, DAY, text=text)) == number


@pytest.mark.parametrize("odd", ["", "zz", "00", "'"])
def test_a_group_that_is_none(ledger, odd):
    """A key that is no fingerprint gives None."""
    assert failure_group(ledger, odd, DAY) is None


def listening(ledger, from_at, until_at):
    recorder_id = begin(ledger, "r", "1", from_at)
    position = Position(listen(ledger, recorder_id, "default", "counted loss", from_at), until_at)
    extend(ledger, position, recorder_id=recorder_id, seen_at=until_at, lag_s=0.0, recorded=0)


def test_a_silent_worker_is_lost_only_where_somebody_listened(ledger):
    """Silence while a recorder was listening means lost; silence that nobody could have heard means unknown."""
    put(ledger, raw("worker-heartbeat", NOON, freq=2.0, processed=4), task_event("started", NOON, hostname="w1@vm"))
    later = NOON_AT + 60 * S

    assert workers(ledger, later)[0].status == "unknown"
    listening(ledger, NOON_AT - S, later)
    (found,) = workers(ledger, later)
    assert (found.status, found.since_at) == ("lost", NOON_AT)
    assert [running.id for running in found.running] == [TASK]


def test_a_worker_whose_clock_is_slow_is_not_lost(ledger):
    """Heartbeats that arrive with old times are signs of life now; when they stop coming, the worker is lost."""
    slow = [raw("worker-heartbeat", NOON - 60 + second, freq=2.0, processed=second) for second in (0, 2, 4)]
    for second, heartbeat in zip((0, 2, 4), slow, strict=True):
        record(ledger, Batch("default", decoded(heartbeat), received_at=NOON_AT + second * S))
    listening(ledger, NOON_AT - 100 * S, NOON_AT + 60 * S)

    assert workers(ledger, NOON_AT + 5 * S)[0].status == "online"
    assert workers(ledger, NOON_AT + 60 * S)[0].status == "lost"


def test_a_worker_that_said_goodbye_is_offline(ledger):
    """worker-offline ends a session; the node is known by its name, and an unknown name is None."""
    put(ledger, raw("worker-online", NOON), raw("worker-offline", NOON + 5))
    found = worker(ledger, "w1@vm", NOON_AT + 60 * S)

    assert found is not None
    assert (found.status, found.since_at) == ("offline", NOON_AT + 5 * S)
    assert worker(ledger, "w2@vm", NOON_AT) is None


def test_stats_count_rows_and_bytes(hundred):
    """Size: rows of each table, bytes of the whole, first and last event."""
    found = stats(hundred)

    assert {table.name: table.rows for table in found.tables if table.name in ("event", "task", "run")} == {
        "event": 400,
        "run": 100,
        "task": 100,
    }
    assert (found.schema_version, (found.bytes or 0) > 10_000) == (migrate.revisions()[-1], True)
    assert (found.oldest_at, found.newest_at) == (NOON_AT, NOON_AT + 50_500_000)


def test_views_are_kept_by_name(ledger):
    """A view is saved, replaced under its name, listed and forgotten."""
    save_view(ledger, "Failed today", "q=state:failed", 1)
    save_view(ledger, "Failed today", "q=state:failed&from=-24h", 2)
    kept = save_view(ledger, "Ärger!", "q=x", 3)

    assert [(view.name, view.query) for view in views(ledger)] == [
        ("Failed today", "q=state:failed&from=-24h"),
        ("Ärger!", "q=x"),
    ]
    delete_view(ledger, kept.slug)
    assert [view.name for view in views(ledger)] == ["Failed today"]


def test_notes_stay_with_their_task(ledger):
    """A note is kept with its author and time, on its own task only."""
    add_note(ledger, TASK, "called the bank\x00", "ada", 5)

    assert [(note.text, note.author, note.created_at) for note in notes(ledger, TASK)] == [
        ("called the bank\\x00", "ada", 5)
    ]
    assert notes(ledger, "other") == ()


def test_a_state_is_a_word_in_rows(ledger):
    """A row of a list carries the state as a State."""
    put(ledger, *succeeded())

    assert tasks(ledger, None, DAY).rows[0].state is State.SUCCESS

"""Charts, timelines, strips and trees: empty, one point, running, missing events, gaps, large numbers, cycles."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from taskledger.ledger.answers import (
    Bucket,
    Coverage,
    Hole,
    RelatedTask,
    RunRow,
    ScheduleRow,
    Span,
    TaskDetail,
    TaskRow,
    TickRow,
)
from taskledger.states import State
from taskledger_web import charts, family, strip, timeline

UTC = ZoneInfo("UTC")
S = 1_000_000
NOW = 1_795_335_164 * S
HOUR = 3600 * S
DAY = Span(NOW - 24 * HOUR, NOW)
WHOLE = Coverage(DAY, (), DAY.from_at, DAY.to_at)


def drawn(*counts: tuple[int, int, int], coverage: Coverage = WHOLE) -> charts.Histogram:
    """A histogram of so many equal bars."""
    width = (DAY.to_at - DAY.from_at) // max(len(counts), 1)
    buckets = [
        Bucket(DAY.from_at + number * width, DAY.from_at + (number + 1) * width, *count)
        for number, count in enumerate(counts)
    ]
    return charts.histogram(buckets, DAY, coverage, UTC, now_at=NOW)


def test_a_histogram_of_nothing_has_an_axis_and_no_bars() -> None:
    """Without tasks there is no bar and no division by zero, and the time axis stands."""
    chart = drawn((0, 0, 0), (0, 0, 0))

    assert chart.bars == ()
    assert chart.peak == 0
    assert [tick.label for tick in chart.ticks][:6] == ["09:00", "12:00", "15:00", "18:00", "21:00", "22 Nov"]


def test_one_failure_among_millions_can_be_seen() -> None:
    """The smallest part of the highest bar is at least one and a half pixels high, and no bar leaves the chart."""
    (bar,) = drawn((10_000_000, 1, 0)).bars

    assert [part.kind for part in bar.parts] == ["succeeded", "failed"]
    assert min(part.height for part in bar.parts) >= 1.5
    assert all(part.y >= 0 and part.y + part.height <= 56.1 for part in bar.parts)
    assert bar.title.endswith(": 10,000,000 succeeded, 1 failed")


def test_bars_begin_at_round_times() -> None:
    """The width of a bar is a round number that makes at most a hundred of any span, up to centuries."""
    for seconds in (1, 60, 901, 86_400, 7 * 86_400, 200 * 365 * 86_400):
        span = Span(0, seconds * S)

        number = charts.number_of_bars(span)

        assert 1 <= number <= charts.MOST_BARS
    assert charts.bar_width(86_400) == 900


def test_unrecorded_time_is_hatched_with_its_cause() -> None:
    """Each hole of the coverage is one stripe that says from when to when, and why."""
    hole = Hole(NOW - 5 * HOUR, NOW - 4 * HOUR, "broker lost")

    (stripe,) = drawn((1, 0, 0), coverage=replace(WHOLE, holes=(hole,))).stripes

    assert stripe.x == "79.17%"
    assert stripe.width == "4.17%"
    assert stripe.title == "not recorded 03:12 to 04:12: broker lost"


def test_the_axis_keeps_to_the_wall_clock_when_clocks_change() -> None:
    """On the day on which Berlin's clocks go back, labels still stand at whole local hours, once each."""
    change = 1_792_890_000 * S  # 2026-10-25 01:00 UTC: 03:00 becomes 02:00
    span = Span(change - 12 * HOUR, change + 12 * HOUR)

    ticks = charts.ticks(span, ZoneInfo("Europe/Berlin"), change)

    assert [tick.label for tick in ticks] == ["18:00", "21:00", "25 Oct", "03:00", "06:00", "09:00", "12:00"]


def row(state: State = State.SUCCESS, **more: object) -> TaskRow:
    """A task that was sent 20 s ago."""
    known = dict.fromkeys(TaskRow.__slots__) | {
        "id": "a",
        "cluster": "default",
        "name": "t",
        "state": state,
        "first_at": NOW - 20 * S,
        "sent_at": NOW - 20 * S,
        "runs": 1,
    }
    return TaskRow(**(known | more))


def run(number: int, state: State, *at: float | None, **more: object) -> RunRow:
    """A run: received, started, ended so many seconds before now."""
    received, started, ended = (None if moment is None else NOW - int(moment * S) for moment in at)
    known = dict.fromkeys(RunRow.__slots__) | {
        "number": number,
        "state": state,
        "worker": "w1",
        "retries": number - 1,
        "received_at": received,
        "started_at": started,
        "ended_at": ended,
    }
    return RunRow(**(known | more))


def detail(
    task: TaskRow, *runs: RunRow, family_of: tuple[RelatedTask, ...] = (), parent: str | None = None
) -> TaskDetail:
    """All that is known of a task."""
    return TaskDetail(task, None, None, None, parent, runs, (), family_of)


def test_each_run_has_a_row_with_its_phases() -> None:
    """Waiting, reservation and run follow one another, and the pause before a retry is said in words."""
    drawing = timeline.timeline(
        detail(
            row(),
            run(1, State.RETRY, 19, 18, 16, exception="OSError: no"),
            run(2, State.SUCCESS, 12, 11, 10, runtime_s=1.0),
        ),
        NOW,
    )

    assert drawing is not None
    first, second = drawing.rows
    assert [part.kind for part in first.segments] == ["wait", "reserved", "retrying"]
    assert first.note == "OSError, again after 5.00 s"
    assert [part.kind for part in second.segments] == ["reserved", "succeeded"]
    assert second.note == "Succeeded, 1.00 s"
    assert all(part.x + part.width <= 73 for drawn_row in drawing.rows for part in drawn_row.segments)


def test_a_missing_event_is_a_torn_edge() -> None:
    """A run whose task-received was not seen is torn at its start, one whose end was not seen at its end."""
    drawing = timeline.timeline(
        detail(row(), run(1, State.STARTED, 19, 18, None), run(2, State.SUCCESS, None, 11, 10)), NOW
    )

    assert drawing is not None
    assert drawing.rows[0].segments[-1].edge == "right"
    assert drawing.rows[1].segments[-1].edge == "left"


def test_a_running_task_reaches_until_now() -> None:
    """The bar of what is running ends at the present, and says for how long it has run."""
    drawing = timeline.timeline(detail(row(State.STARTED), run(1, State.STARTED, 19, 15, None)), NOW)

    assert drawing is not None
    last = drawing.rows[0].segments[-1]
    assert round(last.x + last.width) == 72
    assert drawing.rows[0].note == "running, 15.0 s"


def test_what_a_silent_worker_ran_ends_torn_at_its_last_sign() -> None:
    """Where the worker was last heard 12 s ago, the bar ends there with a dashed edge, and no clock counts on."""
    drawing = timeline.timeline(detail(row(State.STARTED), run(1, State.STARTED, 19, 15, None)), NOW, NOW - 12 * S)

    assert drawing is not None
    last = drawing.rows[0].segments[-1]
    assert (last.kind, last.edge, last.title) == ("running", "right", "was running, no end seen")
    assert round(last.width / last.x, 2) == round(3 / 5, 2)
    assert drawing.rows[0].note == "was running, no end seen"


def test_a_redelivery_is_not_called_a_retry() -> None:
    """A second run with the same count of retries was delivered again, and may overlap with the first."""
    runs = (run(1, State.STARTED, 19, 18, None, retries=0), run(2, State.SUCCESS, 17, 16, 10, retries=0))
    whole = detail(row(), *runs)

    assert [timeline.label(whole, one) for one in runs] == ["Attempt 1", "Delivered again"]


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (run(1, State.RECEIVED, None, None, None),),
        (run(1, State.REVOKED, 19, None, 19),),
        tuple(run(number, State.RETRY, 20, 20, 20) for number in range(1, 60)),
    ],
)
def test_any_set_of_runs_can_be_drawn(runs: tuple[RunRow, ...]) -> None:
    """No run, no time, no length, very many runs: a drawing inside its frame, or none."""
    drawing = timeline.timeline(detail(row(State.REVOKED), *runs), NOW)

    if drawing is None:
        assert not runs
    else:
        assert len(drawing.rows) + drawing.left_out == len(runs)
        assert all(0 <= part.x <= 100 for drawn_row in drawing.rows for part in drawn_row.segments)


def related(task_id: str, parent: str | None) -> RelatedTask:
    """A member of a family."""
    return RelatedTask(task_id, task_id, State.SUCCESS, NOW, parent)


def test_a_task_is_not_its_own_parent() -> None:
    """Celery's retry names its own id as its parent; that edge is dropped, so the task stands once and alone."""
    assert family.members(detail(row(), parent="a")) == ()

    members = family.members(detail(row(), family_of=(related("b", "a"), related("c", "b")), parent="a"))

    assert [(member.task.id, member.depth) for member in members] == [("a", 0), ("b", 1), ("c", 2)]


def test_a_family_that_lies_about_itself_still_ends() -> None:
    """Cycles and parents that are not there neither loop nor lose a member."""
    members = family.members(
        detail(row(), family_of=(related("b", "c"), related("c", "b"), related("d", "gone")), parent="d")
    )

    assert sorted(member.task.id for member in members) == ["a", "b", "c", "d"]


def tick(fire: str, outcome: str | None = None, **more: object) -> TickRow:
    """A due time with what is known of it."""
    known = {"due_at": NOW, "fired_at": None, "lateness_s": None, "task_id": None, "is_final": True, "note": None}
    return TickRow(**(known | {"fire": fire, "outcome": outcome} | more))


@pytest.mark.parametrize(
    ("fire", "outcome", "expected"),
    [
        ("on_time", "ok", "On time"),
        ("late", "ok", "Late"),
        ("late", "failed", "Failed"),
        ("on_time", "expired", "Failed"),
        ("on_time", "not_received", "Not received"),
        ("on_time", "retrying", "Running"),
        ("on_time", "running", "Running"),
        ("on_time", "waiting", "Sent, waiting"),
        ("late", "waiting", "Late"),
        ("on_time", "unknown", "Sent, outcome not known"),
        ("missed", None, "Missed"),
        ("overdue", None, "Overdue"),
        ("failed_to_send", None, "Not sent: error"),
        ("unknown", None, "Not known"),
        ("unknown", "ok", "Not known"),
        ("unknown", "failed", "Failed"),
        ("disabled", None, "Off"),
        ("dst_skipped", None, "Off"),
        ("pending", None, "Still to come"),
    ],
)
def test_the_worse_of_two_facts_wins_the_mark(fire: str, outcome: str | None, expected: str) -> None:
    """How beat did and what became of the task make one mark, and the worse of the two decides it."""
    assert strip.mark_of(tick(fire, outcome)).text == expected


def test_unknown_is_never_called_missed_and_never_on_time() -> None:
    """An entry of which nothing is known is neither well nor a problem."""
    known = dict.fromkeys(ScheduleRow.__slots__)
    entry = ScheduleRow(**(known | {"enabled": True, "ticks": tuple(tick("unknown") for _ in range(3))}))

    verdict = strip.verdict(entry)

    assert (verdict.mark.text, verdict.sentence, verdict.problems) == ("Not known", "Not known 3 of 3", 0)


def test_what_waits_is_counted_apart_from_what_runs() -> None:
    """A task that nobody has started yet is neither running nor of unknown outcome in the sentence."""
    known = dict.fromkeys(ScheduleRow.__slots__)
    ticks = tuple(tick("on_time", outcome) for outcome in ("unknown", "running", "waiting", "waiting"))

    verdict = strip.verdict(ScheduleRow(**(known | {"enabled": True, "ticks": ticks})))

    assert (verdict.mark.text, verdict.sentence) == ("Sent, waiting", "Sent 1, waiting 2, running 1 of 4")


def test_an_old_gap_does_not_hide_that_an_entry_is_on_time() -> None:
    """Without a problem the latest due time decides the verdict, and the sentence still counts what is not known."""
    known = dict.fromkeys(ScheduleRow.__slots__)
    ticks = (tick("unknown"), tick("on_time", "ok"), tick("on_time", "ok"), tick("pending"))

    verdict = strip.verdict(ScheduleRow(**(known | {"enabled": True, "ticks": ticks})))

    assert (verdict.mark.text, verdict.sentence) == ("On time", "Not known 1 of 3")


def test_runs_missed_in_a_row_are_the_last_ones() -> None:
    """What is overdue may still come; what was missed before a run that came is over."""
    known = dict.fromkeys(ScheduleRow.__slots__)
    fires = ("missed", "on_time", "missed", "missed", "overdue", "pending")
    entry = ScheduleRow(
        **(known | {"enabled": True, "ticks": tuple(tick(fire, note=str(n)) for n, fire in enumerate(fires))})
    )

    assert [bad.note for bad in strip.in_a_row(entry)] == ["2", "3"]

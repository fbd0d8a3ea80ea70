"""How long runs took, drawn on the axis of when they were due: heights, gaps, what still goes on, the limit."""

import re

import pytest
from flask.testing import FlaskClient
from test_site_schedule_words import HOUR, SECOND, tick
from test_site_schedule_words import NOW as WORDS_NOW

from taskledger.config import Settings
from taskledger.ledger.answers import Span
from taskledger_web import create_app, durations, view
from taskledger_web.durations import Chart

SEEN = view.View(WORDS_NOW, view.times.zone_named("UTC"), "system", keys=False)
SPAN = Span(WORDS_NOW - 5 * HOUR, WORDS_NOW)


def chart(*ticks: object, most_s: float | None = None) -> Chart | None:
    """The drawing of these due times over five hours."""
    return durations.chart(ticks, SPAN, most_s, SEEN)


def test_longer_runs_stand_higher_and_what_did_not_run_is_a_gap() -> None:
    """Each at its due time; missed ones, and those of which nothing but the send is known, have no point."""
    drawn = chart(tick(4, runtime_s=0.02), tick(3, runtime_s=4.0), tick(2, "missed"), tick(1), tick(0, runtime_s=200.0))

    assert drawn is not None
    assert [point.x for point in drawn.points] == ["20.00%", "40.00%", "100.00%"]
    heights = [point.y for point in drawn.points]
    assert heights == sorted(heights, reverse=True)
    assert [label for _, label in drawn.lines] == ["10 ms", "1 s", "1 m"]
    assert (drawn.p50_s, drawn.p95_s, drawn.most_s) == (4.0, 200.0, 200.0)
    assert chart(tick(2, "missed"), tick(1, "unknown")) is None


def test_what_still_runs_is_drawn_so_far() -> None:
    """A run without an end stands at how long it has run, and says so; one that failed at what its times say."""
    begun_at = WORDS_NOW - 90 * SECOND
    drawn = chart(
        tick(2, outcome="failed", started_at=begun_at - 60 * SECOND, ended_at=begun_at),
        tick(1, outcome="running", started_at=begun_at),
        tick(0, outcome="lost", started_at=begun_at),
    )

    assert drawn is not None
    assert [point.title.split(": ", 1)[1] for point in drawn.points] == [
        "ran for 1 m 00 s, failed",
        "runs for 1 m 30 s so far, running",
    ]
    assert [point.mark.text for point in drawn.points] == ["Failed", "Running"]


@pytest.mark.parametrize("seconds", [[0.0], [0.0005], [1.0, 1.0], [5_000_000.0, 0.001]])
def test_any_durations_stay_inside_the_drawing(seconds: list[float]) -> None:
    """Nothing, one point, equal ones, and the least beside the most: every point and line is inside the plane."""
    drawn = chart(*(tick(number, runtime_s=each) for number, each in enumerate(seconds)), most_s=10.0)

    assert drawn is not None
    assert drawn.limit_y is not None
    ys = [*(point.y for point in drawn.points), *(y for y, _ in drawn.lines), drawn.limit_y]
    assert all(0 < y <= 138 for y in ys)
    assert 1 <= len(drawn.lines) <= durations.MOST_LINES


def test_the_page_draws_both_on_one_axis(client: FlaskClient) -> None:
    """Both drawings of the page have the same labels at the same places, and the same point for the same run."""
    html = client.get("/schedules/hourly-billing").text
    late, ran = html.split('class="histogram plot"')[1:3]
    axes = [part.split('class="axis"')[1].split("</svg>")[0] for part in (late, ran)]
    at_four = re.findall(
        r'(?:<a href="[^"]+" tabindex="-1">|<g role="img">)<title>22 Nov 03:00[^<]*</title>.*?x="([\d.]+%)"', late
    )

    assert axes[0] == axes[1]
    assert at_four == re.findall(r"<title>22 Nov 03:00[^<]*</title>.*?x=\"([\d.]+%)\"", ran)
    assert "22 Nov 04:00" in late
    assert "<title>22 Nov 04:00" not in ran


def test_an_entry_that_never_ran_has_no_such_drawing(client: FlaskClient) -> None:
    """As of before its first run there is nothing to draw, and no empty drawing."""
    html = client.get("/schedules/cleanup?at=2026-11-21T09:30:00Z").text

    assert "Due against fired" in html
    assert "How long it ran" not in html


def test_the_longest_run_that_is_expected_is_a_line(day_copy: str) -> None:
    """Once set, the line is drawn, and the heading says what it is."""
    visitor = create_app(Settings(database_url=day_copy)).test_client()
    before = visitor.get("/schedules/ping").text
    visitor.post("/schedules/settings", data={"name": "ping", "max_runtime_s": "5s"})
    after = visitor.get("/schedules/ping").text

    assert before.count('class="limit"') == 0
    assert after.count('class="limit"') == 1
    assert "The line is the longest run that is expected" in after

"""Entries that are due more than once a minute: a mark a minute, the worst of its due times, and true counts."""

import re

import pytest
import story
from flask.testing import FlaskClient
from story import NOW, SECOND
from test_site_schedule_words import row, tick

from taskledger.config import Settings
from taskledger.ledger import open_ledger
from taskledger.schedules import Entry, Interval
from taskledger_web import create_app, minutes, strip

MINUTE = 60 * SECOND
#: the whole minute in which the pages are looked at
LAST = NOW // MINUTE * MINUTE


@pytest.fixture
def often(sqlite_url: str) -> FlaskClient:
    """A site over 100 minutes of a 10-second entry that was not sent once, in the minute before the last."""
    told = story.Story(1, NOW)
    for at in range(LAST - 100 * MINUTE, NOW, 10 * SECOND):
        if at != LAST - MINUTE + 20 * SECOND:
            told.whole("ops.heartbeat", at + 20_000, client=told.beat)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, entries=(Entry("heartbeat-10s", "ops.heartbeat", Interval(10.0)),))
    return create_app(Settings(database_url=sqlite_url)).test_client()


def titles(html: str) -> list[str]:
    """What the marks of the first strip say, oldest first."""
    return re.findall(r"<title>([^<]*)</title><use", html.split('class="strip"', 1)[1].split("</svg>", 1)[0])


@pytest.mark.parametrize("slots", [30, 60, 90])
def test_marks_of_a_ten_second_entry_are_minutes(often: FlaskClient, slots: int) -> None:
    """30, 60 or 90 marks are as many minutes; the one with a missed due time says 5 of 6, and the row counts all."""
    html = often.get(f"/schedules?slots={slots}").text
    told = [title for title in titles(html) if "still to come" not in title]

    assert len(told) == slots
    assert told[-2] == "08:11:00 UTC: 5 of 6 sent, missed 1"
    assert told[-3] == "08:10:00 UTC: 6 of 6 sent"
    assert len(titles(html)) == slots + 3
    due = 6 * (slots - 1) + 5
    assert f"Missed 1 of {due}" in html
    assert "or one minute of what is due more than once a minute" in html


def test_the_page_of_such_an_entry_draws_minutes_and_lists_due_times(often: FlaskClient) -> None:
    """On its own page as well; the table below still has a row for each of the newest due times and those to come."""
    html = often.get("/schedules/heartbeat-10s").text

    assert len(titles(html)) == 93
    assert "Missed 1 of 539" in html
    assert 'aria-label="93 minutes, oldest first"' in html
    assert html.split('class="cards dues"')[1].split("</tbody>")[0].count("<tr data-key=") == 12
    assert "1 to 12 of 93" in html


def test_the_overview_draws_minutes_as_well(often: FlaskClient) -> None:
    """Its short strip ends with the same minutes."""
    told = titles(often.get("/").text)

    assert len(told) == 16
    assert "08:11:00: 5 of 6 sent, missed 1" in told


def test_the_worst_of_a_minute_is_drawn_and_leads_to_its_task() -> None:
    """Of a minute with a failed run the mark is Failed and leads to that run; a minute to come is only that."""
    minute = [
        tick(0, due_at=LAST + 1 * SECOND, task_id="first"),
        tick(0, due_at=LAST + 21 * SECOND, task_id="bad", outcome="failed"),
        tick(0, due_at=LAST + 41 * SECOND, task_id="last"),
        tick(0, "pending", due_at=LAST + 51 * SECOND),
        tick(0, "pending", due_at=LAST + 71 * SECOND),
    ]
    drawn = minutes.slots(row("often", *minute, is_by_minute=True))

    assert [(slot.at, slot.mark.text, slot.words, slot.task_id) for slot in drawn] == [
        (LAST, "Failed", "3 of 3 sent, failed 1", "bad"),
        (LAST + MINUTE, "Still to come", "still to come", None),
    ]
    assert minutes.slots(row("seldom", *minute)) == [strip.slot(one) for one in minute]

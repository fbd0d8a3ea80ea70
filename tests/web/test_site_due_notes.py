"""What people say of due times: notes, and what is acknowledged is drawn, counted, and no problem any more."""

import re
from datetime import UTC, datetime

import pytest
from browsing import follow, overflow, picture, rows
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from story import SECOND
from test_site_accessible import violations
from test_site_schedule_words import row, tick

from taskledger.config import Settings
from taskledger_web import create_app, strip

#: the due times of the recorded day that the clean-up missed, the last one still overdue
MISSED = int(datetime(2026, 11, 22, 4, 30, tzinfo=UTC).timestamp()) * SECOND
OVERDUE = MISSED + 7_200 * SECOND


@pytest.fixture
def visitor(day_copy: str) -> FlaskClient:
    """A site over a ledger that may be written to."""
    return create_app(Settings(database_url=day_copy)).test_client()


def say(visitor: FlaskClient, due_at: int = MISSED, name: str = "cleanup", **fields: str) -> int:
    """Send the form of a due time; the status of the answer."""
    return visitor.post("/schedules/notes", data={"name": name, "due": str(due_at), **fields}).status_code


def problems(visitor: FlaskClient) -> str:
    """What the overview says is wrong."""
    return visitor.get("/").text.partition('class="problems"')[2].partition("</ul>")[0]


def test_what_is_acknowledged_is_no_problem_any_more(visitor: FlaskClient) -> None:
    """The overview and the callouts leave the entry out, nor is its page headed by Missed; it is still counted."""
    assert "cleanup" in problems(visitor)
    say(visitor, OVERDUE, act="acknowledge", earlier="1", author="Ann", text="moved to the new host")

    page, listed = visitor.get("/schedules/cleanup").text, visitor.get("/schedules").text
    assert "cleanup" not in problems(visitor)
    assert 'class="callout"' not in listed
    heading = page.split("<h1", 1)[1].split("</h1>")[0]
    assert "Acknowledged" in heading
    assert "Missed</span>" not in heading
    assert "Missed 1, overdue 1 of 11; 2 acknowledged" in page
    assert page.count("acknowledged by Ann") == 2
    assert 'href="#k-missed"' in page.split('class="strip"')[1].split("</svg>")[0]
    assert "1 missed" in page
    assert re.search(r'badge/cleanup.svg" alt', page)
    assert "missed" in visitor.get("/badge/cleanup.svg").text


def test_something_new_that_goes_wrong_is_a_problem_again(visitor: FlaskClient) -> None:
    """Only the missed one is acknowledged: what is overdue since heads the page, and is told."""
    say(visitor, act="acknowledge")
    page = visitor.get("/schedules/cleanup").text

    assert "Overdue" in page.split("<h1", 1)[1].split("</h1>")[0]
    assert "missed its last" not in problems(visitor)


def test_an_acknowledgement_can_be_taken_back(visitor: FlaskClient) -> None:
    """Then it is a problem as before, and the page tells who said what and when."""
    before = problems(visitor)
    say(visitor, act="acknowledge", author="Ann")
    say(visitor, act="take_back", author="Bob", text="it was not the move")
    page = visitor.get(f"/schedules/cleanup?due={MISSED}").text

    assert problems(visitor) == before
    assert "Acknowledged.</strong>" in page
    assert "No longer acknowledged.</strong> it was not the move" in page
    assert page.index("Ann, ") < page.index("Bob, ")
    assert "22 Nov 08:12:45" in page


def test_a_note_alone_changes_nothing_else(visitor: FlaskClient) -> None:
    """A note is shown on the due time and in its row, and acknowledges nothing; any due time takes one."""
    before = problems(visitor)
    say(visitor, act="note", text="we looked into it")
    well_at = MISSED - 7_200 * SECOND
    say(visitor, well_at, act="note", text="ran by hand before")

    page = visitor.get("/schedules/cleanup").text
    assert problems(visitor) == before
    assert page.count(">1 note</a>") == 2
    assert "we looked into it" in page
    assert "ran by hand before" in visitor.get(f"/schedules/cleanup?due={well_at}").text
    assert "we looked into it" in visitor.get("/schedules/cleanup?day=2026-11-22").text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"act": "note", "text": "  "}, 303),
        ({"act": "burn", "text": ""}, 303),
        ({"due": "7", "act": "acknowledge"}, 404),
        ({"due": "x", "act": "acknowledge"}, 404),
        ({"due": "9" * 30, "act": "acknowledge"}, 404),
        ({"name": "no-such", "act": "acknowledge"}, 404),
    ],
)
def test_what_says_nothing_is_not_kept(visitor: FlaskClient, fields: dict[str, str], status: int) -> None:
    """Empty notes, unknown acts, due times and entries that are none leave nothing behind."""
    data = {"name": "cleanup", "due": str(MISSED)} | fields

    assert visitor.post("/schedules/notes", data=data).status_code == status
    assert "Nobody has said anything of it yet" in visitor.get(f"/schedules/cleanup?due={MISSED}").text


def test_other_sites_can_acknowledge_nothing(visitor: FlaskClient) -> None:
    """A form sent from elsewhere is refused, and nothing is kept."""
    sent = {"name": "cleanup", "due": str(MISSED), "act": "acknowledge"}
    answer = visitor.post("/schedules/notes", data=sent, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert "cleanup" in problems(visitor)


def test_notes_are_shown_as_they_were_written(visitor: FlaskClient) -> None:
    """Markup in a note is text, on each page that shows it."""
    say(visitor, act="acknowledge", text="<script>alert(1)</script>", author="<b>Eve</b>")
    for place in ("schedules/cleanup", f"schedules/cleanup?due={MISSED}", "schedules/cleanup?day=2026-11-22"):
        html = visitor.get(f"/{place}").text
        assert "<script>alert" not in html
        assert "<b>Eve" not in html
        assert "&lt;script&gt;alert(1)" in html


def test_looking_back_shows_what_had_been_said_by_then(visitor: FlaskClient) -> None:
    """As of a moment before the acknowledgement it was a problem, and nothing can be changed there."""
    say(visitor, act="acknowledge", text="we moved it")
    html = visitor.get(f"/schedules/cleanup?due={MISSED}&at=2026-11-22T08:00:00Z").text

    assert "we moved it" not in html
    assert "<textarea" not in html
    assert "Nothing can be changed while looking back" in html
    assert (
        "Missed" in visitor.get("/schedules/cleanup?at=2026-11-22T08:00:00Z").text.split("<h1", 1)[1].split("</h1>")[0]
    )


@pytest.mark.parametrize("due", ["", "soon", "7", "-1"])
def test_a_due_time_that_is_none_is_not_found(client: FlaskClient, due: str) -> None:
    """What is no due time of the entry, or still to come, has no page."""
    assert client.get(f"/schedules/cleanup?due={due}").status_code == 404
    assert client.get(f"/schedules/cleanup?due={OVERDUE + 7_200 * SECOND}").status_code == 404


def test_runs_in_a_row_begin_after_the_acknowledged_one() -> None:
    """Of four missed, of which the second is acknowledged, two are told; where nothing else is, nothing is wrong."""
    bad = [tick(hours, "missed", is_acknowledged=hours == 3) for hours in (4, 3, 2, 1)]
    assert len(strip.in_a_row(row("a", *bad))) == 2
    told = strip.verdict(row("a", *bad))
    assert (told.mark.text, told.sentence, told.problems) == ("Missed", "Missed 4 of 4; 1 acknowledged", 3)

    known = strip.verdict(row("a", tick(2), tick(1, "missed", is_acknowledged=True)))
    assert (known.mark, known.sentence, known.problems) == (strip.ACKNOWLEDGED, "Missed 1 of 2; 1 acknowledged", 0)
    well = strip.verdict(row("a", tick(2, "missed", is_acknowledged=True), tick(1)))
    assert (well.mark.text, well.problems) == ("On time", 0)
    assert strip.describe(tick(1, "missed", is_acknowledged=True)) == "missed, acknowledged"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_acknowledge_what_they_know(own: Page, scheme: str) -> None:
    """From the overview's problem to its due time, acknowledged with those before it, and the overview is quiet."""
    own.emulate_media(color_scheme=scheme)
    own.goto("")
    follow(own, own.locator(".problems a", has_text="cleanup"))
    follow(own, own.locator(".dues tr", has_text="Overdue").get_by_role("link", name="note", exact=True))
    expect(own.get_by_role("heading", level=1)).to_contain_text("cleanup, due 22 Nov 06:30:00")
    own.get_by_label("with the one before it").check()
    own.get_by_label("Note").fill("the host moved")
    own.get_by_label("Your name").fill("Ann")
    follow(own, own.get_by_role("button", name="Acknowledge", exact=True))

    expect(own.locator(".lead")).to_contain_text("Acknowledged by Ann")
    expect(own.locator(".notes li")).to_contain_text("the host moved")
    for width in (400, 1280):
        own.set_viewport_size({"width": width, "height": 900})
        picture(own, f"due-time-{width}-{scheme}")
        assert overflow(own) <= 0
        assert violations(own) == []
    own.goto("")
    expect(own.locator(".problems a", has_text="cleanup")).to_have_count(0)
    own.goto("schedules")
    assert rows(own)[0] != "cleanup"
    follow(own, own.get_by_role("link", name="cleanup", exact=True))
    expect(own.get_by_role("heading", level=1)).to_contain_text("Acknowledged")

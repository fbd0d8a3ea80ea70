"""The calendar of an entry, a day a cell, and the list of due times that each day leads to."""

import html as escaping
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import story
from browsing import follow, overflow, rows
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from story import HOUR, NOW, SECOND

from taskledger.config import Settings
from taskledger.crontabs import Crontab
from taskledger.ledger import open_ledger, retain
from taskledger.ledger.schedule_store import keep_definitions
from taskledger.retention import Retention
from taskledger.schedules import Entry, Interval
from taskledger_web import create_app, view

Visit = Callable[..., FlaskClient]
CALENDAR = "/schedules/hourly-billing?view=calendar"


def cells(html: str) -> dict[int, str]:
    """Day of the month -> what its cell says."""
    body = html.split('class="calendar"')[1].split("<tbody data-lanes>")[1].partition("</tbody>")[0]
    told = [
        re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", cell)).strip() for cell in re.findall("<td.*?</td>", body, re.DOTALL)
    ]
    return {int(words.split()[0]): words.partition(" ")[2] for words in told if words}


def test_each_day_says_how_many_were_on_time(client: FlaskClient) -> None:
    """A day with due times has its worst mark and counts; one that nobody recorded is not known."""
    days = cells(client.get(CALENDAR).text)

    assert len(days) == 30
    assert days[22] == "Missed: 8 of 9 on time with gaps"
    assert days[20] == "Not known: not known"
    assert days[23] == days[30] == "Still to come: still to come"
    assert "missed 1" in client.get(CALENDAR).text


def test_a_day_leads_to_its_due_times(client: FlaskClient) -> None:
    """The link of a day lists each due time of it, the missed one as a row, and those still to come."""
    (href,) = re.findall(r'data-open href="([^"]+day=2026-11-22)"', client.get(CALENDAR).text)
    html = client.get(escaping.unescape(href)).text

    assert "8 of 9 on time: 8 of 9 sent, missed 1; not recorded 03:12 to 03:27" in html
    keys = re.findall(r'<tr data-key="(\d+)"', html)
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    assert [(int(key) // SECOND - midnight) / 3600 for key in keys] == list(range(11, -1, -1))
    missed = html.split(f'data-key="{int(midnight + 4 * 3600) * SECOND}"')[1].split("</tr>")[0]
    assert "Missed" in missed
    assert "no send seen" in missed


def test_the_day_of_a_visitor_is_that_of_his_zone(client: FlaskClient) -> None:
    """In Tokyo the 22nd has begun at 15:00 UTC of the 21st: the day has eighteen due times that have passed."""
    days = cells(client.get(f"{CALENDAR}&tz=Asia/Tokyo").text)
    html = client.get("/schedules/hourly-billing?day=2026-11-22&tz=Asia/Tokyo").text

    assert days[22].startswith("Missed: 17 of 18 on time")
    assert "17 of 18 on time" in html


def test_where_the_clock_changes_a_day_has_other_hours(
    site: Visit, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Berlin the 25th of October 2026 has 25 hours: its due times, and none of another day, are in its cell."""
    end = int(datetime(2026, 10, 26, 12, tzinfo=UTC).timestamp()) * SECOND
    monkeypatch.setattr(view, "now_at", lambda: end)
    told = story.Story(1, end)
    for at in range(end - 60 * HOUR, end, HOUR):
        told.whole("billing.hourly", at + 1000, client=told.beat)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, entries=(Entry("hourly", "billing.hourly", Crontab(minute="0")),))
    visitor = create_app(Settings(database_url=sqlite_url)).test_client()
    days = cells(visitor.get("/schedules/hourly?view=calendar&tz=Europe/Berlin").text)

    assert [days[day].split(" on ")[0] for day in (25, 26)] == ["On time: 25 of 25", "On time: 13 of 13"]


def test_a_day_on_which_nothing_was_due_says_so(site: Visit, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder listened for a week to an entry that is due on Sundays: Thursday says nothing due, not unknown."""
    told = story.Story(1, NOW)
    told.heartbeats(told.workers[0], NOW - 170 * HOUR, NOW, every=600)
    visitor = site(told)
    with open_ledger(sqlite_url) as ledger:
        entry = Entry("sundays", "ops.ping", Crontab("0", "3", day_of_week="0"))
        keep_definitions(ledger, "default", "x", (entry,), NOW - 150 * HOUR)
    days = cells(visitor.get("/schedules/sundays?view=calendar").text)

    assert days[19] == "nothing due"
    assert days[15] == "Not known: not known"
    assert days[29] == "Still to come: still to come"


def test_what_was_pruned_is_not_known(site: Visit, sqlite_url: str) -> None:
    """Days whose due times are no longer kept are not said to have had none, though somebody was listening then."""
    told = story.Story(1, NOW)
    told.heartbeats(told.workers[0], NOW - 80 * HOUR, NOW, every=600)
    for at in range(NOW // HOUR * HOUR - 80 * HOUR, NOW, HOUR):
        told.whole("billing.hourly", at + 1000, client=told.beat)
    visitor = site(told)
    before = cells(visitor.get(CALENDAR).text)
    with open_ledger(sqlite_url) as ledger:
        retain.prune(ledger, Retention(default_s=30 * 3600.0), NOW)
    after = cells(visitor.get(CALENDAR).text)

    assert before[20] == "On time: 24 of 24 on time"
    assert after[20] == "Not known: not known"
    assert after[22] == before[22]


@pytest.mark.parametrize("month", ["", "&month=2026-13", "&month=soon", "&month=0000-01"])
def test_a_month_that_cannot_be_read_is_this_one(client: FlaskClient, month: str) -> None:
    """Without a month, or with none, it is the one that goes on; its neighbours are a link away."""
    html = client.get(CALENDAR + month).text

    assert "<h1" in html
    assert "November 2026" in html
    assert "month=2026-10" in html
    assert "month=2026-12" in html


@pytest.mark.parametrize("text", ["soon", "2026-02-30", "0001-01-01", ""])
def test_a_day_that_is_none_is_not_found(client: FlaskClient, text: str) -> None:
    """What is no day says how to write one."""
    answer = client.get(f"/schedules/hourly-billing?day={text}")

    assert answer.status_code == 404
    assert "write 2026-11-22" in answer.text


def test_a_day_with_very_many_due_times_comes_in_pages(sqlite_url: str) -> None:
    """Of a 10-second entry a day is listed 300 at a time; the pages together hold each due time once."""
    told = story.Story(1, NOW)
    sent = range(NOW // HOUR * HOUR - 2 * HOUR, NOW, 10 * SECOND)
    for at in sent:
        told.whole("ops.heartbeat", at + 1000, client=told.beat)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, entries=(Entry("often", "ops.heartbeat", Interval(10.0)),))
    visitor, address, seen = (
        create_app(Settings(database_url=sqlite_url)).test_client(),
        "/schedules/often?day=2026-11-22",
        [],
    )
    while address:
        html = visitor.get(address).text
        seen += [int(key) for key in re.findall(r'<tr data-key="(\d+)"', html) if int(key) <= NOW]
        address = next(iter(re.findall(r'href="([^"]+)">Earlier that day', html)), "").replace("&amp;", "&")

    assert len(seen) == len(set(seen)) == len(sent)
    assert seen == sorted(seen, reverse=True)


def test_the_calendar_looks_back(client: FlaskClient) -> None:
    """As of 05:30 the day has five due times that are final or open, of which one was missed; the rest was to come."""
    at = "at=2026-11-22T05:30:00Z"
    days = cells(client.get(f"{CALENDAR}&{at}").text)
    html = client.get(f"/schedules/hourly-billing?day=2026-11-22&{at}").text

    assert days[22].startswith("Missed: 5 of 6 on time")
    assert "5 of 6 on time" in html
    assert f'data-key="{int(datetime(2026, 11, 22, 7, tzinfo=UTC).timestamp()) * SECOND}"' in html
    assert (
        "succeeded"
        not in html.split(f'data-key="{int(datetime(2026, 11, 22, 6, tzinfo=UTC).timestamp()) * SECOND}"')[1].split(
            "</tr>"
        )[0]
    )


def test_other_names_have_calendars_too(site: Visit, sqlite_url: str) -> None:
    """An entry whose name no path can carry is asked for by a parameter, its calendar and days as well."""
    told = story.Story(1, NOW)
    for at in range(NOW // HOUR * HOUR - 3 * HOUR, NOW, HOUR):
        told.whole("ops.ping", at + 1000, client=told.beat)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, entries=(Entry("dst", "ops.ping", Crontab(minute="0")),))
    visitor = create_app(Settings(database_url=sqlite_url)).test_client()
    html = visitor.get("/schedule?name=dst&view=calendar").text
    (href,) = re.findall(r'data-open href="([^"]+)"', html)

    assert cells(html)[22].startswith("On time: 4 of 4 on time")
    assert "4 of 4 on time" in visitor.get(escaping.unescape(href)).text


@pytest.mark.browser
def test_from_the_entry_to_a_day_and_back(page: Page) -> None:
    """By link and by key: the entry's calendar, a day of it, the day before, and the months."""
    page.goto("schedules/hourly-billing")
    follow(page, page.get_by_role("link", name="calendar", exact=True))
    expect(page.get_by_role("heading", level=1)).to_contain_text("November 2026")
    follow(page, page.locator("td.today a"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("hourly-billing on 22 Nov")
    assert len(rows(page)) == 12
    with page.expect_navigation():
        page.keyboard.press("]")
    expect(page.get_by_role("heading", level=1)).to_contain_text("21 Nov")
    follow(page, page.get_by_role("link", name="calendar", exact=True))
    follow(page, page.get_by_role("link", name="Month before"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("October 2026")
    page.set_viewport_size({"width": 360, "height": 700})
    assert overflow(page) <= 0

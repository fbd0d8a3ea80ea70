"""All entries on one axis of time: marks where they were due, few enough for a page, gaps and the future."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import story
from beat_stories import Beat, entry, write
from browsing import follow, rows
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from story import HOUR, NOW, SECOND

from taskledger.config import Settings
from taskledger.crontabs import Crontab
from taskledger.ledger import open_ledger
from taskledger.ledger.schedule_store import judge_due, keep_definitions
from taskledger.schedules import Entry, Interval
from taskledger_web import create_app, view

Visit = Callable[..., FlaskClient]
TIMELINE = "/schedules?view=timeline"


def lanes(html: str) -> dict[str, list[str]]:
    """Entry -> what its marks say."""
    parts = html.split('class="lane" data-key="')[1:]
    return {
        part.split('"', 1)[0]: re.findall("<title>([^<]*)</title>", part.split("</svg></div>")[0]) for part in parts
    }


def test_each_due_time_stands_where_it_was_due(client: FlaskClient) -> None:
    """A mark for each due time of the range that fits, with its words, and after now those that are to come."""
    told = lanes(client.get(TIMELINE).text)

    assert list(told) == ["cleanup", "hourly-billing", "refresh-reports", "ping"]
    assert "02:30:00 UTC: on time" in told["cleanup"]
    assert "04:30:00 UTC: missed" in told["cleanup"]
    assert "06:30:00 UTC: overdue" in told["cleanup"]
    assert [title for title in told["cleanup"] if "still to come" in title] == [
        "08:30:00 UTC: still to come",
        "10:30:00 UTC: still to come",
        "12:30:00 UTC: still to come",
    ]


def test_a_mark_leads_to_its_run_or_to_its_entry(client: FlaskClient) -> None:
    """What was sent leads to the task, what was missed to the due times of its day, what is to come nowhere."""
    lane = client.get(TIMELINE).text.split('data-key="cleanup"')[1].split("</svg></div>")[0]
    hrefs = dict(re.findall(r'<a href="([^"]+)" tabindex="-1"><title>([^<]*)</title>', lane))
    by_title = {title: href for href, title in hrefs.items()}

    assert by_title["02:30:00 UTC: on time"].startswith("/tasks/")
    assert by_title["06:30:00 UTC: overdue"].startswith("/schedules/cleanup?day=2026-11-22")
    assert not any("still to come" in title for title in by_title)


def test_where_nobody_listened_is_hatched(client: FlaskClient) -> None:
    """The recorder's gap lies behind all lanes and is named below them; what was due in it is not known, not missed."""
    html = client.get(f"{TIMELINE}&from=-6h").text

    assert html.split('<symbol id="ground">')[1].split("</symbol>")[0].count('class="gap"') >= 1
    assert "not recorded 03:12 to 03:27" in html
    assert "03:15:00 UTC: not known" in lanes(html)["refresh-reports"]


def test_more_than_fits_is_counted(site: Visit, sqlite_url: str) -> None:
    """A 10-second entry and 40 others over a day: at most 25 lanes and 1,500 nodes, and no due time is lost."""
    told = story.Story(1, NOW)
    for at in range(NOW // HOUR * HOUR - 6 * HOUR, NOW, 10 * SECOND):
        told.whole("ops.heartbeat", at + 20_000, client=told.beat)
    entries = [Entry("a-heartbeat", "ops.heartbeat", Interval(10.0))]
    entries += [Entry(f"job-{n:02}", "ops.ping", Crontab(str(n), "*/2"), args=f"({n},)") for n in range(40)]
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, entries=tuple(entries))
    visitor = create_app(Settings(database_url=sqlite_url)).test_client()

    first, second = visitor.get(TIMELINE).text, visitor.get(f"{TIMELINE}&skip=25").text
    found = lanes(first) | lanes(second)

    assert len(lanes(first)) == 25
    assert max(len(re.findall("<[a-z]", html)) for html in (first, second)) < 1_500
    assert len(found) == 41
    due = [re.search(r": (\d+) of (\d+) sent", title) for title in found["a-heartbeat"]]
    single = [title for title in found["a-heartbeat"] if title.endswith("UTC: on time")]
    total = sum(int(match[2]) for match in due if match) + len(single)
    assert total == len(range(NOW // HOUR * HOUR - 6 * HOUR, NOW, 10 * SECOND))
    assert "A mark stands for" in second


def test_beats_starts_are_marked(site: Visit, sqlite_url: str) -> None:
    """With the probe each start and end of beat has a mark that says which it was; a second start is a start again."""
    first, second = Beat("one", "gen1@beat1"), Beat("two", "gen1@beat1")
    told = story.Story(1, NOW)
    told.heartbeats(told.workers[0], NOW - 3 * HOUR, NOW, every=60)
    visitor = site(told)
    begun_at, again_at = NOW - 2 * HOUR, NOW - HOUR
    with open_ledger(sqlite_url) as ledger:
        write(ledger, first.online(begun_at), *first.schedule(begun_at + SECOND, entry("quarterly")))
        write(ledger, first.offline(again_at - 60 * SECOND), second.online(again_at))
        write(ledger, *second.schedule(again_at + SECOND, entry("quarterly")), second.tick(NOW - SECOND, 300.0))
        judge_due(ledger, NOW)
    html = visitor.get(TIMELINE).text

    assert "gen1@beat1 started 06:12:44" in html
    assert "gen1@beat1 ended 07:11:44: stopped" in html
    assert "gen1@beat1 started again 07:12:44" in html
    assert html.count('class="begun"') == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [("&from=soon", "is not a time"), ("&from=2026-11-22&to=2026-11-21", "ends (2026-11-21) before it begins")],
)
def test_a_range_that_cannot_be_read_is_said(client: FlaskClient, asked: str, said: str) -> None:
    """What is wrong with the range is named, and the last 24 hours are drawn."""
    html = client.get(TIMELINE + asked).text

    assert said in html
    assert "02:30:00 UTC: on time" in lanes(html)["cleanup"]


def test_of_a_long_range_the_last_month_is_drawn(client: FlaskClient) -> None:
    """All that was recorded, or years, are at most 31 days, and the page says so."""
    html = client.get(f"{TIMELINE}&from=2020-01-01").text

    assert "at most 31 days" in html
    assert "29 Oct" in html.split('class="axis"')[1].split("</svg>")[0]
    assert "at most 31 days" not in client.get(f"{TIMELINE}&from=-30d").text


def test_an_entry_that_was_read_and_never_due_has_an_empty_lane(site: Visit, sqlite_url: str) -> None:
    """Nothing recorded of it yet: a lane with what is to come, and no word of missing."""
    told = story.Story(1, NOW)
    told.heartbeats(told.workers[0], NOW - HOUR, NOW, every=60)
    visitor = site(told)
    with open_ledger(sqlite_url) as ledger:
        keep_definitions(ledger, "default", "x", (Entry("new", "ops.ping", Crontab("30")),), NOW - SECOND)

    new = lanes(visitor.get(TIMELINE).text)["new"]
    assert new == [f"{8 + n:02}:30:00 UTC: still to come" for n in range(5)]


def keys(page: Page) -> list[str]:
    """The entries of the lanes in their order."""
    found: list[str] = page.eval_on_selector_all("[data-lanes] > .lane", "lanes => lanes.map(lane => lane.dataset.key)")
    return found


@pytest.mark.browser
def test_filters_and_ways_hold_in_the_timeline(page: Page) -> None:
    """From the list to the timeline and back with the filter kept; a stretch leads into itself; back undoes it."""
    page.goto("schedules?verdict=missed")
    listed = rows(page)
    follow(page, page.get_by_role("link", name="Timeline", exact=True))
    assert "verdict=missed" in page.url
    assert keys(page) == listed
    follow(page, page.get_by_role("link", name="7 days"))
    nodes: int = page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 1_500
    assert "from=-7d" in page.url
    lane = page.locator(".lane[data-key=hourly-billing]")
    joined = lane.locator("a:has(title:text-matches(' of \\\\d+ sent'))").first
    expect(joined).to_have_count(1)
    with page.expect_navigation():
        joined.dispatch_event("click")
    assert re.search(r"from=2026-11-2\d", page.url)
    page.keyboard.press("j")
    page.keyboard.press("h")
    expect(page.locator(".tip")).to_have_text(page.locator("#said").inner_text())
    page.go_back()
    assert "from=-7d" in page.url
    follow(page, page.get_by_role("link", name="List", exact=True))
    assert rows(page) == listed


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1280])
def test_marks_stand_on_the_right_side_of_now(private: Any, width: int) -> None:
    """Wide or narrow, what was due is drawn before the line of now, and what is to come after it."""
    with private(viewport={"width": width, "height": 900}) as page:
        page.goto("schedules?view=timeline&from=-6h")
        places: list[list[float]] = page.evaluate(
            """() => [...document.querySelectorAll(".slots")].slice(0, 4).flatMap((lane) => {
              const { left, width } = lane.getBoundingClientRect();
              const share = (use) => ((use.getBoundingClientRect().left - left) / width) * 100;
              return [...lane.querySelectorAll("use[href^='#k-']")]
                .map((use) => [use.getAttribute("href") === "#k-pending" ? 1 : 0, share(use)]);
            })"""
        )
        now: float = page.evaluate("parseFloat(document.querySelector('#ground .now').getAttribute('x1'))")

    assert len({round(place) for _, place in places}) > 10
    assert all(place < now for is_to_come, place in places if not is_to_come)
    assert all(place > now - 2 for is_to_come, place in places if is_to_come)


@pytest.mark.browser
def test_a_live_timeline_moves_as_a_whole(private: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live, the axis, what lies behind the lanes and the marks move together when an hour has passed."""
    with private() as page:
        page.goto("schedules?view=timeline&from=-6h&live=1")
        before = page.locator(".lanes .axis").inner_html()
        lane = page.locator(".lane[data-key=hourly-billing] .slots")
        assert "03:00:00 UTC: on time" in lane.inner_html()
        monkeypatch.setattr(view, "now_at", lambda: NOW + HOUR)
        expect(lane).not_to_contain_text("03:00:00 UTC: on time")
        assert page.locator(".lanes .axis").inner_html() != before
        expect(lane.locator("title", has_text="09:00:00 UTC")).to_have_count(1)


@pytest.mark.browser
def test_the_timeline_works_without_script(private: Any) -> None:
    """With scripts off the range form keeps the view and the filter, and a mark opens its task."""
    with private(java_script_enabled=False) as page:
        page.goto("schedules?view=timeline&entry=cleanup")
        page.locator("summary[aria-label^='Time range']").click()
        page.get_by_label("From", exact=True).fill("-12h")
        follow(page, page.locator(".panel button", has_text="Apply").first)
        assert "view=timeline" in page.url
        assert "entry=cleanup" in page.url
        follow(page, page.locator(".lane[data-key=cleanup] .slots a").first)
        assert "/tasks/" in page.url

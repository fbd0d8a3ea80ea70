"""The usability checklist in a real browser: each test is one item, or one promise that only a browser can hold."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import story
from browsing import enter, follow, overflow, rows, visiting
from playwright.sync_api import Browser, Page, expect
from story import NOW

from taskledger.config import Settings
from taskledger.events import Event
from taskledger.ledger import open_ledger
from taskledger.ledger.record import Batch, record
from taskledger_web import Site

pytestmark = pytest.mark.browser


Open = Callable[..., Any]


def test_item_3_a_copied_address_shows_the_same_rows(page: Page, private: Open) -> None:
    """3. An address with search, range and size, opened in a private window, shows the same rows in the same order."""
    page.goto("tasks")
    search_for(page, "queue:mail,billing -name:ops.*")
    follow(page, page.locator(".facets").get_by_role("link", name="Failed", exact=False).nth(1))
    follow(page, page.get_by_role("link", name="200", exact=True))
    page.locator("summary", has_text="last 24 h").click()
    follow(page, page.get_by_role("link", name="last 7 days"))
    shown = rows(page)

    assert "queue:mail,billing" in page.url
    assert "from=-7d" in page.url
    assert len(shown) > 20
    with private() as other:
        other.goto(page.url)

        assert rows(other) == shown


def test_item_4_back_undoes_the_last_filter(page: Page) -> None:
    """4. Back takes back the last filter, one at a time, and stays on the list."""
    page.goto("")
    follow(page, page.get_by_role("link", name="Tasks", exact=True))
    everything = rows(page)
    follow(page, page.locator(".facets a[title=Failed]"))
    failed = rows(page)
    follow(page, page.locator(".facets a[title=mail]"))

    page.go_back()

    assert rows(page) == failed
    expect(page.get_by_label("Search tasks")).to_have_value("state:failed")
    page.go_back()
    assert rows(page) == everything
    expect(page).to_have_url(re.compile("/tasks$"))


def test_item_5_the_text_of_an_exception_finds_its_tasks(page: Page, day: story.Story) -> None:
    """5. Error text, a line of a traceback and an exclusion all find; a bad search shows a caret and keeps the list."""
    page.goto("tasks")
    search = page.get_by_label("Search tasks")
    search_for(page, '"invalid card for customer 7215"')
    assert rows(page) == [day.ids["failed after retries"]]

    search_for(page, 'trace:"shop/mail.py" state:failed')
    mails = rows(page)
    assert len(mails) > 3
    assert {name.inner_text() for name in page.locator("[data-rows] .c-name").all()} == {"mail.send"}

    search_for(page, "-name:ops.* -name:mail.send -name:billing.*")
    assert {name.inner_text().split(".")[0] for name in page.locator("[data-rows] .c-name").all()} == {"etl", "reports"}
    kept = rows(page)

    search_for(page, "state:faild")

    expect(search).to_have_value("state:faild")
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("state:faild\n      ^")
    expect(notice).to_contain_text("did you mean failed?")
    assert rows(page) == kept


def search_for(page: Page, text: str) -> None:
    """Type a search and send it."""
    page.get_by_label("Search tasks").fill(text)
    enter(page)


def test_item_6_eighteen_rows_are_visible(page: Page) -> None:
    """6. At 1440 x 900 at least 18 whole task rows are visible, each 31 pixels high."""
    page.goto("tasks")
    boxes = page.eval_on_selector_all(
        "[data-rows] > tr",
        "rows => rows.map(row => { const box = row.getBoundingClientRect(); return [box.height, box.bottom] })",
    )

    visible = [height for height, bottom in boxes if bottom <= 900]

    assert len(visible) >= 18
    assert set(visible) == {31}


def test_item_8_three_attempts_three_errors_no_own_parent(page: Page, day: story.Story) -> None:
    """8. A task that was retried twice has three rows in its timeline, three errors, and is not its own parent."""
    page.goto(f"tasks/{day.ids['failed after retries']}")

    expect(page.locator(".lane-label")).to_have_text(["Attempt 1", "Attempt 2", "Attempt 3", ""])
    errors = page.locator("#error h3").all_inner_texts()
    assert [re.sub(r"\s*Copy\s*", "", error) for error in errors] == [
        "Attempt 3: ValueError: invalid card for customer 7215",
        "Attempt 2: ConnectionError: gateway timeout after 31 s",
        "Attempt 1: ConnectionError: gateway timeout after 30 s",
    ]
    expect(page.locator("dt", has_text="Parent").locator("+ dd")).to_have_text("none")
    expect(page.locator(".family")).to_have_count(0)


def test_item_12_everything_is_there_after_a_restart(browser: Browser, day_copy: str, day: story.Story) -> None:
    """12. After the site was stopped and started, history, saved views and notes are still there."""
    task = day.ids["failed after retries"]
    first = Site(Settings(database_url=day_copy, port=0))
    first.start()
    with visiting(browser, first.address) as page:
        page.goto("tasks?q=state:failed+queue:billing&from=-7d")
        before = rows(page)
        page.locator("summary", has_text="Save view").click()
        page.get_by_label("Name of this view").fill("Broken cards")
        follow(page, page.get_by_role("button", name="Save", exact=True))
        page.goto(f"tasks/{task}")
        page.get_by_text("Write a note").click()
        page.get_by_label("Note", exact=True).fill("Ann knows")
        page.get_by_role("button", name="Keep note").click()
        expect(page.locator(".notes")).to_contain_text("Ann knows")
    first.stop()

    second = Site(Settings(database_url=day_copy, port=0))
    second.start()
    with visiting(browser, second.address) as page:
        page.goto("tasks")
        follow(page, page.get_by_role("link", name="Broken cards"))

        assert rows(page) == before
        page.goto(f"tasks/{task}")
        expect(page.locator(".notes")).to_contain_text("Ann knows")
    second.stop()


#: where state and name stand on the pages that have them
SEEN = {
    "overview": (".verdict", ".problems a"),
    "tasks": (".c-state .state", ".c-name a"),
    "task": ("h1 .state", "h1 span"),
    "schedules": ("td .state", "td .strong"),
    "workers": ("td .state", "td .strong"),
}


@pytest.mark.parametrize("name", ["overview", "tasks", "task", "schedules", "failures", "workers", "queues", "ledger"])
def test_item_17_a_phone_scrolls_down_only(private: Open, places: dict[str, str], name: str) -> None:
    """17. At 390 x 844 no page is wider than the screen, and state and name are visible without scrolling."""
    with private(viewport={"width": 390, "height": 844}) as page:
        page.goto(places[name])

        assert overflow(page) <= 0
        expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
        for first in [page.locator(f"main {part}").first for part in SEEN.get(name, ())]:
            expect(first).to_be_in_viewport()


def test_item_19_everything_reads_without_script(private: Open, tmp_path: Path) -> None:
    """19. With scripts off one can search, page, open a task, read its traceback and download CSV."""
    with private(java_script_enabled=False) as page:
        page.goto("tasks")
        page.get_by_label("Search tasks").fill("billing.charge")
        follow(page, page.get_by_role("button", name="Search"))
        first = rows_without_script(page)
        follow(page, page.get_by_role("link", name="Older"))
        assert not set(first) & set(rows_without_script(page))

        page.get_by_label("Search tasks").fill("state:failed name:billing.charge")
        follow(page, page.get_by_role("button", name="Search"))
        with page.expect_download() as download:
            page.get_by_role("link", name="Export CSV").click()
        download.value.save_as(tmp_path / "tasks.csv")
        with (tmp_path / "tasks.csv").open(newline="") as file:
            states = {row["state"] for row in csv.DictReader(file)}
        assert states == {"Failed"}

        follow(page, page.locator("[data-rows] a").first)
        expect(page.locator(".trace").first).to_contain_text('raise ValueError("invalid card for customer')
        expect(page.locator(".trace details pre").first).to_be_hidden()
        page.locator(".trace summary").first.click()
        expect(page.locator(".trace details pre").first).to_contain_text("celery/app/trace.py")


def rows_without_script(page: Page) -> list[str]:
    """The ids of the rows, read from what the server sent."""
    return re.findall(r'<tr data-key="([^"]+)"', page.content())


def test_item_20_every_time_has_its_day_and_its_zone(private: Open, places: dict[str, str]) -> None:
    """20. Times carry offset and date; the zone's switch moves all of them; the browser's own zone moves none."""

    def times(page: Page) -> list[tuple[str, str]]:
        found = page.eval_on_selector_all("time", "all => all.map(one => [one.dateTime, one.textContent])")
        return [(at, shown) for at, shown in found]

    def zone_set(page: Page, zone: str) -> None:
        page.locator("summary[aria-label^='Time zone']").click()
        page.get_by_label("Times in", exact=True).select_option(zone)
        follow(page, page.get_by_role("button", name="Apply").last)

    utc: dict[str, list[tuple[str, str]]] = {}
    with private() as page:
        for name in ("overview", "tasks", "task", "failures", "schedules", "workers", "ledger"):
            page.goto(places[name])
            utc[name] = times(page)
            assert utc[name], name
            heads = page.locator("main th").all_inner_texts()
            assert any("(UTC)" in head for head in heads) or "UTC" in page.locator(".lead").first.inner_text()
            for at, shown in utc[name]:
                assert at.endswith("+00:00")
                assert (at[:10] == "2026-11-22") or re.match(r"\d{1,2} [A-Z][a-z]{2} ", shown), shown
    with private(timezone_id="Asia/Tokyo") as page:
        for name, seen in utc.items():
            page.goto(places[name])
            assert times(page) == seen
        zone_set(page, "Asia/Tokyo")
        for name, seen in utc.items():
            page.goto(places[name])
            moved = times(page)
            assert [at for at, _ in moved] != [at for at, _ in seen]
            assert all(at.endswith("+09:00") for at, _ in moved)
            assert len(moved) == len(seen)


def test_rows_stay_where_they_are_while_live(browser: Browser, day_copy: str, day: story.Story) -> None:
    """7. Live: a row changes its state in place, new ones wait behind a pill, and only a click brings them in."""
    site = Site(Settings(database_url=day_copy, port=0))
    site.start()
    with visiting(browser, site.address) as page:
        page.goto("tasks")
        page.keyboard.press(".")
        expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "true")
        shown, top = rows(page), page.locator("[data-rows] tr").nth(4).bounding_box()
        page.locator("[data-rows] tr").nth(4).hover()
        running = page.locator(f"tr[data-key='{day.ids['running']}']")
        expect(running).to_contain_text("Running")

        tell_more(day_copy, day)

        expect(page.get_by_role("button", name="60 newer, show")).to_be_hidden()
        expect(page.locator("[data-newer]")).to_contain_text("50 or more newer, show", timeout=15_000)
        expect(running).to_contain_text("Succeeded", timeout=15_000)
        assert rows(page) == shown
        assert page.locator("[data-rows] tr").nth(4).bounding_box() == top
        page.locator("[data-newer] button").click()
        assert not set(rows(page)) & set(shown)
        assert "live=1" in page.url
    site.stop()


def tell_more(url: str, day: story.Story) -> None:
    """The running task ends, and 60 more are sent."""
    more = story.Story(11, NOW)
    for number in range(60):
        more.whole("mail.send", NOW + number * 1000)
    more.say("task-succeeded", NOW, day.workers[1], uuid=day.ids["running"], result="1", runtime=93.0)
    with open_ledger(url) as ledger:
        events = [item for item in story.decoded(more.events) if isinstance(item, Event)]
        record(ledger, Batch("default", events, (), NOW, None))


def test_the_keyboard_reaches_everything(page: Page) -> None:
    """16. From Overview to a failed task's traceback and back by keyboard; `?` lists the keys; focus can be seen."""
    page.goto("")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    with page.expect_navigation():
        page.keyboard.press("t")
    expect(page).to_have_url(re.compile("/tasks$"))
    page.keyboard.press("/")
    page.keyboard.type("state:failed ValueError")
    enter(page)
    expect(page.locator(".lead")).to_contain_text("matching")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    focused = page.locator("[data-rows] a:focus")
    expect(focused).to_have_count(1)
    assert focused.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    enter(page)

    expect(page.locator(".trace").first).to_contain_text("ValueError: invalid card")
    page.go_back()
    expect(page.get_by_label("Search tasks")).to_have_value("state:failed ValueError")


def test_single_keys_can_be_switched_off(page: Page) -> None:
    """A visitor who switched shortcuts off can type anything anywhere without effect."""
    page.goto("")
    page.locator("summary[aria-label^='Time zone']").click()
    page.get_by_label("Off", exact=True).check()
    follow(page, page.get_by_role("button", name="Apply").last)

    page.keyboard.press("?")

    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_theme_is_drawn_by_the_server(page: Page) -> None:
    """A chosen theme is in the first bytes of the page, whatever the system prefers."""
    page.goto("tasks")
    page.locator("summary[aria-label^='Time zone']").click()
    page.get_by_label("Dark").check()
    follow(page, page.get_by_role("button", name="Apply").last)

    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(16, 20, 24)"
    assert 'data-theme="dark"' in page.request.get("tasks").text()


def test_copying_works_without_a_secure_context(page: Page, day: story.Story) -> None:
    """The id's button copies it, and says so to who cannot see it."""
    task = day.ids["failed after retries"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"tasks/{task}")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")

    page.get_by_role("button", name="Copy the id").click()

    expect(page.locator("#said")).to_have_text("Copied")
    page.reload()
    assert page.evaluate("navigator.clipboard.readText()") == task


def test_the_first_event_turns_the_set_up_page_into_the_overview(browser: Browser, sqlite_url: str) -> None:
    """Somebody who follows the steps sees the page change by itself once something is recorded."""
    site = Site(Settings(database_url=sqlite_url, port=0))
    site.start()
    with visiting(browser, site.address) as page:
        page.goto("")
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been recorded yet")

        told = story.Story(1, NOW)
        told.whole("ops.heartbeat", NOW - 60 * story.SECOND)
        with open_ledger(sqlite_url) as ledger:
            story.tell(ledger, told)

        expect(page.get_by_role("heading", level=1)).not_to_have_text("Nothing has been recorded yet", timeout=15_000)
        expect(page.locator(".pill")).to_contain_text("recording")
    site.stop()

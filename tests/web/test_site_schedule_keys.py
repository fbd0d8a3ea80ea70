"""Walking along strips by key: what a slot says is shown and read out, and Enter opens its task."""

import pytest
from browsing import enter, overflow
from playwright.sync_api import Page, expect
from test_site_accessible import violations

pytestmark = pytest.mark.browser
FOCUSED = "document.activeElement.querySelector('title')?.textContent"


def said(page: Page) -> str:
    """What was read out last; it is what is shown, and what the focused slot's tooltip says."""
    told = page.locator("#said").inner_text()
    expect(page.locator(".tip")).to_have_text(told)
    assert page.evaluate(FOCUSED) == told
    return told


def test_h_and_l_walk_along_the_strip_of_a_row(page: Page) -> None:
    """From the newest due time back and forth, no further than the ends; j goes on to the next row."""
    page.goto("schedules")
    page.keyboard.press("j")
    page.keyboard.press("h")
    newest = said(page)
    assert "still to come" not in newest
    page.keyboard.press("h")
    assert said(page) != newest
    page.keyboard.press("l")
    assert said(page) == newest
    for _ in range(9):
        page.keyboard.press("l")
    assert "still to come" in said(page)

    first = page.locator("[data-rows] > tr").nth(0)
    assert first.evaluate("row => row.contains(document.activeElement)")
    page.keyboard.press("j")
    expect(page.locator(".tip")).to_have_count(0)
    page.keyboard.press("h")
    assert page.locator("[data-rows] > tr").nth(1).evaluate("row => row.contains(document.activeElement)")
    for _ in range(40):
        page.keyboard.press("h")
    assert said(page) == page.locator("[data-rows] > tr").nth(1).locator(".strip title").first.evaluate(
        "title => title.textContent"
    )
    assert violations(page) == []
    assert overflow(page) <= 0


def test_enter_opens_the_task_of_a_slot(page: Page) -> None:
    """On the page of an entry the keys walk along its strip, and Enter opens the run."""
    page.goto("schedules/hourly-billing")
    page.keyboard.press("h")
    assert said(page).startswith("08:00:00 UTC: on time")
    enter(page)

    expect(page.get_by_role("heading", level=1)).to_contain_text("billing.hourly")


def test_the_keys_are_listed_where_they_work(page: Page) -> None:
    """The list that ? opens names them; g then l is still the way to the ledger's page."""
    page.goto("schedules")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("older, newer due time")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    with page.expect_navigation():
        page.keyboard.press("l")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ledger")

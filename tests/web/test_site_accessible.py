"""Every page in a real browser, light and dark, wide and narrow: accessible, nothing overflows, a picture is kept."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import overflow, picture, visiting
from playwright.sync_api import Browser, Page, expect

from taskledger.config import Settings
from taskledger_web import Site

pytestmark = pytest.mark.browser

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
Open = Callable[..., Any]

PLACES = (
    "overview",
    "tasks",
    "tasks-bad-search",
    "tasks-empty",
    "task",
    "task-family",
    "task-running",
    "task-missing",
    "failures",
    "schedules",
    "schedules-nothing",
    "schedules-timeline",
    "schedule",
    "calendar",
    "due-list",
    "beats",
    "clock-changes",
    "schedules-then",
    "schedule-then",
    "workers",
    "worker",
    "queues",
    "ledger",
    "not-found",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PLACES)
def test_15_every_page_is_accessible_and_fits(private: Open, places: dict[str, str], name: str, scheme: str) -> None:
    """15. No WCAG A or AA violation, sideways scroll or script error on any page, light and dark, wide and narrow."""
    with private(color_scheme=scheme) as page:
        page.goto(places[name])
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            picture(page, f"{name}-{width}-{scheme}")

            assert overflow(page) <= 0
            # What differs between the themes is colour, which is the same at every width.
            assert (scheme, width) == ("dark", 400) or violations(page) == []


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Each broken rule with the elements that break it."""
    found = Axe().run(page, options=RULES).response["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"][:4]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_empty_ledger_is_a_page_that_helps(browser: Browser, sqlite_url: str, scheme: str) -> None:
    """Where nothing was ever recorded, the front page lists the steps, and is as accessible as any other."""
    site = Site(Settings(database_url=sqlite_url, port=0))
    site.start()
    with visiting(browser, site.address, color_scheme=scheme) as page:
        page.goto("")
        picture(page, f"setup-1280-{scheme}")

        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been recorded yet")
        expect(page.locator(".checks code").first).to_have_text("celery -A proj taskledger record")
        assert violations(page) == []
    site.stop()

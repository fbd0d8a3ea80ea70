"""A real Chromium that watches for what must never happen: script errors, policy violations, other hosts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, sync_playwright

SCREENSHOTS = Path(__file__).parent / "screenshots"
#: how Chromium starts where it is no user's
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
)

#: set in each page before its own scripts: what the policy forbade
_WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.__violations.push(event.violatedDirective + " " + event.blockedURI));
"""


@contextmanager
def started(chromium: str) -> Iterator[Browser]:
    """A Chromium, until the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, address: str, **how: Any) -> Iterator[Page]:
    """A page in a private window; at the end nothing may have gone wrong unseen."""
    context = browser.new_context(base_url=address, **({"viewport": {"width": 1440, "height": 900}} | how))
    context.set_default_timeout(10_000)
    faults: list[str] = []
    hosts: set[str] = set()
    page = context.new_page()
    if how.get("java_script_enabled", True):
        page.add_init_script(_WATCH)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("console", lambda line: faults.append(f"console: {line.text}") if _is_fault(line) else None)
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    try:
        yield page
        if how.get("java_script_enabled", True):
            faults += page.evaluate("window.__violations")
        assert faults == []
        assert hosts <= {urlsplit(address).netloc, ""}
    finally:
        context.close()


def _is_fault(line: Any) -> bool:
    # A page that is not found is a page as well, and the browser reports it as an error.
    return line.type == "error" and "404" not in line.text


def follow(page: Page, link: Locator) -> None:
    """Click what opens another page, and wait until that page is there: a click does not, and what is read next would
    be of the page that is left, or of half a page.
    """
    with page.expect_navigation():
        link.click()


def enter(page: Page) -> None:
    """Send the form whose field has the focus, and wait until the page it leads to is there."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def picture(page: Page, name: str) -> None:
    """A screenshot for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def rows(page: Page) -> list[str]:
    """The keys of the list's rows in order."""
    keys: list[str] = page.eval_on_selector_all("[data-rows] > tr", "rows => rows.map(row => row.dataset.key)")
    return keys


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width

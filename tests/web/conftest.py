"""A site over a recorded day; the clock stands still at the end of it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import story
from browsing import visiting
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page
from story import HOLE, NOW

from taskledger.config import Settings
from taskledger.ledger import open_ledger
from taskledger_web import Site, create_app, view

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "now_at", lambda: NOW + story.SECOND)
        yield


@pytest.fixture(scope="session")
def day() -> story.Story:
    """The events of the recorded day."""
    return story.day(7, NOW, number=700)


@pytest.fixture(scope="session")
def day_url(day: story.Story, migrated_databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger that holds the day. Tests that write take a copy of it: see `day_copy`."""
    file = tmp_path_factory.mktemp("day") / "ledger.sqlite3"
    shutil.copyfile(migrated_databases["sqlite"].removeprefix("sqlite:///"), file)
    url = f"sqlite:///{file}"
    with open_ledger(url) as ledger:
        story.tell(ledger, day, holes=(HOLE,))
    return url


@pytest.fixture
def day_copy(day_url: str, tmp_path: Path) -> str:
    """The day, in a ledger that may be written to."""
    copy = tmp_path / "copy.sqlite3"
    shutil.copyfile(day_url.removeprefix("sqlite:///"), copy)
    return f"sqlite:///{copy}"


@pytest.fixture(scope="session")
def app(day_url: str) -> Flask:
    """The site over the day."""
    return create_app(Settings(database_url=day_url))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A visitor without cookies."""
    return app.test_client()


@pytest.fixture
def site(sqlite_url: str) -> Callable[..., FlaskClient]:
    """A visitor of a site over a ledger that is told the given events; without any, nothing was ever recorded."""

    def visit(told: story.Story | None = None, **settings: object) -> FlaskClient:
        if told is not None:
            with open_ledger(sqlite_url) as ledger:
                story.tell(ledger, told)
        return create_app(Settings(**{"database_url": sqlite_url} | settings)).test_client()

    return visit


@pytest.fixture(scope="session")
def address(day_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a site over the recorded day listens; its ledger is a copy, because visitors may write."""
    copy = tmp_path_factory.mktemp("site") / "ledger.sqlite3"
    shutil.copyfile(day_url.removeprefix("sqlite:///"), copy)
    site = Site(Settings(database_url=f"sqlite:///{copy}", port=0))
    site.start()
    yield site.address
    site.stop()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page at 1440 x 900 in a private window."""
    with visiting(browser, address) as opened:
        yield opened


@pytest.fixture
def own(browser: Browser, day_copy: str) -> Iterator[Page]:
    """A page of a site over a ledger that may be written to."""
    site = Site(Settings(database_url=day_copy, port=0))
    site.start()
    with visiting(browser, site.address) as opened:
        yield opened
    site.stop()


@pytest.fixture
def private(browser: Browser, address: str) -> Open:
    """Another private window."""
    return lambda **how: visiting(browser, address, **how)


@pytest.fixture(scope="session")
def places(day: story.Story) -> dict[str, str]:
    """Each kind of page by name."""
    return {
        "overview": "",
        "tasks": "tasks",
        "tasks-bad-search": "tasks?q=state:failed+nme:x&good=state:failed",
        "tasks-empty": "tasks?q=nothing-like-it",
        "task": f"tasks/{day.ids['failed after retries']}",
        "task-family": f"tasks/{day.ids['leaf']}",
        "task-running": f"tasks/{day.ids['running']}",
        "task-missing": "tasks/00000000-no-such",
        "failures": "failures",
        "schedules": "schedules",
        "schedules-nothing": "schedules?verdict=two_beats",
        "schedules-timeline": "schedules?view=timeline",
        "schedule": "schedules/cleanup",
        "calendar": "schedules/hourly-billing?view=calendar",
        "due-list": "schedules/hourly-billing?day=2026-11-22",
        "beats": "beats",
        "clock-changes": "schedules/dst",
        "schedules-then": "schedules?at=2026-11-22T06:05:00Z",
        "schedule-then": "schedules/cleanup?at=2026-11-22T06:05:00Z",
        "workers": "workers",
        "worker": "workers/w3@vm",
        "queues": "queues",
        "ledger": "ledger",
        "not-found": "nothing-here",
    }

"""Names and ids that an address must carry whole: with slashes, as schedules, tasks and workers may have them."""

import re
from collections.abc import Callable
from html import unescape

import pytest
import story
from flask.testing import FlaskClient
from story import NOW

from taskledger.crontabs import Crontab
from taskledger.ledger import open_ledger
from taskledger.ledger.schedule_store import keep_definitions
from taskledger.schedules import Entry

Visit = Callable[..., FlaskClient]


@pytest.fixture
def slashed(site: Visit, sqlite_url: str) -> FlaskClient:
    """A site over a task, a worker and a schedule entry that each have a slash in what they are called."""
    told = story.Story(1, NOW)
    node = story.Node("celery@rack/1", 1)
    fields = {"uuid": "2026/11/22", "name": "shop.bill", "args": "()", "kwargs": "{}", "root_id": "2026/11/22"}
    told.online(node, NOW - 60 * story.SECOND)
    told.say("task-received", NOW - 59 * story.SECOND, node, **fields)
    told.say("task-started", NOW - 58 * story.SECOND, node, uuid="2026/11/22")
    visitor = site(told)
    with open_ledger(sqlite_url) as ledger:
        entries = (Entry("nightly/report", "reports.build", Crontab(minute="0")),)
        keep_definitions(ledger, "default", "shop (beat_schedule)", entries, NOW - story.HOUR)
    return visitor


@pytest.mark.parametrize(
    ("address", "name"), [("/tasks", "2026/11/22"), ("/workers", "celery@rack/1"), ("/schedules", "nightly/report")]
)
def test_a_name_with_a_slash_has_a_page(slashed: FlaskClient, address: str, name: str) -> None:
    """The link that a list makes to a thing with a slash in its name leads to that thing, written %2F or plainly."""
    (link,) = re.findall(rf'data-key="{name}".*?data-open href="([^"]+)"', slashed.get(address).text, re.DOTALL)

    for where in (unescape(link), f"{address}/{name}"):
        found = slashed.get(where)
        assert (where, found.status_code) == (where, 200)
        assert name in found.text

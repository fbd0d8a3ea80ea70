"""Input that wishes the site harm, and addresses that nobody meant: each is answered, none is obeyed."""

import re
from collections.abc import Callable
from html import unescape

import pytest
import story
from flask.testing import FlaskClient
from story import NOW

Visit = Callable[..., FlaskClient]
PAGES = ("/", "/tasks", "/failures", "/schedules", "/workers", "/ledger")

HOSTILE = "<script>alert(1)</script>\"'\u202e\u0000=x//../%2f"


def test_hostile_text_is_only_ever_text(site: Visit) -> None:
    """Names, arguments, errors, ids and hosts that carry markup and unseen characters stay text on every page."""
    told = story.Story(1, NOW)
    node = story.Node(HOSTILE, 1)
    for task_id in ("..", "a//b", "/lead", "with\nline", HOSTILE, "%2e%2e", "a?b#c"):
        fields = {
            "uuid": task_id,
            "name": HOSTILE,
            "args": f"('{HOSTILE}',)",
            "kwargs": HOSTILE,
            "queue": HOSTILE,
            "root_id": task_id,
        }
        told.say("task-sent", NOW - 60 * story.SECOND, node, **fields)
        told.say("task-received", NOW - 59 * story.SECOND, node, **fields)
        told.say("task-started", NOW - 58 * story.SECOND, node, uuid=task_id)
        told.say("task-failed", NOW - 57 * story.SECOND, node, uuid=task_id, exception=HOSTILE, traceback=HOSTILE)
    visitor = site(told)

    pages = [*PAGES, *re.findall(r'data-open href="([^"]+)"', visitor.get("/tasks").text)]
    pages += re.findall(r'href="(/failures/[^"]+)"', visitor.get("/failures").text)
    pages += re.findall(r'data-open href="([^"]+)"', visitor.get("/workers").text)
    answers = {address: visitor.get(unescape(address)) for address in pages}

    assert len(pages) == 6 + 7 + 1 + 1
    assert {address: answer.status_code for address, answer in answers.items() if answer.status_code != 200} == {}
    assert not [address for address, answer in answers.items() if re.search(r"<script>|\u202e|\x00", answer.text)]


ODD = (
    "/tasks?from=x&to=-1",
    "/tasks?limit=999999&after=%00&before=!!",
    "/tasks?tz=../../etc/passwd",
    "/tasks?tz=Europe",
    "/tasks?from=0001-01-01&to=9999-12-31",
    "/tasks?q=%00",
    "/tasks?q=%ff%fe",
    "/tasks?q=" + "(" * 3000,
    "/tasks?q=id:%25",
    "/tasks?q=%F0%9F%98%80%22",
    "/tasks?from=now&to=now",
    "/tasks?from=-1s",
    "/tasks?from=-9999999w",
    "/tasks?from=all",
    "/tasks/%00",
    "/tasks/%2e%2e",
    "/tasks//",
    "/tasks/" + "x" * 5000,
    "/task?id=",
    "/task?id=%ff",
    "/task",
    "/failures/zz",
    "/failures/%00",
    "/failures?from=all&q=%25_%5c",
    "/failures?from=2030-01-01&to=2031-01-01",
    "/schedules/%ff",
    "/schedule",
    "/workers/%00",
    "/worker?name=%22",
    "/tasks.csv?q=nme:x",
    "/tasks.csv?after=x",
    "/?from=9999-99-99",
    "/?tz=Asia/Tokyo&from=-7d",
    "/static/x/none.css",
    "/static/../../app.py",
    "/%c0%ae",
    "//",
    "/tasks?q=a&q=b",
)


@pytest.mark.parametrize("address", ODD)
def test_odd_addresses_never_break_a_page(client: FlaskClient, address: str) -> None:
    """Whatever stands in an address is answered with a page, a redirect or a refusal, and never with 500."""
    assert client.get(address).status_code < 500

"""Input that wishes the site harm, and addresses that nobody meant: each is answered, none is obeyed."""

import re
from collections.abc import Callable
from html import unescape
from zoneinfo import ZoneInfo

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


LONG = "Z" * 9000


@pytest.mark.parametrize("name", ["tz", "from", "to", "limit", "after", "before", "q", "good", "live", "none-such"])
@pytest.mark.parametrize("page", ["/tasks", "/failures"])
def test_a_long_parameter_is_not_repeated_in_every_link(client: FlaskClient, page: str, name: str) -> None:
    """Nine thousand letters in the address stand on the page twice at most, where it shows what was typed."""
    html = client.get(f"{page}?{name}={LONG}", follow_redirects=True).text

    assert html.count(LONG) <= 2
    assert not re.findall(rf'(?:href|action)="[^"]*{LONG}', html)


@pytest.mark.parametrize(
    "zone", ["localtime", "posix/Europe/Berlin", "right/UTC", "Factory", "posixrules", "../UTC", "Europe", LONG]
)
def test_a_zone_is_a_place_and_no_file_of_the_server(client: FlaskClient, zone: str) -> None:
    """What is not written as Area/City, UTC or GMT is no zone: it sets none, and no link repeats it."""
    html = client.get("/tasks", query_string={"tz": zone}).text

    assert "Sent (UTC)" in html
    assert "tz=" not in html


@pytest.mark.parametrize(
    ("zone", "word"), [("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"), ("GMT", "GMT")]
)
def test_a_zone_that_is_one_goes_with_every_link(client: FlaskClient, zone: str, word: str) -> None:
    """A real zone heads the columns and stands in the links to other pages."""
    html = client.get("/tasks", query_string={"tz": zone}).text

    assert f"Sent ({word})" in html
    assert f'href="/failures?tz={zone}"' in html


def test_a_place_in_the_list_is_kept_however_long_its_id(site: Visit) -> None:
    """A cursor is as long as the id in it; the address to come back to still has it."""
    told = story.Story(1, NOW)
    for number in range(60):
        fields = {"uuid": f"{number:03d}" + "x" * 180, "name": "t", "args": "()", "kwargs": "{}", "queue": "q"}
        told.say("task-sent", NOW - number * story.SECOND, told.web, **fields)
    visitor = site(told)

    (older,) = re.findall(r'rel="next" href="([^"]+)"', visitor.get("/tasks").text)
    html = visitor.get(unescape(older)).text

    assert html.count("<tr data-key=") == 10
    assert re.findall(r'name="next" value="([^"]+)"', html) == [older]


def test_the_configured_zone_may_have_any_name(site: Visit) -> None:
    """A site whose zone is CET is read in CET, and a visitor may choose it."""
    visitor = site(story.day(3, NOW, number=1), timezone=ZoneInfo("CET"))

    response = visitor.post("/preferences", data={"zone": "CET", "next": "/tasks"})

    assert "taskledger_zone=CET" in response.headers["Set-Cookie"]
    assert "Sent (CET)" in visitor.get("/tasks?tz=CET").text

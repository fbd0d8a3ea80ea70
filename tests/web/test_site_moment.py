"""Looking back: pages and the API as of a moment of the incident of tests/incident.py, and a browser that asks."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import incident
import pytest
import story
from browsing import enter, follow, overflow, picture, visiting
from flask.testing import FlaskClient
from incident import NAMES, TASKS
from playwright.sync_api import Browser, expect
from test_site_accessible import violations
from test_site_pages import keys, words

from taskledger.config import Settings
from taskledger.ledger import open_ledger
from taskledger_web import Site, create_app

#: w2 was killed a second later; in the gap; after it
BEFORE, KILLED, GAP, AFTER = "03:12:39", "2026-11-22T03:13:40", "2026-11-22T03:36:40", "2026-11-22T03:41:40Z"


@pytest.fixture(scope="module")
def told(migrated_databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger on SQLite that was told the incident."""
    file = tmp_path_factory.mktemp("incident") / "ledger.sqlite3"
    shutil.copyfile(migrated_databases["sqlite"].removeprefix("sqlite:///"), file)
    url = f"sqlite:///{file}"
    with open_ledger(url) as ledger:
        incident.tell(ledger)
    return url


@pytest.fixture
def visitor(told: str) -> FlaskClient:
    """Somebody who looks at it, some hours later."""
    return create_app(Settings(database_url=told)).test_client()


def then(address: str, moment: str) -> str:
    """The address of a page as of a moment."""
    return f"{address}{'&' if '?' in address else '?'}at={moment}"


def banner(html: str) -> str:
    """What stands above the page."""
    found = re.search(r'<div class="as-of".*?</div>', html, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split()) if found else ""


def region(html: str, name: str) -> list[str]:
    """The names of the tasks in a table of a worker's page."""
    found = re.search(rf'data-region="{name}".*?</table>', html, re.DOTALL)
    return [NAMES[task_id] for task_id in keys(found[0])] if found else []


PAGES = (
    "/",
    "/tasks",
    "/tasks?q=state:running",
    f"/tasks/{TASKS['doomed'][0]}",
    f"/task?id={TASKS['doomed'][0]}",
    "/failures",
    "/schedules",
    "/workers",
    "/workers/w2@vm",
    "/queues",
    "/ledger",
)


@pytest.mark.parametrize("address", PAGES)
def test_every_page_looks_back_and_says_so_and_its_links_keep_the_moment(visitor: FlaskClient, address: str) -> None:
    """The page names its moment and a way back to now, is not live, and every other page is linked as of it."""
    html = visitor.get(then(address, BEFORE)).text

    assert banner(html).startswith("As of 22 Nov 03:12:39 UTC (5 h ago)")
    assert "Back to now" in banner(html)
    assert "data-live " not in html
    links = [unescape(link) for link in re.findall(r'<a href="(/[^"]*)" data-go', html)]
    assert len(links) == 7
    assert all(f"at={BEFORE}" in link for link in links)
    assert f'name="at" value="{BEFORE}"' in html
    assert banner(visitor.get(address).text) == ""


@pytest.mark.parametrize("address", PAGES)
def test_no_page_that_looks_back_has_a_dead_link(visitor: FlaskClient, address: str) -> None:
    """Every link of a page as of a moment leads to a page."""
    html = visitor.get(then(address, KILLED)).text
    links = {
        re.sub(r"[0-9a-f-]{8,}|\d{4}-\d\d-\d\dT[\d:]+Z", "*", link): link
        for link in re.findall(r'href="(/[^"]*)"', html)
    }

    broken = [link for link in map(unescape, links.values()) if visitor.get(link).status_code >= 400]

    assert broken == []


def test_the_banner_steps_through_time(visitor: FlaskClient) -> None:
    """Its links lead a minute and ten seconds back and on, never past now, and out of it."""
    html = visitor.get("/workers?at=2026-11-22T03:12:40").text
    steps = re.findall(r'<a class="button" href="/workers(?:\?at=([^"]*))?">', html)

    assert steps == ["2026-11-22T03:11:40Z", "2026-11-22T03:12:30Z", "2026-11-22T03:12:50Z", "2026-11-22T03:13:40Z", ""]
    assert banner(visitor.get("/workers?at=now").text).count("min") == 1


def test_a_task_as_of_a_moment(visitor: FlaskClient) -> None:
    """13. A second before the kill it runs, later it was running; what came after the moment is not on its page."""
    doomed, ignored, ended = (TASKS[name][0] for name in ("doomed", "open", "quick"))
    before, after = (visitor.get(f"/tasks/{doomed}?at={moment}").text for moment in (BEFORE, KILLED))
    gap = visitor.get(f"/tasks/{ignored}?at={GAP}").text
    running, over = (visitor.get(f"/tasks/{ended}?at={moment}").text for moment in ("03:01:45", "03:02:00"))

    assert words(before).startswith("Tasks / shop.doomed Running shop.doomed")
    assert words(after).startswith("Tasks / shop.doomed Was running shop.doomed")
    assert "when w2@vm fell silent at 22 Nov 03:12:39.000 UTC" in words(after)
    assert words(gap).startswith("Tasks / shop.open Perhaps running shop.open")
    assert "May have been running on w3@vm: no end of it was heard, and nobody was listening" in words(gap)
    assert "task-succeeded" not in running
    assert "Running since" in words(running)
    assert "Succeeded at 22 Nov 03:01:50.000 UTC" in words(over)
    assert "Write a note" not in over


def test_a_task_that_had_not_been_heard_of(visitor: FlaskClient) -> None:
    """A task as of a time before its first event is a page that says when that came."""
    response = visitor.get(f"/tasks/{TASKS['doomed'][0]}?at=03:10:00")

    assert response.status_code == 404
    assert "had not been heard of then: its first event is of 2026-11-22T03:11:40Z." in response.text


def test_the_ledger_as_of_a_moment(visitor: FlaskClient) -> None:
    """Its page tells who listened then, and what had been missed by then; the gap of later is not on it yet."""
    before, gap, after, early = (
        visitor.get(f"/ledger?at={moment}").text for moment in (BEFORE, GAP, AFTER, "2026-11-22T01:00")
    )

    assert words(before).startswith("Ledger A recorder was listening then. History begins 22 Nov 02:59:50.000 UTC")
    assert words(gap).startswith("Ledger Nobody was listening then.")
    assert "Not recorded from" not in words(before)
    assert "03:35:00 22 Nov 03:40:00" not in words(gap)
    assert "03:35:00 22 Nov 03:40:00 5 m 00 s" in words(after)
    assert "r 1 Recording 22 Nov 03:40:00 22 Nov 03:41:40" in words(after)
    assert "Stopped 22 Nov 02:59:50 22 Nov 03:35:00" in words(after)
    assert words(early).startswith("Ledger Nobody was listening then. Coverage")
    assert "No recorder had run by then." in words(early)
    assert not any("Size" in words(html) or "Set-up" in words(html) for html in (before, gap, after, early))


def test_from_an_event_one_gets_to_its_moment(visitor: FlaskClient) -> None:
    """Each event of a task leads to the workers and the queues as of then, exact to the microsecond."""
    html = visitor.get(f"/tasks/{TASKS['long'][0]}").text
    links = [unescape(link) for link in re.findall(r'href="(/(?:workers|queues)\?at=[^"]*)"', html)]

    assert "/workers?at=2026-11-22T03:03:19.500000Z" in links
    assert "/queues?at=2026-11-22T04:06:40Z" in links
    assert banner(visitor.get(links[2]).text).startswith("As of 22 Nov 03:03:19.500 UTC")


def test_flowers_broker_page_leads_to_the_queues(visitor: FlaskClient) -> None:
    """/broker, as Flower has it, is the page of queues."""
    assert visitor.get("/broker").headers["Location"] == "/queues"


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-23T00:00", "25:00:00", "-1 century"])
def test_a_moment_that_cannot_be_read_is_named_and_the_present_is_shown(visitor: FlaskClient, moment: str) -> None:
    """What is no time, or is still to come, is said; the page is then the present one."""
    html = visitor.get(f"/workers?at={moment}").text

    assert re.search(r'role="alert">.*showing the present', html, re.DOTALL)
    assert banner(html) == ""


def test_the_workers_as_of_a_second_before_the_kill(visitor: FlaskClient) -> None:
    """13. A second before the kill the worker is online and its task runs; a minute later lost, with that task."""
    before = visitor.get(f"/workers?at={BEFORE}").text
    after = visitor.get(f"/workers?at={KILLED}").text

    assert words(before).startswith("Workers 3 online, 0 lost, 0 offline.")
    assert "0, was at 1 when last heard of" in words(after)
    assert words(after).startswith("Workers 2 online, 1 lost, 0 offline.")


def test_a_worker_as_of_a_moment_lists_what_it_ran(visitor: FlaskClient) -> None:
    """Which tasks were running on worker X at a moment: listed; later what it was at when it was last heard of."""
    before, after = (visitor.get(f"/workers/w2@vm?at={moment}").text for moment in (BEFORE, KILLED))
    gap = visitor.get(f"/workers/w3@vm?at={GAP}").text
    retried = visitor.get("/workers/w2@vm?at=03:08:15").text

    assert (region(before, "running"), region(before, "lost")) == (["doomed"], [])
    assert (region(after, "running"), region(after, "lost")) == ([], ["doomed"])
    assert "its worker was last heard of at 03:12:39.000" in words(after)
    assert (region(gap, "running"), region(gap, "perhaps")) == ([], ["open"])
    assert region(retried, "running") == ["retried"]
    assert "run 2" in words(retried)
    assert "Succeeded at 03:08:20.000" in words(retried)


def test_a_worker_that_counts_more_than_is_known(site: Callable[..., FlaskClient]) -> None:
    """Where its last heartbeat counts more tasks than the ledger knows by name, the page says how many are missing."""
    told = story.Story(1, story.NOW)
    node = told.workers[0]
    told.online(node, story.NOW - 90 * story.SECOND)
    task_id = told.sent("reports.build", story.NOW - 80 * story.SECOND)
    told.received(story.NOW - 79 * story.SECOND, node)
    told.say("task-started", story.NOW - 78 * story.SECOND, node, uuid=task_id)
    for second in range(70, -1, -2):
        told.say("worker-heartbeat", story.NOW - second * story.SECOND, node, freq=2.0, active=3, processed=5)

    html = site(told).get("/workers/w1@vm?at=-10s").text

    assert "1 task known to have been running" in words(html)
    assert "Its heartbeat counted 3: of 2 more no event was recorded." in words(html)


def test_a_worker_that_had_not_been_heard_of(visitor: FlaskClient) -> None:
    """A worker as of a time before its first sign is a page that says when that came."""
    response = visitor.get("/workers/w2@vm?at=02:59:55")

    assert response.status_code == 404
    assert "its first sign came at 2026-11-22T03:00:00Z" in response.text


def test_tasks_as_of_a_moment_are_in_the_states_of_then(visitor: FlaskClient) -> None:
    """The list, its search and its file show states as of the moment; what its worker left is not called running."""
    now = visitor.get("/tasks?q=state:running").text
    before = visitor.get(f"/tasks?q=state:running&at={BEFORE}").text
    after = visitor.get(f"/tasks?q=state:running&at={KILLED}").text
    lines = visitor.get(f"/tasks.csv?q=state:running&at={BEFORE}").text.splitlines()

    assert sorted(NAMES[key] for key in keys(before)) == ["doomed", "long"]
    assert "Running" in words(before)
    assert "Was running" in words(after)
    assert "doomed" in [NAMES[key] for key in keys(now)]
    assert len(lines) == 3
    assert all('"Running"' in line for line in lines[1:])


def test_the_overview_as_of_a_moment(visitor: FlaskClient) -> None:
    """Its verdict is of that moment: nothing wrong before the kill, a lost worker after, nothing known in the gap."""
    verdicts = [words(visitor.get(f"/?at={moment}").text) for moment in (BEFORE, KILLED, GAP)]

    assert verdicts[0].startswith("No problems found")
    assert verdicts[1].startswith("1 problem Last 24 h")
    assert "w2@vm fell silent after 03:12:39 (1 min ago) with 1 task running: shop.doomed 00000004." in verdicts[1]
    assert verdicts[2].startswith("Cannot tell what happened then: nobody was listening")


def test_queues_now_and_then(visitor: FlaskClient) -> None:
    """Queue by queue what waited and ran; each leads to its tasks, as of that moment; now it is what is left open."""
    then = visitor.get("/queues?at=03:13:00").text
    now = visitor.get("/queues").text
    (link,) = [
        unescape(link) for link in re.findall(r'data-open href="([^"]+)"', then) if "queue:mail" in unescape(link)
    ]

    assert words(then).startswith("Queues 2 waiting, 1 running, 1 scheduled")
    assert "mail 1 03:11:40" in words(then)
    assert [NAMES[key] for key in keys(visitor.get(link).text)] == ["held", "doomed"]
    assert words(now).startswith(
        "Queues 0 waiting, 0 running, 0 scheduled, 2 not known, counted from what tasks announced."
    )
    assert "Nobody is listening now: this is what was open when a recorder last did." in words(now)


def test_a_gap_is_told_on_every_page(visitor: FlaskClient) -> None:
    """As of a moment in which nobody listened, the banner says that, and why; after it, it does not."""
    for address in ("/", "/tasks", "/workers", "/workers/w1@vm", "/queues"):
        assert "Nobody was listening then (stopped)" in banner(visitor.get(f"{address}?at={GAP}").text)
        assert "Nobody was listening" not in banner(visitor.get(f"{address}?at={AFTER}").text)


def ask(visitor: FlaskClient, query: str) -> dict[str, Any]:
    """What the API says was running."""
    response = visitor.get(f"/api/v1/running?{query}")
    assert (response.status_code, response.content_type) == (200, "application/json")
    answer: dict[str, Any] = json.loads(response.text)
    return answer


def test_the_api_says_what_was_running_on_a_worker(visitor: FlaskClient) -> None:
    """Which tasks were running on worker X at a moment: as JSON, with exact times in UTC and who listened."""
    before = ask(visitor, f"at={BEFORE}&worker=w2@vm")
    after = ask(visitor, f"at={KILLED}&worker=w2@vm")
    (task,) = before["tasks"]

    assert (before["at"], before["heard"]) == (
        "2026-11-22T03:12:39.000000Z",
        [{"cluster": "default", "is_heard": True, "since_at": "2026-11-22T02:59:50.000000Z", "cause": None}],
    )
    assert (task["id"], task["worker"], task["queue"], task["run"]) == (TASKS["doomed"][0], "w2@vm", "mail", 1)
    assert (task["started_at"], task["ended_at"], task["became"]) == ("2026-11-22T03:11:41.000000Z", None, "STARTED")
    assert (after["tasks"], [one["last_sign_at"] for one in after["lost"]]) == ([], ["2026-11-22T03:12:39.000000Z"])
    assert [one["is_heard"] for one in ask(visitor, f"at={GAP}")["heard"]] == [False]
    assert [one["id"] for one in ask(visitor, f"at={BEFORE}&queue=reports")["tasks"]] == [TASKS["long"][0]]


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("running?at=yesterday", 400, "'yesterday' is not a time"),
        ("running?at=2027-01-01", 400, "still to come"),
        ("running?worker=w9@vm", 404, "No worker named 'w9@vm' was ever heard of."),
        ("running?queue=none", 404, "No queue named 'none' was ever heard of."),
        ("walking", 404, "not found"),
    ],
)
def test_the_api_answers_with_problems(visitor: FlaskClient, query: str, status: int, detail: str) -> None:
    """A request that cannot be answered gets a problem of RFC 9457 that says why."""
    response = visitor.get(f"/api/v1/{query}")
    problem = json.loads(response.text)

    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert (problem["status"], problem["instance"]) == (status, f"/api/v1/{query.partition('?')[0]}")
    assert detail in problem["detail"]


def test_the_api_says_when_the_ledger_is_away() -> None:
    """A database that cannot be reached is a problem with status 503."""
    away = create_app(Settings(database_url="postgresql://u:pw@127.0.0.1:1/x")).test_client()

    response = away.get("/api/v1/running")

    assert (response.status_code, json.loads(response.text)["title"]) == (503, "The ledger cannot be reached")
    assert "pw" not in response.text


@pytest.fixture(scope="module")
def address(told: str) -> Iterator[str]:
    """Where a site over the incident listens."""
    site = Site(Settings(database_url=told, port=0))
    site.start()
    yield site.address
    site.stop()


@pytest.mark.browser
@pytest.mark.parametrize("has_script", [True, False])
def test_in_the_browser_one_asks_what_ran_on_a_worker(browser: Browser, address: str, has_script: bool) -> None:
    """13. Workers as of a second before the kill, by the menu, then the worker: its task; without script as well."""
    with visiting(browser, address, java_script_enabled=has_script) as page:
        page.goto("workers")
        page.locator("summary", has_text="now").click()
        page.get_by_label("As of", exact=True).fill(BEFORE)
        follow(page, page.get_by_role("button", name="Look back"))
        expect(page.get_by_text("As of 22 Nov 03:12:39 UTC")).to_be_visible()
        follow(page, page.locator("[data-rows]").get_by_role("link", name="w2@vm"))

        expect(page.get_by_role("heading", level=1)).to_contain_text("Online")
        expect(page.locator("[data-region=running] tbody tr")).to_have_count(1)
        expect(page.locator("[data-region=running] tbody")).to_contain_text("shop.doomed")
        follow(page, page.get_by_role("link", name="+1 min"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Lost")
        expect(page.locator("[data-region=lost] tbody")).to_contain_text("shop.doomed")
        follow(page, page.get_by_role("link", name="Back to now"))
        expect(page.locator(".as-of")).to_have_count(0)


@pytest.mark.browser
def test_by_keyboard_one_looks_back(browser: Browser, address: str) -> None:
    """`a` opens the field for the moment; `y` copies an address that has the moment fixed; `g q` goes to the queues."""
    with visiting(browser, address) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto("tasks")
        page.keyboard.press("a")
        page.keyboard.type(BEFORE)
        enter(page)
        expect(page.get_by_text("As of 22 Nov 03:12:39 UTC")).to_be_visible()
        page.keyboard.press("y")
        expect(page.locator("#said")).to_have_text("Copied")
        assert "at=2026-11-22T03%3A12%3A39Z" in page.evaluate("navigator.clipboard.readText()")
        page.keyboard.press("g")
        page.keyboard.press("q")
        expect(page.get_by_role("heading", level=1)).to_have_text("Queues")
        assert f"at={BEFORE}" in page.url


LOOKED_AT = {
    "overview": f"?at={KILLED}",
    "tasks": f"tasks?at={KILLED}",
    "workers": f"workers?at={KILLED}",
    "worker": f"workers/w2@vm?at={KILLED}",
    "worker-gap": f"workers/w3@vm?at={GAP}",
    "queues": "queues?at=03:13:00",
    "task": f"tasks/{TASKS['doomed'][0]}?at={KILLED}",
    "ledger": f"ledger?at={AFTER}",
}


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(LOOKED_AT))
def test_pages_of_a_moment_are_accessible_and_fit(browser: Browser, address: str, name: str, scheme: str) -> None:
    """No WCAG A or AA violation and no sideways scroll on any page as of a moment, light and dark, wide and narrow."""
    with visiting(browser, address, color_scheme=scheme) as page:
        page.goto(LOOKED_AT[name])
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            picture(page, f"moment-{name}-{width}-{scheme}")
            assert overflow(page) <= 0
            assert (scheme, width) == ("dark", 400) or violations(page) == []

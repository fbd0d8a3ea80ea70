"""Each page over a recorded day, over an empty ledger, and over input that wishes it harm."""

import re
from collections.abc import Callable
from html import unescape

import pytest
import story
from flask.testing import FlaskClient
from story import NOW

from taskledger_web import strip

Visit = Callable[..., FlaskClient]
PAGES = ("/", "/tasks", "/failures", "/schedules", "/workers", "/queues", "/ledger")


def words(html: str) -> str:
    """What a page says: its main part without tags, spaces collapsed."""
    main = html[html.index("<main") : html.index("</main>")]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split()).replace(" .", ".").replace(" ,", ",")


def keys(html: str) -> list[str]:
    """The rows of a list in order."""
    return re.findall(r'<tr data-key="([^"]+)"', html)


@pytest.mark.parametrize("address", PAGES)
def test_every_page_answers_with_a_title_and_its_timings(client: FlaskClient, address: str) -> None:
    """A page has a sentence for a title, one h1, and says how long the ledger took."""
    response = client.get(address)

    assert response.status_code == 200
    assert re.search(r"<title>[^<]{8,} · taskledger</title>", response.text)
    assert response.text.count("<h1") == 1
    assert re.match(r"total;dur=[\d.]+, ledger;dur=[\d.]+, \w+;dur=", response.headers["Server-Timing"])


@pytest.mark.parametrize("address", PAGES)
def test_no_page_has_a_dead_link(client: FlaskClient, address: str) -> None:
    """Every link of every page leads to a page."""
    found = [unescape(link) for link in re.findall(r'href="(/[^"]*)"', client.get(address).text)]
    # One of each kind: links that differ in ids and moments alone are alike.
    links = {re.sub(r"[0-9a-f-]{8,}|\d{4}-\d\d-\d\dT[\d:]+Z", "*", link): link for link in found}.values()

    broken = [link for link in sorted(links) if client.get(link).status_code >= 400]

    assert broken == []


@pytest.mark.parametrize("address", PAGES)
def test_an_empty_ledger_says_what_to_configure(site: Visit, address: str) -> None:
    """Where no recorder ever ran, each page says so, and shows the line that starts one."""
    said = words(site().get(address).text)

    assert "No recorder has ever run" in said
    assert "celery -A proj taskledger record" in said
    assert "Never" not in said


def test_the_list_is_the_newest_first_and_pages_without_loss(client: FlaskClient, day: story.Story) -> None:
    """Following Older to the end shows every task once, newest first; Newer leads back to where one came from."""
    seen: list[str] = []
    address = "/tasks?limit=200"
    while address:
        html = client.get(address).text
        seen += keys(html)
        older = re.search(r'rel="next" href="([^"]+)"', html)
        address = unescape(older[1]) if older else ""
    sent = [event for event in day.events if event["type"] == "task-sent"]
    newest = sorted(sent, key=lambda event: (event["timestamp"], event["uuid"]), reverse=True)

    assert len(seen) == len(set(seen)) > 700
    assert seen[:20] == [event["uuid"] for event in newest][:20]

    newer = re.search(r'rel="prev" href="([^"]+)"', html)
    assert newer is not None
    assert len(keys(client.get(unescape(newer[1])).text)) == 200


def test_a_search_filters_list_count_histogram_and_facets_alike(client: FlaskClient) -> None:
    """The number in the sentence is the number of rows, of the bars' tasks and of the facet."""
    html = client.get("/tasks?q=state:failed&limit=200").text
    number = len(keys(html))

    assert number > 10
    assert words(html).startswith(
        f"Tasks {number} tasks matching state:failed, last 24 h, newest first; not recorded before"
    )
    bars = re.findall(r'<a href="[^"]*" tabindex="-1" aria-label="[^"]*: ([\d,]+) failed">', html)
    assert sum(map(int, bars)) == number
    assert re.search(rf'<span>Failed</span> <span class="n">{number}</span>', html)


def test_the_first_minutes_of_a_ledger_fill_the_chart(site: Visit) -> None:
    """Where ten minutes of a day were recorded, the bars are of those minutes, and every task is in them."""
    told = story.Story(1, NOW)
    for number in range(60):
        told.whole("ops.heartbeat", NOW - number * 10 * story.SECOND)

    html = site(told).get("/tasks").text

    assert words(html).startswith("Tasks 60 tasks, last 24 h")
    bars = re.findall(r'tabindex="-1" aria-label="[^"]*: ([\d,]+) succeeded">', html)
    assert len(bars) > 40
    assert sum(map(int, bars)) == 60


def test_counts_say_what_was_not_recorded(client: FlaskClient) -> None:
    """A range that touches the hole of the day says so wherever it counts; one that does not, does not."""
    touched = words(client.get("/tasks?from=2026-11-22T03:00&to=2026-11-22T04:00").text)
    clear = words(client.get("/tasks?from=2026-11-22T05:00&to=2026-11-22T06:00").text)

    assert "newest first; not recorded 03:12 to 03:27." in touched
    assert "not recorded" not in clear


def test_an_empty_result_says_what_was_searched_and_one_way_out(client: FlaskClient) -> None:
    """No match: what was searched, over what recorded time, and links to a wider and to a simpler search."""
    html = client.get("/tasks?q=nothing-like-it&from=2026-11-22T05:00&to=2026-11-22T06:00").text

    assert "No task matches nothing-like-it, 05:00 to 06:00" in words(html)
    assert "A recorder was listening all that time." in words(html)
    assert 'href="/tasks?q=nothing-like-it&amp;from=all"' in html
    assert "No data" not in html


def test_a_bad_search_keeps_what_was_typed_and_the_old_list(client: FlaskClient) -> None:
    """A search that cannot be read is shown with a caret under its trouble, above the list of the last good one."""
    good = client.get("/tasks?q=state:failed").text

    html = client.get("/tasks?q=state:failed+nme:x&good=state:failed").text

    assert 'value="state:failed nme:x"' in html
    assert "state:failed nme:x\n             ^</pre>" in html
    assert "The list below is still that of state:failed." in words(html)
    assert keys(html) == keys(good)


def test_a_bad_search_without_a_good_one_says_that_it_shows_everything(client: FlaskClient) -> None:
    """An address with a search that cannot be read never looks as if its rows had matched."""
    html = client.get("/tasks?q=nme:x").text

    assert "The list below is everything of the range, without a search." in words(html)
    assert "matching" not in words(html).split("Search")[0]


def test_a_good_search_leaves_no_trace_of_the_one_before(client: FlaskClient) -> None:
    """The address that stays in the bar holds the search alone."""
    response = client.get("/tasks?q=queue:mail&good=state:failed&from=-6h")

    assert response.status_code == 302
    assert response.headers["Location"] == "/tasks?q=queue:mail&from=-6h"


def test_facets_include_and_exclude(client: FlaskClient) -> None:
    """A click on a value adds it to the search, on its minus leaves it out, and on a chosen one takes it back."""
    html = client.get("/tasks?q=queue:mail").text

    assert 'href="/tasks?q=queue:mail%20state:failed"' in html
    assert 'href="/tasks?q=queue:mail%20-state:failed"' in html
    assert re.search(r'<li class="chosen"><a href="/tasks" title="mail"', html)


def test_flowers_addresses_still_lead_somewhere(client: FlaskClient, day: story.Story) -> None:
    """Flower's paths and parameters are redirected to the page that has taken their place."""
    task = day.ids["running"]

    assert client.get(f"/task/{task}").headers["Location"] == f"/tasks/{task}"
    assert client.get("/worker/w1@vm").headers["Location"] == "/workers/w1@vm"
    moved = client.get("/tasks?state=FAILURE&worker=w1@vm").headers["Location"]
    assert moved == "/tasks?q=state:failed%20worker:w1@vm"


def test_a_pasted_id_leads_to_its_task(client: FlaskClient, day: story.Story) -> None:
    """A whole id, or a start of it that only one task has, goes straight to the task."""
    task = day.ids["running"]

    assert client.get(f"/tasks?q={task}").headers["Location"] == f"/tasks/{task}"
    assert client.get(f"/tasks?q={task[:8]}").headers["Location"] == f"/tasks/{task}"
    assert client.get("/tasks?q=ffffffff").status_code == 200


@pytest.mark.parametrize(
    ("fate", "word", "note"),
    [
        ("running", "Running", "For 1 m 34 s."),
        ("sent", "Sent", "In queue 13.0 s."),
        ("scheduled", "Scheduled", "Runs in 59 min."),
        ("revoked", "Revoked", ""),
        ("rejected", "Rejected", ""),
        ("succeeded after retries", "Succeeded", ""),
        ("failed after retries", "Failed", ""),
        ("on a lost worker", "Was running", "Was running on w3@vm when w3@vm fell silent at 22 Nov "),
    ],
)
def test_each_fate_has_its_word(client: FlaskClient, day: story.Story, fate: str, word: str, note: str) -> None:
    """A task's page begins with the word for its state, and says beside it what there is to add."""
    said = words(client.get(f"/tasks/{day.ids[fate]}").text)

    assert re.search(rf"^Tasks / [\w.]+ {word} ", said)
    assert note in said


def test_a_retried_task_shows_each_attempt_with_its_error(client: FlaskClient, day: story.Story) -> None:
    """Three attempts are three rows and three errors, newest first, and the task is not its own parent."""
    html = client.get(f"/tasks/{day.ids['failed after retries']}").text
    said = words(html)

    assert "after 3 attempts on" in said
    assert [label in said for label in ("Attempt 1", "Attempt 2", "Attempt 3", "Attempt 4")] == [
        True,
        True,
        True,
        False,
    ]
    errors = re.findall(r"<h3>Attempt (\d): <span class=\"mono\">([^<]*)</span>", html)
    assert [(number, unescape(error).split(":")[0]) for number, error in errors] == [
        ("3", "ValueError"),
        ("2", "ConnectionError"),
        ("1", "ConnectionError"),
    ]
    assert "Parent none" in said
    assert "Family" not in said


def test_a_family_is_a_tree(client: FlaskClient, day: story.Story) -> None:
    """A chain shows root, children and grandchild, each indented under its parent, this one marked."""
    html = client.get(f"/tasks/{day.ids['leaf']}").text
    tree = html[html.index('<ul class="family') : html.index("</ul>", html.index('<ul class="family'))]

    assert re.findall(r'<li class="(d\d)">', tree) == ["d0", "d1", "d1", "d2"]
    assert tree.count('aria-current="true"') == 1


def test_a_task_that_is_not_there_says_how_much_history_was_searched(client: FlaskClient, day: story.Story) -> None:
    """404 names the id, the length of history, its gaps, and tasks whose ids begin alike."""
    wrong = day.ids["running"][:9] + "0000"

    response = client.get(f"/tasks/{wrong}")

    assert response.status_code == 404
    said = words(response.text)
    assert f"No event for {wrong} in 23 h 00 m of history (since 21 Nov 09:12:43 UTC)." in said
    assert "In that time recording had 1 gap; not recorded 03:12 to 03:27." in said
    assert day.ids["running"] in said


def test_a_note_stays_with_its_task(site: Visit, day_copy: str, day: story.Story) -> None:
    """A note is shown with its author after it was sent, and after the site was restarted."""
    task = day.ids["running"]
    form = {"id": task, "text": "asked Ann <b>about it</b>", "author": "Sam"}

    response = site(database_url=day_copy).post("/task/notes", data=form)

    assert response.headers["Location"] == f"/tasks/{task}#notes"
    html = site(database_url=day_copy).get(f"/tasks/{task}").text
    assert "asked Ann &lt;b&gt;about it&lt;/b&gt;" in html
    assert "Sam, " in words(html)


def test_a_view_is_kept_and_can_be_deleted(site: Visit, day_copy: str) -> None:
    """A saved view leads to its search with its range, for every visitor, until somebody deletes it."""
    visitor = site(database_url=day_copy)
    visitor.post(
        "/views", data={"name": "Failed mail", "query": "q=state%3Afailed+queue%3Amail&from=-7d&after=x&good=y"}
    )

    html = site(database_url=day_copy).get("/tasks").text

    assert '<a href="/tasks?q=state%3Afailed+queue%3Amail&amp;from=-7d">Failed mail</a>' in html
    slug = re.search(r'name="slug" value="([^"]+)"', html)
    assert slug is not None
    visitor.post("/views/delete", data={"slug": slug[1], "query": ""})
    assert "Failed mail" not in visitor.get("/tasks").text


def test_the_zone_of_a_page_changes_every_time_on_it(client: FlaskClient) -> None:
    """Another zone moves each time by its offset and heads the columns; `datetime` names the same moments."""
    utc = client.get("/tasks?q=state:failed").text
    tokyo = client.get("/tasks?q=state:failed&tz=Asia/Tokyo").text

    def moments(html: str) -> list[str]:
        return re.findall(r'<td class="mono c-when"><time datetime="([^"]+)" title="[^"]+">([^<]+)</time>', html)

    assert "Sent (UTC)" in utc
    assert "Sent (JST)" in tokyo
    assert all(at.endswith("+09:00") for at, _ in moments(tokyo))
    assert all(shown.split()[-1] == at[11:23] for at, shown in moments(tokyo))
    assert [at[11:13] for at, _ in moments(utc)] != [at[11:13] for at, _ in moments(tokyo)]


def test_the_overview_names_what_is_wrong_worst_first(client: FlaskClient, day: story.Story) -> None:
    """A lost worker with what it ran, missed runs, the gap, and failures; nothing green above them."""
    html = client.get("/").text
    said = words(html)

    assert re.match(
        r"\d problems Last 24 h: [\d,]+ succeeded, [\d,]+ failed, \d+ with another or no end; not recorded", said
    )
    dead = day.ids["on a lost worker"][:8]
    lost = said.index(f"w3@vm fell silent after 06:07:44 (2 h ago) with 1 task running: reports.build {dead}.")
    missed = said.index("cleanup missed its last run, due 04:30:00")
    assert lost < missed < said.index("Gap of 15 m 00 s in this range: not recorded 03:12 to 03:27.")
    assert 's-failed"><svg' in html[html.index("<h1") :][:60]


def test_the_overview_is_never_green_without_a_recorder(site: Visit) -> None:
    """A recorder that has stopped makes the first line say that nothing can be told."""
    quiet = story.Story(1, NOW - story.HOUR)
    quiet.whole("ops.heartbeat", NOW - 2 * story.HOUR)

    html = site(quiet).get("/").text

    assert words(html).startswith("Cannot tell what happens now: the recorder stopped 1 h ago")
    assert "No problems found" not in html


def test_failure_groups_lead_to_an_example_and_its_tasks(client: FlaskClient) -> None:
    """A group shows its newest traceback and as many tasks as it counts."""
    listed = client.get("/failures").text
    (address, number) = re.search(
        r'href="(/failures/[0-9a-f]{32})".*?data-label="Count">(\d+)<', listed, re.DOTALL
    ).groups()

    html = client.get(address).text

    assert f"{number} failed runs of" in words(html)
    assert "Traceback (most recent call last):" in html
    assert len(keys(html)) == int(number)


def test_a_failure_search_that_finds_nothing_says_where_it_looked(client: FlaskClient) -> None:
    """None is said with what was searched and what was not recorded."""
    said = words(client.get("/failures?q=zebra").text)

    assert "No run failed for good with zebra in its error, last 24 h; not recorded before" in said


def test_schedules_show_a_mark_for_each_due_time(client: FlaskClient) -> None:
    """Problems come first; each due time is one mark that tells both facts; nothing unrecorded is called missed."""
    html = client.get("/schedules").text

    assert keys(html)[0] == "cleanup"
    assert "<title>04:30:00 UTC: missed, no send seen" in html
    strip = html[html.index('data-key="refresh-reports"') :].split("</tr>")[0]
    assert "<title>03:15:00 UTC: not known" in strip
    assert "#k-missed" not in strip


def test_each_mark_has_a_drawing_an_icon_and_a_line_in_the_key(client: FlaskClient) -> None:
    """No mark of a strip is drawn without a symbol of its own, and the key under the strips explains every one."""
    html = client.get("/schedules").text
    key = html[html.index('class="legend"') :].split("</p>")[0]

    assert set(re.findall(r'id="k-(\w+)"', html)) == set(strip.MARKS)
    assert {mark.icon for mark in strip.MARKS.values()} <= set(re.findall(r'id="i-(\w+)"', html))
    assert set(re.findall(r'href="#k-(\w+)"', key)) == set(strip.MARKS)


def test_an_entrys_page_lists_each_due_time(client: FlaskClient) -> None:
    """The page of an entry has a row for each due time, the missed ones too, and links to what ran."""
    html = client.get("/schedules/cleanup").text

    assert "22 Nov 04:30:00" in words(html)
    assert re.search(r'<a data-open href="/tasks/[0-9a-f-]{36}">', html)
    assert client.get("/schedules/no-such-entry").status_code == 404


def test_workers_show_who_was_lost_and_what_it_ran(client: FlaskClient, day: story.Story) -> None:
    """A worker that fell silent while recorded is lost, first in the list, with the task it left behind."""
    html = client.get("/workers").text

    assert keys(html)[0] == "w3@vm"
    assert words(html).startswith("Workers 2 online, 1 lost, 0 offline.")
    assert day.ids["on a lost worker"] in client.get("/workers/w3@vm").text
    assert client.get("/workers/gen16402@web1").status_code == 404


def test_a_worker_counts_since_its_process_started(site: Visit) -> None:
    """The number a worker reports is of its present process, and the front page says so."""
    told = story.Story(1, NOW)
    (node, *_) = told.workers
    told.online(node, NOW - 60 * story.SECOND)
    node.processed = 22
    told.heartbeats(node, NOW - 50 * story.SECOND, NOW + story.SECOND, every=2)

    assert "w1@vm Online 0 running, 22 since it started" in words(site(told).get("/").text)


def test_the_ledger_page_lists_each_hole_with_its_cause(client: FlaskClient) -> None:
    """The hole of the day stands in the table with its length and cause, and in the sentence above."""
    said = words(client.get("/ledger").text)

    assert "No recorder was listening 03:12 to 03:27: nobody knows what happened then." in said
    assert "22 Nov 03:12:44 22 Nov 03:27:44 15 m 00 s stopped" in said


def test_the_ledger_page_tells_what_is_promised_and_what_was_refused(site: Visit) -> None:
    """Holes with their causes, the promise in force, events by type, and what could not be used."""
    told = story.Story(1, NOW)
    told.whole("mail.send", NOW - story.HOUR)
    told.events.append({"type": "task-sent", "timestamp": "soon", "uuid": "<i>x</i>"} | {"timestamp": 1e300})

    html = site(told).get("/ledger").text
    said = words(html)

    assert "what is sent while no recorder listens is lost, and shown as a gap" in said
    assert "Coverage since recording began" in said
    assert "A recorder was listening all that time." in said
    assert "1 event that could not be used" in said
    assert "<i>x</i>" not in html

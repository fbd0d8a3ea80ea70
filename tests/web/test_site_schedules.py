"""The pages of schedules over a recorded day: filters, the way to an answer, settings, badges, marks that differ."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import story
from browsing import SCREENSHOTS, enter, follow, overflow, rows
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect

from taskledger.config import Settings
from taskledger.crontabs import Crontab
from taskledger.ledger import open_ledger
from taskledger.ledger.schedule_store import judge_due, keep_definitions
from taskledger.schedules import Entry
from taskledger_web import create_app, view

pytestmark = pytest.mark.browser
PLACES = (
    "schedules",
    "schedules?slots=90",
    "schedules?view=timeline",
    "schedules/cleanup",
    "schedules/cleanup?view=calendar",
    "schedules/cleanup?day=2026-11-22",
    "beats",
    "schedules/dst",
)
Open = Callable[..., Any]
Visit = Callable[..., FlaskClient]


def test_two_clicks_tell_when_a_job_ran_and_with_what_result(page: Page) -> None:
    """From the overview, two clicks: did it run at a time, when, how late, for how long, with what result."""
    page.goto("")
    follow(page, page.get_by_role("link", name="Schedules", exact=True))
    follow(page, page.get_by_role("link", name="hourly-billing", exact=True))

    row = page.locator("tr", has=page.locator("td", has_text=re.compile("^22 Nov 02:00:00$")))
    expect(row.locator(".state")).to_have_text("On time")
    cells = dict(zip(page.locator(".dues th").all_inner_texts(), row.locator("td").all_inner_texts(), strict=True))
    assert cells["Fired"] == "02:00:01.200"
    assert cells["Lateness"] == "+1.20 s"
    assert re.fullmatch(r"[\d.]+ m?s", cells["Run"])
    assert cells["Outcome"] == "succeeded"
    task = row.get_by_role("link")
    assert task.get_attribute("href", timeout=1000)
    follow(page, task)
    expect(page.get_by_role("heading", level=1)).to_contain_text("billing.hourly")


def test_the_overview_names_what_is_wrong_with_schedules(page: Page) -> None:
    """An entry that missed its last runs is a sentence on the overview, whose link leads to its due times."""
    page.goto("")
    follow(page, page.locator(".problems a", has_text="cleanup"))

    expect(page.get_by_role("heading", level=1)).to_contain_text("Missed")
    assert page.locator("[data-rows] .state", has_text="Missed").count() > 0


def test_filters_are_in_the_address_and_can_be_taken_back(page: Page) -> None:
    """A chip leaves the entries that it counts; a second adds to them; the search narrows; back undoes the last."""
    page.goto("schedules")
    everything = rows(page)
    chip = page.locator(".filters a", has_text="Late")
    number = int(chip.locator(".n").inner_text())

    follow(page, chip)
    late = rows(page)
    assert "verdict=late" in page.url
    assert 0 < len(late) == number < len(everything)
    follow(page, page.locator(".filters a", has_text="Missed"))
    assert "verdict=late,missed" in page.url
    assert set(late) <= set(rows(page))
    page.get_by_label("Search entries").fill("reports.")
    enter(page)
    assert rows(page) == ["refresh-reports"]

    page.go_back()
    page.go_back()
    assert rows(page) == late
    follow(page, page.locator(".filters a", has_text="All"))
    assert rows(page) == everything


def test_nothing_found_says_what_was_looked_for(client: FlaskClient) -> None:
    """No entry with such a verdict: the page says which, in how many due times, and offers all entries."""
    html = client.get("/schedules?verdict=two_beats&entry=cleanup").text

    assert "None of 4 entries has “Two beats” in its last 30 due times and <code>cleanup</code> in its name" in html
    assert 'href="/schedules"' in html


def test_a_wrong_filter_is_said_and_filters_nothing(client: FlaskClient) -> None:
    """A word that is no verdict is named, with what may be meant, and every entry is shown."""
    html = client.get("/schedules?verdict=mised").text

    assert "verdict: &#39;mised&#39; is none; did you mean missed?" in html
    assert html.count("<tr data-key=") == 4


@pytest.mark.parametrize(("slots", "marks"), [("30", 33), ("60", 63), ("90", 93), ("7", 33), ("x", 33)])
def test_slots_say_how_many_due_times_are_drawn(client: FlaskClient, slots: str, marks: int) -> None:
    """30, 60 or 90 due times and three to come; anything else is 30."""
    assert _rows(client.get(f"/schedules?slots={slots}").text)["refresh-reports"].count("#k-") == marks


def _rows(html: str) -> dict[str, str]:
    """The rows of a list by their keys."""
    parts = html.split("<tbody data-rows>", 1)[1].split("</tbody>", 1)[0].split('<tr data-key="')[1:]
    return {part.split('"', 1)[0]: part for part in parts}


def test_what_is_not_counted_stands_beside_the_percentage(client: FlaskClient) -> None:
    """How sends are known, and from where the schedule is, is always said; without a probe also how to have one."""
    html = client.get("/schedules").text

    assert "from <code>shop (beat_schedule)</code>" in html
    assert "Sends known by <span" in html
    assert "task-sent</span>" in html
    assert "<strong>No probe in beat:</strong> lateness is measured when the task was sent" in html
    assert "app.conf.taskledger_beat = True" in html


def test_what_is_expected_of_an_entry_is_kept(own: Page) -> None:
    """Grace, limits and mute are kept by the form, shown again, and what is muted is no problem any more."""
    own.goto("schedules/cleanup")
    own.get_by_label("Grace").fill("2m")
    own.get_by_label("Longest run").fill("1h")
    own.get_by_label("Muted").select_option("7d")
    follow(own, own.get_by_role("button", name="Keep"))

    expect(own).to_have_url(re.compile("/schedules/cleanup#expected$"))
    expect(own.get_by_label("Grace")).to_have_value("2m")
    expect(own.get_by_label("Received within")).to_have_value("")
    expect(own.locator("#mute option:checked")).to_contain_text("until 29 Nov 08:12")
    expect(own.locator(".lead").first).to_contain_text("muted")
    own.goto("schedules")
    assert rows(own)[-1] == "cleanup"
    own.goto("")
    expect(own.locator(".problems a", has_text="cleanup")).to_have_count(0)


def test_what_cannot_be_read_is_not_kept(client: FlaskClient) -> None:
    """A duration that is none stays in its field with what to write instead, and nothing is kept."""
    answer = client.post("/schedules/settings", data={"name": "cleanup", "grace_s": "soon", "max_runtime_s": "5m"})

    assert answer.status_code == 400
    assert "&#39;soon&#39; is not a duration: write 30s, 5m, 2h, or nothing for the default" in answer.text
    assert re.search(r'name="grace_s" value="soon"[^>]* aria-invalid="true"', answer.text)
    assert 'name="max_runtime_s" value="5m"' in answer.text
    assert 'name="max_runtime_s" value=""' in client.get("/schedules/cleanup").text


def test_other_sites_cannot_change_what_is_expected(client: FlaskClient) -> None:
    """A form sent from elsewhere is refused, as every form is; an entry that does not exist has no settings."""
    elsewhere = client.post("/schedules/settings", data={"name": "cleanup"}, headers={"Origin": "https://evil.example"})

    assert elsewhere.status_code == 403
    assert client.post("/schedules/settings", data={"name": "no-such"}).status_code == 404


@pytest.mark.parametrize(("name", "word"), [("cleanup", "missed"), ("hourly-billing", "ok")])
def test_a_badge_can_be_shown_anywhere(client: FlaskClient, name: str, word: str) -> None:
    """The badge is a picture on its own, of the last decided due time, that other sites may show."""
    answer = client.get(f"/badge/{name}.svg")

    assert (answer.status_code, answer.content_type) == (200, "image/svg+xml")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert ET.fromstring(answer.text).attrib["aria-label"] == f"{name}: {word}"


def test_a_badge_of_a_hostile_name_is_still_a_picture(client: FlaskClient) -> None:
    """Any name at all makes well-formed SVG, and one that is no entry is not found."""
    answer = client.get("/badge/<script>%00&%22%E2%80%AE.svg")

    assert answer.status_code == 404
    assert ET.fromstring(answer.text).attrib["aria-label"].endswith(": no such entry")


def test_an_entry_called_as_a_page_has_its_own(site: Visit, sqlite_url: str) -> None:
    """An entry named dst is not hidden by the page of clock changes."""
    told = story.Story(1, story.NOW)
    told.whole("ops.ping", story.NOW - 60 * story.SECOND)
    visitor = site(told)
    with open_ledger(sqlite_url) as ledger:
        keep_definitions(ledger, "default", "x", (Entry("dst", "ops.ping", Crontab()),), story.NOW - story.HOUR)

    (link,) = re.findall(r'data-open href="([^"]+)"', _rows(visitor.get("/schedules").text)["dst"])

    assert link == "/schedule?name=dst"
    assert "ops.ping" in visitor.get(link).text


def test_many_entries_come_in_pages(sqlite_url: str) -> None:
    """120 entries make three pages that together hold each of them once."""
    told = story.Story(1, story.NOW)
    told.whole("ops.ping", story.NOW - 60 * story.SECOND)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told)
        entries = [Entry(f"entry-{number:03}", "ops.ping", Crontab(minute="0")) for number in range(120)]
        keep_definitions(ledger, "default", "x", entries, story.NOW - story.HOUR)
    visitor, address, seen = create_app(Settings(database_url=sqlite_url)).test_client(), "/schedules", []

    while address:
        html = visitor.get(address).text
        seen += re.findall(r'<tr data-key="(entry-[^"]+)"', html)
        address = next(iter(re.findall(r'rel="next" href="([^"]+)"', html)), "")

    assert sorted(seen) == [f"entry-{number:03}" for number in range(120)]


def test_the_due_times_of_an_entry_come_in_pages(client: FlaskClient) -> None:
    """The table's pages together hold each due time once, the newest first, under one and the same strip."""
    address, listed, strips = "/schedules/refresh-reports?slots=90", [], set()

    while address:
        html = client.get(address).text
        listed += re.findall(r'<tr data-key="(\d+)"', html)
        strips.add(re.findall(r'<svg class="strip".*?</svg>', html, re.DOTALL)[0])
        address = unescape(next(iter(re.findall(r'rel="next" href="([^"]+)"', html)), ""))

    assert len(strips) == 1
    assert listed == sorted(set(listed), reverse=True)
    assert len(listed) == strips.pop().count("<use ")


@pytest.mark.parametrize("entry", ["refresh-reports", "hourly-billing", "cleanup"])
def test_the_page_of_an_entry_has_few_nodes(page: Page, entry: str) -> None:
    """With 90 due times drawn it has at most 1,500 elements."""
    page.goto(f"schedules/{entry}?slots=90")

    assert page.evaluate("document.querySelectorAll('*').length") <= 1500


#: how the browser is told to see
SIGHTS = ("none", "achromatopsia", "deuteranopia", "protanopia")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_item_18_marks_tell_apart_without_colour(private: Open, scheme: str, sight: str) -> None:
    """18. In grey and to colour-blind eyes, each two marks of the key differ in lightness by more than a twentieth."""
    with private(color_scheme=scheme, device_scale_factor=2) as page:
        page.goto("schedules")
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setEmulatedVisionDeficiency", {"type": sight})
        words = page.locator(".legend span:has(.k)").all_inner_texts()
        pictures = [mark.screenshot() for mark in page.locator(".legend .k").all()]
        page.locator(".entries").screenshot(path=_picture(f"marks-{sight}-{scheme}"))
        greys = [_greys(page, picture) for picture in pictures]

    assert len(words) == len(greys) == 14
    alike = {
        (first, second): round(difference, 3)
        for (first, one), (second, other) in combinations(zip(words, greys, strict=True), 2)
        if (difference := _difference(one, other)) < 0.06
    }
    assert alike == {}


def _greys(page: Page, picture: bytes) -> list[float]:
    """The lightness of each pixel of a picture, 0 to 1, as the browser reads it."""
    found: list[float] = page.evaluate(
        """async (data) => {
          const image = new Image();
          image.src = "data:image/png;base64," + data;
          await image.decode();
          const canvas = new OffscreenCanvas(18, 36);
          const pen = canvas.getContext("2d");
          pen.drawImage(image, 0, 0, 18, 36);
          const { data: bytes } = pen.getImageData(0, 0, 18, 36);
          const greys = [];
          for (let at = 0; at < bytes.length; at += 4)
            greys.push((0.2126 * bytes[at] + 0.7152 * bytes[at + 1] + 0.0722 * bytes[at + 2]) / 255);
          return greys;
        }""",
        base64.b64encode(picture).decode(),
    )
    return found


def _difference(one: list[float], other: list[float]) -> float:
    """How much two marks differ in lightness, on average over their pixels."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _picture(name: str) -> str:
    SCREENSHOTS.mkdir(exist_ok=True)
    return str(SCREENSHOTS / f"{name}.png")


def test_the_list_reads_on_a_phone_and_without_script(private: Open) -> None:
    """At 390 pixels nothing scrolls sideways, and all of it works with scripts off."""
    with private(viewport={"width": 390, "height": 844}, java_script_enabled=False) as page:
        for place in PLACES:
            assert page.goto(place).status == 200
        page.goto("schedules")
        follow(page, page.locator(".filters a", has_text="Missed"))
        follow(page, page.locator("[data-open]", has_text="cleanup"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("cleanup")
        expect(page.locator(".strip").first).to_be_visible()
    with private(viewport={"width": 390, "height": 844}) as page:
        for place in PLACES:
            page.goto(place)
            assert (place, overflow(page) <= 0) == (place, True)


@pytest.mark.parametrize("place", PLACES)
def test_pages_of_schedules_are_light(private: Open, place: str) -> None:
    """1. Each page with all it loads is at most 60 kB over the wire, and says what the server's time went into."""
    with private() as page:
        sizes: list[int] = []
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        answer = page.goto(place, wait_until="networkidle")

    assert "total;dur=" in answer.headers["server-timing"]
    assert 0 < sum(sizes) <= 60_000


def test_links_of_a_page_that_looks_back_are_not_dead(client: FlaskClient) -> None:
    """With a moment in the address each page of schedules and each of its links answers."""
    at = "2026-11-22T07:00:00Z"
    for place in PLACES:
        html = client.get(f"/{place}{'&' if '?' in place else '?'}at={at}").text
        links = {link for link in re.findall(r'(?:href|src)="(/[^"#]*)', html) if not link.startswith("/assets")}
        assert links
        for link in sorted(links)[:60]:
            assert (link, client.get(link.replace("&amp;", "&")).status_code) == (link, 200)


def test_the_judge_is_not_needed_to_look(day_copy: str) -> None:
    """Looking at a page judges nothing: the ledger holds the same verdicts before and after."""
    with open_ledger(day_copy) as ledger:
        visitor = create_app(Settings(database_url=day_copy)).test_client()
        before = visitor.get("/schedules").text
        assert judge_due(ledger, story.NOW) == 0
        assert _rows(visitor.get("/schedules").text) == _rows(before)


def test_clock_changes_are_told_ahead(site: Visit, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weeks before the clock changes, the page and the entry's own say what it will do, and to which entries."""
    now_at = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * story.SECOND
    monkeypatch.setattr(view, "now_at", lambda: now_at)
    entries = (
        Entry("nightly", "shop.bill", Crontab("30", "2", tz="Europe/Berlin")),
        Entry("noon", "shop.eat", Crontab("0", "12", tz="Europe/Berlin")),
    )
    with open_ledger(sqlite_url) as ledger:
        keep_definitions(ledger, "default", "x", entries, now_at - story.HOUR)

    page, entry = site().get("/schedules/dst").text, site().get("/schedules/nightly").text

    assert "clock changes touch 1 of 2 entries" in page
    assert "29 Mar 01:00:00" in page
    for html in (page, entry):
        assert "02:30 does not exist" in html
    assert "does not exist" not in site().get("/schedules/noon").text


def test_no_clock_change_ahead_is_said(client: FlaskClient) -> None:
    """Where no change touches any entry, the page says so, for how long, and in which zones they are."""
    html = client.get("/schedules/dst").text

    assert "No clock change touches any of 4 entries in the next 60 days" in html
    assert "Europe/London, UTC" in html


def test_pages_that_tell_of_today_say_so_while_one_looks_back(client: FlaskClient) -> None:
    """Beat processes and clock changes are not of a moment: a bar says that they tell what is known today."""
    for place in ("beats", "schedules/dst"):
        assert "This page tells what is known today" in client.get(f"/{place}?at=2026-11-22T07:00:00Z").text

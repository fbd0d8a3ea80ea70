"""Beat stopped, and the recorder stopped: what the site shows of the same due times, and how `check beat` ends."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from browsing import picture, visiting
from crew import Crew, crew, until
from playwright.sync_api import Page

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]
ENTRY = "every-2s"
#: what a mark says that stands for a minute
MINUTE = re.compile(r"\d+ of (?P<due>\d+) sent(?P<others>.*)")
KIND = re.compile(r", ([a-z ]+) (\d+)")
#: due times that are spoiled
SPOILED = 3


@pytest.fixture
def scene(redis_url, sqlite_url, tmp_path):
    """A recorder, a worker and a beat that sends every two seconds."""
    with crew(redis_url, sqlite_url, tmp_path) as run:
        run.record()
        run.worker("w1")
        run.workers_are_up(1)
        run.beat()
        yield run


def marks(page: Page) -> Counter[str]:
    """How many due times of each kind the entry's strip on the list tells of: a mark is a minute of them."""
    page.reload()
    titles = page.locator(f"tr[data-key='{ENTRY}'] .strip title").evaluate_all("all => all.map(one => one.textContent)")
    found: Counter[str] = Counter()
    for minute in [match for title in titles if (match := MINUTE.search(title))]:
        others = {words: int(number) for words, number in KIND.findall(minute["others"])}
        found.update(others)
        found["on time"] += int(minute["due"]) - sum(others.values())
    return found


def shown(page: Page, words: str, number: int) -> bool:
    """Whether so many due times of that kind are told of."""
    return marks(page)[words] >= number


def sent(run: Crew) -> int:
    """How often beat says that it sent the entry."""
    return (run.folder / "beat.log").read_text(errors="replace").count(f"Sending due task {ENTRY}")


def check(run: Crew, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "taskledger", "check", "beat", "--entry", ENTRY, "--since", "-10m", *more]
    return subprocess.run(command, env=run.environ, cwd=run.folder, capture_output=True, text=True, check=False)


def test_item_10_beat_stopped(scene, browser):
    """10. Three due times without beat: three outlined marks, the verdict says that beat was not running, exit 1."""
    with visiting(browser, scene.web()) as page:
        beat_stopped(scene, page)


def beat_stopped(scene: Crew, page: Page) -> None:
    page.goto("schedules")
    until(lambda: shown(page, "on time", 4), f"due times are on time; {marks(page)}\n{scene.log('record')}", 60)
    assert marks(page)["missed"] == 0

    assert scene.stop("beat") == 0
    until(lambda: shown(page, "missed", SPOILED), "three due times are shown as missed", 60)

    row = page.locator(f"tr[data-key='{ENTRY}']")
    assert row.locator(".state").inner_text() == "Missed"
    assert re.search(r"beat (was|may) not (running|have been running)", page.locator("main").inner_text())
    mark = row.locator("use[href='#k-missed']").first
    assert mark.evaluate("use => getComputedStyle(document.querySelector('#k-missed path')).fill") == "none"
    done = check(scene)
    assert (done.returncode, done.stderr) == (1, "")
    assert "missed" in done.stdout


def test_item_11_recorder_stopped(scene, browser):
    """11. Three due times without the recorder: hatched, called not known, none of them missed; exit 3."""
    with visiting(browser, scene.web()) as page:
        recorder_stopped(scene, page)


def recorder_stopped(scene: Crew, page: Page) -> None:
    page.goto("schedules")
    until(lambda: shown(page, "on time", 4), f"due times are on time; {marks(page)}\n{scene.log('record')}", 60)

    assert scene.stop("record", timeout_s=20) == 0
    before = sent(scene)
    until(lambda: sent(scene) > before + SPOILED, "beat went on sending", 30)
    scene.record()
    until(lambda: shown(page, "not known", SPOILED), "the due times in between are hatched", 90)

    found = marks(page)
    assert found["missed"] == found["overdue"] == 0
    row = page.locator(f"tr[data-key='{ENTRY}']")
    assert "Not known" in row.inner_text() or "not known" in row.inner_text()
    assert "issed" not in row.inner_text()
    done = check(scene)
    assert (done.returncode, done.stderr) == (3, "")
    assert "not known" in done.stdout or "unknown" in done.stdout


def test_two_beats_are_told(redis_url, sqlite_url, tmp_path, browser):
    """Two beats with the probe: marks say Twice, the overview and the page of beats name it, the check ends with 1."""
    with crew(redis_url, sqlite_url, tmp_path) as run, visiting(browser, run.web()) as page:
        run.environ["TASKLEDGER_BEAT"] = "1"
        run.record()
        run.worker("w1")
        run.workers_are_up(1)
        run.beat()
        page.goto("schedules")
        until(lambda: shown(page, "on time", 3), f"due times are on time; {marks(page)}\n{run.log('record')}", 60)
        second = ("celery", "-A", "proj", "beat", "-l", "INFO", "-s", str(run.folder / "second"))
        run.start("beat2", *second)
        until(lambda: shown(page, "sent twice", 2), f"due times are sent twice; {run.log('beat2')}", 60)

        assert "probe" in page.locator(".lead").first.inner_text()
        page.goto("")
        until(lambda: page.reload() and page.locator(".problems a", has_text="Two beats").count(), "it is named", 40)
        page.goto("beats")
        assert page.locator("[data-rows] .state", has_text="Online").count() == 2
        assert page.locator(".callout", has_text="eats").count() == 1
        picture(page, "two-beats")
        assert check(run).returncode == 1

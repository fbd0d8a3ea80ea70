"""What a reviewer ticks in a browser, with real processes: a worker killed, one that is mute, a recorder away."""

import re
import signal
import time

import pytest
from browsing import follow, picture, visiting
from crew import crew, until
from playwright.sync_api import expect

from taskledger.ledger import open_ledger, query
from taskledger.ledger.answers import Span
from taskledger.states import State

#: milliseconds within which the site must say it
PROMISED_MS = 60_000

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]

#: what is green, with all that stands in the same row or line
GREEN = """
[...document.querySelectorAll("main .s-succeeded, main .is-done")]
  .map((element) => (element.closest("li, tr, section") ?? element).textContent)
"""


def is_listening(ledger):
    return query.coverage(ledger, Span(0, 1)).began_at is not None


def states(ledger, ids):
    return [found.task.state if (found := query.task(ledger, one)) else None for one in ids]


def until_shown(page, wanted):
    """Open the page again until it shows that; a reader who waits does the same."""

    def shown():
        page.reload()
        return wanted.count()

    until(shown, "the page shows it", PROMISED_MS / 1000)


def test_9_13_14_a_killed_worker_and_a_mute_one(browser, redis_url, sqlite_url, tmp_path):
    """9. Overview names a killed worker, its last heartbeat and its tasks, and is not green about it.

    13. A second before the kill they are running and it is online. 14. One without -E is named by the set-up panel.
    """
    with crew(redis_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        run.record()
        until(lambda: is_listening(ledger), f"the recorder listens:\n{run.log('record')}", 30)
        run.worker("w1")
        mute = ("worker", "-l", "WARNING", "-c", "1", "-n", "mute@vm", "-Q", "mute")
        run.start("mute", "celery", "-A", "proj", *mute)
        address = run.web()
        run.workers_are_up(2)
        with visiting(browser, address) as page:
            page.goto("")
            run.task("ok", 1, "order", queue="mute")
            until_shown(page, page.locator(".checks .is-missing", has_text="mute@vm runs without -E"))

            ids = [run.task("slow", number, "order", 300) for number in (1, 2)]
            until(lambda: states(ledger, ids) == [State.STARTED] * 2, "both run", 30)
            # A heartbeat that counts them, and another.
            time.sleep(5)
            page.reload()
            expect(page.locator(".tiles li", has_text="w1@vm").locator(".s-succeeded")).to_have_text("Online")
            killed_at = time.time_ns() // 1000
            run.stop("w1", signal.SIGKILL)
            problem = page.locator(".problems li", has_text="w1@vm")
            until_shown(page, problem)
            _is_named(page, problem, query.worker(ledger, "w1@vm", killed_at).last_heartbeat_at, ids)
            picture(page, "checklist-9-lost")

            # They are settled soon: what it was at is told all the same.
            until(lambda: states(ledger, ids) == [State.LOST] * 2, "they are settled", PROMISED_MS / 1000)
            page.reload()
            _is_named(page, problem, query.worker(ledger, "w1@vm", killed_at).last_heartbeat_at, ids)
            picture(page, "checklist-9-settled")
            follow(page, problem.get_by_role("link"))
            expect(page.locator("[data-region=lost] tbody tr")).to_have_count(2)
            picture(page, "checklist-9-worker")
            _ran_before(page, killed_at - 1_000_000, ids)


def _is_named(page, problem, heartbeat_at, ids):
    clock = time.strftime("%H:%M:%S", time.gmtime(heartbeat_at // 1_000_000))
    expect(problem).to_contain_text(f"fell silent after {clock}")
    expect(problem).to_contain_text("with 2 tasks running: ")
    for task_id in ids:
        expect(problem).to_contain_text(f"proj.slow {task_id[:8]}")
    assert [text for text in page.evaluate(GREEN) if "w1@vm" in text and "mute@vm" not in text] == []
    expect(page.locator(".tiles li", has_text="w1@vm").locator(".state")).to_have_text("Lost")
    expect(page.get_by_role("heading", level=1)).to_have_class(re.compile("s-failed"))


def _ran_before(page, at, ids):
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 1_000_000)) + f".{at % 1_000_000:06}Z"
    page.goto(f"workers/w1@vm?at={moment}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Online")
    expect(page.locator("[data-region=running] tbody tr")).to_have_count(2)
    page.goto(f"tasks?at={moment}&q=state:running")
    assert sorted(page.eval_on_selector_all("[data-rows] > tr", "rows => rows.map(row => row.dataset.key)")) == sorted(
        ids
    )
    page.goto(f"tasks/{ids[0]}?at={moment}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running")
    picture(page, "checklist-13-task")


def test_11_while_the_recorder_was_away_nothing_is_called_missed(browser, redis_url, sqlite_url, tmp_path):
    """11. What was due while no recorder ran is hatched and called not known, and never missed, also for good."""
    with crew(redis_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        run.record()
        until(lambda: is_listening(ledger), f"the recorder listens:\n{run.log('record')}", 30)
        run.worker("w1")
        run.workers_are_up(1)
        run.beat()
        until(lambda: _fired(ledger) >= 3, f"beat sends:\n{run.log('beat')}", 60)
        assert run.stop("record") == 0
        time.sleep(8)
        run.record()
        before = _fired(ledger)
        until(lambda: _fired(ledger) >= before + 2, "it is recorded again", 60)
        until(lambda: _in_hole(ledger) and all(tick.is_final for tick in _in_hole(ledger)), "verdicts are final", 90)
        with visiting(browser, run.web()) as page:
            unknown = {str(tick.due_at) for tick in _in_hole(ledger)}
            day = time.strftime("%Y-%m-%d", time.gmtime(int(min(unknown)) // 1_000_000))
            page.goto(f"schedules/every-2s?tz=UTC&day={day}")
            rows = page.eval_on_selector_all(
                "[data-rows] > tr", "rows => rows.map(row => [row.dataset.key, row.cells[1].innerText.trim()])"
            )
            assert len(unknown) >= 2
            assert {word for key, word in rows if key in unknown} == {"Not known"}
            assert "nobody was listening from" in page.locator(f"tr[data-key='{min(unknown)}']").inner_text()
            picture(page, "checklist-11-day")
            page.goto("schedules/every-2s?tz=UTC")
            # A mark is a minute of it.
            expect(page.locator(".strip use[href='#k-unknown']").first).to_be_visible()
            picture(page, "checklist-11-entry")
            page.goto("schedules")
            row = page.locator("tr[data-key=every-2s]")
            expect(row.locator(".strip title", has_text=re.compile(r"not known \d")).first).to_be_attached()
            expect(page.locator(".callout", has_text="every-2s missed")).to_have_count(0)
            picture(page, "checklist-11-list")


def _ticks(ledger):
    row = query.schedule(ledger, "every-2s", time.time_ns() // 1000)
    return row.ticks if row else ()


def _fired(ledger):
    return sum(tick.fire == "on_time" for tick in _ticks(ledger))


def _in_hole(ledger):
    """The due times whose whole window lies in the time when nobody listened."""
    now_at = time.time_ns() // 1000
    known = query.coverage(ledger, Span(0, now_at), now_at)
    holes = [hole for hole in known.holes if hole.from_at > known.began_at]
    return [
        tick
        for tick in _ticks(ledger)
        for hole in holes
        if hole.from_at + 2_000_000 < tick.due_at < hole.to_at - 2_000_000
    ]

"""What is told of a moment afterwards is what was told then: a day that was recorded up to it, against all of it."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import story
from flask.testing import FlaskClient
from story import HOUR, NOW, SECOND

from taskledger.ledger import Ledger, open_ledger, query
from taskledger.ledger.answers import ScheduleRow, TaskDetail

#: while a clean-up was overdue that never came; before it was due; when it was missed and the next one was due; right
#: after an hourly run was due; while tasks ran, and while one was tried again
MOMENTS = {
    "overdue": NOW - NOW % HOUR - 2 * HOUR + 300 * SECOND,
    "between": NOW - 5 * HOUR,
    "missed": NOW - NOW % HOUR - HOUR // 2,
    "due": NOW - NOW % (900 * SECOND) + 3 * SECOND,
    "busy": NOW - 262 * SECOND,
    "retried": NOW - 298 * SECOND,
}


@pytest.fixture(scope="module")
def whole(day_url: str) -> Iterator[Ledger]:
    """The ledger of the day, all of it."""
    with open_ledger(day_url) as ledger:
        yield ledger


@pytest.fixture(params=list(MOMENTS))
def moment(request: pytest.FixtureRequest) -> int:
    return MOMENTS[request.param]


@pytest.fixture
def then(day: story.Story, moment: int, migrated_databases: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    """The ledger as it was at the moment: nothing later had happened."""
    file = tmp_path / "then.sqlite3"
    shutil.copyfile(migrated_databases["sqlite"].removeprefix("sqlite:///"), file)
    events = [event for event in day.events if event["timestamp"] * SECOND <= moment]
    until = replace(day, events=events)
    holes = (story.HOLE,) if moment > story.HOLE[1] else ()
    with open_ledger(f"sqlite:///{file}") as ledger:
        story.tell(ledger, until, holes=holes, until_at=moment)
        yield ledger


def told(row: ScheduleRow) -> tuple[object, ...]:
    """What a page says of an entry; whether a verdict is final is a matter of what has been judged so far."""
    ticks = [(tick.due_at, tick.fire, tick.outcome, tick.fired_at, tick.task_id, tick.note) for tick in row.ticks]
    return row.name, row.enabled, row.evidence, row.next_due_at, row.median_lateness_s, ticks


def test_schedules_as_of_a_moment_are_as_they_were(whole: Ledger, then: Ledger, moment: int) -> None:
    """Every due time has the verdict and the outcome that it had then; what was to come is still to come."""
    later = [told(row) for row in query.schedules(whole, moment, at=moment)]

    assert later == [told(row) for row in query.schedules(then, moment)]
    assert all(tick[0] <= moment or tick[1] == "pending" for row in later for tick in row[-1])


def of(detail: TaskDetail | None) -> TaskDetail | None:
    """All of a task; when the story's recorder got its events is made up."""
    return detail and replace(detail, events=tuple(replace(event, received_at=0) for event in detail.events))


def test_a_task_as_of_a_moment_is_as_it_was(day: story.Story, whole: Ledger, then: Ledger, moment: int) -> None:
    """Its state, runs, events and family are those of then; one that was first heard of later was not known."""
    ids = {
        event["uuid"]
        for event in day.events
        if "uuid" in event and moment - 1200 * SECOND < event["timestamp"] * SECOND
    }

    assert ids
    for task_id in ids:
        assert of(query.task(whole, task_id, at=moment)) == of(query.task(then, task_id))


def test_the_page_of_an_entry_as_of_a_moment(client: FlaskClient) -> None:
    """A clean-up that is known to be missed today was overdue then, and the next ones were still to come."""
    moment = datetime.fromtimestamp(MOMENTS["overdue"] / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    now, then = client.get("/schedules/cleanup").text, client.get(f"/schedules/cleanup?at={moment}").text
    listed = client.get(f"/schedules?at={moment}").text
    before = client.get("/schedules/cleanup?at=2026-11-01")

    assert row(now, "22 Nov 04:30:00") == "22 Nov 04:30:00 Missed"
    assert row(then, "22 Nov 04:30:00") == "22 Nov 04:30:00 Overdue"
    assert row(then, "22 Nov 06:30:00") == "22 Nov 06:30:00 Still to come"
    assert "Missed" not in re.findall(r'data-key="cleanup".*?</tr>', listed, re.DOTALL)[0]
    assert (before.status_code, "had not been read then" in before.text) == (404, True)


def row(html: str, due: str) -> str:
    """When it was due, and its verdict, from the table of due times."""
    (found,) = (line for line in re.findall(r"<tr data-key.*?</tr>", html, re.DOTALL) if due in line)
    return " ".join(
        re.sub(r"<[^>]+>", " ", found).split()[:3] + re.sub(r"<[^>]+>", " ", found.split("</td>")[1]).split()
    )

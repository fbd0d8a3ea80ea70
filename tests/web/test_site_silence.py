"""Tasks and lives whose end nobody saw: what is said of them, and what is not claimed."""

import re
from collections.abc import Callable

import pytest
import story
from flask.testing import FlaskClient
from story import NOW, SECOND
from test_site_pages import words

from taskledger.ledger import open_ledger, settle
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State

Visit = Callable[..., FlaskClient]


def started(node: story.Node) -> tuple[story.Story, str]:
    """A task that started ten minutes ago on a worker that was heard for five minutes more."""
    told = story.Story(1, NOW)
    told.online(node, NOW - 900 * SECOND)
    task = told.sent("reports.build", NOW - 602 * SECOND)
    told.received(NOW - 601 * SECOND, node)
    told.say("task-started", NOW - 600 * SECOND, node, uuid=task)
    told.heartbeats(node, NOW - 880 * SECOND, NOW - 299 * SECOND, every=20)
    return told, task


def lost(told: story.Story, _: story.Node) -> int:
    """Nothing more is heard, and a recorder listens."""
    return told.now_at


def offline(told: story.Story, node: story.Node) -> int:
    """The worker says goodbye."""
    told.say("worker-offline", NOW - 299 * SECOND, node, freq=2.0)
    return told.now_at


def unheard(told: story.Story, _: story.Node) -> int:
    """The recorder stops four minutes ago."""
    return told.now_at - 240 * SECOND


@pytest.mark.parametrize(
    ("fate", "sentence"),
    [
        (lost, "Was running on w7@vm when w7@vm fell silent at 22 Nov "),
        (offline, "Was running on w7@vm when w7@vm went offline at 22 Nov "),
        (unheard, "Was running on w7@vm. w7@vm has not been heard since 22 Nov "),
    ],
)
def test_a_task_of_a_silent_worker_is_not_said_to_run(
    site: Visit, sqlite_url: str, fate: Callable[[story.Story, story.Node], int], sentence: str
) -> None:
    """Its page says up to when it was running and that its end is not known, and counts no seconds since."""
    node = story.Node("w7@vm", 7)
    told, task = started(node)
    until_at = fate(told, node)
    with open_ledger(sqlite_url) as ledger:
        # What is told up to the hole is received with it: so soon after its event that the worker's clock is right.
        story.tell(ledger, told, holes=((NOW - 879 * SECOND, NOW - 878 * SECOND),), until_at=until_at)

    said = words(site().get(f"/tasks/{task}").text)

    assert sentence in said
    assert "how it ended is not known." in said
    assert ("nobody was listening all the time since" in said) is (fate is unheard)
    assert "was running, no end seen" in said
    assert "3 events; its end not seen" in said
    assert "Running" not in said
    assert "For 10 m" not in said


def test_a_task_of_a_worker_that_is_heard_runs(client: FlaskClient, day: story.Story) -> None:
    """What runs on a worker that sends heartbeats is running, for so long."""
    said = words(client.get(f"/tasks/{day.ids['running']}").text)

    assert "Running since" in said
    assert "not known." not in said.split("Timeline")[0]


@pytest.mark.parametrize(
    ("hole", "said_so"),
    [
        ((NOW - 500 * SECOND, NOW - 400 * SECOND), "its end was not recorded"),
        ((NOW - 899 * SECOND, NOW - 898 * SECOND), "without a word"),
    ],
)
def test_a_life_ended_without_a_word_only_where_somebody_listened(
    site: Visit, sqlite_url: str, hole: tuple[int, int], said_so: str
) -> None:
    """Between the last sign of one process and the first of the next, a goodbye may have gone unheard in a hole."""
    told = story.Story(1, NOW)
    for pid, from_at, to_at in ((7, NOW - 900 * SECOND, NOW - 550 * SECOND), (8, NOW - 300 * SECOND, NOW + SECOND)):
        node = story.Node("w7@vm", pid)
        told.online(node, from_at)
        told.heartbeats(node, from_at, to_at, every=2)
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told, holes=(hole,))

    html = site().get("/workers/w7@vm").text
    (drawing,) = re.findall(r'class="life" role="img" aria-label="([^"]+)"', html)

    assert re.findall(r'data-label="Ended">([^<]*)<', html) == ["running", said_so]
    assert said_so in drawing


@pytest.mark.parametrize(
    ("by", "state", "note", "sentences"),
    [
        (
            SettledBy.INFERRED, State.LOST, "no heartbeat of its worker came any more",
            ("Lost at 22 Nov ", "No event told this: inferred.", "no heartbeat of its worker came any more"),
        ),
        (
            SettledBy.BACKEND, State.SUCCESS, None,
            ("Succeeded at 22 Nov ", "No event told this: settled by the result backend.", "Result 'done'"),
        ),
        (SettledBy.INSPECT, State.IGNORED, "gone", ("Ended at 22 Nov ", "settled by asking the worker")),
    ],
)  # fmt: skip
def test_what_is_settled_says_how_it_is_known(
    site: Visit, sqlite_url: str, by: SettledBy, state: State, note: str | None, sentences: tuple[str, ...]
) -> None:
    """The page of a task whose end no event told says which end it is, and how that is known."""
    node = story.Node("w7@vm", 7)
    told, task = started(node)
    fact = Settlement(
        "w7@vm", NOW - 600 * SECOND, by, NOW - SECOND, state, NOW - 299 * SECOND, True, result="'done'", note=note
    )
    with open_ledger(sqlite_url) as ledger:
        story.tell(ledger, told)
        settle.write(ledger, {("default", task): [fact]})

    said = words(site().get(f"/tasks/{task}").text)

    assert [sentence for sentence in sentences if sentence not in said] == []
    assert "Not told by events" in said
    assert "3 events; its end not seen" in said
    assert "Was running" not in said
    assert task in site().get("/tasks?q=state:lost,ended,succeeded&from=-24h").text

"""`taskledger check completeness` and `gaps`: what is proven of a span, by sentence, table and exit code."""

import json

import pytest
from click.testing import CliRunner
from counting import START_AT, Node, S, compare, deliver, ended, listen, started

from taskledger.cli import taskledger
from taskledger.ledger import open_ledger, presence, query
from taskledger.ledger.answers import Span
from taskledger.ledger.record import Position

MINUTE = ("--since", "2026-11-21T12:00:05", "--until", "2026-11-21T12:00:50")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command on a database."""
    monkeypatch.chdir(tmp_path)
    return lambda url, *words: CliRunner().invoke(taskledger, [*words, "-d", url])


def whole(url):
    """A minute in which all was recorded."""
    with open_ledger(url) as ledger:
        deliver(ledger, Node().live(1, 60).events, listen(ledger, 0), until_s=60)
        compare(ledger, 60)


def torn(url):
    """A minute with an outage of six seconds; the events that were lost by it."""
    node = Node().live(1, 60)
    with open_ledger(url) as ledger:
        first = listen(ledger, 0)
        deliver(ledger, [event for event in node.events if event["true"] <= 20.3], first, until_s=20.3)
        presence.end(ledger, Position(first, START_AT + round(20.3 * S)), "lost the connection")
        deliver(ledger, [event for event in node.events if event["true"] >= 26.1], listen(ledger, 26.1), until_s=60)
        compare(ledger, 60)
    return [event for event in node.events if 20.3 < event["true"] < 26.1]


def test_proven_complete(run, database_url):
    """Where every worker's counts agree with what was recorded, it says so and ends with 0."""
    whole(database_url)

    done = run(database_url, "check", "completeness", *MINUTE)

    assert done.exit_code == 0, done.output
    assert done.stdout == ("Proven complete: each start and end of a task that 1 worker counted was recorded.\n")


def test_events_are_missing(run, database_url):
    """It says how many events are missing, of which worker, when and why, and ends with 1."""
    lost = torn(database_url)

    done = run(database_url, "check", "completeness", *MINUTE)
    listed = run(database_url, "gaps", "--from", "all")

    assert done.exit_code == 1
    assert done.stdout.startswith(f"{started(lost) + ended(lost)} events missing: {started(lost)} starts and ")
    assert "of w1@vm" in done.stdout
    assert "(lost the connection)" in done.stdout
    assert "w1@vm" in listed.stdout
    assert "lost the connection" in listed.stdout


@pytest.mark.parametrize(
    ("span", "why"),
    [
        (("--since", "2026-11-21T11:00", "--until", "2026-11-21T11:30"), "no recorder was listening"),
        (("--since", "2026-11-21T12:00:30", "--until", "2026-11-21T12:30"), "no recorder was listening"),
    ],
)
def test_cannot_tell(run, sqlite_url, span, why):
    """Where nobody listened it cannot tell, says why, and ends with 3."""
    whole(sqlite_url)

    done = run(sqlite_url, "check", "completeness", *span)

    assert done.exit_code == 3
    assert done.stdout.startswith("Cannot tell whether all was recorded: ")
    assert why in done.stdout


def test_never_compared(run, sqlite_url):
    """What was recorded and never compared is not called complete."""
    with open_ledger(sqlite_url) as ledger:
        deliver(ledger, Node().live(1, 60).events, listen(ledger, 0), until_s=60)

    done = run(sqlite_url, "check", "completeness", *MINUTE)

    assert done.exit_code == 3
    assert "never compared" in done.stdout


def test_an_empty_ledger(run, sqlite_url):
    """A ledger that nobody ever wrote to cannot tell."""
    assert run(sqlite_url, "check", "completeness").exit_code == 3


def test_for_programs(run, sqlite_url):
    """Programs get the verdict, the numbers, and each gap."""
    lost = torn(sqlite_url)

    told = json.loads(run(sqlite_url, "check", "completeness", "--json", *MINUTE).stdout)
    (gap,) = told["gaps"]

    assert (told["verdict"], told["lost"]) == ("missing", started(lost) + ended(lost))
    assert (gap["worker"], gap["starts"], gap["ends"], gap["kind"]) == ("w1@vm", started(lost), ended(lost), "lost")
    assert gap["from_at"].endswith("Z")


def test_a_worker_without_task_events(run, sqlite_url):
    """Tasks of a worker without -E are missing as well, and it says what to do."""
    node = Node().live(1, 60)
    with open_ledger(sqlite_url) as ledger:
        events = [event for event in node.events if event["type"].startswith("worker")]
        deliver(ledger, events, listen(ledger, 0), until_s=60)
        compare(ledger, 60)
        (gap,) = query.gaps(ledger, Span(0, 2**62))

    done = run(sqlite_url, "check", "completeness", *MINUTE)

    assert done.exit_code == 1
    assert "ran without a word" in done.stdout
    assert "start it with -E" in done.stdout
    assert gap.starts == started([event for event in node.events if START_AT + event["true"] * S <= gap.to_at]) > 50

"""`taskledger schedules` and `taskledger check beat` over a recorded day: for people, for programs, by exit code."""

import json
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import story
from click.testing import CliRunner, Result

from taskledger.cli import taskledger
from taskledger.commands import asking

Cli = Callable[..., Result]


@pytest.fixture
def cli(day_copy: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command over the day, at the end of it."""
    monkeypatch.setattr(asking, "time", SimpleNamespace(time_ns=lambda: (story.NOW + story.SECOND) * 1000))

    def run(*args: str) -> Result:
        return CliRunner().invoke(taskledger, [*args, "-d", day_copy, "--timezone", "UTC"])

    return run


def lines(done: Result) -> list[list[str]]:
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_one_command_tells_when_a_job_ran_and_with_what_result(cli: Cli) -> None:
    """Due, sent, fired, late by, outcome, run time, task: each due time is a line, the newest first."""
    done = cli("schedules", "hourly-billing", "--ticks")
    (line,) = [line for line in lines(done) if line[0] == "02:00:00"]

    assert done.exit_code == 0
    assert line[1:5] == ["on time", "02:00:01", "1.20 s", "succeeded"]
    assert line[5].endswith(" s")
    assert len(line[6]) == 36
    missed = [line for line in lines(done) if line[1] == "missed"]
    assert [(line[0], line[2:7]) for line in missed] == [("04:00:00", ["", "", "", "", ""])]
    assert missed[0][7].startswith("no send seen")


@pytest.mark.parametrize(("asked", "number"), [(("--ticks",), 23), (("--ticks", "5"), 5), (("--ticks=2",), 2)])
def test_so_many_due_times_as_asked(cli: Cli, asked: tuple[str, ...], number: int) -> None:
    """Without a number thirty, or as many as there are; with one, the newest so many."""
    assert len(lines(cli("schedules", "hourly-billing", *asked))) == number


def test_one_entry(cli: Cli) -> None:
    """An entry's own lines: schedule, verdict, last fire, source and evidence."""
    told = dict(re.split(" {2,}", line, maxsplit=1) for line in cli("schedules", "cleanup").stdout.splitlines())

    assert told["Schedule"] == "30 */2 * * * UTC: every 2 hours at :30"
    assert told["Verdict"] == "Missed: Missed 1, overdue 1 of 11"
    assert told["Last fired (UTC)"] == "02:30:00, late by 30 ms, succeeded"
    assert told["Read from"].startswith("shop (beat_schedule), ")
    assert told["Sends known by"] == "task-sent"


def test_all_entries(cli: Cli) -> None:
    """A line each: what was due last, whether it was sent, how late, with what outcome, and when it fired last."""
    told = {line[0]: line for line in lines(cli("schedules"))}

    assert set(told) == {"hourly-billing", "refresh-reports", "cleanup", "ping"}
    assert told["hourly-billing"][1:8] == [
        "billing.hourly", "every hour", "08:00:00", "on time", "1.20 s", "succeeded", "08:00:01",
    ]  # fmt: skip
    assert told["hourly-billing"][9] == "09:00:00"


def test_for_programs(cli: Cli) -> None:
    """As JSON: one entry is an object with its due times, all are a list; times are ISO 8601."""
    one, all_of_them = json.loads(cli("schedules", "ping", "--ticks", "3", "--json").stdout), json.loads(
        cli("schedules", "--json").stdout
    )  # fmt: skip

    assert one["name"] == "ping"
    assert {"due_at", "fire", "outcome", "lateness_s", "task_id", "runtime_s", "flags", "evidence"} <= set(
        one["ticks"][0]
    )
    assert one["ticks"][0]["due_at"].endswith("Z")
    assert [row["name"] for row in all_of_them] == ["cleanup", "hourly-billing", "ping", "refresh-reports"]


def test_an_entry_that_there_never_was(cli: Cli) -> None:
    """Of an unknown name nothing can be told: exit code 3, and what to ask instead. --ticks needs a name: 2."""
    unknown, nameless, checked = cli("schedules", "no-such"), cli("schedules", "--ticks=3"), cli(
        "check", "beat", "--entry", "no-such"
    )  # fmt: skip

    assert (unknown.exit_code, nameless.exit_code, checked.exit_code) == (3, 2, 3)
    assert "No schedule entry named no-such was ever read" in unknown.stderr
    assert "No schedule entry named no-such was ever read" in checked.stderr
    assert "--ticks needs the NAME of one entry" in nameless.stderr


@pytest.mark.parametrize(
    ("entry", "since", "code"),
    [
        ("hourly-billing", "-1h", 0),
        ("hourly-billing", "-24h", 1),
        ("refresh-reports", "-2h", 0),
        ("cleanup", "6h", 1),
        ("ping", "-6h", 3),
    ],
)
def test_check_beat_by_exit_code(cli: Cli, entry: str, since: str, code: int) -> None:
    """0: all was sent on time; 1: something was missed or late; 3: what was due while nobody listened is not known."""
    done = cli("check", "beat", "--entry", entry, "--since", since)

    assert (done.exit_code, bool(done.stdout.strip())) == (code, True)


def test_check_beat_for_programs(cli: Cli) -> None:
    """As JSON: the verdict, a sentence, the counts, and a sentence for each entry that is not well."""
    told = json.loads(cli("check", "beat", "--json").stdout)

    assert told["verdict"] == "not well"
    assert told["says"]
    assert told["counts"]["missed"] >= 2
    assert {"findings", "problems", "unknown"} <= set(told)
    assert any(problem.startswith("cleanup") for problem in told["problems"])


def test_check_beat_needs_a_time_that_can_be_read(cli: Cli) -> None:
    """A time that is none is wrong use: exit code 2, with how to write it."""
    done = cli("check", "beat", "--since", "yesterdayish")

    assert done.exit_code == 2
    assert "is not a time" in done.stderr

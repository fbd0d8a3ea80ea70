"""Looking back on the terminal: the commands over the incident of tests/incident.py, asked some hours later."""

import json
import shutil
from types import SimpleNamespace

import incident
import pytest
from click.testing import CliRunner
from incident import NAMES, TASKS, at

from taskledger.cli import taskledger
from taskledger.commands import asking
from taskledger.crontabs import Crontab
from taskledger.ledger import open_ledger, schedule_store, schema
from taskledger.schedules import Entry

BEFORE, KILLED, GAP = "2026-11-22T03:12:39", "2026-11-22T03:13:40", "2026-11-22T03:36:40"


@pytest.fixture(scope="module")
def told(migrated_databases, tmp_path_factory):
    file = tmp_path_factory.mktemp("incident") / "ledger.sqlite3"
    shutil.copyfile(migrated_databases["sqlite"].removeprefix("sqlite:///"), file)
    with open_ledger(f"sqlite:///{file}") as ledger:
        incident.tell(ledger)
    return f"sqlite:///{file}"


@pytest.fixture
def cli(told, monkeypatch):
    """Runs a command over the incident, at 08:00 of its day."""
    monkeypatch.setattr(asking, "time", SimpleNamespace(time_ns=lambda: at(18_000) * 1000))

    def run(*args):
        return CliRunner().invoke(taskledger, [*args, "-d", told, "--timezone", "UTC"])

    return run


def lines(done):
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_what_ran_on_a_worker(cli):
    """`workers NAME --at` says how the worker stood and lists each task that it ran, with what became of it."""
    before, after = cli("workers", "w2@vm", "--at", "03:12:39"), cli("workers", "w2@vm", "--at", KILLED)
    doomed = TASKS["doomed"][0]

    assert before.exit_code == after.exit_code == 0
    assert "State                 Online" in before.stdout.splitlines()
    assert "Last heartbeat (UTC)  03:12:39, 1 task active" in before.stdout.splitlines()
    assert ["yes", doomed, "shop.doomed", "mail", "03:11:41", "no end so far"] in lines(before)
    assert "State                 Lost" in after.stdout.splitlines()
    lost = "the worker was last heard of at 03:12:39"
    assert ["lost with it", doomed, "shop.doomed", "mail", "03:11:41", lost] in lines(after)


def test_what_ran_on_a_worker_for_programs(cli):
    """As JSON: the moment, who listened, the worker as it stood, and its runs with exact times."""
    told = json.loads(cli("workers", "w1@vm", "--at", "2026-11-22T12:12:45+09:00", "--json").stdout)
    (row,) = told["rows"]
    (run,) = row["running"]

    assert (told["at"], told["heard"][0]["is_heard"]) == ("2026-11-22T03:12:45.000000Z", True)
    assert (row["name"], row["status"], row["active"]) == ("w1@vm", "online", 1)
    assert (run["id"], run["certainty"], run["ended_at"]) == (
        TASKS["long"][0],
        "running",
        "2026-11-22T04:06:40.000000Z",
    )


def test_workers_then(cli):
    """`workers --at` lists who was there at that moment, the lost first, with how many tasks each ran."""
    told = [line[:2] + line[4:5] for line in lines(cli("workers", "--at", KILLED))]

    assert told == [["w2@vm", "Lost", "0"], ["w1@vm", "Online", "1"], ["w3@vm", "Online", "0"]]


def test_tasks_then(cli):
    """`tasks state:running --at` finds what ran then; what its worker left is not called running."""
    before, after = (lines(cli("tasks", "state:running", "--at", moment)) for moment in (BEFORE, KILLED))

    assert [(NAMES[line[0]], line[2]) for line in before] == [("doomed", "Running"), ("long", "Running")]
    assert [(NAMES[line[0]], line[2]) for line in after] == [("doomed", "Was running"), ("long", "Running")]
    assert lines(cli("tasks", "name:shop.quick", "--from", "-5m", "--at", BEFORE)) == []


def test_a_task_then(cli):
    """`task ID --at` tells of the task as it stood; one that nobody had heard of by then cannot be told about."""
    doomed = TASKS["doomed"][0]
    before, after, early = (cli("task", doomed[:8], "--at", moment) for moment in (BEFORE, KILLED, "03:10:00"))
    told = json.loads(cli("task", TASKS["quick"][0], "--at", "03:01:45", "--json").stdout)

    assert "State       Running (for 58.0 s)" in before.stdout.splitlines()
    assert "State       Was running (its worker was not heard of any more)" in after.stdout.splitlines()
    assert (early.exit_code, early.stdout) == (3, "")
    assert f"No event of a task {doomed[:8]} by 03:10:00 was recorded" in early.stderr
    assert (told["task"]["state"], [run["ended_at"] for run in told["runs"]]) == ("STARTED", [None])
    assert [event["type"] for event in told["events"]] == ["task-sent", "task-received", "task-started"]


def test_failures_and_gaps_then(cli, told):
    """`failures` and `gaps` with --at tell of what was before, and --from counts from that moment."""
    with open_ledger(told) as ledger, ledger.write() as connection:
        row = {"pid": 1, "starts": 1, "ends": 1, "starts_heard": 0, "ends_heard": 0, "kind": "lost", "cause": "x"}
        ids = {"cluster_id": 1, "host_id": 1}
        for from_at in (100, 1000):
            connection.execute(schema.gap.insert(), row | ids | {"from_at": at(from_at), "to_at": at(from_at + 2)})

    assert [len(lines(cli("gaps", "--at", moment))) for moment in ("03:01:00", BEFORE, "03:30:00")] == [0, 1, 2]
    assert lines(cli("gaps", "--from", "-5m", "--at", BEFORE)) == []
    assert "No failure from" in cli("failures", "--at", BEFORE).stderr


def test_schedules_then(cli, told):
    """`schedules --at` lists what had been read by then, as it was due then; before that, nothing can be told."""
    entries = [Entry("hourly", "shop.hourly", Crontab(minute="0"))]
    with open_ledger(told) as ledger:
        schedule_store.keep_definitions(ledger, "default", "shop", entries, at(30))
    then, early = cli("schedules", "--at", BEFORE), cli("schedules", "--at", "03:00:10")

    assert [line[0] for line in lines(then)] == ["hourly"]
    assert lines(then)[0][-1] == "04:00:00"
    assert (early.exit_code, early.stdout) == (3, "")
    assert "No schedule had been read by 03:00:10." in early.stderr


def test_queues_then_and_now(cli):
    """`queues` says queue by queue what waits and runs, now, and with --at then."""
    then = [line[:7] for line in lines(cli("queues", "--at", "03:13:00"))]
    now = [line[:7] for line in lines(cli("queues"))]
    told = json.loads(cli("queues", "--at", "03:13:00", "--json").stdout)

    assert then == [["reports", "1", "03:12:40", "0", "1", "1", "0"], ["mail", "1", "03:11:40", "1", "0", "0", "0"]]
    assert now == [["mail", "0", "", "0", "0", "0", "2"]]
    assert (told["at"], told["rows"][0]["oldest_at"]) == ("2026-11-22T03:13:00.000000Z", "2026-11-22T03:12:40.000000Z")


def test_a_moment_that_nobody_heard(cli):
    """Beside an answer about a moment in a gap stands that nobody listened; one that is empty for it ends with 3."""
    gap, early = cli("workers", "w3@vm", "--at", GAP), cli("queues", "--at", "2026-11-22T02:00")

    assert gap.exit_code == 0
    assert "Nobody was listening then (stopped)" in gap.stderr
    assert lines(gap)[-1][0] == "perhaps"
    assert (early.exit_code, early.stdout) == (3, "")
    assert "Nobody was listening then" in early.stderr


@pytest.mark.parametrize(("command", "name"), [("workers", "w9@vm"), ("workers", "w2@vm")])
def test_a_worker_that_was_not_there(cli, command, name):
    """A worker that nobody had heard of by the moment cannot be told about: exit code 3."""
    done = cli(command, name, "--at", "2026-11-22T02:00")

    assert (done.exit_code, done.stdout) == (3, "")
    assert f"No worker named {name} was ever heard of by 2026-11-22T02:00" in done.stderr


@pytest.mark.parametrize(
    ("moment", "said"),
    [("yesterday", "'yesterday' is not a time"), ("2026-11-23", "still to come"), ("25:61", "25:61")],
)
@pytest.mark.parametrize("command", ["workers", "queues", "tasks", "failures", "schedules", "gaps"])
def test_a_moment_that_cannot_be_meant(cli, command, moment, said):
    """What is no moment, or is still to come, is told in one line, with exit code 2."""
    done = cli(command, "--at", moment)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("taskledger: --at: ")
    assert said in done.stderr

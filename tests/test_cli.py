"""The command line as people and scripts use it: real processes, their output and their exit codes."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from stories import NOON, TASK, decoded, failed, raw, succeeded

from taskledger import __version__, config
from taskledger.cli import COMMANDS, taskledger
from taskledger.ledger import open_ledger, settle
from taskledger.ledger.presence import begin, extend, listen
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.schedule_store import keep_definitions
from taskledger.plain import plain
from taskledger.schedules import Entry, Interval
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State

BIN = Path(sys.executable).parent
MODULE = (sys.executable, "-m", "taskledger")
OTHER = "11111111-0000-4000-8000-000000000001"
NOON_AT = round(NOON * 1e6)
AROUND_NOON = ("--from", "2026-11-21T11:00", "--to", "2026-11-21T13:00")
RIGHT = "is --database (TASKLEDGER_DATABASE_URL) right?"
#: lines of a tall terminal window
SCREEN = 56
APP = """from celery import Celery
app = Celery("proj", broker="redis://127.0.0.1:1/0")
app.conf.timezone = "Asia/Tokyo"
"""


@pytest.fixture
def here(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "proj.py").write_text(APP)
    return folder


@pytest.fixture
def cli(here):
    """Runs `taskledger …` in a folder that has the module proj, and nothing of the user's around it."""

    def run(*args, program=MODULE, **environ):
        return subprocess.run(
            [*program, *args], cwd=here, env=environment(here, **environ), capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip

    return run


def environment(here, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TASKLEDGER_", "CELERY_"))}
    folders = {"XDG_DATA_HOME": str(here / "data"), "XDG_CONFIG_HOME": str(here / "config")}
    return kept | folders | {"COLUMNS": "80"} | more


@pytest.fixture
def stocked(sqlite_url):
    """A ledger with a failed and a succeeded task of 21 November, recorded from 11:30 to 13:00 UTC."""
    with open_ledger(sqlite_url) as ledger:
        events = decoded(raw("worker-online", NOON), *failed(), *succeeded(NOON + 60, OTHER, "mail.send"))
        record(ledger, Batch("default", events, received_at=NOON_AT))
        began_at, until_at = NOON_AT - 1800_000_000, NOON_AT + 3600_000_000
        recorder = begin(ledger, "r1", __version__, began_at)
        position = Position(listen(ledger, recorder, "default", "durable queue", began_at), until_at)
        extend(ledger, position, recorder_id=recorder, seen_at=until_at, lag_s=0.0, recorded=9)
    return sqlite_url


@pytest.mark.parametrize(
    "program", [MODULE, (str(BIN / "taskledger"),), (str(BIN / "celery"), "-A", "proj", "taskledger")]
)
def test_three_ways(cli, program):
    """`taskledger`, `python -m taskledger` and `celery -A proj taskledger` are one command line."""
    done = cli("version", program=program)

    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"taskledger {__version__}"


def test_app_of_celery_is_used(cli):
    """Under `celery -A proj`, broker and zone are the app's, with no word of configuration."""
    done = cli("config", "--json", program=(str(BIN / "celery"), "-A", "proj", "taskledger"))
    told = {row["name"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}

    assert told["broker_url"] == ("redis://127.0.0.1:1/0", "app")
    assert told["timezone"] == ("Asia/Tokyo", "app")


def test_options_of_the_project_do_not_disturb(cli, here):
    """A project that adds options to all of Celery's commands does not break ours."""
    (here / "proj.py").write_text(
        APP + "from click import Option\napp.user_options['preload'].add(Option(['--mode'], default='x'))\n"
    )

    assert cli("version", program=(str(BIN / "celery"), "-A", "proj", "taskledger")).returncode == 0


@pytest.mark.parametrize("args", [("config", "--port", "1"), ("--timezone", "Asia/Tokyo", "config")])
def test_flags_before_and_after(cli, args):
    """A flag that all commands share may stand before the command as well as after it."""
    done = cli(*args, "--json")

    assert "flag" in {row["from"] for row in json.loads(done.stdout)}


def test_flag_of_the_command_wins(cli):
    """Said twice, the flag after the command counts."""
    told = json.loads(cli("-d", "sqlite:///a", "config", "-d", "sqlite:///b", "--json").stdout)

    assert [row["value"] for row in told if row["name"] == "database_url"] == ["sqlite:///b"]


def test_celery_starts_as_before():
    """Celery's own start imports nothing of ours but the command line, the errors and beat's switch, and no library."""
    program = "import sys, celery.bin.celery as c; print('taskledger' in c.celery.commands, *sorted(sys.modules))"
    blind = (
        "import importlib.metadata as m; o = m.entry_points;"
        "m.entry_points = lambda **k: [e for e in o(**k) if e.name != 'taskledger'];"
    )

    loaded, modules = _split(program)
    unloaded, before = _split(blind + program)

    assert (loaded, unloaded) == ("True", "False")
    ours = {"taskledger", "taskledger.cli", "taskledger.errors"}
    assert modules - before <= ours | {"taskledger.integrations", "taskledger.integrations.beat"}


def _split(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *modules = done.stdout.split()
    return first, set(modules)


@pytest.mark.parametrize(
    "args",
    [(), *((name,) for name in COMMANDS), ("db", "upgrade"), ("db", "check"), ("db", "stats"), ("check", "recorder")],
)
def test_help_fits_a_screen(args):
    """The help of each command is no longer than a screen of 80 columns."""
    done = CliRunner().invoke(taskledger, [*args, "--help"], terminal_width=80)

    assert done.exit_code == 0
    assert len(done.output.splitlines()) <= SCREEN


def test_every_setting_is_in_a_help():
    """Every setting can be said by a flag of some command, whose help shows its variable."""
    shown = "".join(CliRunner().invoke(taskledger, [name, "--help"]).output for name in ("record", "web"))

    assert [name for name in config.options() if f"[{config.variable(name)}" not in shown] == []


def test_slip_of_the_pen(cli):
    """A command that does not exist is answered with the one that was meant, and exit code 2."""
    done = cli("recrod")

    assert done.returncode == 2
    assert "No such command 'recrod'. Did you mean 'record'?" in done.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("record", "-b", "localhost:6379"), "--broker: 'localhost:6379' must be a broker URL"),
        (("record", "-b", "redsi://localhost"), "redsi://localhost"),
        (("record",), "No broker is known: give --broker URL"),
        (("record", "-A", "nowhere"), "there is no module nowhere"),
        (("record", "-b", "memory://", "-d", "orakel://x/y"), "'orakel'"),
        (("record", "-b", "memory://", "-d", "postgresql://u:pw@127.0.0.1:1/x"), RIGHT),
        (("record", "-b", "memory://", "-d", "sqlite:///other.sqlite3"), "run `taskledger db upgrade`"),
        (("web", "-d", "postgresql://u:pw@127.0.0.1:1/x"), RIGHT),
        (("web", "-d", "sqlite:////proc/no/such.sqlite3"), "/proc/no"),
        (("web", "-A", "nowhere"), "there is no module nowhere"),
        (("web", "--port", "99999"), "--port: '99999' must be a whole number"),
        (("db", "upgrade", "-d", "postgresql://u:pw@127.0.0.1:1/x"), RIGHT),
        (("db", "upgrade", "-d", "nonsense"), "--database: 'nonsense' must be a URL"),
        (("config", "--config", "gone.toml"), "gone.toml cannot be read"),
        (("tasks", "state:nonsense"), "nonsense"),
        (("tasks", "--from", "whenever"), "'whenever' is not a time"),
    ],
)  # fmt: skip
def test_wrong_settings(cli, args, told):
    """What is set wrongly is told in one line, without a traceback and without passwords, with exit code 2."""
    done = cli(*args)

    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.startswith("taskledger: ")
    assert done.stderr.count("\n") == 1
    assert "pw" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("args", "begun"), [(("record", "-b", "memory://"), "listening to"), (("web", "--port", "0"), "http://127.0.0.1:")]
)
def test_doers_end_well(here, args, begun, number):
    """The recorder, with its jobs, and the site make the default ledger, run, and end with 0 when they are told to."""
    process = subprocess.Popen(
        [*MODULE, *args], cwd=here, env=environment(here), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if begun in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=15)

    assert (process.returncode, out) == (0, "")
    assert "rror" not in "".join([*said, err])
    assert (here / "data" / "taskledger" / "taskledger.sqlite3").exists()


def test_port_in_use(cli):
    """A port that somebody else listens on is told in one line, with exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("web", "--port", str(taken.getsockname()[1]))

    assert done.returncode == 2
    assert done.stderr.startswith(f"taskledger: cannot listen on 127.0.0.1:{taken_port(done)}")
    assert "Traceback" not in done.stderr


def taken_port(done):
    return done.stderr.partition("127.0.0.1:")[2].partition(":")[0]


def test_database_away(cli):
    """A question to a database that is away cannot be answered: exit code 3."""
    done = cli("tasks", "-d", "postgresql://u:pw@127.0.0.1:1/x")

    assert done.returncode == 3
    assert done.stderr.startswith("taskledger: ")
    assert done.stderr.count("\n") == 1


def test_slip_in_a_variable(cli):
    """A TASKLEDGER_ variable that is no setting is named on stderr, and nothing fails."""
    done = cli("config", TASKLEDGER_BROKER="redis://x")

    assert done.returncode == 0
    assert "TASKLEDGER_BROKER is no setting; did you mean TASKLEDGER_BROKER_URL?" in done.stderr


def test_config_masks_passwords(cli):
    """`config` shows where a URL came from and not its password."""
    done = cli("config", TASKLEDGER_BROKER_URL="redis://:hunter2@h/0")

    assert "broker_url\t--broker\tredis://:***@h/0\tenvironment" in done.stdout.splitlines()


def test_database_commands(cli):
    """The schema is missing, then made, then current; twice is once; what is there is counted."""
    url = ("-d", "sqlite:///new.sqlite3")

    before, upgraded, again, after, stats = (
        cli("db", what, *url) for what in ("check", "upgrade", "upgrade", "check", "stats")
    )

    assert [before.returncode, upgraded.returncode, again.returncode, after.returncode] == [1, 0, 0, 0]
    assert "run `taskledger db upgrade`" in before.stdout
    assert "is current." in after.stdout
    assert "task\t0\t" in stats.stdout


def test_prune(cli, stocked):
    """Pruning says first what would go, then removes it, and finds nothing the second time."""
    counts = [
        json.loads(cli("prune", *args, "--json", "--retention", "1s", "-d", stocked).stdout)["tasks"]
        for args in (("--dry-run",), ("--dry-run",), (), ())
    ]

    assert counts == [2, 2, 2, 0]


def test_prune_for_people(cli, stocked):
    """Pruning says how many rows went and by which retention."""
    done = cli("prune", "--dry-run", "--retention", "1s", "-d", stocked)

    assert done.stdout.startswith("Would remove 2 tasks, ")
    assert done.stdout.endswith(" (retention 1s).\n")


def test_rebuild(cli, stocked):
    """It says what is not as its events say, puts that right, and then finds nothing."""
    with open_ledger(stocked) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("UPDATE task SET state = 30")
    counts = [
        json.loads(cli("rebuild", *args, "--json", "-d", stocked).stdout)
        for args in (("--dry-run",), (), ("--from-start",))
    ]

    assert [each["tasks"] for each in counts] == [2, 2, 0]
    assert {each["events"] for each in counts} == {9}
    assert cli("rebuild", "-d", stocked).stdout == "Folded 9 events; put right: nothing.\n"


def test_rebuild_says_what_it_cannot_judge(cli, stocked):
    """Tasks without events are told of on stderr."""
    with open_ledger(stocked) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM event")

    done = cli("rebuild", "--dry-run", "-d", stocked)

    assert done.stdout.startswith("Folded 0 events; would put right: ")
    assert "what they were made of is not in the ledger any more: 2 tasks" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_rebuild_is_interrupted(cli, sqlite_url, number):
    """Told to end, it ends after the step it is in, says so, and another one may begin at once and comes to the end."""
    with open_ledger(sqlite_url) as ledger:
        for start in range(0, 2_000, 500):
            lives = [life for n in range(start, start + 500) for life in succeeded(NOON + n, f"task-{n}")]
            record(ledger, Batch("default", decoded(*lives), received_at=NOON_AT))
        command = [*MODULE, "rebuild", "-d", sqlite_url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while not is_held(ledger, "rebuild"):
                time.sleep(0.005)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert said == "taskledger: stopped before the end: the next one goes on from here\n"
    assert cli("rebuild", "-d", sqlite_url).stdout.endswith("; put right: nothing.\n")


def is_held(ledger, name):
    """Whether somebody has the lease."""
    with ledger.read() as connection:
        found = connection.exec_driver_sql(f"SELECT until_at FROM lease WHERE name = '{name}'").scalar()
    return bool(found)


def test_redact(cli, stocked):
    """Redacting says first what would change, then does it, and finds nothing the second time."""
    rules = ("--redact-keys", "note", "-d", stocked)
    counts = [json.loads(cli("redact", *args, "--json", *rules).stdout)["tasks"] for args in (("--dry-run",), (), ())]

    assert counts[0] == counts[1] > counts[2] == 0


def test_redact_for_people(cli, stocked):
    """Redacting says how many rows changed, of those since a moment."""
    rules = ("--dry-run", "--redact-keys", "note", "-d", stocked)

    assert cli("redact", *rules).stdout.startswith("Would redact 2 tasks, ")
    assert cli("redact", "--since", "-1m", *rules).stdout == "Would redact nothing.\n"
    assert cli("redact", "--since", "yesteryear", *rules).returncode == 2


def test_tasks_for_a_pipe(cli, stocked):
    """In a pipe, tasks are lines of tab-separated fields, newest first, with whole ids."""
    done = cli("tasks", "-d", stocked, *AROUND_NOON)
    lines = [line.split("\t") for line in done.stdout.splitlines()]

    assert done.returncode == 0
    assert [line[:3] for line in lines] == [[OTHER, "mail.send", "Succeeded"], [TASK, "billing.charge", "Failed"]]


def test_tasks_for_programs(cli, stocked):
    """`--json` is an array of tasks: Celery's state words, times in ISO 8601 UTC, durations in seconds."""
    done = cli("tasks", "state:failed", "--json", "-d", stocked, "--timezone", "Asia/Tokyo", "--from", "all")
    (task,) = json.loads(done.stdout)

    assert (task["id"], task["state"], task["sent_at"]) == (TASK, "FAILURE", "2026-11-21T12:00:00.000000Z")
    assert task["wait_s"] == 0.5


def test_a_search_of_several_words_needs_no_quotes(cli, stocked):
    """Words that the shell has parted are one search, and all of them must hold."""
    done = cli("tasks", "name:billing.charge", "state:failed", "-d", stocked, *AROUND_NOON)
    none = cli("tasks", "name:mail.send", "state:failed", "-d", stocked, *AROUND_NOON)

    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [TASK]
    assert none.stdout == ""
    assert "No task matches 'name:mail.send state:failed'" in none.stderr


def test_tasks_for_people(stocked, here):
    """On a terminal, tasks are a table: a heading with the zone, times in that zone, short ids."""
    text = in_terminal(here, "tasks", "-d", stocked, "--timezone", "Asia/Tokyo", "--from", "2026-11-20", COLUMNS="160")
    heading, first = text.splitlines()[:2]

    assert "First seen (JST)" in heading
    assert first.split()[:3] == [OTHER[:8], "mail.send", "Succeeded"]
    assert "21:01:00" in first


def in_terminal(here, *args, **environ):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *args], cwd=here, env=environment(here, TERM="xterm", NO_COLOR="1", **environ), stdout=follower,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(follower)
    said = b""
    try:
        while chunk := os.read(leader, 65536):
            said += chunk
    except OSError:
        pass  # How Linux says that the last writer has closed its end.
    os.close(leader)
    assert process.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode())


def test_nothing_found_where_somebody_listened(cli, stocked):
    """No match in a time that was recorded is an answer: exit code 0, and the sentence says what was searched."""
    done = cli("tasks", "state:revoked", "-d", stocked, "--from", "2026-11-21T12:00", "--to", "2026-11-21T12:30")

    assert (done.returncode, done.stdout) == (0, "")
    assert "No task matches 'state:revoked' from 21 Nov 12:00 to 12:30" in done.stderr
    assert "A recorder was listening all that time." in done.stderr


def test_nothing_found_where_nobody_listened(cli, stocked):
    """Nothing found in a time that was not recorded is no answer: exit code 3."""
    done = cli("tasks", "-d", stocked, "--from", "2026-11-20T12:00", "--to", "2026-11-20T13:00")

    assert (done.returncode, done.stdout) == (3, "")
    assert "No recorder was listening" in done.stderr


def test_answer_beside_a_gap(cli, stocked):
    """An answer about a time that was recorded in part says which part was not."""
    done = cli("failures", "-d", stocked, *AROUND_NOON)

    assert done.returncode == 0
    assert "No recorder was listening before 21 Nov 11:30" in done.stderr


def test_one_task(cli, stocked):
    """A task is found by the first characters of its id, and shown with its runs and its traceback."""
    done = cli("task", TASK[:8], "-d", stocked)

    assert done.returncode == 0
    assert "State       Failed" in done.stdout.splitlines()
    assert "1\tFailed\tw1@vm\t" in done.stdout
    assert "ValueError: invalid card for customer 7215" in done.stdout.splitlines()


def test_one_task_for_programs(cli, stocked):
    """As JSON a task has its events as Celery sent them, untouched."""
    told = json.loads(cli("task", TASK, "--json", "-d", stocked).stdout)

    assert told["events"][0]["fields"]["timestamp"] == NOON
    assert told["events"][0]["at"] == "2026-11-21T12:00:00.000000Z"
    assert told["runs"][0]["state"] == "FAILURE"


def test_a_settled_task(cli, sqlite_url):
    """A task whose end no event told says so, on the terminal and in JSON."""
    with open_ledger(sqlite_url) as ledger:
        record(ledger, Batch("default", decoded(*succeeded()[:3]), received_at=round(NOON * 1e6)))
        started_at = round((NOON + 0.5) * 1e6)
        fact = Settlement("w1@vm", started_at, SettledBy.INFERRED, 1, State.LOST, started_at, note="no heartbeat")
        settle.write(ledger, {("default", TASK): [fact]})
    done, told = cli("task", TASK, "-d", sqlite_url), json.loads(cli("task", TASK, "--json", "-d", sqlite_url).stdout)

    assert "Known by    inferred" in done.stdout.splitlines()
    assert "\tinferred: no heartbeat" in done.stdout
    assert (told["task"]["state"], told["task"]["settled_by"], told["runs"][0]["settled_by"]) == (
        "LOST", "inferred", "inferred"
    )  # fmt: skip
    assert told["settlements"][0]["state"] == "LOST"


def test_no_such_task(cli, stocked):
    """A task that nothing is known of cannot be told about: exit code 3."""
    done = cli("task", "ffff", "-d", stocked)

    assert (done.returncode, done.stdout) == (3, "")
    assert "No event of a task ffff was recorded" in done.stderr


def test_failures(cli, stocked):
    """Failures are groups: how many, of which task, in what way, where."""
    (line,) = cli("failures", "-d", stocked, *AROUND_NOON).stdout.splitlines()

    assert line.startswith("1\tbilling.charge\tValueError: invalid card for customer *\tproj.py:35 in charge\t")


def test_workers(cli, stocked):
    """Workers have a name and a state; without a recorder now, that state is not known."""
    done = cli("workers", "-d", stocked)

    assert done.stdout.startswith("w1@vm\tNot known\t")


def test_schedules(cli, sqlite_url, here):
    """Entries are listed as `record` read them; another checkout of the app, with which one asks, changes nothing."""
    (here / "proj.py").write_text(
        APP + "app.conf.beat_schedule = {'mine': {'task': 'billing.nightly', 'schedule': 60.0}}\n"
    )
    with open_ledger(sqlite_url) as ledger:
        entry = Entry(name="nightly", task="billing.nightly", schedule=Interval(3600.0))
        keep_definitions(ledger, "default", "proj (beat_schedule)", [entry], round(NOON * 1_000_000))
    lines = [line.split("\t") for line in cli("schedules", "-A", "proj", "-d", sqlite_url).stdout.splitlines()]

    assert [line[:3] for line in lines] == [["nightly", "billing.nightly", "every hour"]]


def test_no_schedules(cli):
    """A ledger that knows of no schedule cannot tell about it: exit code 3."""
    done = cli("schedules")

    assert (done.returncode, done.stdout) == (3, "")
    assert "No schedule is known" in done.stderr


def test_no_workers(cli):
    """A ledger that never heard of a worker cannot tell about workers: exit code 3."""
    done = cli("workers")

    assert (done.returncode, done.stdout) == (3, "")
    assert "No worker was ever heard of" in done.stderr


def test_control_characters_do_not_reach_the_terminal(cli, sqlite_url):
    """What a task was called or said cannot steer the terminal or forge a line."""
    with open_ledger(sqlite_url) as ledger:
        events = decoded(*succeeded(NOON, TASK, "evil\x1b[2J\nname\t[red]"))
        record(ledger, Batch("default", events, received_at=NOON_AT))

    (line,) = cli("tasks", "-d", sqlite_url, "--from", "2026-11-20").stdout.splitlines()

    assert "evil\\x1b[2J\\nname\\t[red]" in line


def test_closed_pipe_is_silent(here):
    """When nobody reads on, a command ends without a word."""
    process = subprocess.Popen(
        [*MODULE, "config", "--json"], cwd=here, env=environment(here), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


def test_ctrl_c(here):
    """Ctrl-C ends a command that waits with 130 and without a traceback."""
    os.mkfifo(here / "secret")
    process = subprocess.Popen(
        [*MODULE, "config"], cwd=here, env=environment(here, TASKLEDGER_BROKER_URL_FILE="secret"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_times_of_ours_become_text():
    """Only fields of ours that are named as times become times; what Celery said stays as it was."""
    told = plain({"sent_at": 1})

    assert told == {"sent_at": 1}
    assert plain(1_000_000, "sent_at") == "1970-01-01T00:00:01.000000Z"
    assert plain(7, "number") == 7
    assert plain(None, "sent_at") is None

"""`taskledger check`: what it says of a ledger, and with which exit code it ends."""

import json
import time

import pytest
from click.testing import CliRunner

from taskledger import __version__
from taskledger.cli import taskledger
from taskledger.ledger import open_ledger
from taskledger.ledger.presence import begin, end, extend, listen, stop
from taskledger.ledger.record import Position


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs `taskledger check recorder` on a database."""
    monkeypatch.chdir(tmp_path)

    def run(url, *args):
        return CliRunner().invoke(taskledger, ["check", "recorder", "-d", url, *args])

    return run


def recorder(url, name="web1", *clusters, seen_s_ago=1.0, lag_s=0.2):
    """A recorder that has listened to these clusters for an hour; its number, and how far they are covered."""
    seen_at = time.time_ns() // 1000 - round(seen_s_ago * 1e6)
    began_at = seen_at - 3_600_000_000
    with open_ledger(url) as ledger:
        number = begin(ledger, name, __version__, began_at)
        positions = [
            Position(listen(ledger, number, cluster, "durable queue", began_at), seen_at) for cluster in clusters
        ]
        for position in [*positions] or [None]:
            extend(ledger, position, recorder_id=number, seen_at=seen_at, lag_s=lag_s, recorded=1)
    return number, positions


def test_recording(check, database_url):
    """A recorder that listens and keeps up is well: who, since when, with what lag and promise."""
    recorder(database_url, "web1", "default")

    done = check(database_url)

    assert done.exit_code == 0
    assert done.stdout.startswith("default: recorded by web1 since ")
    assert "UTC, lag 0.2 s; nothing is lost: the broker keeps every event" in done.stdout


def test_recording_for_programs(check, sqlite_url):
    """Programs get the verdict and the figures behind it."""
    recorder(sqlite_url, "web1", "default")
    recorder(sqlite_url, "web2", "default", lag_s=0.5)

    told = json.loads(check(sqlite_url, "--json").stdout)
    (cluster,) = told["clusters"]

    assert (told["verdict"], told["max_lag_s"]) == ("well", 30.0)
    assert (cluster["cluster"], cluster["is_well"], cluster["cause"]) == ("default", True, None)
    assert (cluster["recorders"], cluster["lag_s"], cluster["promise"]) == (["web1", "web2"], 0.5, "durable queue")
    assert cluster["since_at"].endswith("Z")


@pytest.mark.parametrize(("limit", "code"), [("1m", 1), ("2m", 0)])
def test_lagging(check, sqlite_url, limit, code):
    """A recorder that is further behind than allowed is not well."""
    recorder(sqlite_url, "web1", "default", lag_s=90.0)

    done = check(sqlite_url, "--max-lag", limit)

    assert done.exit_code == code
    assert ("(more than 1m)" in done.stdout) == bool(code)


def test_killed(check, sqlite_url):
    """A recorder that has not been heard of for a while does not record."""
    recorder(sqlite_url, "web1", "default", seen_s_ago=60)

    done = check(sqlite_url)

    assert done.exit_code == 1
    assert done.stdout.startswith("default: not recorded since ")
    assert "killed or lost its machine" in done.stdout


def test_stopped(check, sqlite_url):
    """A recorder that was stopped does not record, however long ago that was."""
    number, (position,) = recorder(sqlite_url, "web1", "default", seen_s_ago=60 * 86_400)
    with open_ledger(sqlite_url) as ledger:
        end(ledger, position, "stopped")
        stop(ledger, number, position.until_at)

    done = check(sqlite_url)

    assert done.exit_code == 1
    assert done.stdout.rstrip().endswith(": stopped")


def test_broker_lost(check, sqlite_url):
    """A recorder that runs without its broker is not well; the other cluster is told as it is."""
    _, (eu, _) = recorder(sqlite_url, "web1", "eu", "us")
    with open_ledger(sqlite_url) as ledger:
        end(ledger, eu, "broker lost: connection refused")

    done = check(sqlite_url)
    first, second = done.stdout.splitlines()

    assert done.exit_code == 1
    assert first.startswith("eu: not recorded since ")
    assert first.endswith(": broker lost: connection refused")
    assert second.startswith("us: recorded by web1 ")


def test_named_cluster(check, sqlite_url):
    """Only the clusters that are named are judged; one that nobody records is not well."""
    _, (eu, _) = recorder(sqlite_url, "web1", "eu", "us")
    with open_ledger(sqlite_url) as ledger:
        end(ledger, eu, "stopped")

    assert check(sqlite_url, "--cluster", "us").exit_code == 0
    assert check(sqlite_url, "--cluster", "us", "--cluster", "eu").exit_code == 1
    assert "asia: never recorded" in check(sqlite_url, "--cluster", "asia").stdout
    assert check(sqlite_url, "--cluster", "asia").exit_code == 1


def test_given_up(check, sqlite_url):
    """A cluster that nobody has recorded for a week, while others were, is not asked for any more."""
    recorder(sqlite_url, "web0", "old", "older", seen_s_ago=8 * 86_400)
    recorder(sqlite_url, "web1", "default")

    assert [line.partition(":")[0] for line in check(sqlite_url).stdout.splitlines()] == ["default"]


def test_never_listened(check, sqlite_url):
    """A recorder that runs and has never reached its broker is not well."""
    recorder(sqlite_url, "web1")

    done = check(sqlite_url)

    assert (done.exit_code, done.stdout) == (1, "")
    assert "no broker was ever listened to" in done.stderr


def test_nothing_ever_recorded(check, sqlite_url):
    """A ledger in which no recorder ever wrote cannot tell."""
    done = check(sqlite_url)
    told = json.loads(check(sqlite_url, "--json").stdout)

    assert (done.exit_code, done.stdout) == (3, "")
    assert "no recorder has ever written to this ledger" in done.stderr
    assert told == {"verdict": "cannot tell", "max_lag_s": 30.0, "clusters": []}


def test_database_away(check):
    """Without its database it cannot tell."""
    done = check("postgresql+psycopg://nobody@127.0.0.1:1/none")

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith("taskledger: ")


def test_wrong_lag(check, sqlite_url):
    """A duration that is none is wrong use."""
    done = check(sqlite_url, "--max-lag", "soon")

    assert done.exit_code == 2
    assert "must be a duration such as 30s or 5m, not 'soon'" in done.stderr

"""The main job, as a user does it: real workers and beat, a recorder, and afterwards only the site."""

import csv
import io
import os
import signal
import time
import urllib.parse
from collections import Counter

import pytest
from crew import crew, page, until
from sqlalchemy import func, select

from taskledger.ledger import Ledger, open_ledger, schema
from taskledger.ledger.query import task
from taskledger.states import State

#: tasks sent; the full run is `TASKLEDGER_ACCEPTANCE_TASKS=5000 pytest tests/acceptance`
TASKS = int(os.environ.get("TASKLEDGER_ACCEPTANCE_TASKS", "400"))
#: seconds that the recorder is away; the full run is `TASKLEDGER_ACCEPTANCE_AWAY_S=60`
AWAY_S = float(os.environ.get("TASKLEDGER_ACCEPTANCE_AWAY_S", "6"))

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request):
    return request.getfixturevalue(f"{request.param}_url")


def ended(ledger: Ledger, ids) -> int:
    """How many of the tasks have reached an end."""
    with ledger.read() as connection:
        done = (
            select(func.count())
            .select_from(schema.task)
            .where(schema.task.c.state >= State.REJECTED, schema.task.c.id.in_(ids))
        )
        return sum(connection.scalar(done.where(schema.task.c.id.in_(part))) for part in _parts(ids))


def _parts(ids, size=900):
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def states_on_the_site(address: str) -> dict[str, str]:
    """Task id -> state word, from the export of the site, page by page."""
    text = page(f"{address}/tasks.csv?from=-24h&limit=100000")
    return {row["id"]: row["state"].lower() for row in csv.DictReader(io.StringIO(text.lstrip("\ufeff")))}


WORDS = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "revoked"}


def test_yesterdays_failures_are_there_after_everything_was_restarted(broker_url, sqlite_url, tmp_path):
    """Two prefork workers, beat, tasks of mixed fates: after all are stopped the site alone shows each final state."""
    with crew(broker_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        run.record()
        until(lambda: listening(ledger), f"the recorder listens:\n{run.log('record')}", 30)
        run.worker("w1")
        run.worker("w2")
        run.workers_are_up(2)
        run.beat()
        expected = run.send(TASKS, seed=1)
        ids = list(expected)
        until(
            lambda: sum(ended(ledger, part) for part in _parts(ids)) == TASKS, "every task has ended", 60 + TASKS / 10
        )

        assert run.stop("beat") == 0
        assert run.stop("w1") == run.stop("w2") == 0
        time.sleep(1)
        assert run.stop("record", timeout_s=10) == 0

        address = run.web()
        shown = states_on_the_site(address)
        wrong = {one: (state, shown.get(one)) for one, state in expected.items() if shown.get(one) != WORDS[state]}
        assert wrong == {}
        assert Counter(expected.values()).keys() == {"SUCCESS", "FAILURE", "REVOKED"}

        failed = next(
            one for one in ids if expected[one] == "FAILURE" and "declined" in (task(ledger, one).task.exception or "")
        )
        order = task(ledger, failed).task.args.split("'")[1]
        fragment = f"declined for {order}"
        found = page(f"{address}/tasks?from=-24h&q={urllib.parse.quote(chr(34) + fragment + chr(34))}")
        assert failed in found
        assert "in check" in page(f"{address}/tasks/{failed}")


def listening(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return bool(connection.scalar(select(func.count()).select_from(schema.coverage)))


def event_count(ledger: Ledger, kind: str, ids) -> int:
    return sum(1 for one in ids for event in task(ledger, one).events if event.type == kind)


def test_rabbitmq_keeps_every_event_while_the_recorder_is_away(rabbitmq_url, sqlite_url, tmp_path):
    """On RabbitMQ a recorder that was stopped under load and started again has every event, and no gap."""
    with crew(rabbitmq_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        run.record()
        until(lambda: listening(ledger), f"the recorder listens:\n{run.log('record')}", 30)
        run.worker("w1")
        run.workers_are_up(1)
        rate = 40
        first = run.send(rate * 3, seed=2, rate=rate)
        assert run.stop("record", signal.SIGTERM, 10) == 0
        away = run.send(int(rate * AWAY_S), seed=3, rate=rate)
        run.record()
        last = run.send(rate * 3, seed=4, rate=rate)
        expected = first | away | last
        ids = list(expected)
        until(lambda: sum(ended(ledger, part) for part in _parts(ids)) == len(ids), "every task has ended", 120)
        assert run.stop("record", signal.SIGTERM, 10) == 0

        missing = [one for one in ids if task(ledger, one).task.state.name != expected[one]]
        assert missing == []
        assert event_count(ledger, "task-sent", ids) >= len(ids)
        for one in ids:
            kinds = Counter(event.type for event in task(ledger, one).events)
            ends = kinds["task-succeeded"] + kinds["task-failed"] + kinds["task-retried"]
            assert kinds["task-started"] == ends, (one, kinds)
            assert kinds["task-received"] == kinds["task-started"], (one, kinds)

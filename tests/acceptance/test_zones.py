"""Clients and workers far away: what the ledger says of when something happened is what the clock on the wall said."""

import json
import subprocess
import sys
from typing import Any

import pytest
from crew import HERE, Crew, crew, until

from taskledger.ledger import Ledger, open_ledger, query
from taskledger.states import State

#: name of worker and queue -> the zone of its machine, and of its app where that says so; and whether the app uses UTC
PLACES = {
    "new-york": {"TZ": "America/New_York"},
    "kolkata": {"TZ": "Asia/Kolkata"},
    "kathmandu": {"TZ": "Asia/Kathmandu"},
    "new-york-local": {"TZ": "America/New_York", "PROJ_TIMEZONE": "America/New_York", "PROJ_ENABLE_UTC": "no"},
    "kathmandu-local": {"TZ": "Asia/Kathmandu", "PROJ_ENABLE_UTC": "no"},
    "kolkata-elsewhere": {"TZ": "Asia/Kolkata", "PROJ_TIMEZONE": "Asia/Kathmandu"},
}
#: seconds that a time may be wrong
SKEW_S = 1.0
#: zone of the recorder, which must not matter either
RECORDER_ZONE = "Pacific/Chatham"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


def test_times_are_those_of_the_clock_on_the_wall(redis_url: str, sqlite_url: str, tmp_path: Any) -> None:
    """Whatever zones machines and apps are in, each time of a task is right within a second."""
    with crew(redis_url, sqlite_url, tmp_path) as run, open_ledger(sqlite_url) as ledger:
        run.start("record", "taskledger", "-A", "proj", "record", TZ=RECORDER_ZONE)
        until(
            lambda: any(each.promises for each in query.recorders(ledger)),
            f"the recorder listens:\n{run.log('record')}",
            60,
        )
        for name, environ in PLACES.items():
            run.worker(name, "-P", "solo", "-Q", name, **environ)
        run.workers_are_up(len(PLACES))
        told = {name: _send(run, name) for name in PLACES}
        until(lambda: all(_ended(ledger, each["id"]) for each in told.values()), "every task has ended", 90)
        offsets = {name: _offsets(ledger, each["id"]) for name, each in told.items()}

    assert all(0 not in each for each in offsets.values()), "these are not the zones that were meant"
    assert {name: wrong for name, each in told.items() if (wrong := _wrong(ledger, each))} == {}


def _send(run: Crew, name: str) -> dict[str, Any]:
    """Send a task from there; between which moments it was sent, and its other times must lie."""
    command = [sys.executable, str(HERE / "zoned.py"), name]
    environ = run.environ | PLACES[name]
    done = subprocess.run(command, env=environ, cwd=run.folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _ended(ledger: Ledger, task_id: str) -> bool:
    found = query.task(ledger, task_id)
    return found is not None and found.task.state == State.SUCCESS


def _offsets(ledger: Ledger, task_id: str) -> set[int]:
    """How far from UTC clients and workers said they were."""
    return {each.fields["utcoffset"] for each in query.task(ledger, task_id).events}


def _wrong(ledger: Ledger, told: dict[str, Any]) -> dict[str, float]:
    """Which times are wrong, and by how many seconds."""
    task = query.task(ledger, told["id"]).task
    begun, ended = json.loads(task.result)
    meant = {key: told[key] for key in ("sent", "eta", "expires")}
    meant |= {"started": (begun, begun), "ended": (ended, ended)}
    # When it was received only the worker knows: between being sent and being begun.
    meant["received"] = (told["sent"][0], begun)
    skews = {name: _outside(getattr(task, f"{name}_at") / 1e6, *span) for name, span in meant.items()}
    return {name: skew for name, skew in skews.items() if skew > SKEW_S}


def _outside(at: float, first: float, last: float) -> float:
    """How far a time is from where it must lie; 0 within."""
    return max(first - at, at - last, 0.0)

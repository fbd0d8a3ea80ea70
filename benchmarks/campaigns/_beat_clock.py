"""Beat's own loop with a clock that only goes where it is told: what the installed Celery would have sent.

Runs by itself with any Python that has Celery: a list of cases as JSON on stdin, their fires as JSON on stdout.
"""

import json
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import celery
from celery import Celery
from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import crontab

#: fires after which a case is cut short: beat runs in a hot loop
MOST_FIRES = 4_000


class Clock:
    """The time that beat believes in; `at` in seconds UTC."""

    def __init__(self, at: float, zone: ZoneInfo) -> None:
        self.at, self.zone = at, zone

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC).astimezone(self.zone)


class Recorded(Scheduler):  # type: ignore[misc]
    """Celery's scheduler that writes down instead of sending."""

    fired: list[float]
    clock: Clock

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:  # noqa: ARG002  Celery calls it so.
        self.fired.append(self.clock.at)

    def setup_schedule(self) -> None:
        self.schedule = self.data

    @property
    def producer(self) -> None:
        return None


def fires(fields: dict[str, str], zone_name: str, from_s: float, to_s: float, seed: int) -> list[float]:
    """When beat, started at from_s without a memory, would send it; the loop takes 1 to 20 ms a turn."""
    chance, clock = random.Random(seed), Clock(from_s, ZoneInfo(zone_name))
    app = Celery("proj", broker="memory://", set_as_current=False)
    app.conf.timezone = zone_name
    line = crontab(**fields, nowfun=clock.now, app=app)
    entry = ScheduleEntry("e", "proj.add", schedule=line, app=app)
    beat = Recorded(app, schedule={"e": entry})
    beat.fired, beat.clock = [], clock
    while clock.at < to_s and len(beat.fired) < MOST_FIRES:
        delay = beat.tick()
        clock.at += max(0.0, delay or 0.0) + chance.uniform(0.001, 0.020)
    return [at for at in beat.fired if at < to_s]


def run(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told = [fires(case["fields"], case["tz"], case["from_s"], case["to_s"], case["seed"]) for case in cases]
    return {"celery": celery.__version__, "fires": told}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)

"""Verdicts: every recorded scenario is judged as it should be, and what cannot be known is not claimed."""

import json
import os
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from taskledger import schedules, ticks, verdicts
from taskledger.events import Event, canonical, decode
from taskledger.schedules import Entry, Sent
from taskledger.tasks import Task, project
from taskledger.ticks import Facts, Fire, Scope, Version

CASES = json.loads(
    Path(os.environ.get("TASKLEDGER_BEAT_CASES") or Path(__file__).parent / "beat-cases.json").read_text("utf-8")
)["cases"]
SECOND = 1_000_000


def micros(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000) * 1000


def moment(text: str) -> int:
    at = micros(text)
    assert at is not None
    return at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_every_scenario_is_judged_as_it_should_be(case: dict[str, Any]) -> None:
    """Each due time gets its fire, lateness, task, outcome, flags and error, and each extra its reason."""
    tasks = project_all(case["events"])
    coverage = ticks.merged((moment(since), moment(until)) for since, until in case["coverage"])
    facts = Facts([version(item) for item in case["versions"]], fires(case, tasks), coverage)
    from_at, to_at = map(moment, case["evaluate"])
    settings = case["settings"]

    now_at = moment(case["now"])
    judgement = verdicts.judge(facts, Scope(from_at, to_at, now_at, settings["grace"], settings["early"]))

    assert [tick_of(verdict, tasks, now_at, coverage) for verdict in judgement.verdicts] == [
        expected(item) for item in case["expect"]["ticks"]
    ]
    assert [(extra.at, extra.task_id, extra.reason) for extra in judgement.extras] == [
        (micros(item["at"]), item["uuid"], item["reason"]) for item in case["expect"]["extras"]
    ]


def version(item: dict[str, Any]) -> Version:
    definition = schedules.parse(item["schedule"])
    last_run_at = micros(item.get("last_run_at"))
    return Version(moment(item["from"]), micros(item["to"]), definition, item["enabled"], last_run_at)


def project_all(events: list[dict[str, Any]]) -> dict[str, Task]:
    """The tasks that a scenario's task events make, as the recorder would make them."""
    stories: dict[str, list[Event]] = defaultdict(list)
    for item in events:
        if item["type"].startswith("task-"):
            wire = {key: value for key, value in item.items() if key != "at"} | {"timestamp": moment(item["at"]) / 1e6}
            event = decode(canonical(wire))[0]
            assert isinstance(event, Event)
            stories[item["uuid"]].append(event)
    return {task_id: project(task_id, story) for task_id, story in stories.items()}


def fires(case: dict[str, Any], tasks: dict[str, Task]) -> list[Fire]:
    """With the probe only what it says counts; without it, the tasks that look as beat would have sent them."""
    if case["probe"]:
        return [
            Fire(
                moment(event["at"]),
                event.get("uuid"),
                "probe",
                event["beat_id"],
                micros(event.get("due")),
                event.get("message"),
            )
            for event in case["events"]
            if event["type"] in ("beat-sent", "beat-failed")
        ]
    entry = Entry(case["entry"]["name"], case["entry"]["task"], schedules.Interval(1), case["entry"]["args_repr"])
    return [
        Fire(task.sent_at or task.received_at or 0, task.id, "task-sent" if task.sent_at else "worker only")
        for task in tasks.values()
        if entry.is_sent_as(Sent(task.name, task.args, task.kwargs, task.queue, task.parent_id is not None))
    ]


def tick_of(
    verdict: verdicts.Verdict, tasks: dict[str, Task], now_at: int, coverage: list[tuple[int, int]]
) -> dict[str, Any]:
    task = tasks.get(verdict.task_id or "")
    outcome = None
    if task is not None:
        note = task.runs[-1].note if task.runs else None
        outcome = verdicts.outcome(task.state, note, verdict.fired_at or 0, now_at, coverage)
    return {
        "due": verdict.due_at,
        "fire": verdict.fire,
        "lateness": pytest.approx(verdict.lateness_s, abs=0.001),
        "uuid": verdict.task_id,
        "outcome": outcome,
        "flags": set(verdict.flags),
        "duplicates": list(verdict.duplicates),
        "error": verdict.error,
    }


def expected(item: dict[str, Any]) -> dict[str, Any]:
    tick = {"duplicates": [], "error": None} | item
    return tick | {"due": micros(item["due"]), "flags": set(item["flags"])}

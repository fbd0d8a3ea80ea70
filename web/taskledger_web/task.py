"""One task: what happened, how long each phase took, why it failed, what it belongs to; and its notes."""

import json

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import kept, query
from taskledger.ledger.answers import Coverage, RunRow, Span, TaskDetail
from taskledger.states import State
from taskledger_web import family, links, reprs, silence, timeline, times, tracebacks, words
from taskledger_web.asking import ask
from taskledger_web.text import SHOWN, shortened
from taskledger_web.view import View, view

blueprint = Blueprint("task", __name__)
#: characters of a note and of its author's name
LONGEST_NOTE, LONGEST_AUTHOR = 4000, 80
#: characters of one event's JSON that are shown
_EVENT_SHOWN = 8000


@blueprint.get("/tasks/<anything:name>")
def page(name: str) -> tuple[str, int] | str:
    """One task by its id."""
    return _page(name)


@blueprint.get("/task")
def by_parameter() -> tuple[str, int] | str:
    """The same for ids that no path can carry."""
    return _page(request.args.get("id", ""))


@blueprint.get("/task/<anything:name>")
def as_flower(name: str) -> AnyResponse:
    """Flower's address of a task."""
    return redirect(links.task(name), 301)


@blueprint.post("/task/notes")
def add_note() -> AnyResponse:
    """Keep a note on a task, and show it."""
    task_id = request.form.get("id", "")
    text = request.form.get("text", "").strip()[:LONGEST_NOTE]
    author = request.form.get("author", "").strip()[:LONGEST_AUTHOR]
    if text and ask(query.task, task_id) is not None:
        ask(kept.add_note, task_id, text, author, view().now_at)
    return redirect(f"{links.task(task_id)}#notes", 303)


def _page(task_id: str) -> tuple[str, int] | str:
    seen = view()
    detail = ask(query.task, task_id, at=seen.at)
    if detail is None:
        return _missing(task_id, seen)
    silent = silence.of_task(detail, seen.now_at) if seen.at is None else silence.as_of(detail)
    word = words.of_task(detail.task, seen.now_at)
    failed = [run for run in detail.runs if run.exception or run.traceback]
    latest = failed[-1] if failed else None
    return render_template(
        "tasks/detail.html",
        detail=detail,
        word=silence.word(word, silent) if silent else word,
        silence=silent,
        timeline=timeline.timeline(detail, seen.now_at, silent.at if silent else None),
        label=timeline.label,
        failed=list(reversed(failed)),
        group=_group(latest, seen),
        blocks=tracebacks.blocks,
        arguments=reprs.arguments(detail.task.args, detail.task.kwargs),
        result=shortened(detail.task.result or "", SHOWN, 0),
        result_is_cut=reprs.is_cut(detail.task.result),
        members=family.members(detail),
        events=[(event, _json(event.fields)) for event in detail.events],
        missing=missing_events(detail),
        notes=[note for note in ask(kept.notes, task_id) if note.created_at <= seen.now_at],
        coverage=_coverage_since(detail.task.first_at, seen),
        column_zone=times.zone_word(seen.zone, detail.task.first_at, seen.now_at),
    )


def _missing(task_id: str, seen: View) -> tuple[str, int]:
    """What was searched, over what recorded time, and what comes near."""
    if seen.at is not None and (later := ask(query.task, task_id)):
        first = times.utc(later.task.first_at, timespec="seconds")
        abort(404, f"This task had not been heard of then: its first event is of {first}.")
    began_at = _coverage_since(seen.now_at - 1, seen).began_at
    recorded = _coverage_since(seen.now_at - 1 if began_at is None else began_at, seen)
    answers = {
        "task_id": task_id,
        "alike": ask(query.tasks_like, task_id[:8]) if task_id else (),
        "coverage": recorded,
        "days": (seen.now_at - began_at) / times.MICROS / 86_400 if began_at is not None else None,
    }
    return render_template("tasks/missing.html", **answers), 404


def _coverage_since(at: int, seen: View) -> Coverage:
    return ask(query.coverage, Span(at, max(seen.now_at, at + 1)), seen.now_at)


def _group(run: RunRow | None, seen: View) -> object:
    """The failure group of a run over the last 30 days; None when it did not fail."""
    if run is None or run.fingerprint is None:
        return None
    span = Span(max(seen.now_at - 30 * 86_400 * times.MICROS, 0), seen.now_at + 1)
    return ask(query.failure_group, run.fingerprint, span)


def missing_events(detail: TaskDetail) -> list[str]:
    """The events that must have been sent and are not in the ledger."""
    types = {event.type for event in detail.events}
    expected = []
    if "task-sent" not in types:
        expected.append("task-sent")
    if any(run.started_at is not None and run.received_at is None for run in detail.runs):
        expected.append("task-received")
    ran = detail.task.state in (State.SUCCESS, State.FAILURE)
    if ran and not any(run.started_at is not None for run in detail.runs):
        expected.append("task-started")
    return expected


def _json(fields: dict[str, object]) -> str:
    """The event as it came, indented; numbers exact, letters as they are."""
    text = json.dumps(fields, indent=2, ensure_ascii=False, default=str)
    return shortened(text, _EVENT_SHOWN, 0)[0]

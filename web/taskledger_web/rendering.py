"""What every template can use: times, durations and numbers in the visitor's zone, links, the header's state."""

from collections.abc import Callable

from flask import Flask, request
from jinja2 import StrictUndefined

from taskledger.errors import TaskledgerError
from taskledger.ledger.answers import TaskRow
from taskledger_web import links, moments, phrases, recorded, searching, span, strip, text, times, words
from taskledger_web.view import LOOK_BACK, page_range, recorder_status, view

#: (endpoint, word, blueprint, key after g)
NAVIGATION = (
    ("overview.page", "Overview", ("overview",), "o"),
    ("tasks.page", "Tasks", ("tasks", "task"), "t"),
    ("failures.page", "Failures", ("failures",), "f"),
    ("schedules.page", "Schedules", ("schedules", "beats"), "s"),
    ("workers.page", "Workers", ("workers",), "w"),
    ("queues.page", "Queues", ("queues",), "q"),
    ("ledger.page", "Ledger", ("ledger",), "l"),
)


def init_app(app: Flask) -> None:
    """Set the environment up: everything escaped, everything visible, nothing silently undefined."""
    app.jinja_options = {
        "trim_blocks": True,
        "lstrip_blocks": True,
        "undefined": StrictUndefined,
        "finalize": text.visible,
    }
    app.context_processor(_common)
    for name, function in _FUNCTIONS.items():
        app.add_template_global(function, name)


def recorder_pill() -> recorded.Pill:
    """The header's pill; a ledger that cannot be asked is said there, not thrown."""
    seen = view()
    try:
        return recorded.pill(recorder_status(), seen.today_at)
    except TaskledgerError:
        return recorded.pill(None, seen.today_at)


def _common() -> dict[str, object]:
    blueprint = request.blueprint or ""
    return {
        "view": view(),
        "presets": span.PRESETS,
        "can_look_back": blueprint in LOOK_BACK,
        "navigation": [(*item, blueprint in item[2]) for item in NAVIGATION],
    }


def _word_of_task(row: TaskRow) -> words.Word:
    running = moments.running()
    return words.of_task(row, view().now_at) if running is None else words.as_of(row, running)


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "looking_back": moments.looking_back,
    "moment_nearby": moments.nearby,
    "running_on": moments.running_on,
    "when": phrases.when,
    "when_full": phrases.when_full,
    "when_stamp": phrases.when_stamp,
    "when_beside": phrases.when_beside,
    "ago": phrases.ago,
    "duration": times.duration,
    "number": phrases.number,
    "size": phrases.size,
    "cut": text.cut,
    "clause": phrases.clause,
    "range_words": phrases.range_words,
    "page_range": page_range,
    "recorder_pill": recorder_pill,
    "repeated": links.repeated,
    "here": links.here,
    "moved": links.moved,
    "to": links.to,
    "task_link": links.task,
    "task_links": links.tasks,
    "schedule_link": links.schedule,
    "due_link": links.due_time,
    "group_link": links.failure_group,
    "worker_link": links.worker,
    "word_of_task": _word_of_task,
    "word_of_run": words.of_run,
    "beside_run": words.beside,
    "word_of_state": words.STATES.__getitem__,
    "known_by": words.known_by,
    "word_of_related": words.of_related,
    "word_of_became": words.of_became,
    "word_of_worker": words.of_worker,
    "strip_drawn": strip.drawn,
    "lateness": phrases.lateness,
    "sentence_case": phrases.sentence_case,
    "error_or_arguments": phrases.error_or_arguments,
    "cause": text.cause,
    "exception_class": text.exception_class,
    "count_words": phrases.count_words,
    "sentence": phrases.sentence,
    "lag_words": recorded.lag_words,
    "promise_words": recorded.promise_words,
    "zones": phrases.zones,
    "around": phrases.around,
    "history": phrases.history,
    "csv_link": phrases.csv_link,
    "frozen_from": phrases.frozen_from,
    "frozen_to": phrases.frozen_to,
    "term": searching.term,
}

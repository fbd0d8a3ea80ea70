"""What every template can use: times, durations and numbers in the visitor's zone, links, the header's state."""

from collections.abc import Callable

from flask import Flask, request
from jinja2 import StrictUndefined
from markupsafe import Markup

from taskledger.errors import TaskledgerError
from taskledger.ledger.answers import Coverage, TaskRow
from taskledger_web import links, recorded, reprs, searching, span, text, times, words
from taskledger_web.asking import opening
from taskledger_web.tasks import count_words
from taskledger_web.view import page_range, recorder_status, view

#: (endpoint, word, blueprint, key after g)
NAVIGATION = (
    ("overview.page", "Overview", ("overview",), "o"),
    ("tasks.page", "Tasks", ("tasks", "task"), "t"),
    ("failures.page", "Failures", ("failures",), "f"),
    ("schedules.page", "Schedules", ("schedules",), "s"),
    ("workers.page", "Workers", ("workers",), "w"),
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


def when(at: int | None, *, precise: bool = False) -> Markup:
    """A time: the clock, the date when it is not today; exact, with its zone and its age, in the tooltip."""
    if at is None:
        return Markup("")
    seen = view()
    exact = times.iso(at, seen.zone)
    title = f"{exact} · {times.ago(at, seen.now_at)}"
    shown = times.absolute(at, seen.zone, seen.now_at, precise=precise)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, title, shown)


def when_full(at: int) -> Markup:
    """A time in a sentence: date, clock, zone, and its age in words."""
    seen = view()
    shown = f"{times.day(at, seen.zone, seen.now_at)} {times.clock(at, seen.zone, precise=True)}"
    zone = times.zone_word(seen.zone, at)
    ago = times.ago(at, seen.now_at)
    return Markup('<time class="mono" datetime="{}">{} {}</time> ({})').format(
        times.iso(at, seen.zone), shown, zone, ago
    )


def when_stamp(at: int | None) -> Markup:
    """A time to the second with its date always, for lists that span days."""
    if at is None:
        return Markup("")
    seen = view()
    shown = f"{times.day(at, seen.zone, seen.now_at)} {times.clock(at, seen.zone)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        times.iso(at, seen.zone), f"{times.iso(at, seen.zone)} · {times.ago(at, seen.now_at)}", shown
    )


def ago(at: int) -> str:
    """2 min ago."""
    return times.ago(at, view().now_at)


def number(value: int | None) -> str:
    """1,213."""
    return "" if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """14.2 MB."""
    if value is None:
        return ""
    amount, units = float(value), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:,.0f} {units[0]}" if units[0] == "bytes" else f"{amount:,.1f} {units[0]}"


def clause(coverage: Coverage) -> str:
    """What ends a sentence about a span."""
    return recorded.clause(coverage, view())


def range_words() -> str:
    """The range of the page: last 24 h; or from when to when."""
    asked, seen = page_range(), view()
    return asked.words or times.between(asked.shown.from_at, asked.shown.to_at, seen.zone, seen.now_at)


def recorder_pill() -> recorded.Pill:
    """The header's pill; a ledger that cannot be asked is said there, not thrown."""
    seen = view()
    try:
        return recorded.pill(recorder_status(), seen.now_at)
    except TaskledgerError:
        return recorded.pill(None, seen.now_at)


def sentence(coverage: Coverage) -> str:
    """What a span can vouch for, as a sentence of its own."""
    return recorded.sentence(coverage, view())


def zones() -> list[str]:
    """The zones offered: UTC, the configured one, the one in use. A script adds the browser's."""
    return list(dict.fromkeys(str(zone) for zone in ("UTC", opening().settings.timezone, view().zone)))


def around(task: TaskRow) -> str:
    """The tasks of the same worker within a minute of this one."""
    at = task.started_at or task.first_at
    edges = [times.utc(moment, timespec="seconds") for moment in (at - 60 * times.MICROS, at + 60 * times.MICROS)]
    return links.to("tasks.page", q=searching.term("worker", task.worker or ""), from_=edges[0], to=edges[1])


def history(days: float) -> str:
    """41 days; hours where there is not a day yet."""
    return f"{int(days)} days" if days >= 2 else times.duration(days * 86_400)


def frozen_from() -> str:
    """Where the range begins, as it stays."""
    return times.utc(page_range().shown.from_at)


def frozen_to() -> str:
    """Where the range ends, as it stays."""
    return times.utc(page_range().shown.to_at)


def csv_link() -> str:
    """This search as a file."""
    return links.moved(after=None, before=None, good=None, live=None).replace("/tasks", "/tasks.csv", 1)


def _common() -> dict[str, object]:
    blueprint = request.blueprint or ""
    return {
        "view": view(),
        "presets": span.PRESETS,
        "navigation": [(*item, blueprint in item[2]) for item in NAVIGATION],
    }


def _word_of_task(row: TaskRow) -> words.Word:
    return words.of_task(row, view().now_at)


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "when": when,
    "when_full": when_full,
    "when_stamp": when_stamp,
    "ago": ago,
    "duration": times.duration,
    "number": number,
    "size": size,
    "cut": text.cut,
    "clause": clause,
    "range_words": range_words,
    "page_range": page_range,
    "recorder_pill": recorder_pill,
    "here": links.here,
    "moved": links.moved,
    "to": links.to,
    "task_link": links.task,
    "schedule_link": links.schedule,
    "group_link": links.failure_group,
    "worker_link": links.worker,
    "word_of_task": _word_of_task,
    "word_of_run": words.of_run,
    "word_of_related": words.of_related,
    "word_of_worker": words.of_worker,
    "one_line": reprs.one_line,
    "exception_class": text.exception_class,
    "count_words": count_words,
    "sentence": sentence,
    "lag_words": recorded.lag_words,
    "zones": zones,
    "around": around,
    "history": history,
    "csv_link": csv_link,
    "frozen_from": frozen_from,
    "frozen_to": frozen_to,
    "term": searching.term,
}

"""The list of tasks: search, histogram, facets, one page of rows; and the same as CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, redirect, render_template, request, stream_with_context
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import kept, query, search
from taskledger.ledger.answers import Bucket, Cursor, Facet, TaskRow
from taskledger_web import histograms, links, recorded, searching, setup, times, words
from taskledger_web.asking import ask
from taskledger_web.searching import Search
from taskledger_web.span import Range
from taskledger_web.text import spreadsheet_cell
from taskledger_web.view import View, page_range, recorder_status, view

blueprint = Blueprint("tasks", __name__)
#: values of a facet that are shown
_TOP = 8
#: rows fetched at a time for a CSV file
_CHUNK = 500
#: facet -> (its heading, the field of the search language)
FACETS = {
    "state": ("State", "state"),
    "task": ("Task", "name"),
    "queue": ("Queue", "queue"),
    "worker": ("Worker", "worker"),
}
#: searches that everybody needs
SYSTEM_VIEWS = (
    ("Failed", "state:failed"),
    ("Retried", "retries:>0"),
    ("Running", "state:running"),
    ("Waiting", "state:sent,received"),
    ("Slow, over 10 s", "runtime:>10s"),
    ("Waited over 1 min", "wait:>1m"),
)
COLUMNS = (
    "id",
    "name",
    "state",
    "first_at",
    "sent_at",
    "received_at",
    "started_at",
    "ended_at",
    "wait_s",
    "runtime_s",
    "worker",
    "queue",
    "runs",
    "retries",
    "eta_at",
    "expires_at",
    "args",
    "kwargs",
    "result",
    "exception",
    "cluster",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet: its links include or exclude it."""

    label: str
    number: int
    is_chosen: bool
    include: str
    exclude: str


@blueprint.get("/tasks")
def page() -> AnyResponse | str:
    """One page of tasks."""
    if address := _elsewhere():
        return redirect(address)
    seen, span = view(), page_range()
    found = searching.read(request.args.get("q", ""), request.args.get("good", ""), seen)
    if "good" in request.args and found.problem is None:
        return redirect(links.moved(good=None))
    return render_template("tasks/list.html", **_answers(found, span, seen))


@blueprint.get("/tasks.csv")
def csv_file() -> AnyResponse:
    """The same search as a file, streamed; 400 when the search cannot be read."""
    seen, span = view(), page_range()
    found = searching.read(request.args.get("q", ""), "", seen)
    if found.problem is not None:
        return Response(
            f"{found.problem}\n{found.text}\n{found.caret}\n", 400, content_type="text/plain; charset=utf-8"
        )
    response = Response(stream_with_context(_lines(found, span)), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="tasks.csv"'
    response.headers["X-Taskledger-Recorded"] = recorded.sentence(ask(query.coverage, span.shown, view().now_at), seen)
    return response


def _answers(found: Search, span: Range, seen: View) -> dict[str, object]:
    """All that the template needs: each answer is one named question."""
    coverage = ask(query.coverage, span.shown, view().now_at)
    chart, _ = histograms.histogram(found.where, span, coverage, seen, _link_to)
    return {
        "search": found,
        "page": ask(
            query.tasks,
            found.where,
            span.asked,
            limit=searching.limit(),
            after=searching.cursor("after"),
            before=searching.cursor("before"),
            at=seen.at,
        ),
        "count": ask(query.count_tasks, found.where, span.asked, at=seen.at),
        "coverage": coverage,
        "chart": chart,
        "facets": _facets(ask(query.facets, found.where, span.asked, at=seen.at), found.shown),
        "views": ask(kept.views),
        "system_views": SYSTEM_VIEWS,
        "limits": searching.LIMITS,
        "limit": searching.limit(),
        "is_first": not (request.args.get("after") or request.args.get("before")),
        "setup": setup.first_step(coverage, recorder_status()),
        "column_zone": times.zone_word(seen.zone, span.shown.from_at, span.shown.to_at),
        "cursor_text": search.cursor_text,
    }


def _elsewhere() -> str | None:
    """Flower's parameters become a search; a task id leads to its task."""
    terms = [searching.term(name, request.args[name]) for name in ("state", "name", "worker") if request.args.get(name)]
    if terms:
        return links.here(q=" ".join(terms), state=None, name=None, worker=None)
    meant = searching.task_meant(request.args.get("q", "").strip())
    return links.task(meant) if meant is not None else None


def _link_to(bucket: Bucket) -> str:
    """The same search, narrowed to one bar."""
    return links.here(from_=_address_time(bucket.from_at), to=_address_time(bucket.to_at))


def _address_time(at: int) -> str:
    return times.utc(at, timespec="seconds")


def _facets(found: dict[str, tuple[Facet, ...]], text: str) -> list[tuple[str, list[Choice], int]]:
    """(heading, values, how many more there are) in the order of the page; empty facets are left out."""
    listed = []
    for name, (heading, field) in FACETS.items():
        values = found.get(name, ())
        choices = [_choice(field, facet, text) for facet in values[:_TOP]]
        if choices:
            listed.append((heading, choices, len(values) - len(choices)))
    return listed


def _choice(field: str, facet: Facet, text: str) -> Choice:
    word = words.of_facet(facet.value) if field == "state" else None
    include = search.edited(text, field, facet.value)
    return Choice(
        word.text if word else facet.value,
        facet.number,
        len(include) < len(text),
        links.here(q=include),
        links.here(q=search.edited(text, field, facet.value, exclude=True)),
    )


def _lines(found: Search, span: Range) -> Iterator[str]:
    yield _line(COLUMNS)
    place: Cursor | None = None
    while True:
        page = ask(query.tasks, found.where, span.asked, limit=_CHUNK, after=place, at=view().at)
        for row in page.rows:
            yield _line(_cells(row))
        place = page.older
        if place is None:
            return


def _line(cells: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([spreadsheet_cell(cell) for cell in cells])
    return line.getvalue()


def _cells(row: TaskRow) -> tuple[object, ...]:
    return tuple(_cell(name, row) for name in COLUMNS)


def _cell(name: str, row: TaskRow) -> object:
    value = getattr(row, name)
    if name == "state":
        return words.STATES[row.state].text
    if name.endswith("_at") and value is not None:
        return times.utc(value)
    return value

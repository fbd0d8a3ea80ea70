"""Failures: groups of runs that failed in the same way, and one group with its newest example."""

from flask import Blueprint, abort, render_template, request

from taskledger.errors import QueryError
from taskledger.ledger import query, search
from taskledger.ledger.answers import Span
from taskledger_web import charts, setup, times, tracebacks
from taskledger_web.asking import ask
from taskledger_web.view import page_range, recorder_status, view

blueprint = Blueprint("failures", __name__)
#: tasks listed under a group
_EXAMPLES = 50
#: bars of a sparkline, and of a group's own chart
PARTS, WIDE_PARTS = 24, 96


@blueprint.get("/failures")
def page() -> str:
    """All groups of the range, newest first."""
    span = page_range()
    text = request.args.get("q", "").strip()
    groups = ask(query.failure_groups, span.asked, text=text or None, parts=PARTS)
    is_by_count = request.args.get("sort") == "count"
    coverage = ask(query.coverage, span.shown, view().now_at)
    return render_template(
        "failures/list.html",
        text=text,
        groups=sorted(groups, key=lambda group: -(group.number if is_by_count else group.last_at)),
        is_by_count=is_by_count,
        total=sum(group.number for group in groups),
        coverage=coverage,
        setup=setup.first_step(coverage, recorder_status()),
        column_zone=times.zone_word(view().zone, span.shown.from_at, span.shown.to_at),
    )


@blueprint.get("/failures/<anything:name>")
def group(name: str) -> str:
    """One group."""
    span, seen = page_range(), view()
    found = ask(query.failure_group, name, span.asked)
    is_wider = found is None
    if found is None:
        found = ask(query.failure_group, name, Span(times.EARLIEST, seen.now_at + 1)) or abort(
            404, "There is no failure group of that key in the ledger."
        )
    example = ask(query.task, found.example_id, at=seen.at)
    runs = [run for run in example.runs if run.fingerprint == name] if example else []
    return render_template(
        "failures/group.html",
        group=found,
        is_wider=is_wider,
        example=example,
        run=runs[-1] if runs else None,
        blocks=tracebacks.blocks,
        page=_examples(name, span.asked),
        coverage=ask(query.coverage, span.shown, view().now_at),
        stripes=charts.stripes,
        column_zone=times.zone_word(seen.zone, span.shown.from_at, span.shown.to_at),
    )


def _examples(fingerprint: str, span: Span) -> object:
    """The tasks of the group; None where the search language has no word for it."""
    seen = view()
    try:
        where = search.parse(f"fp:{fingerprint}", now_at=seen.now_at, zone=seen.zone)
    except QueryError:
        return None
    return ask(query.tasks, where, span, limit=_EXAMPLES)

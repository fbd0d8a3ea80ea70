"""Queues: what waits in each and since when, what runs, and what is kept for later; now, or as of a moment."""

from flask import Blueprint, redirect, render_template
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import query
from taskledger.ledger.answers import Span
from taskledger.ledger.momentary import QueueRow
from taskledger_web import links, recorded, searching, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import recorder_status, view

blueprint = Blueprint("queues", __name__)
_DAY = 86_400 * times.MICROS
_COUNTED = ("waiting", "reserved", "scheduled", "running", "unknown")


@blueprint.get("/queues")
def page() -> str:
    """All queues, the fullest first."""
    seen = view()
    found = ask(query.queues_at, seen.now_at, seen.today_at)
    day = Span(seen.now_at - _DAY, seen.now_at)
    coverage = ask(query.coverage, day, seen.now_at)
    return render_template(
        "queues/list.html",
        rows=found.rows,
        totals={name: sum(getattr(row, name) for row in found.rows) for name in _COUNTED},
        has_clusters=len(found.heard) > 1,
        deaf=recorded.unheard(found.heard),
        announces=any(count.type == "task-sent" for count in ask(query.event_counts, day)),
        tasks_of=_tasks_of,
        clause=recorded.clause(coverage, seen),
        coverage=coverage,
        setup=setup.first_step(coverage, recorder_status()),
        column_zone=seen.zone_word,
    )


@blueprint.get("/broker")
def as_flower() -> AnyResponse:
    """Flower's address of what comes nearest."""
    return redirect(links.to("queues.page"), 301)


def _tasks_of(row: QueueRow) -> str:
    """The list of what waits or runs in it, from a day before the oldest on: one with an ETA was sent before."""
    terms = f"state:sent,received,running,retrying,cancelled {searching.term('queue', row.name or '')}"
    since_at = max((row.oldest_at or view().now_at) - _DAY, times.EARLIEST)
    return links.to("tasks.page", q=terms, from_=times.utc(since_at, timespec="seconds"), to=None)

"""Workers: who is up, who fell silent and when, and what each was doing."""

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import query
from taskledger.ledger.answers import Coverage, SessionRow, Span, WorkerRow
from taskledger_web import charts, links, recorded, searching, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

blueprint = Blueprint("workers", __name__)
_DAY = 86_400 * times.MICROS
_ORDER = ("lost", "unknown", "online", "offline")


@blueprint.get("/workers")
def page() -> str:
    """All workers: lost ones that were running something first."""
    seen = view()
    rows = sorted(ask(query.workers, seen.now_at), key=_urgency)
    day = Span(seen.now_at - _DAY, seen.now_at)
    coverage = ask(query.coverage, day, seen.now_at)
    return render_template(
        "workers/list.html",
        rows=rows,
        counts={status: sum(row.status == status for row in rows) for status in _ORDER},
        coverage=coverage,
        clause=recorded.clause(coverage, seen),
        setup=setup.first_step(coverage, recorder_status()),
        **_band(day, seen),
    )


@blueprint.get("/workers/<anything:name>")
def node(name: str) -> str:
    """One worker."""
    return _node(name)


@blueprint.get("/worker")
def by_parameter() -> str:
    """The same for names that no path can carry."""
    return _node(request.args.get("name", ""))


@blueprint.get("/worker/<anything:name>")
def as_flower(name: str) -> AnyResponse:
    """Flower's address of a worker."""
    return redirect(links.worker(name), 301)


def _node(name: str) -> str:
    seen = view()
    row = ask(query.worker, name, seen.now_at)
    if row is None:
        abort(404, "No worker of that name ever sent an event that was recorded.")
    day = Span(seen.now_at - _DAY, seen.now_at)
    coverage = ask(query.coverage, day, seen.now_at)
    return render_template(
        "workers/node.html",
        row=row,
        coverage=coverage,
        clause=recorded.clause(coverage, seen),
        tasks_query=searching.term("worker", name),
        **_band(day, seen),
    )


def _urgency(row: WorkerRow) -> tuple[int, int, str]:
    order = _ORDER.index(row.status) if row.status in _ORDER else 1
    return order, -len(row.running), row.name


def _band(day: Span, seen: View) -> dict[str, object]:
    """What draws the lives of a worker over the last 24 hours."""

    def lives(row: WorkerRow) -> list[tuple[float, float, str, str]]:
        return [_life(session, row, day, seen) for session in row.sessions if session.last_at >= day.from_at]

    def stripes(coverage: Coverage) -> tuple[charts.Stripe, ...]:
        return charts.stripes(day, coverage, seen.zone, seen.now_at)

    return {
        "lives": lives,
        "stripes": stripes,
        "axis": charts.ticks(day, seen.zone, seen.now_at),
        "column_zone": seen.zone_word,
    }


def _life(session: SessionRow, row: WorkerRow, day: Span, seen: View) -> tuple[float, float, str, str]:
    """(x, width, how it ended, title)"""
    x = charts.share(session.first_at, day)
    width = max(charts.share(session.last_at, day) - x, 0.3)
    is_latest = session.first_at == max(other.first_at for other in row.sessions)
    end = row.status if is_latest else "offline" if session.offline_at is not None else "died"
    when = times.between(session.first_at, session.last_at, seen.zone, seen.now_at)
    return round(x, 2), round(width, 2), end, f"pid {session.pid or 'not known'}, {when}"

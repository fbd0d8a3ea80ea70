"""Workers: who is up, who fell silent and when, and what each was doing."""

from collections.abc import Sequence
from typing import NoReturn

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import query
from taskledger.ledger.answers import Coverage, Hole, RelatedTask, SessionRow, Span, WorkerRow
from taskledger.ledger.momentary import RunningTask
from taskledger_web import charts, links, moments, recorded, searching, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

blueprint = Blueprint("workers", __name__)
_DAY = 86_400 * times.MICROS
#: how a life ended, as the table of sessions says it
_ENDINGS = {
    "online": "running",
    "offline": "said goodbye",
    "lost": "without a word",
    "died": "without a word",
    "unknown": "not known",
    "unrecorded": "its end was not recorded",
}
_ORDER = ("lost", "unknown", "online", "offline")


@blueprint.get("/workers")
def page() -> str:
    """All workers: lost ones that were running something first."""
    seen = view()
    rows = sorted(moments.workers_seen(), key=_urgency)
    day = Span(seen.now_at - _DAY, seen.now_at)
    coverage = ask(query.coverage, day, seen.now_at)
    return render_template(
        "workers/list.html",
        rows=rows,
        counts={status: sum(row.status == status for row in rows) for status in _ORDER},
        coverage=coverage,
        clause=recorded.clause(coverage, seen),
        setup=setup.first_step(coverage, recorder_status()),
        **_band(rows, day, seen),
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
    row = next(iter(moments.workers_seen(name)), None)
    if row is None:
        _refuse(name, seen)
    day = Span(seen.now_at - _DAY, seen.now_at)
    coverage = ask(query.coverage, day, seen.now_at)
    return render_template(
        "workers/node.html",
        row=row,
        coverage=coverage,
        clause=recorded.clause(coverage, seen),
        ended=_ENDINGS,
        **_running_on(row),
        untold=_untold(row),
        tasks_query=searching.term("worker", name),
        **_band((row,), day, seen),
    )


def _running_on(row: WorkerRow) -> dict[str, list[RelatedTask]]:
    """What it ran, perhaps ran, and was at when it was last heard of; of the present all is of the first kind."""
    found: dict[str, list[RelatedTask]] = {"running": [], "perhaps": [], "lost": []}
    for task in row.running:
        certainty = moments.certainty(task)
        found["perhaps" if certainty == "unknown" else certainty].append(task)
    return found


def _untold(row: WorkerRow) -> int:
    """How many more its last heartbeat counted than are known by name to have been running when it was sent."""
    if row.active is None or row.last_heartbeat_at is None:
        return 0
    at = row.last_heartbeat_at
    known = [task for task in row.running if isinstance(task, RunningTask) and task.started_at <= at]
    return max(row.active - len(known), 0)


def _refuse(name: str, seen: View) -> NoReturn:
    if seen.at is not None and (later := ask(query.worker, name, seen.today_at)):
        first_at = min(session.first_at for session in later.sessions) if later.sessions else None
        when = f": its first sign came at {times.utc(first_at, timespec='seconds')}" if first_at is not None else ""
        abort(404, f"This worker had not been heard of then{when}.")
    abort(404, "No worker of that name ever sent an event that was recorded.")


def _urgency(row: WorkerRow) -> tuple[int, int, str]:
    order = _ORDER.index(row.status) if row.status in _ORDER else 1
    return order, -len(row.running), row.name


def _band(rows: Sequence[WorkerRow], day: Span, seen: View) -> dict[str, object]:
    """What draws the lives of workers over the last 24 hours."""
    holes = _holes(rows, seen.now_at)

    def end(row: WorkerRow, number: int) -> str:
        return _end(row, number, holes[row.cluster])

    def lives(row: WorkerRow) -> list[tuple[float, float, str, str]]:
        shown = [number for number, session in enumerate(row.sessions) if session.last_at >= day.from_at]
        return [_life(row.sessions[number], end(row, number), day, seen) for number in shown]

    def stripes(coverage: Coverage) -> tuple[charts.Stripe, ...]:
        return charts.stripes(day, coverage, seen.zone, seen.now_at)

    return {
        "end": end,
        "lives": lives,
        "stripes": stripes,
        "axis": charts.ticks(day, seen.zone, seen.now_at),
        "column_zone": seen.zone_word,
    }


def _life(session: SessionRow, end: str, day: Span, seen: View) -> tuple[float, float, str, str]:
    """(x, width, how it ended, title)"""
    x = charts.share(session.first_at, day)
    width = max(charts.share(session.last_at, day) - x, 0.3)
    when = times.between(session.first_at, session.last_at, seen.zone, seen.now_at)
    return round(x, 2), round(width, 2), end, f"pid {session.pid or 'not known'}, {when}"


def _end(row: WorkerRow, number: int, holes: Sequence[Hole]) -> str:
    """How a life ended: the worker's status for the latest one, else offline, died (without a word) or unrecorded."""
    session = row.sessions[number]
    if number == 0:
        return row.status
    if session.offline_at is not None:
        return "offline"
    # A goodbye that nobody was listening to is no silence.
    next_at = row.sessions[number - 1].first_at
    is_heard = not any(hole.from_at < next_at and hole.to_at > session.last_at for hole in holes)
    return "died" if is_heard else "unrecorded"


def _holes(rows: Sequence[WorkerRow], now_at: int) -> dict[str, tuple[Hole, ...]]:
    """Cluster -> when nobody listened to it, asked once for all lives that are over."""
    first: dict[str, int] = {}
    for row in rows:
        over = min((session.last_at for session in row.sessions[1:]), default=now_at)
        first[row.cluster] = min(over, first.get(row.cluster, now_at - 1))
    return {
        cluster: ask(query.coverage, Span(from_at, now_at), now_at, cluster=cluster).holes
        for cluster, from_at in first.items()
    }

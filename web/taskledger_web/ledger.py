"""The ledger about itself: who recorded when, what is missing, what was refused, and how large it is."""

from flask import Blueprint, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import Span
from taskledger_web import charts, recorded, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import recorder_status, view

blueprint = Blueprint("ledger", __name__)
#: days on the coverage bar
DAYS = 30
_DAY = 86_400 * times.MICROS


@blueprint.get("/ledger")
def page() -> str:
    """Can this be trusted, is it lagging, how full is it."""
    seen = view()
    month, day = Span(seen.now_at - DAYS * _DAY, seen.now_at), Span(seen.now_at - _DAY, seen.now_at)
    stats, counts = ask(query.stats), ask(query.event_counts, day)
    coverage = ask(query.coverage, month, seen.now_at)
    return render_template(
        "ledger.html",
        status=recorder_status(),
        coverage=coverage,
        holes=tuple(reversed(coverage.holes)),
        summary=recorded.sentence(coverage, seen),
        stripes=charts.stripes(month, coverage, seen.zone, seen.now_at),
        axis=charts.ticks(month, seen.zone, seen.now_at),
        recorders=ask(query.recorders),
        counts=counts,
        refused=ask(query.quarantined),
        refused_number=ask(query.quarantine_count),
        stats=stats,
        has_sizes=any(table.bytes is not None for table in stats.tables),
        checks=setup.checks(
            recorder_status(),
            ask(query.workers, seen.now_at),
            counts,
            len(ask(query.schedules, seen.now_at, ticks=1)),
        ),
        column_zone=seen.zone_word,
        days=DAYS,
    )

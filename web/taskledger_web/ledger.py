"""The ledger about itself: who recorded when, what is missing, what was refused, and how large it is."""

from flask import Blueprint, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import Span
from taskledger_web import charts, proven, recorded, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

blueprint = Blueprint("ledger", __name__)
#: days on the coverage bar
DAYS = 30
_DAY = 86_400 * times.MICROS


@blueprint.get("/ledger")
def page() -> str:
    """Can this be trusted, is it lagging, how full is it."""
    seen = view()
    stats = ask(query.stats)
    counts = ask(query.event_counts, Span(seen.now_at - _DAY, seen.now_at))
    return render_template(
        "ledger.html",
        status=recorder_status(),
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
        **_coverage(seen),
        **_missing(seen),
    )


def _missing(seen: View) -> dict[str, object]:
    """What workers counted and nobody recorded."""
    span = Span(seen.now_at - DAYS * _DAY, seen.now_at)
    began_at = ask(query.coverage, span, seen.now_at).began_at or span.from_at
    # What was before recording began nobody promised.
    proof = ask(query.completeness, Span(min(max(span.from_at, began_at), seen.now_at - 1), seen.now_at), seen.now_at)
    return {"proof": proven.sentence(proof, seen), "gaps": proof.gaps, "missing_days": DAYS}


def _coverage(seen: View) -> dict[str, object]:
    """The last 30 days; of a young ledger, all of its time."""
    span, span_words = Span(seen.now_at - DAYS * _DAY, seen.now_at), f"the last {DAYS} days"
    coverage = ask(query.coverage, span, seen.now_at)
    if coverage.began_at is not None and seen.now_at - coverage.began_at < DAYS * _DAY / 4:
        span, span_words = Span(min(coverage.began_at, seen.now_at - 1), seen.now_at), "since recording began"
        coverage = ask(query.coverage, span, seen.now_at)
    return {
        "coverage": coverage,
        "span_words": span_words,
        "holes": tuple(reversed(coverage.holes)),
        "summary": recorded.sentence(coverage, seen),
        "stripes": charts.stripes(span, coverage, seen.zone, seen.now_at),
        "axis": charts.ticks(span, seen.zone, seen.now_at),
    }

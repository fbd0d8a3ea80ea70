"""The ledger about itself: who recorded when, what is missing, what was refused, and how large it is."""

from collections.abc import Sequence

from flask import Blueprint, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import EventCount, Span
from taskledger_web import charts, moments, proven, recorded, setup, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

blueprint = Blueprint("ledger", __name__)
#: days on the coverage bar
DAYS = 30
_DAY, _HOUR = 86_400 * times.MICROS, 3_600 * times.MICROS


@blueprint.get("/ledger")
def page() -> str:
    """Can this be trusted, is it lagging, how full is it."""
    seen = view()
    day = _day(seen)
    counts = ask(query.event_counts, day)
    return render_template(
        "ledger.html",
        status=moments.status(),
        recorders=ask(query.recorders) if seen.at is None else ask(query.recorders_at, seen.at),
        counts=counts,
        counts_until_at=day.to_at,
        counts_clause=recorded.clause(ask(query.coverage, day, seen.now_at), seen),
        refused=ask(query.quarantined, at=seen.at),
        refused_number=ask(query.quarantine_count, at=seen.at),
        column_zone=seen.zone_word,
        **_coverage(seen),
        **_missing(seen),
        **(_of_today(seen, counts) if seen.at is None else {}),
    )


def _day(seen: View) -> Span:
    """The 24 hours that events are counted in: by the hour, so of a moment up to the last one that was over."""
    until_at = seen.now_at if seen.at is None else seen.at // _HOUR * _HOUR
    return Span(until_at - _DAY, until_at)


def _of_today(seen: View, counts: Sequence[EventCount]) -> dict[str, object]:
    """How large it is, and what is to be set up: known of the present alone."""
    stats = ask(query.stats)
    entries = len(ask(query.schedules, seen.now_at, ticks=1))
    return {
        "stats": stats,
        "has_sizes": any(table.bytes is not None for table in stats.tables),
        "checks": setup.checks(recorder_status(), ask(query.workers, seen.now_at), counts, entries),
    }


def _days_words(seen: View) -> str:
    return f"the last {DAYS} days" if seen.at is None else f"the {DAYS} days before"


def _missing(seen: View) -> dict[str, object]:
    """What workers counted and nobody recorded."""
    span = Span(seen.now_at - DAYS * _DAY, seen.now_at)
    # Recording may have begun after the moment that is looked back at.
    began_at = min(ask(query.coverage, span, seen.now_at).began_at or span.from_at, seen.now_at)
    # What was before recording began nobody promised.
    proof = ask(query.completeness, Span(min(max(span.from_at, began_at), seen.now_at - 1), seen.now_at), seen.now_at)
    return {"proof": proven.sentence(proof, seen), "gaps": proof.gaps, "missing_words": _days_words(seen)}


def _coverage(seen: View) -> dict[str, object]:
    """The last 30 days; of a young ledger, all of its time."""
    span, span_words = Span(seen.now_at - DAYS * _DAY, seen.now_at), _days_words(seen)
    coverage = ask(query.coverage, span, seen.now_at)
    if coverage.began_at is not None and 0 <= seen.now_at - coverage.began_at < DAYS * _DAY / 4:
        span, span_words = (
            Span(min(coverage.began_at, seen.now_at - 1), seen.now_at),
            "since recording began" if seen.at is None else "from the beginning of recording until then",
        )
        coverage = ask(query.coverage, span, seen.now_at)
    return {
        "coverage": coverage,
        "span_words": span_words,
        "holes": tuple(reversed(coverage.holes)),
        "summary": recorded.sentence(coverage, seen),
        "stripes": charts.stripes(span, coverage, seen.zone, seen.now_at),
        "axis": charts.ticks(span, seen.zone, seen.now_at),
    }

"""The histogram of a search: bars over the range, or over the recorded end of it where that is short."""

from taskledger.ledger import query, search
from taskledger.ledger.answers import Bucket, Coverage, Span
from taskledger_web import charts
from taskledger_web.asking import ask
from taskledger_web.charts import Histogram
from taskledger_web.span import Range, aligned
from taskledger_web.view import View


def histogram(
    where: search.Expression | None,
    asked: Range,
    coverage: Coverage,
    seen: View,
    link: charts.Link,
    *,
    height: int = 56,
) -> tuple[Histogram, tuple[Bucket, ...]]:
    """The drawing and its buckets."""
    span, buckets = _buckets(where, asked, coverage, seen.at)
    drawn = charts.histogram(buckets, span, coverage, seen.zone, now_at=seen.now_at, link=link, height=height)
    return drawn, buckets


def _buckets(
    where: search.Expression | None, asked: Range, coverage: Coverage, at: int | None
) -> tuple[Span, tuple[Bucket, ...]]:
    """A day of which the last minutes were recorded is drawn as those minutes, if no task is lost by it."""
    whole = _ask(where, asked.asked, at)
    began_at = coverage.began_at
    length = asked.asked.to_at - asked.asked.from_at
    if began_at is None or not asked.ends_now or asked.shown.to_at - began_at > length / 4:
        return asked.asked, whole
    end = aligned(Span(began_at, asked.shown.to_at))
    part = _ask(where, end, at)
    return (end, part) if _total(part) >= _total(whole) else (asked.asked, whole)


def _ask(where: search.Expression | None, span: Span, at: int | None) -> tuple[Bucket, ...]:
    return ask(query.histogram, where, span, bars=charts.number_of_bars(span), at=at)


def _total(buckets: tuple[Bucket, ...]) -> int:
    return sum(bucket.succeeded + bucket.failed + bucket.other for bucket in buckets)

"""Overview: is anything wrong now, since when, and is the recorder working."""

from collections.abc import Sequence

from flask import Blueprint, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import Bucket, Coverage, RecorderStatus, ScheduleRow, Span, WorkerRow
from taskledger_web import entries, histograms, links, minutes, moments, problems, proven, setup, strip, times
from taskledger_web.asking import ask
from taskledger_web.entries import Judged
from taskledger_web.span import Range
from taskledger_web.view import View, page_range, view

blueprint = Blueprint("overview", __name__)
#: entries, groups and workers that are shown; the rest is a link away
_MOST = 8
#: due times of an entry that are shown
_FEW = 16
_DAY = 86_400 * times.MICROS


@blueprint.get("/")
def page() -> str:
    """Everything at a glance."""
    seen, span = view(), page_range()
    status = moments.status()
    proof = ask(query.completeness, span.shown, seen.now_at)
    coverage = proof.coverage
    if coverage.began_at is None:
        return render_template("setup.html", checks=setup.checks(status, (), (), 0))
    groups = ask(query.failure_groups, span.asked, parts=24)
    workers = moments.workers_seen()
    rows, findings = entries.asked(seen, 30)
    judged = _judged(entries.with_findings(rows, findings), seen)
    found = problems.find(status, proof, groups, workers, judged, findings, seen)
    return render_template(
        "overview.html",
        problems=found,
        verdict=problems.verdict(found, status, seen),
        groups=sorted(groups, key=lambda group: -group.number)[:_MOST],
        more_groups=max(len(groups) - _MOST, 0),
        workers=sorted(workers, key=lambda row: (row.status == "offline", row.name))[: 2 * _MOST],
        more_workers=max(len(workers) - 2 * _MOST, 0),
        judged=judged[:_MOST],
        more_schedules=max(len(judged) - _MOST, 0),
        checks=_open_checks(status, workers, len(judged), seen) if seen.at is None else (),
        strip=lambda row: strip.of_slots(
            minutes.slots(row)[-_FEW:], lambda at: times.absolute(at, seen.zone, seen.now_at), line=_FEW
        ),
        marks=strip.MARKS,
        column_zone=times.zone_word(seen.zone, span.shown.from_at, span.shown.to_at),
        proof=proven.sentence(proof, seen),
        **_throughput(span, coverage, proven.drawn(coverage, proof.gaps), seen),
    )


def _open_checks(status: RecorderStatus, workers: Sequence[WorkerRow], entries: int, seen: View) -> list[setup.Check]:
    """What is still to be set up; whether the recorder runs is in the first line already."""
    counts = ask(query.event_counts, Span(seen.now_at - _DAY, seen.now_at))
    checks = setup.checks(status, workers, counts, entries)
    return [check for check in checks if check.is_done is False and check.name != setup.RECORDER]


def _judged(rows: tuple[ScheduleRow, ...], seen: View) -> list[Judged]:
    """Problems first, then what is due next."""
    judged = entries.judged(rows, seen.now_at)
    return sorted(judged, key=lambda pair: _place(pair, seen))


def _place(pair: Judged, seen: View) -> tuple[bool, int, int]:
    row, verdict = pair
    return entries.is_muted(row, seen.now_at), -verdict.mark.rank, row.next_due_at or times.LATEST


def _throughput(asked: Range, coverage: Coverage, drawn: Coverage, seen: View) -> dict[str, object]:
    chart, buckets = histograms.histogram(None, asked, drawn, seen, _link_to, height=72)
    return {
        "coverage": coverage,
        "chart": chart,
        "totals": {
            "succeeded": sum(bucket.succeeded for bucket in buckets),
            "failed": sum(bucket.failed for bucket in buckets),
            "other": sum(bucket.other for bucket in buckets),
        },
    }


def _link_to(bucket: Bucket) -> str:
    from_at, to_at = (times.utc(at, timespec="seconds") for at in (bucket.from_at, bucket.to_at))
    return links.to("tasks.page", from_=from_at, to=to_at)

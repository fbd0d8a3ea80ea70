"""Schedules: did each entry fire when it was due, what became of it, and what is due next."""

from collections.abc import Sequence

from flask import Blueprint, render_template, request

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger.ledger.beat_answers import FindingRow
from taskledger_web import (
    callouts,
    drawing,
    due_notes,
    entries,
    entry,
    evidence,
    paging,
    recorded,
    schedule_timeline,
    setup,
    verdict_filter,
)
from taskledger_web.asking import ask
from taskledger_web.entries import Judged
from taskledger_web.view import View, page_range, recorder_status, view

blueprint = Blueprint("schedules", __name__)
#: due times on a list's strip, the first unless `slots` asks for another
SLOTS = (30, 60, 90)
#: entries of one page of the list
ENTRIES = 50


@blueprint.get("/schedules")
def page() -> str:
    """All entries, those with problems first."""
    seen, slots = view(), _slots()
    rows, findings = entries.asked(seen, slots)
    asked = verdict_filter.read(request.args.get("verdict", ""), request.args.get("entry", ""))
    everything = entries.judged(entries.with_findings(rows, findings), seen.now_at)
    chosen = verdict_filter.chosen(everything, asked)
    is_timeline = request.args.get("view") == "timeline"
    size = schedule_timeline.ENTRIES if is_timeline else ENTRIES
    skipped = paging.skipped(len(chosen), size)
    shown = chosen[skipped : skipped + size]
    coverage = ask(query.coverage, _covered(rows, seen), seen.now_at)
    return render_template(
        "schedules/timeline.html" if is_timeline else "schedules/list.html",
        judged=shown,
        is_timeline=is_timeline,
        chosen=len(chosen),
        everything=everything,
        asked=asked,
        chips=verdict_filter.chips(everything, asked),
        slots=(slots, SLOTS),
        pages=paging.beside(skipped, len(chosen), size),
        problems=sum(verdict.problems for _, verdict in everything),
        sources=entries.sources(rows),
        clause=recorded.clause(coverage, seen),
        reached=coverage,
        is_by_minute=any(row.is_by_minute for row, _ in chosen),
        setup=setup.first_step(coverage, recorder_status()),
        **_told(findings, everything, seen),
        **drawing.common(seen),
        **(schedule_timeline.drawn(shown, page_range(), seen) if is_timeline else {}),
    )


def _told(findings: Sequence[FindingRow], everything: Sequence[Judged], seen: View) -> dict[str, object]:
    """What stands above the list: callouts, and how sends are known."""
    found = callouts.of_findings(findings)
    rows = [row for row, _ in everything]
    told = sorted([*found, *callouts.of_entries(everything, seen)], key=lambda one: not one.is_alarm)
    processes = ask(query.beats, seen.now_at)
    return {
        "callouts": told[: callouts.MOST],
        "more_callouts": max(len(told) - callouts.MOST, 0),
        "levels": evidence.levels(rows),
        "has_probe": evidence.has_probe(rows, processes),
        "beats": processes,
        "probe_line": evidence.PROBE_LINE,
    }


def _slots() -> int:
    asked = request.args.get("slots", "")
    return next((slots for slots in SLOTS if str(slots) == asked), SLOTS[0])


def _covered(rows: Sequence[ScheduleRow], seen: View) -> Span:
    """From the first due time shown until now."""
    first = min((row.ticks[0].due_at for row in rows if row.ticks), default=seen.now_at - 1)
    return Span(min(first, seen.now_at - 1), seen.now_at)


blueprint.add_url_rule("/schedules/settings", "keep_settings", entry.keep_settings, methods=["POST"])
blueprint.add_url_rule("/schedules/notes", "keep_note", due_notes.keep, methods=["POST"])
blueprint.add_url_rule("/schedules/<anything:name>", "entry", entry.page)
blueprint.add_url_rule("/schedule", "by_parameter", entry.by_parameter)

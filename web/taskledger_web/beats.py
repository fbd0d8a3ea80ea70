"""Beat processes, as their probes told of them; and what can be known without one."""

from flask import Blueprint, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import Span
from taskledger_web import badges, callouts, clock_changes, evidence, recorded
from taskledger_web.asking import ask
from taskledger_web.times import MICROS
from taskledger_web.view import view
from taskledger_web.words import Word

blueprint = Blueprint("beats", __name__)
#: what a beat process is doing
STATES = {
    "online": Word("Online", "succeeded", "tick"),
    "silent": Word("Silent", "lost", "triangle", "it promised to tick and did not"),
    "offline": Word("Offline", "sent", "ring"),
    "unknown": Word("Not known", "sent", "hatched", "nobody was listening since"),
}
_ORDER = tuple(STATES)
_DAY = 86_400 * MICROS


@blueprint.get("/beats")
def page() -> str:
    """All beat processes, those that run first."""
    seen = view()
    rows = ask(query.beats, seen.now_at)
    entries = ask(query.schedules, seen.now_at, ticks=1)
    findings = [one for one in ask(query.findings, seen.now_at) if one.entry is None]
    coverage = ask(query.coverage, Span(seen.now_at - _DAY, seen.now_at), seen.now_at)
    return render_template(
        "schedules/beats.html",
        rows=sorted(rows, key=lambda row: (_place(row.state), -row.last_seen_at)),
        word_of=lambda state: STATES.get(state, STATES["unknown"]),
        at_once=evidence.at_once(rows),
        # The finding says it better: since when, and which.
        is_told=any(one.kind == "two_beats" for one in findings),
        callouts=callouts.of_findings(findings, is_on_entry=True),
        levels=evidence.levels(entries),
        has_probe=evidence.has_probe(entries, rows),
        probe_line=evidence.PROBE_LINE,
        clause=recorded.clause(coverage, seen),
        column_zone=seen.zone_word,
    )


def _place(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


blueprint.add_url_rule("/schedules/dst", "clock_changes", clock_changes.page)
blueprint.add_url_rule("/badge/<anything:name>.svg", "badge", badges.page)

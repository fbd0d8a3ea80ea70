"""Schedules: did each entry fire when it was due, what became of it, and what is due next."""

from flask import Blueprint, abort, render_template, request

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger_web import recorded, setup, strip, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

blueprint = Blueprint("schedules", __name__)
#: due times on a list's strip, and on the page of an entry
SLOTS, MANY_SLOTS = 30, 90


@blueprint.get("/schedules")
def page() -> str:
    """All entries, those with problems first."""
    seen = view()
    rows = ask(query.schedules, seen.now_at, ticks=SLOTS, at=seen.at)
    judged = sorted(((row, strip.verdict(row)) for row in rows), key=lambda pair: (-pair[1].mark.rank, pair[0].name))
    coverage = ask(query.coverage, _covered(rows, seen), seen.now_at)
    return render_template(
        "schedules/list.html",
        judged=judged,
        in_a_row=strip.in_a_row,
        problems=sum(verdict.problems for _, verdict in judged),
        clause=recorded.clause(coverage, seen),
        coverage=coverage,
        setup=setup.first_step(coverage, recorder_status()),
        **_drawing(seen),
    )


@blueprint.get("/schedules/<anything:name>")
def entry(name: str) -> str:
    """One entry with its due times."""
    return _entry(name)


@blueprint.get("/schedule")
def by_parameter() -> str:
    """The same for names that no path can carry."""
    return _entry(request.args.get("name", ""))


def _entry(name: str) -> str:
    seen = view()
    row = ask(query.schedule, name, seen.now_at, ticks=MANY_SLOTS, at=seen.at)
    if row is None and seen.at is not None and ask(query.schedule, name, seen.today_at, ticks=1):
        abort(404, "This schedule entry had not been read then.")
    if row is None:
        abort(404, "No schedule entry of that name was ever read or recorded.")
    coverage = ask(query.coverage, _covered((row,), seen), seen.now_at)
    return render_template(
        "schedules/entry.html",
        row=row,
        verdict=strip.verdict(row),
        clause=recorded.clause(coverage, seen),
        **_drawing(seen),
    )


def _drawing(seen: View) -> dict[str, object]:
    def when(at: int) -> str:
        return f"{times.absolute(at, seen.zone, seen.now_at)} {times.zone_word(seen.zone, at)}"

    return {
        "strip": lambda row: strip.places(row.ticks, when),
        "pitch": strip.PITCH,
        "mark_of": strip.mark_of,
        "fire_words": strip.FIRE_WORDS,
        "outcome_words": strip.OUTCOME_WORDS,
        "marks": strip.MARKS,
        "column_zone": seen.zone_word,
    }


def _covered(rows: tuple[ScheduleRow, ...], seen: View) -> Span:
    """From the first due time shown until now."""
    dues = [tick.due_at for row in rows for tick in row.ticks]
    first = min(dues, default=seen.now_at - 1)
    return Span(min(first, seen.now_at - 1), seen.now_at)

"""One schedule entry: due against fired, each due time with its task, its history, and what is expected of it."""

import shlex
from datetime import datetime
from typing import NoReturn

from flask import abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import query, schedule_settings
from taskledger.ledger.answers import ScheduleRow, Span
from taskledger_web import (
    calendars,
    callouts,
    charts,
    drawing,
    due_lists,
    due_notes,
    dues,
    durations,
    entries,
    evidence,
    expectations,
    links,
    paging,
    recorded,
    times,
)
from taskledger_web.asking import ask
from taskledger_web.expectations import Form
from taskledger_web.view import View, view

#: due times on the page of an entry, the first unless `slots` asks for another
SLOTS = (90, 30, 300)
#: due times of one page of their table: each is some twenty nodes, and all of them are on the strip
ROWS = 12


def page(name: str) -> str:
    """One entry with its due times; its calendar, or one of its days."""
    return _shown(name)


def by_parameter() -> str:
    """The same for names that no path can carry."""
    return _shown(request.args.get("name", ""))


def keep_settings() -> tuple[str, int] | AnyResponse:
    """Keep what is expected of an entry, and show it; what cannot be read is shown again with what is wrong with it."""
    name, now_at = request.form.get("name", ""), view().today_at
    row = ask(query.schedule, name, now_at, ticks=1) or abort(404, _UNHEARD)
    form = expectations.read(request.form, row.settings, now_at)
    if form.settings is None:
        return _page(name, form), 400
    ask(schedule_settings.keep, name, form.settings, now_at)
    return redirect(f"{links.schedule(name)}#expected", 303)


_UNHEARD = "No schedule entry of that name was ever read or recorded."


def _shown(name: str) -> str:
    day, due, is_month = request.args.get("day"), request.args.get("due"), request.args.get("view") == "calendar"
    if day is None and due is None and not is_month:
        return _page(name, None)
    seen = view()
    row = ask(query.schedule, name, seen.now_at, ticks=SLOTS[0], at=seen.at) or _missing(name, seen)
    if due is not None:
        return due_notes.page(row, due, seen)
    return calendars.page(row, seen) if day is None else due_lists.page(row, day, seen)


def _page(name: str, form: Form | None) -> str:
    seen, slots = view(), _slots()
    row = ask(query.schedule, name, seen.now_at, ticks=slots, at=seen.at) or _missing(name, seen)
    drawn = _by_minute(row, slots, seen)
    coverage = ask(query.coverage, _covered(row, seen), seen.now_at)
    reached = coverage if drawn is row else ask(query.coverage, _covered(drawn, seen), seen.now_at)
    ((_, verdict),) = entries.judged((drawn,), seen.now_at)
    span, skipped = _drawn(row, seen), paging.skipped(len(row.ticks), ROWS)
    listed = row.ticks[::-1][skipped : skipped + ROWS]
    return render_template(
        "schedules/entry.html",
        row=row,
        verdict=verdict,
        slots=(slots, sorted(SLOTS)),
        drawn=drawn,
        listed=listed,
        skipped=skipped,
        pages=paging.beside(skipped, len(row.ticks), ROWS),
        clause=recorded.clause(reached, seen),
        callouts=callouts.of_findings(row.findings, is_on_entry=True),
        worth=evidence.worth(row.evidence),
        chart=dues.chart(row.ticks, span, seen),
        durations=durations.chart(row.ticks, span, row.settings.max_runtime_s if row.settings else None, seen),
        stripes=charts.stripes(span, coverage, seen.zone, seen.now_at),
        notes=due_notes.of_ticks(row, listed, seen),
        spread=dues.spread(row.ticks),
        history=ask(query.schedule_history, name, seen.now_at),
        next_dues=_next_dues(row),
        changes=ask(query.clock_changes, seen.now_at, entry=name),
        form=form or expectations.shown(row.settings, seen.now_at),
        mutes=expectations.MUTES,
        badge=url_for("beats.badge", name=name),
        badge_address=url_for("beats.badge", name=name, _external=True),
        command=f"taskledger check beat --entry {shlex.quote(name)}",
        **drawing.common(seen),
    )


def _by_minute(row: ScheduleRow, slots: int, seen: View) -> ScheduleRow:
    """The entry with the due times of its strip and verdict: of so many minutes, if it is due more than once in one."""
    if not row.is_by_minute:
        return row
    rows = ask(query.schedules, seen.now_at, ticks=slots, at=seen.at, by_minute=True, name=row.name)
    return next((one for one in rows if one.cluster == row.cluster), row)


def _missing(name: str, seen: View) -> NoReturn:
    if seen.at is not None and ask(query.schedule, name, seen.today_at, ticks=1):
        abort(404, "This schedule entry had not been read then.")
    abort(404, _UNHEARD)


def _slots() -> int:
    asked = request.args.get("slots", "")
    return next((slots for slots in SLOTS if str(slots) == asked), SLOTS[0])


def _covered(row: ScheduleRow, seen: View) -> Span:
    """From the first due time shown until now."""
    first = min((tick.due_at for tick in row.ticks), default=seen.now_at - 1)
    return Span(min(first, seen.now_at - 1), seen.now_at)


def _drawn(row: ScheduleRow, seen: View) -> Span:
    """The same with what is still to come, and room for the marks at both ends, on the left for labels as well."""
    first, last = _covered(row, seen).from_at, max((tick.due_at for tick in row.ticks), default=seen.now_at)
    room = max((max(last, seen.now_at) - first) // 50, times.MICROS)
    return Span(first - 3 * room, max(last, seen.now_at) + room)


def _next_dues(row: ScheduleRow) -> list[tuple[int, str]]:
    """Each due time to come, with the change of clocks in the entry's zone that it is the first after."""
    zone = times.zone_named(row.timezone)
    found: list[tuple[int, str]] = []
    offset = None
    for at in row.next_dues_at or tuple(filter(None, (row.next_due_at,))):
        local = times.local(at, zone) if zone else None
        is_first_after = local is not None and offset is not None and local.utcoffset() != offset
        found.append((at, _since(local) if is_first_after and local else ""))
        offset = local.utcoffset() if local else None
    return found


def _since(local: datetime) -> str:
    return f"the first after the clock change: {local:%Z}, UTC{local:%z}"

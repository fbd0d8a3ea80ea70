"""All due times of one entry on one day, as rows: what a calendar's day leads to."""

from collections.abc import Sequence
from datetime import date, timedelta

from flask import abort, render_template, request

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow, Span, TickRow
from taskledger_web import calendars, drawing, due_notes, links, recorded, stretches, times
from taskledger_web.asking import ask
from taskledger_web.stretches import Stretch
from taskledger_web.view import View

#: due times of one page of a day
ROWS = 300


def page(row: ScheduleRow, text: str, seen: View) -> str:
    """The due times of the day that `day` names. A day that cannot be read is not found."""
    day = _read(text) or abort(404, f"{text[:40]!r} is no day: write 2026-11-22.")
    span, skip = calendars.day_span(day, seen.zone), _skip()
    tallies = ask(query.tallies, [row], span, calendars.QUARTER, seen.now_at, seen.at)
    due = stretches.of_row(tallies, row.ticks, span)
    whole = stretches.joined(due) if due else None
    final = ask(query.due_times, row, span, seen.now_at, seen.at, limit=ROWS, skip=skip)
    until_at = max(min(span.to_at, seen.now_at), span.from_at + 1)
    coverage = ask(query.coverage, Span(span.from_at, until_at), seen.now_at, cluster=row.cluster)
    ticks = final if skip else (*final, *_open(row.ticks, span))
    return render_template(
        "schedules/day.html",
        row=row,
        day=times.day(span.from_at, seen.zone, seen.now_at),
        whole=whole,
        words=stretches.words(whole) if whole else "",
        ticks=ticks,
        notes=due_notes.of_ticks(row, ticks, seen),
        clause=recorded.clause(coverage, seen),
        days=(
            links.here(day=f"{day + timedelta(days=1)}", skip=None),
            links.here(day=f"{day - timedelta(days=1)}", skip=None),
        ),
        pages=_pages(whole, skip),
        month=links.here(day=None, skip=None, view="calendar", month=f"{day:%Y-%m}"),
        **drawing.common(seen),
    )


def _read(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 1971 <= day.year <= 2199 else None


def _skip() -> int:
    asked = request.args.get("skip", "")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 0


def _pages(whole: Stretch | None, skip: int) -> tuple[str | None, str | None]:
    """The addresses of the due times after these, and of those before them."""
    number = whole.number if whole else 0
    newer = links.here(skip=max(skip - ROWS, 0) or None) if skip else None
    return newer, links.here(skip=skip + ROWS) if skip + ROWS < number else None


def _open(ticks: Sequence[TickRow], span: Span) -> list[TickRow]:
    """What is not final yet, or still to come."""
    return [tick for tick in ticks if not tick.is_final and span.from_at <= tick.due_at < span.to_at]

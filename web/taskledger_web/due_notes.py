"""One due time of an entry: what is known of it, what people say of it, and the form that says that it is known."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from flask import abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import query, tick_notes
from taskledger.ledger.answers import ScheduleRow, Span, TickRow
from taskledger.ledger.beat_answers import TickNote
from taskledger_web import drawing, links, strip, times
from taskledger_web.asking import ask
from taskledger_web.view import View, view

#: characters of a note and of its author's name
LONGEST_NOTE, LONGEST_AUTHOR = 4_000, 80
#: due times before one that are looked through for others that went wrong
BEFORE = 90
#: what the form may do -> what the note then says of the due time
ACTS = {"note": None, "acknowledge": True, "take_back": False}
Notes = Mapping[int, tuple[TickNote, ...]]


def page(row: ScheduleRow, text: str, seen: View) -> str:
    """One due time of the entry, by its microseconds."""
    tick = _tick(row, text, seen) or _missing()
    notes = of_ticks(row, [tick], seen).get(tick.due_at, ())
    return render_template(
        "schedules/due.html",
        row=row,
        tick=tick,
        mark=strip.mark_of(tick),
        # That it is acknowledged is said with by whom.
        words=strip.describe(tick._replace(is_acknowledged=False)),
        notes={tick.due_at: notes},
        earlier=len(_bad(row, tick.due_at)),
        day=links.due_list(row.name, f"{times.local(tick.due_at, seen.zone).date()}"),
        longest=(LONGEST_NOTE, LONGEST_AUTHOR),
        **drawing.common(seen),
    )


def keep() -> AnyResponse:
    """Keep what somebody says of a due time, and show it."""
    name, due, seen = request.form.get("name", ""), request.form.get("due", ""), view()
    row = ask(query.schedule, name, seen.today_at, ticks=BEFORE) or _missing()
    tick = _tick(row, due, seen) or _missing()
    act = request.form.get("act", "note")
    text = request.form.get("text", "").strip()[:LONGEST_NOTE]
    acknowledges = ACTS.get(act)
    if text or acknowledges is not None:
        dues = [tick.due_at]
        if acknowledges and request.form.get("earlier"):
            dues += _bad(row, tick.due_at)
        author = request.form.get("author", "").strip()[:LONGEST_AUTHOR]
        ask(tick_notes.add, row, dues, text, author, seen.today_at, acknowledges=acknowledges)
    return redirect(f"{links.due_time(name, tick.due_at)}#notes", 303)


def of_ticks(row: ScheduleRow, ticks: Sequence[TickRow], seen: View) -> Notes:
    """By due time what was said of these by the moment of the page."""
    if not ticks:
        return {}
    first, last = min(tick.due_at for tick in ticks), max(tick.due_at for tick in ticks)
    return ask(tick_notes.of_entry, row, first, last + 1, seen.now_at)


def _tick(row: ScheduleRow, text: str, seen: View) -> TickRow | None:
    """The due time of that moment, if it has passed."""
    due_at = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else -1
    known = next((tick for tick in row.ticks if tick.due_at == due_at and tick.fire != "pending"), None)
    if known is not None or due_at < 0:
        return known
    found = ask(query.due_times, row, Span(due_at, due_at + 1), seen.now_at, seen.at, limit=1)
    return found[0] if found else None


def _bad(row: ScheduleRow, before_at: int) -> list[int]:
    """The due times before one, of the last of the entry, that went wrong and that nobody has acknowledged."""
    return [tick.due_at for tick in _wrong(row) if tick.due_at < before_at]


def _wrong(row: ScheduleRow) -> Iterator[TickRow]:
    return (tick for tick in row.ticks if strip.is_bad(strip.mark_of(tick)) and not tick.is_acknowledged)


def _missing() -> NoReturn:
    abort(404, "No such due time of a schedule entry is known; it may not have passed yet.")

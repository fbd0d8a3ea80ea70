"""A badge for each schedule entry: a small picture for a README or a dashboard, in any page of any site."""

from dataclasses import dataclass

from flask import Response, render_template

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow
from taskledger_web import entries, strip
from taskledger_web.asking import ask
from taskledger_web.text import cut, visible
from taskledger_web.view import view

#: pixels that a character of 11 pixels takes, and the room beside a text
_WIDE, _ROOM = 6.2, 12
#: due times that are looked at: the last that is decided may be some back
_TICKS = 12
#: word -> colour of its ground; white text on each has more than 4.5:1
COLOURS = {
    "ok": "#08734d",
    "late": "#8a5300",
    "missed": "#a20f0c",
    "not sent": "#a20f0c",
    "failed": "#a20f0c",
    "twice": "#8a5300",
    "muted": "#566070",
    "off": "#566070",
    "unknown": "#566070",
}
#: symbol of the last mark -> word; of any other nobody can say that it is well
_WORDS = {
    "ontime": "ok",
    "late": "late",
    "missed": "missed",
    "notsent": "not sent",
    "failed": "failed",
    "notreceived": "failed",
    "twice": "twice",
    "off": "off",
}
#: nothing has been decided about these yet
_OPEN = ("pending", "overdue", "running", "waiting")


@dataclass(frozen=True, slots=True)
class Part:
    """One half of the badge: its text, where it is and how wide."""

    text: str
    x: int
    width: int
    colour: str


def page(name: str) -> tuple[Response, int]:
    """The badge of an entry; one that says "no such entry" and is not found for any other name."""
    row = ask(query.schedule, name, view().now_at, ticks=_TICKS)
    if row is None:
        return _drawn(name, "no such entry", COLOURS["unknown"]), 404
    word = word_of(row, view().now_at)
    return _drawn(row.name, word, COLOURS[word]), 200


def word_of(row: ScheduleRow, now_at: int) -> str:
    """What the latest due time that is decided came to."""
    if entries.is_muted(row, now_at):
        return "muted"
    marks = [strip.mark_of(tick).symbol for tick in row.ticks]
    decided = next((symbol for symbol in reversed(marks) if symbol not in _OPEN), None)
    if not row.enabled:
        return "off"
    return _WORDS.get(decided or "unknown", "unknown")


def _drawn(name: str, word: str, colour: str) -> Response:
    name = str(visible(cut(name, 60)))
    left = Part(name, 0, _width(name), "#3d4450")
    right = Part(word, left.width, _width(word), colour)
    response = Response(render_template("schedules/badge.svg", parts=(left, right)), content_type="image/svg+xml")
    # A badge is there to be shown by other sites, which the rest of this one forbids.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Cache-Control"] = "max-age=60"
    return response


def _width(text: str) -> int:
    return int(len(text) * _WIDE) + _ROOM

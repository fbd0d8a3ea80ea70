"""How one visitor looks at one page: the moment, the zone, the theme, and the range of time."""

import time
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from flask import g, request

from taskledger.ledger import query
from taskledger.ledger.answers import RecorderStatus, Span
from taskledger_web import span, times
from taskledger_web.asking import ask, opening

THEMES = ("system", "light", "dark")
ZONE_COOKIE, THEME_COOKIE, KEYS_COOKIE = "taskledger_zone", "taskledger_theme", "taskledger_keys"


@dataclass(frozen=True, slots=True)
class View:
    """What all parts of one page agree on."""

    now_at: int
    zone: ZoneInfo
    theme: str
    #: whether single keys are shortcuts
    keys: bool

    @property
    def zone_word(self) -> str:
        """The zone as it heads a column, now."""
        return times.zone_word(self.zone, self.now_at)


def now_at() -> int:
    """The clock, in microseconds."""
    return time.time_ns() // 1000


def view() -> View:
    """The view of this request; the clock is read once."""
    if "view" not in g:
        theme = request.cookies.get(THEME_COOKIE, "")
        keys = request.cookies.get(KEYS_COOKIE) != "off"
        g.view = View(now_at(), _zone(), theme if theme in THEMES else "system", keys)
    found: View = g.view
    return found


def page_range() -> span.Range:
    """The range of this request, from `from` and `to`."""
    if "range" not in g:
        seen = view()
        from_text = request.args.get("from", "")
        began_at = None
        if from_text.strip() == "all":
            began_at = ask(query.coverage, Span(seen.now_at - 1, seen.now_at), seen.now_at).began_at
        g.range = span.read(from_text, request.args.get("to", ""), seen.now_at, seen.zone, began_at)
    found: span.Range = g.range
    return found


def recorder_status() -> RecorderStatus:
    """Whether anything is being recorded; asked once for the whole page."""
    if "status" not in g:
        g.status = ask(query.status, view().now_at)
    found: RecorderStatus = g.status
    return found


def zone_meant(name: str | None) -> ZoneInfo | None:
    """The zone a visitor names; the configured one may have any name. None when there is none."""
    configured = opening().settings.timezone
    return configured if name == str(configured) else times.zone_named(name)


def _zone() -> ZoneInfo:
    named = (request.args.get("tz"), request.cookies.get(ZONE_COOKIE))
    return next((zone for zone in map(zone_meant, named) if zone), opening().settings.timezone)

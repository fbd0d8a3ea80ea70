"""How one visitor looks at one page: the moment, the zone, the theme, and the range of time."""

import time
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from flask import g, request

from taskledger.ledger import query
from taskledger.ledger.answers import RecorderStatus, Span
from taskledger_web import span, times
from taskledger_web.asking import ask, opening

#: pages that can be looked at as of a moment: all but beat processes, and clock changes that are still to come
LOOK_BACK = ("overview", "tasks", "task", "failures", "schedules", "workers", "queues", "ledger")
THEMES = ("system", "light", "dark")
ZONE_COOKIE, THEME_COOKIE, KEYS_COOKIE = "taskledger_zone", "taskledger_theme", "taskledger_keys"


@dataclass(frozen=True, slots=True)
class View:
    """What all parts of one page agree on."""

    #: the moment that the page is about: now, or the one it is looked at as of
    now_at: int
    zone: ZoneInfo
    theme: str
    #: whether single keys are shortcuts
    keys: bool
    #: the same moment where it is looked back at; None for the present
    at: int | None = None
    #: the clock, where that is another moment than the page's
    clock_at: int | None = None
    #: what is wrong with `at`; None when there is none, or it was read
    problem: str | None = None

    @property
    def today_at(self) -> int:
        """The clock."""
        return self.now_at if self.clock_at is None else self.clock_at

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
        g.view = _looking(View(now_at(), _zone(), theme if theme in THEMES else "system", keys))
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
        found_range = span.read(from_text, request.args.get("to", ""), seen.now_at, seen.zone, began_at)
        g.range = found_range if seen.at is None else found_range.until(seen.at)
    found: span.Range = g.range
    return found


def recorder_status() -> RecorderStatus:
    """Whether anything is being recorded; asked once for the whole page."""
    if "status" not in g:
        g.status = ask(query.status, view().today_at)
    found: RecorderStatus = g.status
    return found


def zone_meant(name: str | None) -> ZoneInfo | None:
    """The zone a visitor names; the configured one may have any name. None when there is none."""
    configured = opening().settings.timezone
    return configured if name == str(configured) else times.zone_named(name)


def _looking(seen: View) -> View:
    """Back at the moment that `at` names, on a page."""
    text = request.args.get("at", "").strip()
    if not text or request.blueprint not in LOOK_BACK:
        return seen
    try:
        at = span.as_of(text, seen.now_at, seen.zone)
    except ValueError as error:
        return replace(seen, problem=f"{error}; showing the present")
    return replace(seen, now_at=at, at=at, clock_at=seen.now_at)


def _zone() -> ZoneInfo:
    named = (request.args.get("tz"), request.cookies.get(ZONE_COOKIE))
    return next((zone for zone in map(zone_meant, named) if zone), opening().settings.timezone)

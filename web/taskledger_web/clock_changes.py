"""Clock changes ahead: what the next 60 days' changes of clocks will do to the entries of the schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template

from taskledger.forecasts import ADVICE, LOOK_AHEAD_DAYS, Forecast
from taskledger.ledger import query
from taskledger_web.asking import ask
from taskledger_web.view import view
from taskledger_web.words import Word

#: entries of one kind that are named; the rest is counted
MOST = 12
#: what a change does
KINDS = {
    "dst_gap": Word("Skipped", "retrying", "slash"),
    "dst_repeat": Word("Comes twice", "retrying", "twice"),
    "dst_stretched": Word("Pauses", "retrying", "hourglass"),
    "dst_shrunk": Word("Comes early", "sent", "clock"),
}


@dataclass(frozen=True, slots=True)
class Ahead:
    """Entries to which one change does the same."""

    at: int
    tz: str
    word: Word
    sentence: str
    entries: tuple[str, ...]
    more: int


def page() -> str:
    """The changes, earliest first."""
    seen = view()
    entries = ask(query.schedules, seen.now_at, ticks=1)
    told = ask(query.clock_changes, seen.now_at)
    return render_template(
        "schedules/dst.html",
        changes=grouped(told),
        touched=len({one.entry for one in told}),
        entries=len(entries),
        in_zones=sorted({row.timezone for row in entries}),
        days=LOOK_AHEAD_DAYS,
        advice=ADVICE,
        column_zone=seen.zone_word,
    )


def grouped(told: Sequence[Forecast]) -> list[Ahead]:
    """One row for all entries of which the same is said."""
    alike: dict[tuple[int, str, str, str], list[str]] = {}
    for one in told:
        alike.setdefault((one.at, one.tz, one.kind, one.sentence), []).append(one.entry)
    return [
        Ahead(at, tz, KINDS[kind], sentence, tuple(names[:MOST]), max(len(names) - MOST, 0))
        for (at, tz, kind, sentence), names in alike.items()
    ]

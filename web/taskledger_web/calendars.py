"""A month of one entry: each day with the worst that happened and how many of its due times were on time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from flask import render_template, request

from taskledger.ledger import query
from taskledger.ledger.answers import Coverage, ScheduleRow, Span
from taskledger_web import drawing, links, recorded, stretches, times
from taskledger_web.asking import ask
from taskledger_web.stretches import Stretch
from taskledger_web.strip import MARKS, Mark
from taskledger_web.view import View

#: every change of a zone's clock is a whole number of these, so that a day of any zone is as well
QUARTER = 900 * times.MICROS
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
#: years in which there is anything to show
_FIRST, _LAST = 1971, 2199


@dataclass(frozen=True, slots=True)
class Day:
    """One day: what its cell says. `mark` None: nothing is drawn."""

    day: date
    mark: Mark | None
    #: 23 of 24; empty where nothing was due
    number: str
    words: str
    title: str
    #: the list of its due times; None for a day without any
    href: str | None
    is_today: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Month:
    """The month in weeks that begin with Monday; None stands for days of the months beside it."""

    title: str
    weeks: tuple[tuple[Day | None, ...], ...]
    #: addresses of the months after and before
    newer: str
    older: str


def page(row: ScheduleRow, seen: View) -> str:
    """The calendar of an entry."""
    first = _asked(seen)
    after = _next(first)
    span = Span(_midnight(first, seen.zone), _midnight(after, seen.zone))
    coverage = _coverage(row, span, seen)
    month = Month(
        f"{_MONTHS[first.month - 1]} {first.year}",
        _weeks(first, after, _days(row, span, coverage, seen)),
        links.here(month=f"{after:%Y-%m}"),
        links.here(month=f"{first - timedelta(days=1):%Y-%m}"),
    )
    clause = recorded.clause(coverage, seen)
    return render_template("schedules/calendar.html", row=row, month=month, clause=clause, **drawing.common(seen))


def _asked(seen: View) -> date:
    """The first day of the month that `month` names, else of this one."""
    match = _MONTH.fullmatch(request.args.get("month", ""))
    if match and _FIRST <= int(match[1]) <= _LAST and 1 <= int(match[2]) <= 12:
        return date(int(match[1]), int(match[2]), 1)
    return times.local(seen.now_at, seen.zone).date().replace(day=1)


def _next(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _midnight(day: date, zone: tzinfo) -> int:
    return times.micros(datetime(day.year, day.month, day.day, tzinfo=zone))


def day_span(day: date, zone: tzinfo) -> Span:
    """A day in a zone, which may have 23 or 25 hours."""
    return Span(_midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def _coverage(row: ScheduleRow, span: Span, seen: View) -> Coverage:
    until_at = max(min(span.to_at, seen.now_at), span.from_at + 1)
    return ask(query.coverage, Span(span.from_at, until_at), seen.now_at, cluster=row.cluster)


def _days(row: ScheduleRow, span: Span, coverage: Coverage, seen: View) -> dict[date, Day]:
    tallies = ask(query.tallies, [row], span, QUARTER, seen.now_at, seen.at)
    due = stretches.of_row(tallies, row.ticks, span)
    ahead = ask(query.due_ahead, [row], seen.now_at, span.to_at, seen.at) if span.to_at > seen.now_at else {}
    due += stretches.pending(ahead.get((row.cluster, row.name), ()), span.to_at)
    by_day: dict[date, list[Stretch]] = {}
    for one in due:
        # What is still to come may be one stretch over several days, where it is too much to be told.
        on, last = (times.local(at, seen.zone).date() for at in (one.first_at, min(one.last_at, span.to_at - 1)))
        while on <= last:
            by_day.setdefault(on, []).append(one)
            on += timedelta(days=1)
    known_at = _known_from(row, seen)
    first = times.local(span.from_at, seen.zone).date()
    last = times.local(span.to_at - 1, seen.zone).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return {day: _day(day, by_day.get(day, ()), coverage, known_at, seen) for day in days}


def _known_from(row: ScheduleRow, seen: View) -> int:
    """Before that nothing is known of it: its schedule had not been read, or it is no longer kept."""
    history = ask(query.schedule_history, row.name, seen.now_at)
    first_at = history[-1].valid_from_at if history else seen.now_at
    return max(first_at, ask(query.kept_from, row))


def _day(day: date, due: Sequence[Stretch], coverage: Coverage, known_at: int, seen: View) -> Day:
    span, is_today = day_span(day, seen.zone), day == times.local(seen.now_at, seen.zone).date()
    past = [one for one in due if "pending" not in one.counts]
    if past:
        whole = stretches.joined(past)
        href = links.here(view=None, month=None, day=f"{day}")
        number = f"{whole.counts['ontime']:,} of {whole.number:,}"
        is_part = span.from_at < known_at or _is_deaf(span, coverage)
        note = "with gaps" if is_part else ""
        return Day(day, whole.mark, number, "on time", stretches.words(whole), href, is_today, note)
    mark, words = _empty(span, bool(due), coverage, known_at, seen)
    return Day(day, mark, "", words, "", None, is_today)


def _empty(span: Span, has_due: bool, coverage: Coverage, known_at: int, seen: View) -> tuple[Mark | None, str]:
    """What a day says of which no due time is known."""
    if span.from_at > seen.now_at or (has_due and span.to_at > seen.now_at):
        return (MARKS["pending"], "still to come") if has_due else (None, "")
    if _is_deaf(span, coverage) or span.from_at < known_at:
        return MARKS["unknown"], "not known"
    return None, "nothing due"


def _is_deaf(span: Span, coverage: Coverage) -> bool:
    return any(hole.from_at < span.to_at and hole.to_at > span.from_at for hole in coverage.holes)


def _weeks(first: date, after: date, days: Mapping[date, Day]) -> tuple[tuple[Day | None, ...], ...]:
    begin = first - timedelta(days=first.weekday())
    number = -(-(after - begin).days // 7)
    return tuple(
        tuple(days.get(begin + timedelta(days=7 * week + weekday)) for weekday in range(7)) for week in range(number)
    )

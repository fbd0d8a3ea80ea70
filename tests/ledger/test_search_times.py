"""Times and durations as people write them in a search."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from taskledger.errors import QueryError
from taskledger.ledger.search import parse

#: 2026-11-22 12:00:00 UTC, a Sunday
NOW_AT = 1_795_348_800_000_000


def at(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def bounds(text, zone="UTC"):
    return parse(text, now_at=NOW_AT, zone=ZoneInfo(zone)).values[0].bounds


@pytest.mark.parametrize(
    ("value", "since", "until"),
    [
        ("2026-11-17", "2026-11-17T00:00", "2026-11-18T00:00"),
        ("2026-11", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("2026-12", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("today", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("yesterday", "2026-11-21T00:00", "2026-11-22T00:00"),
        ("tue", "2026-11-17T00:00", "2026-11-18T00:00"),
        ("Tuesday", "2026-11-17T00:00", "2026-11-18T00:00"),
        ("sun", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("mon", "2026-11-16T00:00", "2026-11-17T00:00"),
        ("2026-11-17T03:00", "2026-11-17T03:00", "2026-11-17T03:01"),
        ("2026-11-17T03:00:12", "2026-11-17T03:00:12", "2026-11-17T03:00:13"),
        ("2026-11-17T03:00+01:00", "2026-11-17T02:00", "2026-11-17T02:01"),
        ("2026-11-17t03:00z", "2026-11-17T03:00", "2026-11-17T03:01"),
        ("-2h..-1h", "2026-11-22T10:00", "2026-11-22T11:00"),
        ("-1d..now", "2026-11-21T12:00", "2026-11-22T12:00"),
        ("mon..tue", "2026-11-16T00:00", "2026-11-18T00:00"),
        ("2026-11-17..2026-11-19", "2026-11-17T00:00", "2026-11-20T00:00"),
        ("2026-11-17T03:00..2026-11-17T04:00", "2026-11-17T03:00", "2026-11-17T04:00"),
    ],
)
def test_a_time_is_a_stretch(value, since, until):
    """A day is that whole day, a minute that minute, and a range goes up to its end."""
    assert bounds(f"sent:{value}") == ((">=", at(since)), ("<", at(until)))


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        ("-24h", (">=", "2026-11-21T12:00")),
        ("-1d12h", (">=", "2026-11-21T00:00")),
        (">-90m", (">", "2026-11-22T10:30")),
        ("<-7d", ("<", "2026-11-15T12:00")),
        (">2026-11-17", (">=", "2026-11-18T00:00")),
        (">=2026-11-17", (">=", "2026-11-17T00:00")),
        ("<2026-11-17", ("<", "2026-11-17T00:00")),
        ("<=2026-11-17", ("<", "2026-11-18T00:00")),
        (">2026-11-17T03:00", (">", "2026-11-17T03:00")),
        ("<=2026-11-17T03:00", ("<=", "2026-11-17T03:00")),
        ("2026-11-17..", (">=", "2026-11-17T00:00")),
        ("..2026-11-17", ("<", "2026-11-18T00:00")),
    ],
)
def test_one_side_is_enough(value, bound):
    """Later than a day is after all of it, later than a moment is after that moment, and -24h is since then."""
    assert bounds(f"finished:{value}") == ((bound[0], at(bound[1])),)


@pytest.mark.parametrize(
    ("value", "since", "until"),
    [
        ("2026-11-17", "2026-11-16T23:00", "2026-11-17T23:00"),
        ("2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("2026-11-17T03:00", "2026-11-17T02:00", "2026-11-17T02:01"),
    ],
)
def test_days_are_those_of_the_zone(value, since, until):
    """A day is as long as it is in the reader's zone: 25 or 23 hours when the clocks change."""
    assert bounds(f"sent:{value}", "Europe/Berlin") == ((">=", at(since)), ("<", at(until)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (">2s", ((">", 2.0),)),
        (">=30s", ((">=", 30.0),)),
        ("<500ms", (("<", 0.5),)),
        (">2", ((">", 2.0),)),
        ("<=1m30s", (("<=", 90.0),)),
        (">1.5h", ((">", 5400.0),)),
        ("1s..2s", ((">=", 1.0), ("<=", 2.0))),
        ("10s..", ((">=", 10.0),)),
    ],
)
def test_durations(value, expected):
    """Durations have units, plain numbers are seconds, and both ends of a range belong to it."""
    assert bounds(f"runtime:{value}") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", (("=", 3),)), ("=3", (("=", 3),)), (">1", ((">", 1),)), ("1..3", ((">=", 1), ("<=", 3)))],
)
def test_numbers(value, expected):
    """A number is that number, and both ends of a range belong to it."""
    assert bounds(f"retries:{value}") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sent:2026-02-30", "no such date"),
        ("sent:2026-11-17T25:00", "no such date"),
        ("sent:soon", "write a day"),
        ("sent:24h", "did you mean -24h?"),
        ("sent:-101w53000d", "more than a hundred years"),
        ("sent:-1h..-2h", "did you mean -2h..-1h?"),
        ("runtime:2s", "hardly any duration is exactly '2s'"),
        ("runtime:>2x", "cannot read '2x' as a duration"),
        ("wait:>1e9", "as a duration"),
    ],
)
def test_what_is_no_time_is_refused(text, message):
    """A time that cannot be is refused with the forms that can."""
    with pytest.raises(QueryError, match=message.replace("?", r"\?")) as caught:
        bounds(text)

    assert caught.value.position == text.index(":") + 1

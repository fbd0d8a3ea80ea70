"""The forecast says what the next change of the clock does to which entry, and nothing where it does nothing."""

from datetime import UTC, datetime

import pytest

from taskledger.crontabs import SECOND, Crontab
from taskledger.forecasts import ADVICE, forecast
from taskledger.schedules import Clocked, Definition, Entry, Interval, Unverifiable

MARCH, OCTOBER, JUNE = "2026-03-01T00:00:00Z", "2026-10-01T00:00:00Z", "2026-06-01T00:00:00Z"
BERLIN = "Europe/Berlin"


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


def told(schedule: Definition, now: str, *, enabled: bool = True) -> list[tuple[str, str, str]]:
    """Kind, moment and sentence."""
    found = forecast([Entry("nightly", "proj.add", schedule, enabled=enabled)], at(now))
    return [(one.kind, f"{datetime.fromtimestamp(one.at / SECOND, UTC):%m-%d %H:%M}", one.sentence) for one in found]


@pytest.mark.parametrize(
    ("schedule", "now", "kind", "moment", "words"),
    [
        (Crontab("30", "2", tz=BERLIN), MARCH, "dst_gap", "03-29 01:00",
         "On Sunday 29 March 2026 the clock goes forward by 1 h in Europe/Berlin: 02:30 does not exist."),
        (Crontab("30", "2", tz=BERLIN), MARCH, "dst_gap", "03-29 01:00",
         "Celery from 5.5.2 on sends it at 03:30 instead"),
        (Crontab("*/10", "2", tz=BERLIN), MARCH, "dst_gap", "03-29 01:00", "6 times from 02:00 to 02:50 do not exist"),
        (Crontab("10", "2", tz="Australia/Lord_Howe"), "2026-09-01T00:00:00Z", "dst_gap", "10-03 15:30",
         "On Sunday 4 October 2026 the clock goes forward by 30 min in Australia/Lord_Howe: 02:10 does not exist"),
        (Crontab("30", "2", tz=BERLIN), OCTOBER, "dst_repeat", "10-25 01:00", "02:30 comes twice"),
        (Crontab("*/15", tz=BERLIN), OCTOBER, "dst_repeat", "10-25 01:00", "02:00, 02:15, 02:30, 02:45 come twice"),
        (Interval(600, BERLIN), OCTOBER, "dst_stretched", "10-25 01:00",
         "sends nothing for 1 h 10 min instead of 10 min"),
        (Interval(86400, BERLIN), MARCH, "dst_shrunk", "03-29 01:00", "sends this one after 23 h instead of 24 h"),
    ],
)  # fmt: skip
def test_it_says_what_will_happen_and_when(schedule: Definition, now: str, kind: str, moment: str, words: str) -> None:
    """With the day, the times by the wall clock, and what Celery makes of them."""
    ((what, when, sentence),) = told(schedule, now)

    assert (what, when) == (kind, moment)
    assert words in sentence


@pytest.mark.parametrize(
    ("schedule", "now"),
    [
        (Crontab("30", "2"), MARCH),
        (Crontab("30", "4", tz=BERLIN), OCTOBER),
        (Crontab("30", "2", day_of_week="mon", tz=BERLIN), MARCH),
        # Each hour goes on being due each hour: only the name of one is skipped.
        (Crontab("*/15", tz=BERLIN), MARCH),
        (Interval(600, BERLIN), MARCH),
        (Interval(600), OCTOBER),
        (Crontab("30", "2", tz=BERLIN), JUNE),
        (Clocked(at(OCTOBER), BERLIN), OCTOBER),
        (Unverifiable("solar", "sunset", BERLIN), OCTOBER),
    ],
)
def test_it_is_silent_where_nothing_happens(schedule: Definition, now: str) -> None:
    """UTC, other hours and days, a change that is further away than two months."""
    assert told(schedule, now) == []


def test_a_disabled_entry_has_no_forecast() -> None:
    """What is not sent is not late."""
    assert told(Crontab("30", "2", tz=BERLIN), MARCH, enabled=False) == []


def test_the_advice_is_utc() -> None:
    """One setting makes all of it go away."""
    assert 'timezone = "UTC"' in ADVICE

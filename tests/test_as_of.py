"""A moment to look back at, as people write it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from taskledger_web.span import as_of

NOW = round(datetime(2026, 11, 22, 8, 12, 44, tzinfo=UTC).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("text", "zone", "meant"),
    [
        ("03:12:40", "UTC", "2026-11-22T03:12:40+00:00"),
        ("03:12", "UTC", "2026-11-22T03:12:00+00:00"),
        ("03:12:40.5", "UTC", "2026-11-22T03:12:40.500000+00:00"),
        ("08:12:45", "UTC", "2026-11-21T08:12:45+00:00"),
        ("03:12:40", "Asia/Tokyo", "2026-11-21T18:12:40+00:00"),
        ("18:00", "Asia/Tokyo", "2026-11-21T09:00:00+00:00"),
        (" -10m ", "UTC", "2026-11-22T08:02:44+00:00"),
        ("now", "UTC", "2026-11-22T08:12:44+00:00"),
        ("2026-11-22T03:12:40Z", "Asia/Tokyo", "2026-11-22T03:12:40+00:00"),
        ("2026-11-20", "UTC", "2026-11-20T00:00:00+00:00"),
    ],
)
def test_what_a_moment_means(text, zone, meant):
    """A time of day is the latest such time in the viewer's zone; all else is read as the ends of a range are."""
    assert datetime.fromtimestamp(as_of(text, NOW, ZoneInfo(zone)) / 1e6, UTC).isoformat() == meant


@pytest.mark.parametrize("text", ["", "25:61", "tomorrow", "2026-11-22T08:12:45", "3:12", "-1y"])
def test_what_is_no_moment_of_the_past(text):
    """What cannot be read, or is still to come, is refused in words."""
    with pytest.raises(ValueError, match=r"is not a time|still to come"):
        as_of(text, NOW, ZoneInfo("UTC"))

"""Defects of Celery are named where they can be what happened, and nowhere else."""

from datetime import datetime

import pytest

from taskledger.crontabs import SECOND, Crontab
from taskledger.defects import crontab_defect

BERLIN = Crontab("*/15", tz="Europe/Berlin")
LORD_HOWE = Crontab("10,33", "2", tz="Australia/Lord_Howe")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("crontab", "kind", "moment", "started", "version", "name"),
    [
        # beat.md 5: 16:04 ran 17:03 on the day on which the clock went forward, with 5.4.0
        (Crontab("4", "16", tz="Europe/Berlin"), "late", "2026-03-29T14:04:00Z", None, "5.4.0", "gap_day"),
        (Crontab("4", "16", tz="Europe/Berlin"), "late", "2026-03-29T14:04:00Z", None, "5.5.2", None),
        (Crontab("4", "16", tz="Europe/Berlin"), "late", "2026-03-28T15:04:00Z", None, "5.4.0", None),
        (BERLIN, "off_schedule", "2026-10-25T01:05:00Z", "2026-10-25T01:04:00Z", "5.7.0", "repeated_hour_storm"),
        (BERLIN, "off_schedule", "2026-10-25T01:05:00Z", "2026-10-25T01:04:00Z", "5.4.0", None),
        (BERLIN, "off_schedule", "2026-10-25T01:05:00Z", "2026-10-20T01:04:00Z", "5.7.0", None),
        (BERLIN, "off_schedule", "2026-10-25T02:05:00Z", "2026-10-25T01:04:00Z", "5.7.0", None),
        (BERLIN, "missed", "2026-10-25T01:15:00Z", "2026-10-25T01:04:00Z", None, None),
        (BERLIN, "duplicate", "2026-10-25T01:15:00Z", None, None, "repeated_hour_storm"),
        (LORD_HOWE, "missed", "2026-10-03T15:33:00Z", None, "5.7.0", "gap_shadow"),
        (Crontab("33", "2", tz="Australia/Lord_Howe"), "missed", "2026-10-03T15:33:00Z", None, "5.7.0", None),
        # 03:00 and 03:25 do not exist; 03:50 does, but beat waits for 04:00.
        (Crontab("*/25", "3-9", tz="Pacific/Chatham"), "missed", "2024-09-28T14:05:00Z", None, "5.7.0", "gap_shadow"),
        (Crontab("*/15"), "missed", "2026-10-25T01:15:00Z", None, None, None),
    ],
)  # fmt: skip
def test_a_defect_is_named_where_it_can_be_the_cause(
    crontab: Crontab, kind: str, moment: str, started: str | None, version: str | None, name: str | None
) -> None:
    """By the zone's clock, the moment, the start of beat and its version."""
    started_at = None if started is None else at(started)
    defect = crontab_defect(crontab, kind, at(moment), started_at=started_at, version=version)

    assert (defect.name if defect else None) == name

"""Known defects of Celery's beat around a change of the clock: what a crontab did or left undone that they explain."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskledger import crontabs
from taskledger.crontabs import DAY, SECOND, Change, Crontab

#: seconds by which a fire may come before the moment that explains it
EARLY = 2 * SECOND


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong in Celery: its source, and a sentence for whoever sees the consequence."""

    name: str
    source: str
    sentence: str


GAP_DAY = Defect(
    "gap_day",
    "celery#9653",
    "On the day on which the clock goes forward Celery up to 5.5.1 is an hour off: it sends a crontab late, or once "
    "more when the skipped hour is over.",
)
GAP_SHADOW = Defect(
    "gap_shadow",
    "celery/schedules.py, crontab.remaining_delta",
    "Where the skipped stretch of the clock begins or ends within an hour, beat waits for a time that did not exist, "
    "and passes over one that did.",
)
REPEATED_HOUR_STORM = Defect(
    "repeated_hour_storm",
    "celery#10608",
    "When beat is started in an hour that the clock shows twice, Celery from 5.5.2 on takes each run for one of the "
    "hour before, and sends a crontab over and over until that hour is over; with RedBeat even if it is not started "
    "then.",
)


def crontab_defect(
    crontab: Crontab, kind: str, at: int, *, started_at: int | None = None, version: str | None = None
) -> Defect | None:
    """The defect that explains what was not as it should be at that moment, if one does.

    `kind`: "missed", "late" or "duplicate" (at: the due time), or "off_schedule" (at: the fire). `started_at`: when
    that beat was started, `version`: its Celery; where they are not known, whatever may explain it does.
    """
    zone = crontabs.zone_of(crontab.tz)
    for change in crontabs.changes(zone, at - 2 * DAY, at + DAY):
        for defect in _candidates(crontab, kind, at, change):
            if _is_possible(defect, change, started_at, version):
                return defect
    return None


def _candidates(crontab: Crontab, kind: str, at: int, change: Change) -> Iterator[Defect]:
    if change.by > 0 and kind == "missed" and _is_shadowed(crontab, at, change):
        yield GAP_SHADOW
    if change.by > 0 and change.at - EARLY <= at < change.at + DAY:
        yield GAP_DAY
    if change.by < 0 and kind in ("duplicate", "off_schedule") and change.at - EARLY <= at <= change.over_at:
        yield REPEATED_HOUR_STORM


def _is_shadowed(crontab: Crontab, at: int, change: Change) -> bool:
    """Whether a time that was skipped, and is made up for later, comes before this one by the wall clock."""
    is_after = change.at <= at < change.at + change.by
    return is_after and any(due.at > at for due in crontabs.skipped(crontab, change))


def _is_possible(defect: Defect, change: Change, started_at: int | None, version: str | None) -> bool:
    release = _release(version)
    if defect is GAP_DAY:
        return release is None or release <= (5, 5, 1)
    if defect is REPEATED_HOUR_STORM:
        was_started = started_at is None or change.at - EARLY <= started_at <= change.over_at
        return was_started and (release is None or release >= (5, 5, 2))
    return True


def _release(version: str | None) -> tuple[int, ...] | None:
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version or "")
    return None if numbers is None else tuple(int(number or 0) for number in numbers.groups())

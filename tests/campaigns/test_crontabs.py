"""Crontabs against Celery's own beat with a clock that is told the time, around changes of the clock in 12 zones."""

import sys

from benchmarks.campaigns import crontabs

NUMBER = 96


def test_every_fire_of_celerys_beat_is_at_a_due_time_and_none_is_missed() -> None:
    """The short form of a thousand: whatever is not as reckoned is a defect of Celery that has a name."""
    (outcome,) = crontabs.run(crontabs.cases(NUMBER, seed=3), [sys.executable])

    assert outcome.finds == []
    assert outcome.cases == NUMBER
    # Each fire is either on time at a due time, or one too many by a named defect.
    surplus = sum(number for name, number in outcome.defects.items() if name.startswith(("off_schedule", "duplicate")))
    assert outcome.fires == outcome.matched + surplus
    assert outcome.matched > 10 * NUMBER


def test_the_campaign_notices_a_fire_that_nothing_explains() -> None:
    """A minute late, twice, or never: each is found, and is not taken for a defect of Celery."""
    crontab = crontabs.Crontab("0", tz="Europe/Berlin")
    hour = 3600 * crontabs.SECOND
    start = 1_781_049_600 * crontabs.SECOND
    case = crontabs.Case(crontab, start - hour // 2, start + 4 * hour, 1)
    sent = [0.0, 3600 + 90.0, 7200.0, 7201.0]

    outcome = crontabs.compared([case], "5.7.0", [[start / crontabs.SECOND + at for at in sent]])

    assert [find.split(" at ")[0] for find in outcome.finds] == ["late", "duplicate", "missed"]

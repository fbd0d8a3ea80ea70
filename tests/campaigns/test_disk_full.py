"""The short form of the disk-full campaign: real recorders on a disk of a few megabytes, under load."""

import pytest

from benchmarks.campaigns import disk_full


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("under", "transport"), [("both", "redis"), ("both", "rabbitmq"), ("spool", "redis"), ("spool", "rabbitmq")]
)
def test_counted_and_sound(under: str, transport: str) -> None:
    """Nothing is broken, recording goes on in time after space is back, and what is lost is counted, one by one."""
    outcome = disk_full.run(under, transport, seconds=10, rate=800, seed=7)

    assert outcome.is_well, str(outcome)
    assert outcome.stored > 100

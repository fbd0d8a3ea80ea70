"""The short form of the loss campaign: real workers, and a recorder that is killed under load."""

import pytest

from benchmarks.campaigns import losses


@pytest.mark.acceptance
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_reported_as_lost(pool: str) -> None:
    """Each start and end that was lost in an outage is reported as missing, and nothing else."""
    outcome = losses.run(pool, outages=1, seed=7)

    assert outcome.is_well, str(outcome)
    assert sum(map(sum, outcome.true)) > 0

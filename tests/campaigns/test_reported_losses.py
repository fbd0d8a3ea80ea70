"""The short form of the loss campaign: real workers, and a recorder that is killed under load."""

import pytest

from benchmarks.campaigns import losses


@pytest.mark.acceptance
@pytest.mark.parametrize("pool", list(losses.POOLS))
def test_reported_as_lost(pool: str) -> None:
    """Of two outages each start and end that was lost is reported as missing, and nothing else."""
    outcome = losses.run(pool, outages=2, seed=7)

    assert outcome.is_well, str(outcome)
    assert sum(map(sum, outcome.true)) > 0

"""The short form of the kill campaign: real recorders, killed while they write into PostgreSQL."""

import pytest

from benchmarks.campaigns import kills


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("transport", "recorders"), [("rabbitmq", 1), ("rabbitmq", 2), ("stream", 1), ("stream", 2), ("pubsub2", 2)]
)
def test_nothing_lost_nothing_twice(transport: str, recorders: int) -> None:
    """After six kills every event that was sent is one row, counted once, and the broker holds nothing back."""
    outcome = kills.run(transport, kills=6, events=900, seed=7, recorders=recorders)

    assert outcome.is_well, str(outcome)
    assert (outcome.kills, outcome.sent, outcome.stored) == (6, 900, 900)

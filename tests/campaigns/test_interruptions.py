"""The short form of the interruption campaign: a Redis of its own goes away, hangs up, falls silent."""

import pytest

from benchmarks.campaigns import interruptions


@pytest.mark.acceptance
@pytest.mark.parametrize(("kind", "rounds"), [("restart", 2), ("kill", 3), ("silence", 1)])
def test_recording_again(kind: str, rounds: int) -> None:
    """Recording goes on in time, each gap says why, and no event is lost in time that counts as covered."""
    outcome = interruptions.run(kind, rounds=rounds, seed=7, away_s=4)

    assert outcome.is_well, str(outcome)
    assert outcome.sent > outcome.lost

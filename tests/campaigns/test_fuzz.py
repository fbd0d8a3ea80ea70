"""The short form of the decoder's fuzzing."""

from benchmarks.campaigns import fuzz


def test_nothing_found() -> None:
    """No mutation of the corpus makes the decoder raise, dawdle, or change what it read."""
    outcome = fuzz.run(seconds=4, seed=11)

    assert outcome.finds == []
    assert outcome.words["stored"] > 10
    assert len(outcome.words) > 5


def test_same_seed_same_messages() -> None:
    """A find can be had again from its seed."""
    bodies = [fuzz._mutated(b'{"type": "task-sent"}', fuzz.random.Random(3), fuzz._seeds()) for _ in range(2)]

    assert bodies[0] == bodies[1]

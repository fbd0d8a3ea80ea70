"""Counting what is missing from what heartbeats say: exact for any losses, and silent where nothing was lost."""

import random

from hypothesis import given
from hypothesis import strategies as st

from taskledger.losses import FOLLOWING, Sign, begin, count, lives

EVERY = 2_000_000


class Life:
    """A worker that begins and ends tasks, and sends a heartbeat every two seconds."""

    def __init__(self, seed: int, beats: int, rate: int, pid: int = 7) -> None:
        chance = random.Random(seed)
        self.signs: list[Sign] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        running: list[int] = []
        for beat in range(beats):
            moments = sorted(chance.sample(range(beat * EVERY + 1, (beat + 1) * EVERY), rate))
            for at in moments:
                if running and chance.random() < 0.5:
                    self.ends.append(at)
                    running.pop()
                else:
                    self.starts.append(at)
                    running.append(at)
            self.signs.append(Sign((beat + 1) * EVERY, pid, len(self.starts), len(running)))


def within(moments: list[int], from_at: int, to_at: int) -> int:
    return sum(from_at < at <= to_at for at in moments)


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(1, 27), st.integers(1, 5)), max_size=4))
def test_the_reported_loss_is_the_true_one(seed: int, outages: list[tuple[int, int]]) -> None:
    """Whatever outages there were, all that happened in them is missing, start by start and end by end, and in them."""
    life = Life(seed, beats=40, rate=6)
    spans = [(first * EVERY + 500_000, (first + long) * EVERY + 500_000) for first, long in outages]

    def is_heard(at: int) -> bool:
        return not any(from_at < at < to_at for from_at, to_at in spans)

    signs = [sign for sign in life.signs if is_heard(sign.at)]
    starts, ends = list(filter(is_heard, life.starts)), list(filter(is_heard, life.ends))
    found = count(begin(signs[0]), signs[1:], starts, ends, is_over=True)
    from_at = signs[0].at

    assert sum(one.starts for one in found.missing) == within(life.starts, from_at, 10**12) - within(
        starts, from_at, 10**12
    )
    assert sum(one.ends for one in found.missing) == within(life.ends, from_at, 10**12) - within(ends, from_at, 10**12)
    assert all(any(one.from_at < to_at and one.to_at > at for at, to_at in spans) for one in found.missing)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 39), max_size=8))
def test_counting_bit_by_bit_is_counting_at_once(seed: int, cuts: list[int]) -> None:
    """However often it is counted on, what is found in the end is the same."""
    life = Life(seed, beats=40, rate=5)
    chance = random.Random(seed)
    starts = [at for at in life.starts if chance.random() < 0.9 or at < EVERY]
    whole = count(begin(life.signs[0]), life.signs[1:], starts, life.ends, is_over=True)
    counted, missing = begin(life.signs[0]), []
    for cut in [*sorted(cuts), 40]:
        signs = [sign for sign in life.signs[:cut] if sign.at > counted.at]
        step = count(counted, signs, starts, life.ends, is_over=cut == 40)
        counted, missing = step.counted, [*missing, *step.missing]

    assert counted == whole.counted
    assert sum(one.starts for one in missing) == sum(one.starts for one in whole.missing)


@given(st.integers(0, 10**6), st.integers(3, 36), st.sampled_from([1, -1]))
def test_a_passing_difference_is_no_loss(seed: int, beat: int, by: int) -> None:
    """A heartbeat that counts one too many or too few, as with several threads, reports nothing."""
    life = Life(seed, beats=40, rate=6)
    odd = life.signs[beat]
    signs = [sign._replace(processed=sign.processed + by) if sign is odd else sign for sign in life.signs]

    assert count(begin(signs[0]), signs[1:], life.starts, life.ends, is_over=True).missing == ()


def test_the_last_signs_wait() -> None:
    """What only the newest two signs say is not settled before others follow, unless the worker is gone."""
    life = Life(1, beats=10, rate=4)
    lossy = [at for at in life.starts if at < 8 * EVERY]
    waiting = count(begin(life.signs[0]), life.signs[1:], lossy, life.ends, is_over=False)
    over = count(begin(life.signs[0]), life.signs[1:], lossy, life.ends, is_over=True)

    assert waiting.counted.at == life.signs[-1 - FOLLOWING].at
    assert waiting.missing == ()
    assert sum(one.starts for one in over.missing) == len(life.starts) - len(lossy) > 0


def test_what_came_late_is_taken_back() -> None:
    """When events that were missing come after all, the count says how many are not missing any more."""
    life = Life(2, beats=20, rate=6)
    found = count(begin(life.signs[0]), life.signs[1:10], life.starts[:10], life.ends, is_over=True)
    missing = sum(one.starts for one in found.missing)
    back = found.counted._replace(starts_missing=missing - 1)
    went_on = count(back, life.signs[10:], life.starts, life.ends, is_over=True)

    assert missing > 1
    assert went_on.missing == ()
    assert went_on.counted.starts_missing == missing - 1


def test_restarts_begin_anew() -> None:
    """Another pid is another life, and so is a count that fell under the same pid; a second online is not."""
    first, second = Life(1, beats=3, rate=4), Life(2, beats=2, rate=4)
    shifted = [sign._replace(at=sign.at + 10 * EVERY) for sign in second.signs]
    other = [sign._replace(at=sign.at + 20 * EVERY, pid=8) for sign in first.signs]

    assert [len(life) for life in lives([*other, *shifted, *first.signs])] == [3, 2, 3]
    assert [len(life) for life in lives([*first.signs, first.signs[-1]._replace(at=99 * EVERY)])] == [4]

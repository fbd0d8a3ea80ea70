"""Which of the counted events of a process came: runs of numbers in a row, and the holes between them."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

from taskledger.ticks import merged

#: first and last number of a run, and the moments of the events that bear them
Run = tuple[int, int, int, int]
#: runs that are told apart; where there are more, the shortest holes are forgotten
MOST_RUNS = 1_000


def joined(one: Iterable[Run], other: Iterable[Run]) -> list[Run]:
    """The runs of both, each as long as it can be; the same whatever came first, and a number that comes again."""
    made: list[Run] = []
    for run in sorted([*one, *other]):
        if made and run[0] <= made[-1][1] + 1:
            first, last, first_at, last_at = made[-1]
            made[-1] = (first, max(last, run[1]), first_at, run[3] if run[1] > last else last_at)
        else:
            made.append(run)
    while len(made) > MOST_RUNS:
        place = min(range(len(made) - 1), key=lambda at: made[at + 1][0] - made[at][1])
        made[place : place + 2] = [(made[place][0], made[place + 1][1], made[place][2], made[place + 1][3])]
    return made


def lost(runs: Sequence[Run]) -> int:
    """Numbers between the first and the last that never came."""
    return sum(after[0] - before[1] - 1 for before, after in pairwise(runs))


def holes(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """When what is lost must have happened: from the event before it to the one after."""
    return merged((min(before[3], after[2]), max(before[3], after[2])) for before, after in pairwise(runs))


def as_text(runs: Sequence[Run]) -> str:
    return json.dumps(runs, separators=(",", ":"))


def from_text(text: str) -> list[Run]:
    """What `as_text` wrote."""
    return [(first, last, first_at, last_at) for first, last, first_at, last_at in json.loads(text)]

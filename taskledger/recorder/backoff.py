"""How long to wait before trying again."""

import random
from collections.abc import Iterator

#: seconds; the longest wait for a broker: as long as nobody listens, Redis throws away what it is told
LONGEST_S = 3.0


def delays(longest_s: float = LONGEST_S) -> Iterator[float]:
    """Seconds to wait before each next try, for ever: the first about 0.1, then doubling from 0.5, with jitter.

    The jitter keeps many recorders from knocking at the same moment when a broker comes back.
    """
    yield random.uniform(0.05, 0.15)  # noqa: S311 - no secret
    span_s = 0.5
    while True:
        yield random.uniform(span_s / 2, span_s)  # noqa: S311 - no secret
        span_s = min(span_s * 2, longest_s)

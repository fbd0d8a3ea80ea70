"""How a worker stood at a moment, and what that says of a run without an end: pure, from sessions made by hand."""

import pytest

from taskledger.standing import Moment, of_open_run, standing
from taskledger.workers import Session

S = 1_000_000


def moment(second, *holes, now=100_000):
    return Moment(second * S, now * S, tuple((begin * S, end * S) for begin, end in holes))


def session(first, last, *, pid=1, online=True, offline=None, lag_ms=None):
    return Session(
        pid=pid, first_at=first * S, last_at=last * S, online_at=first * S if online else None,
        offline_at=None if offline is None else offline * S, freq_s=2.0, lag_ms=lag_ms,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sessions", "second", "holes", "status", "since"),
    [
        ((), 50, (), "unknown", None),
        ((session(60, 90),), 50, (), "unknown", None),
        ((session(10, 90),), 50, (), "online", 10),
        ((session(10, 90),), 50, ((40, 60),), "online", 10),
        ((session(10, 90),), 96, (), "online", 10),
        ((session(10, 90),), 97, (), "lost", 90),
        ((session(10, 90),), 97, ((92, 94),), "unknown", 90),
        ((session(10, 90),), 500, ((91, 200),), "unknown", 90),
        ((session(10, 90),), 500, ((300, 400),), "lost", 90),
        ((session(10, 90),), 350, ((300, 400),), "unknown", 90),
        ((session(10, 90, offline=90),), 89, (), "online", 10),
        ((session(10, 90, offline=90),), 90, (), "offline", 90),
        ((session(10, 90, offline=90), session(200, 300, pid=2)), 150, (), "offline", 90),
        ((session(10, 90, offline=90), session(200, 300, pid=2)), 200, (), "online", 200),
        ((session(10, 300), session(20, 90, pid=2, offline=90)), 150, (), "online", 10),
    ],
)
def test_how_a_worker_stood(sessions, second, holes, status, since):
    """Online while one of its lives goes on, offline after a goodbye, lost in a heard silence, else unknown."""
    found = standing(sessions, moment(second, *holes))

    assert (found.status, found.since_at) == (status, None if since is None else since * S)


@pytest.mark.parametrize(
    ("sessions", "second", "holes", "what"),
    [
        ((), 50, (), ("unknown", None)),
        ((session(10, 90),), 60, (), ("running", None)),
        ((session(10, 90),), 60, ((55, 57),), ("unknown", None)),
        ((session(10, 90),), 60, ((20, 45),), ("running", None)),
        ((session(10, 90),), 120, (), ("lost", 90)),
        ((session(10, 90),), 120, ((92, 130),), ("unknown", 90)),
        ((session(10, 90),), 120, ((92, 100),), ("lost", 90)),
        ((session(10, 90, offline=90),), 120, ((92, 130),), ("lost", 90)),
        ((session(10, 40),), 120, (), ("lost", 50)),
        ((session(10, 90), session(100, 300, pid=2)), 99, (), ("lost", 90)),
        ((session(10, 90), session(100, 300, pid=2)), 120, (), None),
        ((session(60, 300),), 120, (), ("running", None)),
    ],
)
def test_what_became_of_a_run_without_an_end(sessions, second, holes, what):
    """Begun at 50: it goes on with its worker's process, as far as its end would have been heard, and ends with it."""
    expected = None if what is None else (what[0], None if what[1] is None else what[1] * S)

    assert of_open_run(sessions, 50 * S, 1, moment(second, *holes)) == expected


def test_a_slow_clock_is_no_silence():
    """Signs that come a minute late may be of a slow clock: as of now the worker is there; later that is known."""
    slow = (session(10, 90, lag_ms=60_000),)

    assert standing(slow, moment(150, now=151)).status == "online"
    assert standing(slow, moment(150)).status == "lost"


def test_a_clock_that_is_ahead_does_not_keep_a_worker_alive():
    """Signs from the future are those of a clock that is ahead: the worker is lost when it was last heard by ours."""
    ahead = (session(10, 90, lag_ms=-60_000),)

    assert standing(ahead, moment(80)).status == "lost"

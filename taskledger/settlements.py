"""Facts that did not come as events: how runs ended that events left open, how that is known, and what it changes."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from taskledger import failures
from taskledger.runs import Run
from taskledger.states import State
from taskledger.texts import MAX_TRACEBACK_CHARS, cut, text

#: states in which events leave a run open
OPEN = frozenset({State.RECEIVED, State.STARTED})
#: characters of a note
MAX_NOTE_CHARS = 255


class SettledBy(IntEnum):
    """How a fact is known that no event told, stored as these numbers; a lower one beats a higher one."""

    BACKEND = 1
    INSPECT = 2
    INFERRED = 3


class Settlement(NamedTuple):
    """A fact about one run, named by its worker and a moment it is known by; times in microseconds since the epoch.

    A run's number may change when older events turn up; its worker and when it was received or started do not. Without
    `begun_at` it is about the task as a whole: what it is called, what it was called with, and its end where no run of
    it was ever seen.
    """

    worker: str | None
    #: when the run was received or started; None: about the task as a whole
    begun_at: int | None
    settled_by: SettledBy
    #: when this was found out
    known_at: int
    state: State | None = None
    #: when it ended, or by when at the latest
    at: int | None = None
    #: whether `at` is the moment at which it ended, so that the run's time can be told
    is_exact: bool = False
    name: str | None = None
    args: str | None = None
    kwargs: str | None = None
    result: str | None = None
    exception: str | None = None
    traceback: str | None = None
    note: str | None = None


def settled(run: Run, settlements: Sequence[Settlement]) -> tuple[Run, Settlement | None]:
    """The run as it is known by the best of these facts, and that fact; the run itself where events told its end."""
    if run.state not in OPEN:
        return run, None
    mine = [one for one in settlements if one.state is not None and is_about(one, run)]
    if not mine:
        return run, None
    best = min(mine, key=_rank)
    return _ended(run, best), best


def unseen(settlements: Sequence[Settlement]) -> tuple[Run, Settlement] | None:
    """The run of a task of which no event told any, where somebody else knows its end."""
    mine = [one for one in settlements if one.state is not None and one.begun_at is None]
    if not mine:
        return None
    best = min(mine, key=_rank)
    empty = Run(1, State.PENDING, best.worker, None, None, None, None, None, None, None, None, None, None, None)
    return _ended(empty, best), best


def is_about(settlement: Settlement, run: Run) -> bool:
    """Whether it is this run that the fact tells of. What follows from its not having begun is void once it has."""
    if settlement.begun_at is None or settlement.worker != run.worker:
        return False
    if settlement.begun_at == run.started_at:
        return True
    is_still_so = run.started_at is None or settlement.settled_by == SettledBy.BACKEND
    return settlement.begun_at == run.received_at and is_still_so


def first_said(settlements: Iterable[Settlement], key: str) -> str | None:
    """What the best fact that says something says of `name`, `args` or `kwargs`."""
    said = (getattr(one, key) for one in sorted(settlements, key=_rank))
    return next((value for value in said if value is not None), None)


def _rank(one: Settlement) -> tuple[int, int, str]:
    """The better known before the worse, the earlier known before the later; never two alike but for copies."""
    return (one.settled_by, one.known_at, repr(one))


def _ended(run: Run, by: Settlement) -> Run:
    state = run.state if by.state is None else by.state
    failure = None
    if state in (State.FAILURE, State.RETRY) and (by.exception or by.traceback):
        failure = failures.describe(by.exception, by.traceback)
    # A clock that was put back must not make a run end before it began.
    begun_at = run.started_at or run.received_at
    ended_at = by.at if by.at is None or begun_at is None else max(by.at, begun_at)
    runs_for_s = (ended_at - run.started_at) / 1e6 if by.is_exact and ended_at and run.started_at else None
    return run._replace(
        state=state,
        ended_at=ended_at,
        runtime_s=runs_for_s,
        exception=cut(failure.text) if failure else None,
        traceback=cut(text(by.traceback), MAX_TRACEBACK_CHARS) if failure else None,
        failure=failure,
        note="; ".join(note for note in (run.note, by.note) if note)[:MAX_NOTE_CHARS] or None,
        settled_by=int(by.settled_by),
    )

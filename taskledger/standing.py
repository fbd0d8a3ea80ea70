"""How a worker stood at a moment, and what that says of a run without an end: pure, from the sessions of its node.

Silence means something only where somebody listened, and a sign of life is judged by our clock, not by the node's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.workers import Session, lost_after_s

#: what a run without an end was at a moment
RUNNING, LOST, UNKNOWN = "running", "lost", "unknown"


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment in question, and now: what happened in between is known as well.

    `heard_since_at` is since when, without a break up to the moment, somebody listened; None where nobody did then.
    """

    at: int
    now_at: int
    heard_since_at: int | None

    def is_heard_since(self, at: int) -> bool:
        """Whether somebody listened all the time from then to the moment."""
        return self.heard_since_at is not None and self.heard_since_at <= at


@dataclass(frozen=True, slots=True)
class Standing:
    """`status`: online, offline (said goodbye), lost (fell silent) or unknown; since when, and by which session."""

    status: str
    since_at: int | None
    session: Session | None


def standing(sessions: Sequence[Session], moment: Moment) -> Standing:
    """How a node stood at a moment. A session that began before and was heard after lasted all the while."""
    begun = sorted((one for one in sessions if one.first_at <= moment.at), key=lambda one: one.first_at)
    if not begun:
        return Standing("unknown", None, None)
    lasting = [one for one in begun if _lasted(one, moment)]
    if lasting:
        return Standing("online", lasting[-1].online_at or lasting[-1].first_at, lasting[-1])
    last = max(begun, key=lambda one: one.last_at)
    if _said_goodbye(last):
        return Standing("offline", last.offline_at, last)
    is_heard = moment.is_heard_since(_last_sign(last, moment))
    return Standing("lost" if is_heard else "unknown", last.last_at, last)


def of_open_run(
    sessions: Sequence[Session], started_at: int, pid: int | None, moment: Moment
) -> tuple[str, int | None] | None:
    """What a run was whose end nobody heard: running, lost or unknown, and its worker's last sign where that tells.

    `sessions` are those of its worker. Lost: the worker was not heard of any more, and the run ended with it. None when
    the worker has begun another life since: then it is over, and nothing is known of how.
    """
    mine = _of_run(sessions, started_at, pid)
    if mine is None:
        return UNKNOWN, None
    if _lasted(mine, moment):
        return (RUNNING if moment.is_heard_since(started_at) else UNKNOWN), None
    if any(mine.last_at < one.first_at <= moment.at and started_at < one.first_at for one in sessions):
        return None
    # The start is a sign of life as well, and may be the last one.
    last_at = max(mine.last_at, started_at)
    is_over = _said_goodbye(mine) or moment.is_heard_since(max(_last_sign(mine, moment), started_at))
    return (LOST if is_over else UNKNOWN), last_at


def _of_run(sessions: Sequence[Session], started_at: int, pid: int | None) -> Session | None:
    """The life in which a run began; the run itself may be the earliest sign of it."""
    same = [one for one in sessions if one.pid == pid] or list(sessions)
    before = [one for one in same if one.first_at <= started_at]
    return (
        max(before, key=lambda one: one.first_at) if before else min(same, key=lambda one: one.first_at, default=None)
    )


def _lasted(one: Session, moment: Moment) -> bool:
    """Whether it was there at the moment: heard afterwards, or silent no longer than a worker may be."""
    if _said_goodbye(one) and one.last_at <= moment.at:
        return False
    return moment.at - _last_sign(one, moment) <= lost_after_s(one.freq_s) * 1_000_000


def _said_goodbye(one: Session) -> bool:
    return one.offline_at is not None and one.offline_at >= one.last_at


def _last_sign(one: Session, moment: Moment) -> int:
    """By our clock, as far as the least lag of a session tells how the node's differs from it.

    Signs that come late may come from a slow clock, and then the newest are still to come; or out of a queue that a
    recorder found when it came back, and then they tell nothing of the clock.
    """
    lag = (one.lag_ms or 0) * 1000
    return one.last_at + (lag if lag < 0 or moment.now_at - moment.at <= lag else 0)

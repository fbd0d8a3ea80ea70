"""How a worker stood at a moment, and what that says of a run without an end: pure, from the sessions of its node.

Silence means something only where somebody listened, and a sign of life is judged by our clock, not by the node's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.lives import session_of
from taskledger.workers import Session, lost_after_s

#: what a run without an end was at a moment
RUNNING, LOST, UNKNOWN = "running", "lost", "unknown"


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment in question, now, and the stretches (from, to) up to the moment in which nobody listened.

    What happened between the moment and now is known as well.
    """

    at: int
    now_at: int
    holes: tuple[tuple[int, int], ...]

    @property
    def heard_until_at(self) -> int:
        """The moment, or where the stretch before it began in which nobody listened."""
        return min((from_at for from_at, to_at in self.holes if from_at <= self.at < to_at), default=self.at)

    def is_heard(self, from_at: int, to_at: int) -> bool:
        """Whether somebody listened from then to then."""
        return not any(hole_from < to_at and from_at < hole_to for hole_from, hole_to in self.holes)

    def is_silence(self, since_at: int, lost_after: int) -> bool:
        """Whether somebody heard that nothing came: right after the last sign, or just before the moment."""
        return self.is_heard(since_at, since_at + lost_after) or self.is_heard(self.at - lost_after, self.at + 1)


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
    sign_at, patience = _last_sign(last, moment), _patience(last)
    # It fell silent, and has not come back unheard since.
    is_lost = moment.is_heard(sign_at, sign_at + patience) and moment.is_heard(moment.at - patience, moment.at + 1)
    return Standing("lost" if is_lost else "unknown", last.last_at, last)


def of_open_run(
    sessions: Sequence[Session], started_at: int, pid: int | None, moment: Moment
) -> tuple[str, int | None] | None:
    """What a run was whose end nobody heard: running, lost or unknown, and its worker's last sign where that tells.

    `sessions` are those of its worker. Lost: the worker was not heard of any more, and the run ended with it. None when
    the worker has begun another life since: then it is over, and nothing is known of how.
    """
    mine = session_of(sessions, started_at, pid)
    if mine is None:
        return UNKNOWN, None
    if _lasted(mine, moment):
        return (RUNNING if moment.is_heard(started_at, moment.at + 1) else UNKNOWN), None
    if any(mine.last_at < one.first_at <= moment.at and started_at < one.first_at for one in sessions):
        return None
    # The start is a sign of life as well, and may be the last one.
    last_at = max(mine.last_at, started_at)
    is_over = _said_goodbye(mine) or moment.is_silence(max(_last_sign(mine, moment), started_at), _patience(mine))
    return (LOST if is_over else UNKNOWN), last_at


def _lasted(one: Session, moment: Moment) -> bool:
    """Whether it was there at the moment: heard afterwards, or silent no longer than a worker may be."""
    if _said_goodbye(one) and one.last_at <= moment.at:
        return False
    return moment.at - _last_sign(one, moment) <= _patience(one)


def _patience(one: Session) -> int:
    return round(lost_after_s(one.freq_s) * 1_000_000)


def _said_goodbye(one: Session) -> bool:
    return one.offline_at is not None and one.offline_at >= one.last_at


def _last_sign(one: Session, moment: Moment) -> int:
    """By our clock, as far as the least lag of a session tells how the node's differs from it.

    Signs that come late may come from a slow clock, and then the newest are still to come; or out of a queue that a
    recorder found when it came back, and then they tell nothing of the clock.
    """
    lag = (one.lag_ms or 0) * 1000
    return one.last_at + (lag if lag < 0 or moment.now_at - moment.at <= lag else 0)

"""Whether the process that had a run still has it: what its heartbeats, its goodbye and its successor tell."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from taskledger.runs import Run
from taskledger.workers import DEFAULT_FREQ_S, Session, lost_after_s

#: microseconds by which a run may begin before the first sign of its process is heard
SLACK = 2_000_000
#: microseconds after its start from which a heartbeat that does not count a run says that it has ended
SETTLED_IN = 5_000_000


class Sign(Enum):
    """What speaks against a run that events left open."""

    NONE = auto()  #: its process lives, and may have it
    IDLE = auto()  #: its process lives, and says that it runs nothing
    FEWER = auto()  #: its process lives, and says that it runs fewer than events left open
    RECONNECTED = auto()  #: its process lost its broker before it began the run
    INTERRUPTED = auto()  #: its process lives, and lost its broker since: what it told then may be lost
    OFFLINE = auto()  #: its process said goodbye, and may be finishing what it runs
    REPLACED = auto()  #: another process has begun under the worker's name, and its own is silent
    SILENT = auto()  #: its process sends no heartbeats any more


class Life(NamedTuple):
    """One life of a worker's process, by the worker's clock; `lag_ms` is how far that is behind ours."""

    heard_at: int
    freq_s: float | None
    lag_ms: int
    active: int | None = None
    heartbeat_at: int | None = None
    offline_at: int | None = None
    #: when it announced itself again, as it does when it lost its broker
    online_again_at: int | None = None
    #: the first sign of another process of that name, after its own last
    next_at: int | None = None

    @property
    def gone_at(self) -> int:
        """By when it was gone: it said so, or its next heartbeat did not come, or another had begun in its place."""
        if self.offline_at is not None or self.heartbeat_at is None:
            return self.heard_at
        missed_at = self.heard_at + round((self.freq_s or DEFAULT_FREQ_S) * 1e6)
        return missed_at if self.next_at is None else max(self.heard_at, min(missed_at, self.next_at))

    def by_its_clock(self, at: int) -> int:
        return at - self.lag_ms * 1000

    def by_our_clock(self, at: int) -> int:
        return at + self.lag_ms * 1000


def begun_at(run: Run) -> int:
    """When a run is first known of, on its worker."""
    found = run.started_at if run.started_at is not None else run.received_at
    if found is None:
        raise ValueError("no worker has told of this run")
    return found


def life_of(sessions: Sequence[Session], run: Run) -> Life | None:
    """The life in which a run was begun, of its worker's sessions; None where none was heard of."""
    at = begun_at(run)
    ordered = sorted(sessions, key=_began)
    own = session_of(ordered, at, run.pid)
    if own is None:
        later = [session for session in ordered if session.first_at > at]
        return Life(at, None, later[0].lag_ms or 0, next_at=later[0].first_at) if later else None
    return _life(_joined(own, _same(ordered, run.pid), run), ordered, at)


def session_of(sessions: Sequence[Session], at: int, pid: int | None) -> Session | None:
    """The session in which a process of that pid began a run; None where none of it was heard of."""
    same = _same(sessions, pid)
    begun = [session for session in same if session.first_at <= at + SLACK]
    return max(begun, key=_began) if begun else min(same, key=_began, default=None)


def _same(sessions: Sequence[Session], pid: int | None) -> list[Session]:
    return [session for session in sessions if pid is None or session.pid in (0, pid)]


def _began(session: Session) -> int:
    return session.first_at


def _joined(own: Session, same: Sequence[Session], run: Run) -> list[Session]:
    """The sessions that are one process: a worker that lost its broker announces itself again, and goes on counting.

    A new process, which in a container may well have the same pid, begins at 0.
    """
    parts = [own]
    processed = max(own.processed or 0, int(run.started_at is not None))
    for session in same[same.index(own) + 1 :]:
        if session.processed_from is not None and session.processed_from < processed:
            break
        parts.append(session)
        processed = max(processed, session.processed or 0)
    return parts


def _life(parts: Sequence[Session], ordered: Sequence[Session], at: int) -> Life:
    last = parts[-1]
    heard_at = max(last.last_at, at)
    others = [session for session in ordered if session not in parts and session.first_at > last.last_at]
    is_over = last.offline_at is not None and last.offline_at >= heard_at
    return Life(
        heard_at,
        last.freq_s or parts[0].freq_s,
        last.lag_ms or 0,
        last.active,
        last.heartbeat_at,
        last.offline_at if is_over else None,
        last.online_at if len(parts) > 1 else None,
        others[0].first_at if others else None,
    )


def sign_of(run: Run, life: Life, now_at: int, open_runs: int) -> Sign:
    """What speaks against a run; `open_runs` is how many begun runs events left open on its worker."""
    silent_s = (life.by_its_clock(now_at) - life.heard_at) / 1e6
    if silent_s > lost_after_s(life.freq_s):
        if life.next_at is not None:
            return Sign.REPLACED
        return Sign.SILENT if life.offline_at is None else Sign.OFFLINE
    was_cut_off = life.online_again_at is not None and life.online_again_at > begun_at(run)
    if run.started_at is None:
        return Sign.RECONNECTED if was_cut_off else Sign.NONE
    # A worker of Celery 5.4 whose broker went at the wrong moment counts what has ended as active for ever.
    nothing_more = Sign.INTERRUPTED if was_cut_off else Sign.NONE
    if life.active is None or life.heartbeat_at is None or life.heartbeat_at < run.started_at + SETTLED_IN:
        return nothing_more
    if life.active == 0:
        return Sign.IDLE
    return Sign.FEWER if life.active < open_runs else nothing_more

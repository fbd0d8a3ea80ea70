"""What may be said of a run that events left open: by what somebody else kept of it, or because nobody can have it."""

from collections.abc import Sequence
from typing import NamedTuple

from taskledger.lives import Life, Sign, begun_at
from taskledger.runs import Run
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State
from taskledger.workers import lost_after_s

#: seconds in which an event, or another answer, may still come before anything is inferred
GRACE_S = 20.0
#: as much more where no heartbeat came since the run began: in the solo pool none does
SOLO_GRACE_S = 15.0
#: seconds that a worker gets that said goodbye: in a warm shutdown it does so first, and then finishes what it runs
#: (celery/worker/consumer/heart.py stops before the pool does)
OFFLINE_GRACE_S = 600.0
#: microseconds by which the clocks of a worker's processes may differ
SKEW = 1_000_000
#: microseconds by which a time may be wrong that a database keeps without its zone
ZONES = 15 * 3_600_000_000

#: what result backends keep of an end (celery/states.py)
ENDS = {
    "SUCCESS": State.SUCCESS,
    "FAILURE": State.FAILURE,
    "REVOKED": State.REVOKED,
    "REJECTED": State.REJECTED,
    "IGNORED": State.IGNORED,
}


class Found(NamedTuple):
    """What a result backend keeps of one task id; texts as events have them. It does not say of which run."""

    status: str
    done_at: int | None = None
    worker: str | None = None
    retries: int | None = None
    name: str | None = None
    args: str | None = None
    kwargs: str | None = None
    result: str | None = None
    exception: str | None = None
    traceback: str | None = None
    #: what could not be read of it
    note: str | None = None


class Suspect(NamedTuple):
    """A run that events left open although something speaks against it."""

    cluster: str
    task_id: str
    run: Run
    #: all runs of the task, in their order
    runs: Sequence[Run]
    life: Life
    sign: Sign
    #: whether a recorder was listening all the time since it began, so that its end would have been heard
    is_covered: bool
    #: whether one was listening just now, so that its process would have been heard
    is_heard: bool


def by_backend(suspect: Suspect, found: Found, now_at: int) -> Settlement | None:
    """What a result backend's answer says of a run; None where it says nothing of this one."""
    state = _state(suspect, found)
    if state is None:
        return None
    run, done_at = suspect.run, found.done_at
    is_exact = done_at is not None and begun_at(run) - SKEW <= done_at <= suspect.life.by_its_clock(now_at) + SKEW
    at = done_at if is_exact else suspect.life.heartbeat_at or suspect.life.heard_at
    return Settlement(
        run.worker, begun_at(run), SettledBy.BACKEND, now_at, state, at, is_exact, found.name, found.args, found.kwargs,
        found.result, found.exception, found.traceback, found.note,
    )  # fmt: skip


def _state(suspect: Suspect, found: Found) -> State | None:
    """The state in which this run ended, if the answer can be of no other run."""
    if found.status == "RETRY":
        return State.RETRY if _is_of_attempt(suspect, found) else None
    state = ENDS.get(found.status)
    if state is None or not _is_of_worker(suspect.run, found):
        return None
    if len(suspect.runs) == 1:
        # An older end is one of before, under the same id: of a task whose events are pruned.
        is_older = found.done_at is not None and found.done_at < begun_at(suspect.run) - ZONES
        return None if is_older else state
    if found.done_at is None or found.done_at < begun_at(suspect.run) - SKEW:
        return None
    others = [other for other in suspect.runs if other.number > suspect.run.number]
    return state if all(_first_at(other) > found.done_at or found.worker for other in others) else None


def _is_of_worker(run: Run, found: Found) -> bool:
    return found.worker is None or run.worker is None or found.worker == run.worker


def _is_of_attempt(suspect: Suspect, found: Found) -> bool:
    """Whether a RETRY is that of this run: it carries no time, but with `result_extended` the count of its attempt."""
    if not _is_of_worker(suspect.run, found):
        return False
    if found.retries is not None and suspect.run.retries is not None:
        return found.retries == suspect.run.retries
    return len(suspect.runs) == 1 and not suspect.run.retries


def _first_at(run: Run) -> int:
    moments = [at for at in (run.received_at, run.started_at, run.ended_at) if at is not None]
    return min(moments, default=0)


def by_inference(suspect: Suspect, now_at: int, since_at: int, asked: str) -> Settlement | None:
    """What follows where nobody answers: nothing before the grace is over, or where it does not follow.

    `since_at` is since when the sign was seen, by our clock; `asked` says in words what the result backend answered.
    """
    state = _inferred(suspect)
    if state is not None and _was_followed(suspect):
        state = State.RETRY
    if state is None or (now_at - since_at) / 1e6 < _grace_s(suspect):
        return None
    life = suspect.life
    at = life.gone_at if suspect.sign in _GONE or life.heartbeat_at is None else life.heartbeat_at
    why = "a later attempt was received" if state == State.RETRY else _WHY[suspect.sign]
    note = f"{why}{_doubt(suspect, state)}; {asked}"
    return Settlement(suspect.run.worker, begun_at(suspect.run), SettledBy.INFERRED, now_at, state, at, note=note)


_GONE = frozenset({Sign.OFFLINE, Sign.REPLACED, Sign.SILENT})
_WHY = {
    Sign.IDLE: "its worker says that it runs nothing any more, and nothing said how it ended",
    Sign.RECONNECTED: "its worker lost its broker before it began, and the broker delivers it again",
    Sign.OFFLINE: "its worker went offline more than ten minutes ago",
    Sign.REPLACED: "a new process of its worker began, and the one before is silent",
    Sign.SILENT: "no heartbeat of its worker came any more",
}


def by_inspection(suspect: Suspect, now_at: int) -> Settlement:
    """What follows where a worker, asked, does not know a run any more: it has ended, and nothing said how."""
    note = "its worker, when asked, did not know it any more, and nothing said how it ended"
    at, run = suspect.life.by_its_clock(now_at), suspect.run
    return Settlement(run.worker, begun_at(run), SettledBy.INSPECT, now_at, State.IGNORED, at, note=note)


def _inferred(suspect: Suspect) -> State | None:
    if suspect.sign not in _WHY or (suspect.sign == Sign.SILENT and not _is_silence_telling(suspect)):
        return None
    if suspect.run.started_at is None:
        # In a time that nobody recorded it may have begun.
        return State.CANCELLED if suspect.is_covered else None
    if suspect.sign == Sign.IDLE or not suspect.is_covered:
        return State.IGNORED
    return State.LOST


def _is_silence_telling(suspect: Suspect) -> bool:
    """Not where nobody listened, nor of a process that never sent a heartbeat (`--without-heartbeat`)."""
    return suspect.is_heard and suspect.life.heartbeat_at is not None


def _was_followed(suspect: Suspect) -> bool:
    """Whether there is a later attempt: then this one was retried, whatever became of the event that says so."""
    run = suspect.run
    if run.started_at is None or run.retries is None:
        return False
    return any(other.retries is not None and other.retries > run.retries for other in suspect.runs)


def _grace_s(suspect: Suspect) -> float:
    """Seconds from the last sign of the process, or since its idleness was first seen."""
    life, run = suspect.life, suspect.run
    if suspect.sign == Sign.OFFLINE:
        return OFFLINE_GRACE_S
    if suspect.sign not in _GONE:
        return GRACE_S
    was_heard_since = life.heartbeat_at is not None and life.heartbeat_at > begun_at(run)
    is_doubtful = suspect.sign == Sign.SILENT and run.started_at is not None and not was_heard_since
    return lost_after_s(life.freq_s) + GRACE_S + (SOLO_GRACE_S if is_doubtful else 0.0)


def _doubt(suspect: Suspect, state: State) -> str:
    if state == State.IGNORED and not suspect.is_covered:
        return ", and part of the time was not recorded, so how it ended is not known"
    return ""

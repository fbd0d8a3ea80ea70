"""Judge a schedule: hold what was promised against what was seen, and say what cannot be known."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from taskledger.crontabs import SECOND
from taskledger.states import State
from taskledger.ticks import Facts, Fire, Scope, Spans, Tick, Version, is_covered, ticks

#: seconds within which a worker should have received what was sent
RECEIVE_WITHIN_S = 300.0

#: what a task's state says of a fire; what is waiting to be received is told apart by `outcome`
_OUTCOMES = {
    State.SUCCESS: "ok",
    State.FAILURE: "failed",
    State.REJECTED: "rejected",
    State.IGNORED: "ended",
    State.REVOKED: "revoked",
    State.LOST: "lost",
    State.RETRY: "retrying",
    State.STARTED: "running",
    State.RECEIVED: "waiting",
    State.CANCELLED: "waiting",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one due time; `fire` and `flags` are words of beat.md 4.1. Final once closes_at has passed."""

    due_at: int
    #: from this moment on no fire counts for it
    closes_at: int
    fire: str
    #: when it was sent, or was tried to be
    fired_at: int | None = None
    task_id: str | None = None
    source: str | None = None
    flags: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    error: str | None = None

    @property
    def lateness_s(self) -> float | None:
        return None if self.fired_at is None else (self.fired_at - self.due_at) / SECOND


@dataclass(frozen=True, slots=True)
class Extra:
    """A fire that belongs to no due time; `reason`: "off_schedule" or "while_disabled"."""

    at: int
    task_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts by due time, and the fires that no due time explains."""

    verdicts: tuple[Verdict, ...]
    extras: tuple[Extra, ...]


def judge(facts: Facts, scope: Scope) -> Judgement:
    """The verdict of each due time in the scope, by the definition in force then; extras from the first window on."""
    slots = ticks(facts, scope)
    attempts = sorted(facts.fires, key=lambda fire: fire.at)
    extras = [*_share_out(slots, attempts, facts.versions)]
    for tick in slots:
        extras += [Extra(fire.at, fire.task_id, "off_schedule") for fire in _surplus(tick)]
    verdicts = tuple(_verdict(tick, facts.coverage, scope.now_at) for tick in slots)
    return Judgement(verdicts, tuple(sorted(extras, key=lambda extra: extra.at)))


def outcome(state: State, note: str | None, fired_at: int, now_at: int, coverage: Spans) -> str:
    """What became of a fire by its task's state and its last run's note, or why that is not known (beat.md 4.1)."""
    if state is State.REVOKED and "expired" in (note or ""):
        return "expired"
    if state in _OUTCOMES:
        return _OUTCOMES[state]
    deadline_at = fired_at + round(RECEIVE_WITHIN_S * SECOND)
    if not is_covered(coverage, fired_at, min(now_at, deadline_at)):
        return "unknown"
    return "waiting" if now_at <= deadline_at else "not_received"


def _share_out(slots: Sequence[Tick], attempts: Sequence[Fire], versions: Sequence[Version]) -> Iterable[Extra]:
    """Give each fire to the tick whose window holds it; the rest, from the first window on, belongs to none."""
    starts = [tick.starts_at for tick in slots]
    for fire in attempts:
        place = bisect_right(starts, fire.at) - 1
        if place >= 0 and fire.at < slots[place].closes_at and slots[place].enabled:
            slots[place].fires.append(fire)
        elif place >= 0 and fire.error is None:
            yield Extra(fire.at, fire.task_id, _reason(fire, versions))


def _reason(fire: Fire, versions: Sequence[Version]) -> str:
    in_force = [version for version in versions if version.from_at <= fire.at < version.end_at]
    return "while_disabled" if in_force and not in_force[-1].enabled else "off_schedule"


def _sent(tick: Tick) -> list[Fire]:
    return [fire for fire in tick.fires if fire.error is None]


def _surplus(tick: Tick) -> list[Fire]:
    """Fires of the window that are too far from its own to be duplicates of it."""
    sent = _sent(tick)
    return [fire for fire in sent[1:] if fire.at - sent[0].at > tick.grace]


def _verdict(tick: Tick, coverage: Spans, now_at: int) -> Verdict:
    sent = _sent(tick)
    failed = [fire for fire in tick.fires if fire.error is not None]
    if sent:
        return _fired(tick, sent, failed)
    bare = Verdict(tick.due_at, tick.closes_at, _unfired(tick, coverage, now_at))
    if failed:
        first = failed[0]
        return replace(bare, fire="failed_to_send", fired_at=first.at, source=first.source, error=first.error)
    return bare


def _fired(tick: Tick, sent: Sequence[Fire], failed: Sequence[Fire]) -> Verdict:
    first = sent[0]
    copies = [fire for fire in sent[1:] if fire.at - first.at <= tick.grace]
    flags = {
        tick.flag or "": tick.flag is not None,
        "catch_up": first.due_at is not None and first.due_at < tick.starts_at,
        "duplicate": bool(copies),
        "two_beats": len({fire.beat_id for fire in (first, *copies)}) > 1,
        "send_error": bool(failed),
        "time_from_worker": first.source == "worker only",
    }
    return Verdict(
        tick.due_at,
        tick.closes_at,
        "on_time" if first.at - tick.due_at <= tick.grace else "late",
        first.at,
        first.task_id,
        first.source,
        tuple(flag for flag, is_so in flags.items() if is_so),
        tuple(fire.task_id for fire in copies if fire.task_id),
    )


def _unfired(tick: Tick, coverage: Spans, now_at: int) -> str:
    if not tick.enabled:
        return "disabled"
    if now_at <= tick.due_at + tick.grace and now_at < tick.closes_at:
        return "pending"
    if not is_covered(coverage, tick.starts_at, min(now_at, tick.closes_at)):
        return "unknown"
    if now_at < tick.closes_at:
        return "pending" if tick.is_optional else "overdue"
    return "dst_skipped" if tick.is_optional else "missed"

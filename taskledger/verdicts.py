"""Judge a schedule: hold what was promised against what was seen, and say what cannot be known."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from taskledger import proofs
from taskledger.crontabs import SECOND
from taskledger.states import State
from taskledger.ticks import Count, Facts, Fire, Scope, Spans, Tick, Version, is_covered, ticks

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


#: what `run_flags` finds, for people
RUN_WORDS = {
    "redelivered": "delivered more than once",
    "overran": "still running when the next one was due",
    "too_long": "ran longer than is set for the entry",
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


@dataclass(frozen=True, slots=True)
class Delivery:
    """One time that a worker got a fire's task: its number of retries by then, and when it ran, as far as is known."""

    retries: int
    started_at: int | None
    ended_at: int | None


def judge(facts: Facts, scope: Scope) -> Judgement:
    """The verdict of each due time in the scope, by the definition in force then; extras from the first window on."""
    facts = replace(facts, fires=sorted(set(facts.fires), key=_by_time), counts=sorted(set(facts.counts), key=_read))
    tolerance = proofs.tolerance_of(facts, scope)
    proven = proofs.proven(facts, tolerance)
    news = [run for run in proven if _is_news(run, facts.coverage)]
    slots = ticks(facts, scope, news)
    extras = [*_share_out(slots, facts.fires, facts.versions)]
    for tick in slots:
        extras += [Extra(fire.at, fire.task_id, "off_schedule") for fire in _surplus(tick)]
    proofs.share_out(slots, proven)
    proofs.mark_counted(slots, facts, scope, news, tolerance)
    verdicts = tuple(_verdict(tick, facts, scope.now_at) for tick in slots)
    return Judgement(verdicts, tuple(sorted(extras, key=lambda extra: (extra.at, extra.task_id or ""))))


def outcome(
    state: State,
    note: str | None,
    fired_at: int,
    now_at: int,
    coverage: Spans,
    receive_within_s: float = RECEIVE_WITHIN_S,
) -> str:
    """What became of a fire by its task's state and its last run's note, or why that is not known (beat.md 4.1)."""
    if state is State.REVOKED and "expired" in (note or ""):
        return "expired"
    if state in _OUTCOMES:
        return _OUTCOMES[state]
    deadline_at = fired_at + round(receive_within_s * SECOND)
    if not is_covered(coverage, fired_at, min(now_at, deadline_at)):
        return "unknown"
    return "waiting" if now_at <= deadline_at else "not_received"


def run_flags(
    deliveries: Sequence[Delivery], next_due_at: int | None, seen_until_at: int, max_runtime_s: float | None = None
) -> tuple[str, ...]:
    """What is odd about how a fire's task ran: "redelivered", "overran", "too_long"; a retry is no redelivery.

    A delivery without an end is known to go on until seen_until_at, the last sign of it (or now, if its worker lives).
    """
    ends = [(one.started_at, one.ended_at or seen_until_at) for one in deliveries if one.started_at is not None]
    flags = {
        "redelivered": len({one.retries for one in deliveries}) < len(deliveries),
        "overran": next_due_at is not None and any(since <= next_due_at < until for since, until in ends),
        "too_long": max_runtime_s is not None and any(until - since > max_runtime_s * SECOND for since, until in ends),
    }
    return tuple(flag for flag, is_so in flags.items() if is_so)


def _share_out(slots: Sequence[Tick], attempts: Sequence[Fire], versions: Sequence[Version]) -> Iterable[Extra]:
    """Give each fire to the tick whose window holds it; the rest, from the first window on, belongs to none."""
    starts = [tick.starts_at for tick in slots]
    for fire in attempts:
        place = bisect_right(starts, fire.at) - 1
        if place >= 0 and fire.at < slots[place].closes_at and slots[place].enabled:
            slots[place].fires.append(fire)
        elif place >= 0 and fire.error is None:
            yield Extra(fire.at, fire.task_id, _reason(fire, versions))


def _by_time(fire: Fire) -> tuple[int, str, str, int, str]:
    return fire.at, fire.task_id or "", fire.beat_id or "", fire.run_count or 0, fire.source


def _read(count: Count) -> tuple[int, int, int]:
    return count.at, count.run_count, count.last_run_at or 0


def _is_news(run: Fire, coverage: Spans) -> bool:
    """Whether an interval is counted from a run that nobody heard.

    Not from one that only a later fire told of, though somebody was listening: what was judged stays as it was.
    """
    return run.source == proofs.BY_COUNTER or not is_covered(coverage, run.at, run.at)


def _reason(fire: Fire, versions: Sequence[Version]) -> str:
    in_force = [version for version in versions if version.from_at <= fire.at < version.end_at]
    return "while_disabled" if in_force and not in_force[-1].enabled else "off_schedule"


def _sent(tick: Tick) -> list[Fire]:
    return [fire for fire in tick.fires if fire.error is None]


def _surplus(tick: Tick) -> list[Fire]:
    """Fires of the window that are too far from its own to be duplicates of it."""
    sent = _sent(tick)
    return [fire for fire in sent[1:] if fire.at - sent[0].at > tick.grace]


def _verdict(tick: Tick, facts: Facts, now_at: int) -> Verdict:
    sent = _sent(tick)
    failed = [fire for fire in tick.fires if fire.error is not None]
    if sent:
        return _fired(tick, sent, failed)
    bare = Verdict(tick.due_at, tick.closes_at, _unfired(tick, facts, now_at))
    if failed:
        first = failed[0]
        return replace(bare, fire="failed_to_send", fired_at=first.at, source=first.source, error=first.error)
    return _inferred(tick, facts, bare, now_at)


def _inferred(tick: Tick, facts: Facts, bare: Verdict, now_at: int) -> Verdict:
    """What beat remembers of a tick that nobody heard of: that it ran, or was not sent where that would be heard."""
    has_hole = bare.fire == "unknown" and not _is_covered(tick, facts, now_at)
    # What a later fire tells comes too late for a tick that was judged by what everybody heard.
    told = [run for run in tick.proven if run.source == proofs.BY_COUNTER or has_hole]
    if told:
        return _proven(tick, facts, bare, told[0], now_at)
    if tick.is_counted and bare.fire in ("missed", "unknown") and facts.hears_sends:
        return replace(bare, fire="failed_to_send", source=proofs.BY_COUNTER, flags=("inferred",))
    return bare


def _proven(tick: Tick, facts: Facts, bare: Verdict, run: Fire, now_at: int) -> Verdict:
    known = replace(bare, fired_at=run.at, source=run.source, flags=(*filter(None, [tick.flag]), "inferred"))
    if _would_be_heard(facts, run, tick):
        return replace(known, fire="failed_to_send") if now_at > run.at + tick.grace else bare
    if run.source == proofs.BY_COUNTER:
        # Beat counts before it sends: that it tried is known, and not whether it could.
        return replace(bare, fire="unknown", source=run.source)
    return replace(known, fire="on_time" if run.at - tick.due_at <= tick.grace else "late")


def _would_be_heard(facts: Facts, run: Fire, tick: Tick) -> bool:
    """Whether silence means that it was not sent. The probe tells of failures itself: its silence is lost news."""
    is_heard = facts.hears_sends and is_covered(facts.coverage, run.at - tick.early, run.at + tick.grace)
    has_probe = any(fire.source == "probe" and fire.at <= run.at for fire in facts.fires)
    return run.source == proofs.BY_COUNTER and is_heard and not has_probe


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


def _unfired(tick: Tick, facts: Facts, now_at: int) -> str:
    if not tick.enabled:
        return "disabled"
    if now_at <= tick.due_at + tick.grace and now_at < tick.closes_at:
        return "pending"
    if not tick.is_sure or not _is_covered(tick, facts, now_at):
        return "unknown"
    if now_at < tick.closes_at:
        return "pending" if tick.is_optional else "overdue"
    if facts.counted_until_at is not None and facts.counted_until_at < tick.closes_at:
        # Beat's counter may yet tell of a run that could not be sent.
        return "unknown"
    return "dst_skipped" if tick.is_optional else "missed"


def _is_covered(tick: Tick, facts: Facts, now_at: int) -> bool:
    return is_covered(facts.coverage, tick.starts_at, min(now_at, tick.closes_at))

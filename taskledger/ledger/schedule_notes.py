"""Say why: the sentence beside a verdict, and the verdicts that what the ledger holds cannot carry."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from taskledger import crontabs
from taskledger.crontabs import SECOND, Crontab
from taskledger.ledger.schedule_facts import BY_BEAT
from taskledger.proofs import BY_COUNTER
from taskledger.schedules import Entry
from taskledger.ticks import Fire, Spans, early_of, grace_of
from taskledger.verdicts import Verdict

#: names of rivals that a note spells out
MOST_NAMES = 3
_UNHEARD_ADVICE = (
    "set task_send_sent_event = True where beat runs, and restart beat; "
    "a send that no worker has received leaves no trace"
)
_FLAG_NOTES = {
    "time_from_worker": "measured at the worker: the time is when it was received, the wait in the queue included",
    "two_beats": "two beats may be running",
    "anchor": "the interval is counted from here",
    "catch_up": "sent for an earlier due time, once for all that had passed",
    "send_error": "an earlier attempt to send it failed",
    "dst_gap": "the clock skipped this time",
    "dst_repeat": "the clock showed this time twice; this is the second",
    "dst_stretched": "the interval ran by the wall clock, which was put back",
    "dst_shrunk": "the interval ran by the wall clock, which was put forward",
}


@dataclass(frozen=True, slots=True)
class Background:
    """What else is known when an entry is judged."""

    entry: Entry
    coverage: Spans
    #: other entries whose sends look the same
    rivals: Sequence[Entry]
    #: every fire of this entry, and of its rivals
    fires: Sequence[Fire]
    #: whether other entries were sent in the window; None if that is not known
    others_sent: bool | None
    #: how the newest fire of any entry of the cluster is known that came before the window closed; None without any
    newest_evidence: str | None
    #: ids of tasks of this entry of which only workers told
    received: Collection[str | None]
    #: tasks from before this moment may have been pruned
    pruned_at: int
    #: up to when the entry's own count of its runs is known; None where nobody reads it
    counted_until_at: int | None = None


def explained(verdict: Verdict, background: Background) -> tuple[Verdict, str | None]:
    """The verdict, weakened where the ledger cannot carry it, and a note on it."""
    if "inferred" in verdict.flags:
        return verdict, _inferred_note(verdict)
    if verdict.fire in ("on_time", "late"):
        return _fired(verdict, background)
    if verdict.fire in ("missed", "overdue"):
        return _unseen(verdict, background)
    return verdict, _plain_note(verdict, background)


def _plain_note(verdict: Verdict, background: Background) -> str | None:
    match verdict.fire:
        case "failed_to_send":
            return f"beat could not send it: {verdict.error}"
        case "unknown":
            return _unknown_note(verdict, background)
        case "dst_skipped":
            return "the clock showed this time twice, or not at all"
        case _:
            return None


def _fired(verdict: Verdict, background: Background) -> tuple[Verdict, str | None]:
    """A worker that comes back receives what was sent over hours at once: that is neither late nor twice."""
    by_beat = tuple(task_id for task_id in verdict.duplicates if task_id not in background.received)
    if verdict.source in BY_BEAT and by_beat:
        known = replace(verdict, duplicates=by_beat)
    else:
        known = replace(verdict, duplicates=(), flags=_without_copies(verdict))
    if background.rivals:
        return _contested(known, background)
    note = _fired_note(known, background)
    if verdict.duplicates and not known.duplicates:
        note = "; ".join(filter(None, ("received together; when they were sent is not known", note)))
    if known.fire == "late" and known.source not in BY_BEAT:
        known = replace(known, fire="unknown")
    return known, note


def _fired_note(verdict: Verdict, background: Background) -> str | None:
    notes = [_FLAG_NOTES[flag] for flag in verdict.flags if flag in _FLAG_NOTES]
    if verdict.duplicates:
        notes.insert(0, f"sent {len(verdict.duplicates) + 1} times")
    if verdict.fire == "late":
        hole = _hole_note(background.coverage, verdict.due_at, verdict.fired_at or verdict.due_at)
        notes += [f"{hole}: it may have been sent before as well"] if hole else []
    return "; ".join(notes) or None


def _unseen(verdict: Verdict, background: Background) -> tuple[Verdict, str]:
    if verdict.due_at < background.pruned_at:
        return replace(verdict, fire="unknown"), "tasks of that time have been pruned"
    if background.newest_evidence not in BY_BEAT:
        return replace(verdict, fire="unknown"), _unheard_note(background)
    return verdict, _missed_note(verdict, background)


def _unheard_note(background: Background) -> str:
    """Silence says nothing where beat is not heard when it does send."""
    heard = (
        "no send of beat was heard yet" if background.newest_evidence is None else "only workers tell of this schedule"
    )
    problem = background.entry.problem
    return f"{heard}: {_UNHEARD_ADVICE}" + (f"; beat cannot send it: {problem}" if problem else "")


def _missed_note(verdict: Verdict, background: Background) -> str:
    if background.others_sent:
        others = "; beat was running: other entries were sent"
    elif verdict.fire == "missed" and background.others_sent is None:
        others = ""
    elif verdict.fire == "missed":
        others = "; no entry of any kind was sent: beat may not have been running"
    else:
        others = " yet"
    problem = background.entry.problem
    return f"no send seen{others}" + (f"; beat cannot send it: {problem}" if problem else "")


def _unknown_note(verdict: Verdict, background: Background) -> str:
    if verdict.source == BY_COUNTER:
        return "beat counted a run for it; whether that could be sent nobody heard"
    hole = _hole_note(background.coverage, verdict.due_at, verdict.closes_at)
    if hole is not None:
        return hole
    if background.counted_until_at is not None and background.counted_until_at < verdict.closes_at:
        return "no send seen; beat's own count of its runs has not been read since"
    return "news of beat's probe was lost around that time, or an earlier send that nobody could hear decides it"


def _inferred_note(verdict: Verdict) -> str:
    if verdict.fire == "failed_to_send":
        return "beat counted a run, and no message was seen: it could not be sent; the reason stands in beat's log"
    return "nobody heard this send; the next one said when it was"


def _hole_note(coverage: Spans, from_at: int, to_at: int) -> str | None:
    """The first stretch in which nobody was listening."""
    ends = [
        (0, from_at),
        *((max(a, from_at), min(b, to_at)) for a, b in coverage if a < to_at and b > from_at),
        (to_at, 0),
    ]
    hole = next(((before[1], after[0]) for before, after in pairwise(ends) if before[1] < after[0]), None)
    if hole is None:
        return None
    since, until = map(_clock, hole)
    return f"nobody was listening from {since} to {until[11:] if since[:10] == until[:10] else until} UTC"


def _contested(verdict: Verdict, background: Background) -> tuple[Verdict, str]:
    """Two entries that send the same: only when there were sends enough for all was this one surely sent."""
    names = ", ".join(rival.name for rival in background.rivals[:MOST_NAMES])
    grace = grace_of(background.entry.schedule)
    from_at, to_at = verdict.due_at - early_of(background.entry.schedule), verdict.due_at + grace
    sent = {fire.task_id for fire in background.fires if from_at <= fire.at <= to_at}
    claims = 1 + sum(_claims(rival, from_at - grace, to_at) for rival in background.rivals)
    if verdict.fire == "on_time" and len(sent) >= claims:
        return replace(verdict, flags=_without_copies(verdict), duplicates=()), (
            f"{names} sends the same task with the same arguments; there were sends enough for all"
        )
    weak = Verdict(verdict.due_at, verdict.closes_at, "unknown")
    when = _clock(verdict.fired_at or verdict.due_at)
    return weak, f"sent at {when} UTC either by this entry or by {names}: the same task with the same arguments"


def _claims(rival: Entry, from_at: int, to_at: int) -> int:
    """How many sends of that stretch may be the rival's: an interval may be due at any moment."""
    if isinstance(rival.schedule, Crontab):
        return len(crontabs.dues(rival.schedule, from_at, to_at))
    return 1


def _without_copies(verdict: Verdict) -> tuple[str, ...]:
    return tuple(flag for flag in verdict.flags if flag not in ("duplicate", "two_beats"))


def _clock(at: int) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%d %H:%M:%S}"

"""What can be proven of a span, in words: complete, so many events missing, or not known and why."""

from collections.abc import Iterable
from dataclasses import replace

from taskledger.ledger.answers import Coverage, Hole
from taskledger.ledger.proofs import COMPLETE, LOST, MISSING, Completeness, GapRow
from taskledger_web import recorded, times
from taskledger_web.view import View

#: workers and gaps named one by one; more are counted
_NAMED = 3


def sentence(proof: Completeness, seen: View) -> str:
    """One sentence for a span: what is proven of the starts and ends of tasks in it."""
    if proof.verdict == COMPLETE:
        counted = f"each start and end of a task that {_workers(proof)} counted was recorded"
        return f"Proven complete: {counted}.{_rest(proof)}"
    if proof.verdict == MISSING:
        return f"{_missing(proof)}: {_named(proof, seen)}.{_rest(proof)}"
    return f"Cannot tell whether all was recorded: {_why_unknown(proof, seen)}.{_rest(proof)}"


def drawn(coverage: Coverage, gaps: Iterable[GapRow]) -> Coverage:
    """The coverage as it is drawn on an axis of time: with the gaps in which events are known to be missing."""
    missing = [
        Hole(gap.from_at, gap.to_at, f"{gap_words(gap)} of {gap.worker} missing; {gap.cause}")
        for gap in gaps
        if gap.kind == LOST
    ]
    return replace(coverage, holes=tuple(sorted([*coverage.holes, *missing], key=lambda hole: hole.from_at)))


def gap_words(gap: GapRow) -> str:
    """3 starts and 4 ends."""
    parts = [_number(gap.starts, "start"), _number(gap.ends, "end")]
    return " and ".join(part for part in parts if part)


def _missing(proof: Completeness) -> str:
    if proof.lost:
        return f"{_number(proof.lost, 'event')} missing"
    return f"{_number(proof.unannounced_starts, 'task')} ran without a word"


def _named(proof: Completeness, seen: View) -> str:
    wanted = [gap for gap in proof.gaps if gap.kind == LOST] or [gap for gap in proof.gaps if gap.starts]
    most = sorted(wanted, key=lambda gap: -gap.events)[:_NAMED]
    words = [
        f"{gap_words(gap)} of {gap.worker}"
        f" {times.between(gap.from_at, gap.to_at, seen.zone, seen.now_at)} ({gap.cause})"
        for gap in most
    ]
    more = len(wanted) - len(most)
    return "; ".join([*words, f"and {more} more gaps"] if more else words)


def _why_unknown(proof: Completeness, seen: View) -> str:
    if not proof.coverage.is_whole:
        said = recorded.sentence(proof.coverage, seen).rstrip(".")
        return said[:1].lower() + said[1:]
    if proof.compared_at is None:
        return "the counts of workers were never compared; `taskledger record` does it, unless it runs with --no-jobs"
    if proof.uncounted:
        names = ", ".join(one.worker for one in proof.uncounted[:_NAMED])
        return f"{names}: {proof.uncounted[0].why}"
    return f"the counts of workers are compared only up to {times.stamp(proof.compared_at, seen.zone, seen.now_at)}"


def _rest(proof: Completeness) -> str:
    """Ends that Celery never tells are no loss, but said."""
    ends = sum(gap.ends for gap in proof.gaps if gap.kind != LOST)
    return f" {_number(ends, 'task')} ended without a word (Ignore, or Reject)." if ends else ""


def _workers(proof: Completeness) -> str:
    return "no worker" if not proof.workers else _number(proof.workers, "worker")


def _number(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' if number != 1 else ''}" if number else ""

"""What is wrong now, worst first, each in one sentence with a link; and the verdict over all of it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from taskledger.ledger.answers import Coverage, FailureGroup, RecorderStatus, RelatedTask, WorkerRow
from taskledger.ledger.beat_answers import FindingRow
from taskledger.ledger.proofs import LOST, Completeness
from taskledger_web import callouts, entries, links, recorded, strip, times
from taskledger_web.entries import Judged
from taskledger_web.view import View

#: seconds of the range that may go unrecorded before it is a problem of its own
_SMALL_GAP_S = 60.0
#: workers or tasks that are named in one sentence, and findings that have one each
_FEW = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence: what it is about (a link), and what is wrong with it."""

    kind: str
    icon: str
    subject: str
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Overall:
    """The page's first line. `kind` is never succeeded while something cannot be known."""

    text: str
    kind: str
    icon: str


def find(
    status: RecorderStatus,
    proof: Completeness,
    groups: Sequence[FailureGroup],
    workers: Sequence[WorkerRow],
    judged: Sequence[Judged],
    findings: Sequence[FindingRow],
    seen: View,
) -> list[Problem]:
    """All problems in the order in which somebody should look at them."""
    return [
        *_recorder(status, seen),
        *_lost(workers, seen),
        *_findings(findings),
        *_schedules(judged, {(one.cluster, one.entry) for one in findings if one.kind == "never_fired"}, seen),
        *_gaps(proof.coverage, seen),
        *_missing(proof),
        *_silent(workers),
        *_failures(groups),
    ]


def _missing(proof: Completeness) -> Iterable[Problem]:
    if proof.lost:
        workers = sorted({gap.worker for gap in proof.gaps if gap.kind == LOST})
        text = f"missing: starts and ends of tasks that {', '.join(workers[:_FEW])} counted and nobody recorded."
        yield Problem("lost", "triangle", f"{proof.lost:,} events", text, links.to("ledger.page"))


def verdict(found: Sequence[Problem], status: RecorderStatus, seen: View) -> Overall:
    """2 problems; or that none were found, and whether that can be known."""
    if status.state != "recording" and seen.at is not None:
        return Overall("Cannot tell what happened then: nobody was listening", "failed", "cross")
    if status.state != "recording":
        since = times.ago(status.seen_at, seen.now_at) if status.seen_at is not None else "some time ago"
        return Overall(f"Cannot tell what happens now: the recorder stopped {since}", "failed", "cross")
    if found:
        return Overall(f"{len(found)} problem{'s' if len(found) > 1 else ''}", "failed", "cross")
    return Overall("No problems found", "succeeded", "tick")


def _recorder(status: RecorderStatus, seen: View) -> Iterable[Problem]:
    if status.state == "stopped" and status.seen_at is not None:
        when = times.absolute(status.seen_at, seen.zone, seen.now_at)
        text = f"was last heard of at {when} ({times.ago(status.seen_at, seen.now_at)}). Nothing after that is known."
        yield Problem("failed", "cross", "The recorder", text, links.to("ledger.page"))


def _lost(workers: Sequence[WorkerRow], seen: View) -> Iterable[Problem]:
    for worker in workers:
        if worker.status == "lost":
            tasks = f" with {_named(worker.running)}" if worker.running else ""
            yield Problem(
                "lost",
                "triangle",
                worker.name,
                f"fell silent{_silence(worker, seen)}{tasks}.",
                links.worker(worker.name),
            )


def _named(running: Sequence[RelatedTask]) -> str:
    """2 tasks running: mail.send 1a2b3c4d, billing.charge 5e6f7a8b."""
    names = [f"{task.name or 'name not recorded'} {task.id[:8]}" for task in running[:_FEW]]
    more = len(running) - len(names)
    names += [f"and {more} more"] if more else []
    return f"{len(running)} task{'s' if len(running) != 1 else ''} running: {', '.join(names)}"


def _silence(worker: WorkerRow, seen: View) -> str:
    at = worker.last_heartbeat_at or worker.since_at
    if at is None:
        return ""
    return f" after {times.absolute(at, seen.zone, seen.now_at)} ({times.ago(at, seen.now_at)})"


def _findings(findings: Sequence[FindingRow]) -> Iterable[Problem]:
    """The worst of what is wrong with beat; the rest is a link away."""
    told = callouts.of_findings(findings)
    for one in told[:_FEW]:
        kind = "failed" if one.is_alarm else "retrying"
        yield Problem(kind, "triangle", f"{one.subject}:", one.text, one.href or links.to("schedules.page"))
    if len(told) > _FEW:
        number = len(told) - _FEW
        more = f"finding{'s' if number > 1 else ''} about beat."
        yield Problem("retrying", "triangle", f"{number} more", more, links.to("schedules.page"))


def _schedules(judged: Sequence[Judged], told: Collection[tuple[str, str | None]], seen: View) -> Iterable[Problem]:
    """One sentence each for entries with problems, but for those that a finding has named already."""
    for row, judgement in judged:
        if entries.is_muted(row, seen.now_at) or (row.cluster, row.name) in told:
            continue
        bad = strip.in_a_row(row)
        if bad:
            times_word = "run" if len(bad) == 1 else f"{len(bad)} runs"
            when = times.absolute(bad[-1].due_at, seen.zone, seen.now_at)
            verb = "could not send" if bad[-1].fire == "failed_to_send" else "missed"
            why = bad[-1].error or bad[-1].note
            note = f": {why}" if why else ""
            text = f"{verb} its last {times_word}, due {when}{note}."
            yield Problem("failed", "slash", row.name, text, links.schedule(row.name))
        elif judgement.mark.symbol in ("missed", "notsent", "notreceived"):
            text = f"{judgement.sentence[:1].lower()}{judgement.sentence[1:]} due times."
            yield Problem("retrying", "clock", f"{row.name}:", text, links.schedule(row.name))


def _gaps(coverage: Coverage, seen: View) -> Iterable[Problem]:
    """Holes after recording had begun: what was before is no fault."""
    later = replace(coverage, holes=tuple(hole for hole in coverage.holes if hole.to_at > (coverage.began_at or 0)))
    if recorded.length(later) >= _SMALL_GAP_S:
        lost = times.duration(recorded.length(later))
        text = f"of {lost} in this range: {recorded.clause(later, seen).removeprefix('; ')}."
        yield Problem("sent", "hatched", f"Gap{'s' if len(later.holes) > 1 else ''}", text, links.to("ledger.page"))


def _silent(workers: Sequence[WorkerRow]) -> Iterable[Problem]:
    for worker in workers:
        if worker.sends_task_events is False:
            text = "runs without -E: its tasks are invisible."
            yield Problem("retrying", "triangle", worker.name, text, links.worker(worker.name))


def _failures(groups: Sequence[FailureGroup]) -> Iterable[Problem]:
    if groups:
        number = sum(group.number for group in groups)
        worst = max(groups, key=lambda group: group.number)
        ways = "one way" if len(groups) == 1 else f"{len(groups)} ways"
        text = f"in {ways}; most often {worst.title} in {worst.task_name or 'a task whose name is not known'}."
        yield Problem(
            "failed", "cross", f"{number:,} failed run{'s' if number != 1 else ''}", text, links.to("failures.page")
        )

"""What no mark can show, one sentence each: findings, and due times that went wrong in a row."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.ledger.answers import ScheduleRow
from taskledger.ledger.beat_answers import FindingRow
from taskledger_web import entries, links, strip, times
from taskledger_web.entries import Judged
from taskledger_web.view import View

#: callouts that are written out; the rest is counted
MOST = 6
#: kind of finding -> how it is called
KINDS = {
    "refire_storm": "Refire storm",
    "two_beats": "Two beats",
    "beat_dead": "Beat is dead",
    "beat_wedged": "Beat is wedged",
    "lock_lost": "Lock lost",
    "never_fired": "Never fired",
    "timer_reset_by_restart": "Timer reset by restarts",
    "beat_down": "Beat was not running",
}


@dataclass(frozen=True, slots=True)
class Callout:
    """One sentence: what it is about (a link, where it has a page), what happened, and how many times."""

    subject: str
    href: str | None
    text: str
    is_alarm: bool
    #: how often, where a mark each would be too many
    times: str = ""


def of_findings(findings: Sequence[FindingRow], *, is_on_entry: bool = False) -> list[Callout]:
    """Alarms first, then the latest."""
    ordered = sorted(findings, key=lambda one: (one.severity != "alarm", -(one.to_at or times.LATEST), -one.from_at))
    return [_of_finding(finding, is_on_entry=is_on_entry) for finding in ordered]


def of_entries(pairs: Sequence[Judged], seen: View) -> list[Callout]:
    """Entries whose latest due times were all missed or could not be sent, unless a finding says so already."""
    return [_of_run(pair, seen) for pair in pairs if strip.in_a_row(pair[0]) and not _is_told(pair[0], seen)]


def _is_told(row: ScheduleRow, seen: View) -> bool:
    return entries.is_muted(row, seen.now_at) or any(one.kind == "never_fired" for one in row.findings)


def _of_finding(finding: FindingRow, *, is_on_entry: bool) -> Callout:
    kind = KINDS.get(finding.kind, finding.kind.replace("_", " ").capitalize())
    is_elsewhere = finding.entry is not None and not is_on_entry
    subject = f"{kind}: {finding.entry}" if is_elsewhere else kind
    href = links.schedule(finding.entry or "") if is_elsewhere else None if is_on_entry else links.to("beats.page")
    is_told = str(finding.number) in finding.sentence.replace(",", "")
    often = "" if finding.number < 2 or is_told else f"{finding.number:,} times"
    return Callout(subject, href, _ended(finding.sentence), finding.severity == "alarm", often)


def _of_run(pair: Judged, seen: View) -> Callout:
    row = pair[0]
    bad = strip.in_a_row(row)
    verb = "could not send" if bad[-1].fire == "failed_to_send" else "missed"
    first, last = (times.stamp(tick.due_at, seen.zone, seen.now_at) for tick in (bad[0], bad[-1]))
    when = f"{first} to {last}" if len(bad) > 1 else first
    text = f"{verb} its last {f'{len(bad)} runs' if len(bad) > 1 else 'run'} ({when} {seen.zone_word})."
    note = bad[-1].error or bad[-1].note
    return Callout(row.name, links.schedule(row.name), f"{text} {_ended(note)}".strip(), is_alarm=True)


def _ended(words: str | None) -> str:
    """Somebody's clause as a sentence."""
    words = (words or "").strip()
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""

"""What a list says of a schedule entry: its last fire, how often it was on time, whether somebody muted it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from taskledger.ledger import query
from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger.ledger.beat_answers import Adherence, FindingRow
from taskledger_web import strip, times
from taskledger_web.asking import ask
from taskledger_web.strip import Verdict
from taskledger_web.view import View

#: an entry with what its due times come to
Judged = tuple[ScheduleRow, Verdict]


def asked(seen: View, ticks: int) -> tuple[tuple[ScheduleRow, ...], list[FindingRow]]:
    """All entries with so many due times (or minutes), and the findings, of beat as it is known today."""
    if seen.at is None:
        return ask(query.schedules_and_findings, seen.now_at, ticks=ticks, by_minute=True)
    return ask(query.schedules, seen.now_at, ticks=ticks, at=seen.at, by_minute=True), []


def judged(rows: Iterable[ScheduleRow], now_at: int) -> list[Judged]:
    """Each entry with its verdict, problems first; what is muted comes last and counts no problem."""
    pairs = [(row, _verdict(row, now_at)) for row in rows]
    return sorted(pairs, key=lambda pair: (is_muted(pair[0], now_at), -_rank(pair), pair[0].name))


def with_findings(rows: Iterable[ScheduleRow], found: Iterable[FindingRow]) -> tuple[ScheduleRow, ...]:
    """Each entry with what is wrong with it beyond single due times."""
    mine: dict[tuple[str, str | None], list[FindingRow]] = defaultdict(list)
    for finding in found:
        mine[finding.cluster, finding.entry].append(finding)
    keyed = ((row, mine.get((row.cluster, row.name))) for row in rows)
    return tuple(replace(row, findings=tuple(found)) if found else row for row, found in keyed)


def is_muted(row: ScheduleRow, now_at: int) -> bool:
    """Whether somebody said that its problems are known."""
    until_at = row.settings.muted_until_at if row.settings else None
    return until_at is not None and until_at > now_at


def last_fire(row: ScheduleRow) -> TickRow | None:
    """The latest due time of which a send is known; None when there is none among those shown."""
    return next((tick for tick in reversed(row.ticks) if tick.is_sent), None)


def percent(adherence: Adherence | None) -> str:
    """97.4 %; never rounded up to a hundred; empty where nothing can be judged."""
    share = adherence.percent if adherence else None
    if share is None:
        return ""
    tenths = int(share * 10 + 1e-6)
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths / 10:.1f} %"


def left_out(adherence: Adherence | None) -> str:
    """18 not known, 2 off: the due times that the percentage does not count; empty when it counts all."""
    if adherence is None:
        return ""
    counts = ((adherence.unknown, "not known"), (adherence.excluded, "off or skipped"))
    return ", ".join(f"{number:,} {word}" for number, word in counts if number)


def counted(adherence: Adherence | None) -> str:
    """28 on time, 1 late, 1 missed: what the percentage is made of; empty where nobody counted."""
    if adherence is None:
        return ""
    counts = (
        (adherence.on_time, "on time"),
        (adherence.late, "late"),
        (adherence.missed, "missed"),
        (adherence.failed_to_send, "not sent"),
    )
    return ", ".join(f"{number:,} {word}" for number, word in counts if number) or "nothing was due"


def countdown(at: int, now_at: int) -> str:
    """When it is due: in 23 h 46 m; in 6 s; due now."""
    seconds = (at - now_at) / times.MICROS
    if seconds < 1:
        return "due now"
    return f"in {int(seconds)} s" if seconds < 60 else f"in {times.duration(int(seconds))}"


def sources(rows: Sequence[ScheduleRow]) -> list[tuple[str, int, int]]:
    """Where definitions were read: (source, how many entries, when they were read last), most entries first."""
    names = dict.fromkeys(row.source for row in rows)
    found = [(name, [row.read_at for row in rows if row.source == name]) for name in names]
    return sorted(((name, len(read), max(read)) for name, read in found), key=lambda one: -one[1])


def _verdict(row: ScheduleRow, now_at: int) -> Verdict:
    found = strip.verdict(row)
    return replace(found, sentence=f"{found.sentence}; muted", problems=0) if is_muted(row, now_at) else found


def _rank(pair: Judged) -> int:
    """A finding is a problem, whatever the marks say."""
    row, verdict = pair
    alarms = [finding for finding in row.findings if finding.severity == "alarm"]
    return verdict.mark.rank + (100 if alarms else 50 if row.findings else 0)

"""What beat really did, by its own log and by what the campaign did to it: never by the ledger."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}): \w+/[^\]]+\] (.*)")
SENDING = re.compile(r"Scheduler: Sending due task (\S+) \(")
SENT = re.compile(r"(?:Scheduler: )?\S+ sent\. id->(\S+)")
FAILED = re.compile(r"(?:Scheduler: )?Message Error: (.*)")
#: seconds by which the time of a log line and that of the fact may differ
NEAR_S = 0.5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a beat began to send an entry, in seconds; neither task id nor error: it died over it."""

    at: float
    beat: str
    entry: str
    task_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What the campaign made of an entry: `every` seconds (None: each minute), at the latest from sure_s on."""

    from_s: float
    sure_s: float
    every: float | None
    enabled: bool = True
    #: when the first beat ran that was started with it: one that is down in between stands by what was before
    begun_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """A due time, and the attempt that served it; None: none did. `others`: what it also might be called."""

    at: float
    attempt: Attempt | None
    every: float | None
    is_sure: bool = True


def attempts(log: Path, beat: str) -> list[Attempt]:
    """What a beat's log at level DEBUG says that it tried to send, earliest first."""
    found: list[Attempt] = []
    for line in log.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        at, said = _seconds(match[1]), match[2]
        if sending := SENDING.match(said):
            found.append(Attempt(at, beat, sending[1]))
        elif found and found[-1].task_id is None and found[-1].error is None:
            last = found[-1]
            if sent := SENT.match(said):
                found[-1] = Attempt(last.at, beat, last.entry, task_id=sent[1])
            elif failed := FAILED.match(said):
                found[-1] = Attempt(last.at, beat, last.entry, error=failed[1])
    return found


def dues(rules: Sequence[Rule], made: Sequence[Attempt], from_s: float, to_s: float) -> list[Due]:
    """What was due of one entry while one beat ran it, or should have, by the rules that the campaign gave it."""
    if rules[0].every is None:
        return [*_minutes(made, from_s, to_s)]
    found = [due for before, after in pairwise(made) for due in _between(rules, before, after)]
    if made:
        found += _after(rules, made[-1], to_s)
    return [due for due in found if from_s <= due.at < to_s]


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp()


def _minutes(made: Sequence[Attempt], from_s: float, to_s: float) -> Iterator[Due]:
    at = from_s - from_s % 60 + 60
    while at < to_s:
        yield Due(at, next((one for one in made if at - NEAR_S <= one.at < at + 60 - NEAR_S), None), None)
        at += 60


def _between(rules: Sequence[Rule], before: Attempt, after: Attempt) -> Iterator[Due]:
    """An interval is counted from the attempt before; when it was skipped, each whole interval was a due time."""
    options = _in_force(rules, before.at, after.at)
    every, is_sure = _every(options, after.at - before.at)
    is_sure = is_sure and all(rule.enabled for rule in options)
    number = max(1, int((after.at - before.at + every / 4) // every))
    for step in range(1, number):
        yield Due(before.at + step * every, None, every, is_sure)
    yield Due(before.at + number * every, after, every, is_sure)


def _after(rules: Sequence[Rule], last: Attempt, to_s: float) -> Iterator[Due]:
    """What was due after the last attempt, as long as the entry was surely enabled."""
    at = last.at
    while True:
        now = _in_force(rules, at, at)[-1]
        if now.every is None or not now.enabled:
            return
        at += now.every
        if at >= to_s or not all(rule.enabled for rule in _in_force(rules, last.at, at)):
            return
        yield Due(at, None, now.every)


def _in_force(rules: Sequence[Rule], from_s: float, to_s: float) -> list[Rule]:
    """The rules that may have been in force at some time of the stretch."""
    ends = [following.sure_s for following in rules[1:]] + [float("inf")]
    return [rule for rule, end_s in zip(rules, ends, strict=True) if rule.from_s <= to_s and from_s < end_s] or [
        rules[0]
    ]


def _every(options: Iterable[Rule], gap_s: float) -> tuple[float, bool]:
    """The interval that explains the gap best, and whether it is sure that beat went by it."""
    known = {rule.every for rule in options if rule.every is not None}
    best = min(known, key=lambda every: abs(gap_s - every))
    return best, len(known) == 1 or abs(gap_s - best) < NEAR_S

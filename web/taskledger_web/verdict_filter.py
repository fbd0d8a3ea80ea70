"""Which entries a list of schedules shows: by what became of their due times, and by a part of their name."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from taskledger.ledger.answers import ScheduleRow
from taskledger_web import strip
from taskledger_web.entries import Judged
from taskledger_web.strip import MARKS


@dataclass(frozen=True, slots=True)
class Chip:
    """One verdict that can be asked for: what `verdict=` calls it, its word, how many entries have it."""

    token: str
    text: str
    number: int
    is_chosen: bool
    #: what `verdict=` is after a click
    toggled: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for. `problem` says what cannot be read; then nothing is filtered."""

    tokens: tuple[str, ...]
    text: str
    problem: str | None

    @property
    def is_any(self) -> bool:
        return bool(self.tokens or self.text)


#: what `verdict=` may name -> its word; the names are those of beat.md
CHOICES = {
    "not_ok": "Not OK",
    "missed": "Missed",
    "failed_to_send": "Failed to send",
    "failed": "Failed",
    "not_received": "Not received",
    "late": "Late",
    "duplicate": "Duplicates",
    "two_beats": "Two beats",
    "unknown": "Not known",
    "never_fired": "Never fired",
}
#: what a mark adds to what beat did
_MARKS = {"failed": "failed", "notreceived": "not_received"}


def traits(pair: Judged) -> frozenset[str]:
    """Which of the choices an entry has, by its due times and its findings."""
    row, verdict = pair
    found = {flag for _, _, flags, _ in verdict.kinds for flag in flags} | {fire for fire, *_ in verdict.kinds}
    found |= {_MARKS.get(strip.mark_of_kind(kind).symbol, "") for kind in verdict.kinds}
    if row.findings or verdict.mark.rank >= MARKS["late"].rank:
        found.add("not_ok")
    if row.last_fired_at is None and all(tick.fired_at is None for tick in row.ticks):
        found.add("never_fired")
    return frozenset(found & CHOICES.keys())


def read(verdict: str, text: str) -> Asked:
    """What `verdict=` and `entry=` mean."""
    tokens = tuple(dict.fromkeys(token for token in verdict.replace(" ", "").split(",") if token))
    wrong = next((token for token in tokens if token not in CHOICES), None)
    if wrong is None:
        return Asked(tokens, text.strip(), None)
    near = get_close_matches(wrong, CHOICES, n=1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(CHOICES)}"
    return Asked((), text.strip(), f"verdict: {wrong[:40]!r} is none; {meant}")


def chosen(pairs: Iterable[Judged], asked: Asked) -> list[Judged]:
    """The entries that have one of the verdicts, and the text in their name or their task's."""
    wanted = set(asked.tokens)
    return [pair for pair in pairs if _matches(pair[0], asked.text) and (not wanted or wanted & traits(pair))]


def chips(pairs: Sequence[Judged], asked: Asked) -> list[Chip]:
    """What can be asked for: each verdict that some entry has, and those that are chosen."""
    counts = Counter(trait for pair in pairs for trait in traits(pair))
    return [
        Chip(token, text, counts[token], token in asked.tokens, _toggled(token, asked.tokens))
        for token, text in CHOICES.items()
        if counts[token] or token in asked.tokens
    ]


def _toggled(token: str, tokens: tuple[str, ...]) -> str | None:
    left = [one for one in tokens if one != token] if token in tokens else [*tokens, token]
    return ",".join(left) or None


def _matches(row: ScheduleRow, text: str) -> bool:
    folded = text.casefold()
    return folded in row.name.casefold() or folded in row.task.casefold()

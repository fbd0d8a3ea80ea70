"""Which entries a list of schedules shows: by what became of their due times, and by a part of their name."""

from collections.abc import Callable, Iterable, Sequence
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


def _fire(*fires: str) -> Callable[[Judged], bool]:
    return lambda pair: any(tick.fire in fires for tick in pair[0].ticks)


def _flag(flag: str) -> Callable[[Judged], bool]:
    return lambda pair: any(flag in tick.flags for tick in pair[0].ticks)


def _mark(symbol: str) -> Callable[[Judged], bool]:
    return lambda pair: any(strip.mark_of(tick).symbol == symbol for tick in pair[0].ticks)


def _is_not_ok(pair: Judged) -> bool:
    row, verdict = pair
    return bool(row.findings) or verdict.mark.rank >= MARKS["late"].rank


def _never_fired(pair: Judged) -> bool:
    row = pair[0]
    return row.last_fired_at is None and not any(tick.fired_at is not None for tick in row.ticks)


#: what `verdict=` may name -> (its word, which entries it means); the names are those of beat.md
CHOICES: dict[str, tuple[str, Callable[[Judged], bool]]] = {
    "not_ok": ("Not OK", _is_not_ok),
    "missed": ("Missed", _fire("missed", "overdue")),
    "failed_to_send": ("Failed to send", _fire("failed_to_send")),
    "failed": ("Failed", _mark("failed")),
    "not_received": ("Not received", _mark("notreceived")),
    "late": ("Late", _fire("late")),
    "duplicate": ("Duplicates", _flag("duplicate")),
    "two_beats": ("Two beats", _flag("two_beats")),
    "unknown": ("Not known", _fire("unknown")),
    "never_fired": ("Never fired", _never_fired),
}


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
    tests = [CHOICES[token][1] for token in asked.tokens]
    return [
        pair for pair in pairs if _matches(pair[0], asked.text) and (not tests or any(test(pair) for test in tests))
    ]


def chips(pairs: Sequence[Judged], asked: Asked) -> list[Chip]:
    """What can be asked for: each verdict that some entry has, and those that are chosen."""
    found = []
    for token, (text, test) in CHOICES.items():
        number = sum(test(pair) for pair in pairs)
        if number or token in asked.tokens:
            found.append(Chip(token, text, number, token in asked.tokens, _toggled(token, asked.tokens)))
    return found


def _toggled(token: str, tokens: tuple[str, ...]) -> str | None:
    left = [one for one in tokens if one != token] if token in tokens else [*tokens, token]
    return ",".join(left) or None


def _matches(row: ScheduleRow, text: str) -> bool:
    folded = text.casefold()
    return folded in row.name.casefold() or folded in row.task.casefold()

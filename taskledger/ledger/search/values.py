"""The values of a search: patterns, pairs, states, ids, flags and intervals of numbers, seconds and moments."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from taskledger.errors import QueryError
from taskledger.ledger.search.fields import FIELDS, FLAGS, STATE_WORDS, Takes, state_named, states_like
from taskledger.ledger.search.times import Clock, Reading, moment, seconds
from taskledger.ledger.search.tokens import Char, Raw, is_bare, quoted, written
from taskledger.states import State

__all__ = ["Clock", "Flag", "IdStart", "Interval", "Pair", "Pattern", "StateIs", "Value", "read_values"]

#: wildcards in one value: matching takes longer with each
MAX_WILDCARDS = 8
#: flags that depend on the time of asking
_TIMED_FLAGS = ("scheduled", "expired")
_HEX = re.compile(r"[0-9a-f]{4,32}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_OPERATORS = (">=", "<=", ">", "<", "=")
_COMPARISON = re.compile(rf"({'|'.join(_OPERATORS)})(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with `*` and `?` between its literal parts: len(literals) == len(wildcards) + 1.

    `is_exact`: it was quoted, so the name of a label field must be this whole text.
    """

    literals: tuple[str, ...]
    wildcards: str = ""
    is_exact: bool = False

    def __str__(self) -> str:
        if self.is_exact:
            return quoted(self.literals[0])
        return "".join(
            (written(literal) if literal else "") + wildcard
            for literal, wildcard in zip(self.literals, [*self.wildcards, ""], strict=True)
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """A keyword argument and its value."""

    key: str
    value: Pattern

    def __str__(self) -> str:
        return f"{written(self.key)}={self.value}"


@dataclass(frozen=True, slots=True)
class StateIs:
    """A state."""

    state: State

    def __str__(self) -> str:
        return STATE_WORDS[self.state]


@dataclass(frozen=True, slots=True)
class IdStart:
    """A task id or a fingerprint, or what one begins with."""

    text: str

    def __str__(self) -> str:
        return written(self.text)


@dataclass(frozen=True, slots=True)
class Flag:
    """A word of `is:` or `has:`; `now_at` is when it was asked, for the words that depend on it, else None."""

    word: str
    now_at: int | None = None

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True, slots=True)
class Interval:
    """Numbers within all `bounds`: pairs of `=`, `>`, `>=`, `<` or `<=` and a number; `text` is how it was written."""

    text: str
    bounds: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return self.text


Value = Pattern | Pair | StateIs | IdStart | Flag | Interval


def read_values(field: str, raw: Raw, clock: Clock, text: str) -> tuple[Value, ...]:
    """The alternatives that a field's value lists. Raises QueryError."""
    takes = FIELDS[field]
    # Texts hold commas of their own: they are never lists.
    parts = [raw] if takes is Takes.TEXT else raw.split(",")
    return tuple(dict.fromkeys(_value(field, takes, part, clock, text) for part in parts))


def _value(field: str, takes: Takes, raw: Raw, clock: Clock, text: str) -> Value:
    if not raw.text:
        raise _missing(text, raw.position)
    match takes:
        case Takes.TEXT:
            return _part_of_text(field, raw, text)
        case Takes.LABEL:
            return _pattern(raw, text, is_label=True)
        case Takes.ID | Takes.FINGERPRINT:
            return _id(raw, text) if takes is Takes.ID else _fingerprint(raw, text)
        case Takes.STATE:
            return _state(raw, text)
        case Takes.FLAG:
            return _flag(field, raw, clock, text)
        case _:
            return _interval(takes, raw, clock, text)


def _part_of_text(field: str, raw: Raw, text: str) -> Value:
    if field == "kwargs":
        key, *rest = raw.split("=", 1)
        if key.text and rest:
            if not rest[0].text:
                raise _missing(text, rest[0].position)
            return Pair(key.text, _pattern(rest[0], text))
    return _pattern(raw, text)


def _pattern(raw: Raw, text: str, *, is_label: bool = False) -> Pattern:
    literals, wildcards = [""], ""
    for char in raw.chars:
        if char.char in "*?" and not char.literal:
            wildcards += char.char
            literals.append("")
        else:
            literals[-1] += char.char
    if len(wildcards) > MAX_WILDCARDS:
        raise QueryError(
            f"more than {MAX_WILDCARDS} wildcards in one value: use fewer * and ?, or put the text in quotes",
            _position(raw.chars, "*?"),
            text,
        )
    is_exact = is_label and not wildcards and (raw.is_quoted or not is_bare(literals[0]))
    return Pattern(tuple(literals), wildcards, is_exact)


def _position(chars: tuple[Char, ...], among: str) -> int:
    return next(char.position for char in chars if char.char in among and not char.literal)


def _id(raw: Raw, text: str) -> IdStart:
    start = raw.text if raw.is_quoted else raw.text.rstrip("*")
    if not start:
        raise _missing(text, raw.position)
    return IdStart(start)


def _fingerprint(raw: Raw, text: str) -> IdStart:
    digits = raw.text.rstrip("*").lower()
    if not _HEX.fullmatch(digits):
        raise QueryError(
            f"cannot read '{raw.text}' as a failure group: write the hex digits that stand in its address, at least 4",
            raw.position,
            text,
        )
    return IdStart(digits)


def _state(raw: Raw, text: str) -> StateIs:
    state = state_named(raw.text)
    if state is None:
        raise QueryError(f"unknown state '{raw.text}': {states_like(raw.text)}", raw.position, text)
    return StateIs(state)


def _flag(field: str, raw: Raw, clock: Clock, text: str) -> Flag:
    word = raw.text.lower()
    if word not in FLAGS[field]:
        fix = f"did you mean state:{word}?" if state_named(word) else f"write one of {', '.join(FLAGS[field])}"
        raise QueryError(f"unknown word '{raw.text}' after {field}: ({fix})", raw.position, text)
    return Flag(word, clock.now_at if word in _TIMED_FLAGS else None)


def _interval(takes: Takes, raw: Raw, clock: Clock, text: str) -> Interval:
    """`>2s`, `-2h..-1h` or a plain value."""
    read = _reader(takes, clock)
    if raw.text in _OPERATORS:
        raise _missing(text, raw.chars[-1].position + 1)
    try:
        bounds = _bounds(takes, raw.text, read)
    except ValueError as error:
        raise QueryError(str(error), raw.position, text) from error
    return Interval(raw.text.replace(" ", "T"), bounds)


def _reader(takes: Takes, clock: Clock) -> Callable[[str], Reading]:
    if takes is Takes.MOMENT:
        return lambda text: moment(text, clock)
    return seconds if takes is Takes.SECONDS else _number


def _number(text: str) -> Reading:
    """A whole number. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"cannot read '{text}' as a number: write one such as 3, >3 or 1..3")
    return Reading(int(text), int(text), closed=True)


def _bounds(takes: Takes, text: str, read: Callable[[str], Reading]) -> tuple[tuple[str, float], ...]:
    if comparison := _COMPARISON.fullmatch(text):
        operator, operand = comparison.groups()
        if operator != "=":
            return (read(operand).bound(operator),)
        text = operand
    first, dots, last = text.partition("..")
    if dots:
        return _range(first, last, read)
    if takes is Takes.SECONDS:
        read(text)
        raise ValueError(
            f"hardly any duration is exactly '{text}': write >{text}, <{text} or a range such as 1s..{text}"
        )
    return read(text).within()


def _range(first: str, last: str, read: Callable[[str], Reading]) -> tuple[tuple[str, float], ...]:
    if not first and not last:
        raise ValueError("a range needs a value on one side of '..' at least")
    least = (read(first).bound(">="),) if first else ()
    most = (read(last).until(),) if last else ()
    if least and most and least[0][1] > most[0][1]:
        raise ValueError(f"the range ends before it begins: did you mean {last}..{first}?")
    return least + most


def _missing(text: str, position: int) -> QueryError:
    before = text[:position].rsplit(maxsplit=1)[-1].lstrip("(-")
    return QueryError(f"expected a value after '{before}'", position, text)

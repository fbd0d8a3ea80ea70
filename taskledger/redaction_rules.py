"""What people may say about redaction: more or fewer keys, patterns of values, and what is kept of which task."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from taskledger.secret_keys import DEFAULT_KEYS, words

_NAME = re.compile(r"[\w-]{1,40}", re.ASCII)
#: a comma ends a pattern only where the next rule begins, because patterns hold commas too
_BETWEEN = re.compile(r",\s*(?=[\w-]{1,40}=)", re.ASCII)
#: a repeated group with a repetition inside, as in (a+)+, can take for ever
_ENDLESS = re.compile(r"[*+}][^()]*\)[*+{]")


class Keep(StrEnum):
    """What is kept of a task's arguments, result and errors, in the order of strictness."""

    FULL = "full"
    REDACTED = "redacted"
    NONE = "none"

    @property
    def strictness(self) -> int:
        return list(Keep).index(self)


@dataclass(frozen=True, slots=True)
class PayloadRule:
    """`pattern` is a task's name, and may hold * and ?."""

    pattern: str
    keep: Keep


@dataclass(frozen=True, slots=True)
class Payloads:
    """The first rule that matches a task's name decides; without one it is redacted."""

    rules: tuple[PayloadRule, ...] = ()

    def keep_of(self, name: str) -> Keep:
        return next((rule.keep for rule in self.rules if fnmatchcase(name, rule.pattern)), Keep.REDACTED)

    @property
    def strictest(self) -> Keep:
        """For what may belong to any task."""
        catches_all = any(rule.pattern == "*" for rule in self.rules)
        said = [rule.keep for rule in self.rules] + ([] if catches_all else [Keep.REDACTED])
        return max(said, key=lambda keep: keep.strictness)

    def __str__(self) -> str:
        return ",".join(f"{rule.pattern}={rule.keep}" for rule in self.rules)


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """Keys that are looked for beside the default ones, and default ones that are not."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join([*self.added, *(f"-{key}" for key in self.removed)])


@dataclass(frozen=True, slots=True)
class ValuePatterns:
    """(name, regular expression) of values that are secret by their looks, beside the built-in ones."""

    patterns: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return ",".join(f"{name}={pattern}" for name, pattern in self.patterns)


def parse_payloads(text: str) -> Payloads:
    """`billing.*=none,auth.*=redacted,*=full`; ValueError says what is wrong."""
    return Payloads(tuple(_payload_rule(part) for part in _parts(text)))


def parse_keys(text: str) -> KeyChanges:
    """`customer_number,-session`; ValueError says what is wrong."""
    added: list[str] = []
    removed: list[str] = []
    for part in _parts(text):
        (removed if part.startswith("-") else added).append(part.removeprefix("-"))
    known = set(map(words, DEFAULT_KEYS))
    for key in (*added, *removed):
        if not words(key):
            raise ValueError(f"must name keys such as customer_number or -session, not {key!r}")
    for key in removed:
        if words(key) not in known:
            raise ValueError(
                f"must not take away {key!r}, which is none of the default keys ({', '.join(DEFAULT_KEYS)})"
            )
    return KeyChanges(tuple(added), tuple(removed))


def parse_values(text: str) -> ValuePatterns:
    r"""`customer=CUST-\d{6},invoice=INV\d+`; ValueError says what is wrong."""
    return ValuePatterns(tuple(_value_pattern(part.strip()) for part in _BETWEEN.split(text) if part.strip()))


def _parts(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


def _payload_rule(part: str) -> PayloadRule:
    pattern, _, word = (piece.strip() for piece in part.rpartition("="))
    if not pattern or word not in list(Keep):
        raise ValueError(f"must be rules such as billing.*=none (or redacted, or full), not {part!r}")
    return PayloadRule(pattern, Keep(word))


def _value_pattern(part: str) -> tuple[str, str]:
    name, equals, pattern = part.partition("=")
    if not equals or not _NAME.fullmatch(name) or not pattern:
        raise ValueError(f"must be name=pattern, as in customer=CUST-[0-9]{{6}}, not {part!r}")
    try:
        matches_nothing = re.compile(pattern).search("") is not None
    except re.error as error:
        raise ValueError(f"has no regular expression behind {name}= ({error})") from None
    if matches_nothing:
        raise ValueError(f"must not match the empty text, as {name}= does")
    if _ENDLESS.search(pattern):
        raise ValueError(f"must not repeat a repetition, as {name}= does: some texts would take it for ever")
    return name, pattern

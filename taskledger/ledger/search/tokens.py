"""A search cut into tokens: words, phrases, field:value, AND, OR, NOT and parentheses, each with its place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from taskledger.errors import QueryError
from taskledger.ledger.search.fields import field_named

#: limits of Flower's grammar, which is part of ours
MAX_CHARS = 2048
MAX_TOKENS = 128
MAX_DEPTH = 5

_FIELD = re.compile(r"([A-Za-z_]+):(?!//)")
#: A minus excludes only what can be a term, so that "a -> b" and "--flag" stay words.
_EXCLUDES = re.compile(r"-(?=[\w\"('./@])")
#: texts that mean themselves outside quotes, wherever they stand
_BARE = re.compile(r"[^\s\"()\\,:*?=<>\-][^\s\"()\\,:*?=<>]*")
_OPERATORS = ("AND", "OR", "NOT")


class Sign(Enum):
    """What a token is."""

    OPEN = auto()
    CLOSE = auto()
    AND = auto()
    OR = auto()
    NOT = auto()
    WORD = auto()
    FIELD = auto()


@dataclass(frozen=True, slots=True)
class Char:
    """A character of a value; one in quotes or after a backslash is literal, and means nothing but itself."""

    char: str
    literal: bool
    position: int


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as it was written, quotes taken off; `position` is where it starts."""

    chars: tuple[Char, ...]
    position: int

    @property
    def text(self) -> str:
        return "".join(char.char for char in self.chars)

    @property
    def is_quoted(self) -> bool:
        return any(char.literal for char in self.chars)

    def split(self, separator: str, most: int = -1) -> "list[Raw]":
        """The parts between those separators that are not literal."""
        parts, start = list[Raw](), 0
        for index, char in enumerate(self.chars):
            if char.char == separator and not char.literal and len(parts) != most:
                parts.append(self._part(start, index))
                start = index + 1
        return [*parts, self._part(start, len(self.chars))]

    def _part(self, start: int, end: int) -> "Raw":
        if start < len(self.chars):
            return Raw(self.chars[start:end], self.chars[start].position)
        return Raw((), self.chars[-1].position + 1 if self.chars else self.position)


@dataclass(frozen=True, slots=True)
class Token:
    """One token at text[start:end]; `text` is a word's text or a field's name as it was typed."""

    sign: Sign
    start: int
    end: int
    text: str
    value: Raw | None = None
    is_phrase: bool = False


def tokens(text: str) -> list[Token]:
    """The tokens of a search. Raises QueryError."""
    _check(text)
    found: list[Token] = []
    for token in _Scan(text):
        found.append(token)
        if len(found) > MAX_TOKENS:
            raise QueryError(
                f"the search exceeds {MAX_TOKENS} tokens (words, operators and parentheses): make it shorter",
                token.start,
                text,
            )
    return found


def quoted(text: str) -> str:
    """A text in quotes, so that it means nothing but itself."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def written(text: str) -> str:
    """A text as a value: in quotes only where it needs them."""
    return text if is_bare(text) else quoted(text)


def is_bare(text: str) -> bool:
    """Whether a text means itself without quotes."""
    return _BARE.fullmatch(text) is not None and text not in _OPERATORS


def is_excluding(text: str) -> bool:
    """Whether a text begins with a minus that means NOT."""
    return _EXCLUDES.match(text) is not None


def _check(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise QueryError(f"the search exceeds {MAX_CHARS} characters: make it shorter", MAX_CHARS, text)
    for position, char in enumerate(text):
        if char == "\x00" or "\ud800" <= char <= "\udfff":
            raise QueryError(f"a search cannot hold the character U+{ord(char):04X}: take it out", position, text)


class _Scan:
    """One pass over a text. `_loose` counts parentheses that are part of words, as in `ValueError("bad card")`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._loose = 0

    def __iter__(self) -> Iterator[Token]:
        while True:
            while self._at < len(self._text) and self._text[self._at].isspace():
                self._at += 1
            if self._at >= len(self._text):
                return
            token = self._next()
            self._at = token.end
            yield token

    def _next(self) -> Token:
        start, char = self._at, self._text[self._at]
        if char == "(":
            return self._open(start)
        if char == ")" and not self._loose:
            return self._close(start)
        if char == '"':
            chars, end = self._quotes(start)
            return Token(Sign.WORD, start, end, _filled(chars, start, self._text), is_phrase=True)
        if _EXCLUDES.match(self._text, start):
            return Token(Sign.NOT, start, start + 1, "-")
        return self._field(start) or self._word(start)

    def _open(self, start: int) -> Token:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(f"the nesting of parentheses exceeds {MAX_DEPTH} levels: take some out", start, self._text)
        return Token(Sign.OPEN, start, start + 1, "(")

    def _close(self, start: int) -> Token:
        if not self._depth:
            raise QueryError(
                "this closing parenthesis closes nothing: take it out, or put the text around it in quotes",
                start,
                self._text,
            )
        self._depth -= 1
        return Token(Sign.CLOSE, start, start + 1, ")")

    def _field(self, start: int) -> Token | None:
        """A field with its value; an unknown name is one only if a value follows at once, unlike `no such host: …`."""
        match = _FIELD.match(self._text, start)
        if match is None:
            return None
        name, end = match[1], match.end()
        follows = end < len(self._text) and not self._text[end].isspace()
        if not (name.islower() or (follows and field_named(name))) or not (follows or field_named(name)):
            return None
        value, end = self._value(end)
        return Token(Sign.FIELD, start, end, name, value)

    def _word(self, start: int) -> Token:
        end = start
        while end < len(self._text) and not self._ends(self._text[end]):
            end += 1
        text = self._text[start:end]
        sign = Sign[text] if text in _OPERATORS else Sign.WORD
        return Token(sign, start, end, text)

    def _value(self, at: int) -> tuple[Raw, int]:
        chars, start = list[Char](), at
        while at < len(self._text):
            if self._text[at] == '"':
                more, at = self._quotes(at)
                chars.extend(more)
            elif escape := _escaped(self._text, at):
                chars.append(Char(escape, True, at))
                at += 2
            elif self._ends(self._text[at]):
                break
            else:
                chars.append(Char(self._text[at], False, at))
                at += 1
        return Raw(tuple(chars), start), at

    def _ends(self, char: str) -> bool:
        """Whether this character ends a word; parentheses inside it belong to it in pairs."""
        if char == "(":
            self._loose += 1
        elif char == ")":
            if not self._loose:
                return True
            self._loose -= 1
        return char.isspace()

    def _quotes(self, opened: int) -> tuple[list[Char], int]:
        """The characters from an opening quote to its closing one, and the place behind that."""
        chars, at = list[Char](), opened + 1
        while at < len(self._text):
            if self._text[at] == '"':
                return chars, at + 1
            escape = _escaped(self._text, at)
            chars.append(Char(escape or self._text[at], True, at))
            at += 2 if escape else 1
        raise QueryError('the quote opened here is never closed: add a " at the end', opened, self._text)


def _escaped(text: str, at: int) -> str | None:
    r"""The quote or backslash that a backslash at that place stands before, as in `\"`."""
    following = text[at + 1 : at + 2]
    return following if text[at] == "\\" and following and following in '"\\' else None


def _filled(chars: list[Char], position: int, text: str) -> str:
    if not chars:
        raise QueryError("there is nothing between these quotes: write the words to search for", position, text)
    return "".join(char.char for char in chars)

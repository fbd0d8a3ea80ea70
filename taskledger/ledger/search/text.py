"""The search language: text to a frozen expression and back. Users' description: docs/search.md."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from taskledger.errors import QueryError
from taskledger.ledger.search.fields import field_named, fields_like
from taskledger.ledger.search.tokens import Sign, Token, is_bare, is_excluding, quoted, tokens
from taskledger.ledger.search.values import Clock, IdStart, Value, read_values

#: what a whole UUID looks like; a search for one is a search for a task
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NO_SPAN = (0, 0)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold. `span`, on every node, is where it stood in the text: start and end. Equality ignores it."""

    parts: "tuple[Expression, ...]"
    span: Span = field(default=_NO_SPAN, compare=False)

    def __str__(self) -> str:
        return " ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: "tuple[Expression, ...]"
    span: Span = field(default=_NO_SPAN, compare=False)

    def __str__(self) -> str:
        return " OR ".join(str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold, or is not known to."""

    part: "Expression"
    span: Span = field(default=_NO_SPAN, compare=False)

    def __str__(self) -> str:
        part = f"({self.part})" if isinstance(self.part, And | Or) else str(self.part)
        return f"-{part}" if is_excluding(f"-{part}") else f"NOT {part}"


@dataclass(frozen=True, slots=True)
class Word:
    """A text anywhere in a task."""

    text: str
    span: Span = field(default=_NO_SPAN, compare=False)

    def __str__(self) -> str:
        return self.text if is_bare(self.text) and not UUID.fullmatch(self.text) else quoted(self.text)


@dataclass(frozen=True, slots=True)
class Field:
    """One field has one of these values."""

    name: str
    values: tuple[Value, ...]
    span: Span = field(default=_NO_SPAN, compare=False)

    def __str__(self) -> str:
        return f"{self.name}:{','.join(str(value) for value in self.values)}"


Expression = And | Or | Not | Word | Field


def parse(text: str, *, now_at: int, zone: ZoneInfo) -> Expression | None:
    """The expression of a search, None for an empty one.

    `now_at` and `zone` say what `-24h`, `tue` and `2026-11-17` mean. Raises QueryError.
    """
    found = tokens(text)
    return _Parser(text, found, Clock(now_at, zone)).whole() if found else None


class _Parser:
    """One reading of one text: recursive descent, where AND binds closer than OR."""

    def __init__(self, text: str, found: list[Token], clock: Clock) -> None:
        self._text = text
        self._tokens = found
        self._clock = clock
        self._index = 0

    def whole(self) -> Expression:
        # The scan lets no closing parenthesis through that closes nothing, so this reads to the end.
        return self._or()

    def _or(self) -> Expression:
        parts = [self._and()]
        while self._takes(Sign.OR):
            parts.append(self._and())
        return _joined(Or, parts)

    def _and(self) -> Expression:
        parts = [self._not()]
        while self._takes(Sign.AND) or self._sign() not in (None, Sign.OR, Sign.CLOSE):
            parts.append(self._not())
        return _joined(And, parts)

    def _not(self) -> Expression:
        token = self._peek()
        if not self._takes(Sign.NOT):
            return self._primary()
        part = self._not()
        return Not(part, (token.start if token else 0, part.span[1]))

    def _primary(self) -> Expression:
        token = self._peek()
        if token is None or token.sign in (Sign.AND, Sign.OR, Sign.CLOSE):
            raise self._lacks(token)
        self._index += 1
        if token.sign is Sign.OPEN:
            return self._group(token)
        if token.sign is Sign.FIELD:
            return self._field(token)
        span = token.start, token.end
        if UUID.fullmatch(token.text) and not token.is_phrase:
            return Field("id", (IdStart(token.text),), span)
        return Word(token.text, span)

    def _group(self, opened: Token) -> Expression:
        if self._sign() is Sign.CLOSE:
            raise QueryError("there is nothing in these parentheses: take them out", opened.start, self._text)
        inner = self._or()
        if not self._takes(Sign.CLOSE):
            raise QueryError("this parenthesis is never closed: add a ) at the end", opened.start, self._text)
        return inner

    def _field(self, token: Token) -> Field:
        name = field_named(token.text)
        if name is None or token.value is None:
            whole = self._text[token.start : token.end]
            raise QueryError(
                f"unknown field '{token.text}': {fields_like(token.text)} "
                f"(to search for the text itself, put it in quotes: {quoted(whole)})",
                token.start,
                self._text,
            )
        return Field(name, read_values(name, token.value, self._clock, self._text), (token.start, token.end))

    def _lacks(self, found: Token | None) -> QueryError:
        """The error that a term is missing: after an operator, or before one."""
        before = self._tokens[self._index - 1] if self._index else None
        if before is not None and before.sign in (Sign.AND, Sign.OR, Sign.NOT):
            return QueryError(
                f"{before.text} must be followed by something to search for: add it, or take {before.text} out",
                before.start,
                self._text,
            )
        word = found.text if found else ""
        return QueryError(
            f'expected something to search for before {word}: add it, or write "{word}" for the word itself',
            found.start if found else len(self._text),
            self._text,
        )

    def _peek(self) -> Token | None:
        return self._tokens[self._index] if self._index < len(self._tokens) else None

    def _sign(self) -> Sign | None:
        token = self._peek()
        return token.sign if token else None

    def _takes(self, sign: Sign) -> bool:
        if self._sign() is not sign:
            return False
        self._index += 1
        return True


def _joined(node: type[And] | type[Or], parts: list[Expression]) -> Expression:
    """One node of these parts: the same kind taken apart, each part once."""
    flat: Iterable[Expression] = (
        inner for part in parts for inner in (part.parts if isinstance(part, node) else (part,))
    )
    unique = tuple(dict.fromkeys(flat))
    span = parts[0].span[0], parts[-1].span[1]
    return unique[0] if len(unique) == 1 else node(unique, span)

"""A search after a click on a facet: the text with one value of one field added, or taken out again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from taskledger.ledger.search.fields import FIELDS, STATE_WORDS, Takes, field_named, state_named
from taskledger.ledger.search.tokens import Raw, Sign, Token, tokens, written


@dataclass(frozen=True, slots=True)
class _Piece:
    """One of the parts that must all hold; `field` is set for `field:a,b` and its opposite, else empty."""

    source: str
    field: str = ""
    is_excluded: bool = False
    #: the values without their quotes; empty if they are not all plain
    values: tuple[str, ...] = ()

    def holds(self, field: str, value: str, *, is_excluded: bool) -> bool:
        same = self.field == field and self.is_excluded is is_excluded
        return same and any(_key(field, mine) == _key(field, value) for mine in self.values)

    def without(self, value: str) -> "_Piece | None":
        """The piece without that value, None if no value is left."""
        key = _key(self.field, value)
        rest = tuple(mine for mine in self.values if _key(self.field, mine) != key)
        return self._with(rest) if rest else None

    def plus(self, value: str) -> "_Piece":
        return self._with((*self.values, value))

    def _with(self, values: tuple[str, ...]) -> "_Piece":
        return replace(self, values=values, source=_source(self.field, values, is_excluded=self.is_excluded))


def edited(text: str, field: str, value: str, *, exclude: bool = False) -> str:
    """The search with `field:value` added, or taken out if it is there; for `exclude`, the same of `-field:value`.

    A value joins a list of the same field (`state:failed,retrying`), and one that was wanted is no longer excluded, nor
    the other way round. `value` is taken literally. Raises QueryError if the text cannot be read, KeyError if there is
    no such field.
    """
    name = _known(field)
    pieces = list(_pieces(text))
    if any(piece.holds(name, value, is_excluded=exclude) for piece in pieces):
        return _text(_take_out(pieces, name, value, is_excluded=exclude))
    opposite_was_there = any(piece.holds(name, value, is_excluded=not exclude) for piece in pieces)
    pieces = _take_out(pieces, name, value, is_excluded=not exclude)
    wanted = [piece for piece in pieces if piece.field == name and not piece.is_excluded]
    if exclude and opposite_was_there and wanted:
        return _text(pieces)
    return _text(_put_in(pieces, name, value, is_excluded=exclude))


def _known(field: str) -> str:
    name = field_named(field)
    if name is None:
        raise KeyError(field)
    return name


def _take_out(pieces: list[_Piece], field: str, value: str, *, is_excluded: bool) -> list[_Piece]:
    changed = (
        piece.without(value) if piece.holds(field, value, is_excluded=is_excluded) else piece for piece in pieces
    )
    return [piece for piece in changed if piece is not None]


def _put_in(pieces: list[_Piece], field: str, value: str, *, is_excluded: bool) -> list[_Piece]:
    """The value joins the last list of its field, else stands at the end; texts are never lists."""
    for index in range(len(pieces) - 1, -1, -1):
        piece = pieces[index]
        if piece.field == field and piece.is_excluded is is_excluded and piece.values:
            if FIELDS[field] is Takes.TEXT:
                break
            return [*pieces[:index], piece.plus(value), *pieces[index + 1 :]]
    return [*pieces, _Piece(_source(field, (value,), is_excluded=is_excluded))]


def _pieces(text: str) -> Iterator[_Piece]:
    """The parts of a search that must all hold; one with OR on the outside is a single part, in parentheses."""
    found, depth, start = tokens(text), 0, 0
    if _is_choice(found):
        yield _Piece(f"({text.strip()})")
        return
    for index, token in enumerate(found):
        depth += (token.sign is Sign.OPEN) - (token.sign is Sign.CLOSE)
        if depth or token.sign is Sign.NOT:
            continue
        if token.sign is not Sign.AND:
            yield _piece(text, found[start : index + 1])
        start = index + 1


def _is_choice(found: list[Token]) -> bool:
    depth = 0
    for token in found:
        depth += (token.sign is Sign.OPEN) - (token.sign is Sign.CLOSE)
        if token.sign is Sign.OR and not depth:
            return True
    return False


def _piece(text: str, part: list[Token]) -> _Piece:
    source = text[part[0].start : part[-1].end]
    last = part[-1]
    signs = [token.sign for token in part[:-1]]
    name = field_named(last.text) if last.sign is Sign.FIELD else None
    if name is None or last.value is None or signs not in ([], [Sign.NOT]):
        return _Piece(source)
    return _Piece(source, name, bool(signs), _plain_values(name, last.value))


def _plain_values(field: str, raw: Raw) -> tuple[str, ...]:
    """The values of a list without wildcards, else none: `name:billing.*` and one name of it are not alternatives."""
    parts = [raw] if FIELDS[field] is Takes.TEXT else raw.split(",")
    if any(char.char in "*?" and not char.literal for part in parts for char in part.chars):
        return ()
    return tuple(part.text for part in parts)


def _key(field: str, value: str) -> object:
    """What makes two values the same."""
    return (state_named(value) if FIELDS[field] is Takes.STATE else None) or value.lower()


def _source(field: str, values: tuple[str, ...], *, is_excluded: bool) -> str:
    return f"{'-' if is_excluded else ''}{field}:{','.join(_written(field, value) for value in values)}"


def _written(field: str, value: str) -> str:
    state = state_named(value) if FIELDS[field] is Takes.STATE else None
    return written(value) if state is None else STATE_WORDS[state]


def _text(pieces: list[_Piece]) -> str:
    return " ".join(piece.source for piece in pieces)

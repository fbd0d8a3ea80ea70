"""Arguments as Celery sends them: Python reprs, cut at `argsrepr_maxsize`; taken apart without changing a character."""

import ast
from collections.abc import Callable
from dataclasses import dataclass

from taskledger_web.text import SHOWN

#: beyond this a repr is shown whole instead of being taken apart
_PARSED = 20_000


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its position or its keyword, and its repr exactly as it was sent."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a task was called with. `raw` holds the reprs that could not be taken apart."""

    items: tuple[Argument, ...]
    raw: tuple[str, ...]
    is_cut: bool

    @property
    def is_empty(self) -> bool:
        return not self.items and not self.raw


def arguments(args: str | None, kwargs: str | None) -> Arguments:
    """Positional and keyword arguments of two reprs."""
    items: list[Argument] = []
    raw: list[str] = []
    for text, read in ((args, _positional), (kwargs, _keywords)):
        if text is not None:
            found = _read(text, read)
            items.extend(found or ())
            raw.extend([text[:SHOWN]] if found is None else [])
    return Arguments(tuple(items), tuple(raw), is_cut(args) or is_cut(kwargs))


def one_line(args: str | None, kwargs: str | None) -> str:
    """Both reprs in one line, without what is empty."""
    parts = [text for text in (args, kwargs) if text and text not in ("()", "[]", "{}")]
    return " ".join(parts) or (args or "")


def is_cut(text: str | None) -> bool:
    """Whether Celery cut this repr: its saferepr ends what it cut with three dots (celery/utils/saferepr.py)."""
    return bool(text) and (text or "").rstrip(")]}'\", ").endswith("...")


def _read(text: str, read: Callable[[str, ast.expr], list[Argument] | None]) -> list[Argument] | None:
    if len(text) > _PARSED:
        return None
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return read(text, node)


def _positional(text: str, node: ast.expr) -> list[Argument] | None:
    if not isinstance(node, ast.Tuple | ast.List):
        return None
    return [Argument(str(number), _source(text, item)) for number, item in enumerate(node.elts)]


def _keywords(text: str, node: ast.expr) -> list[Argument] | None:
    if not isinstance(node, ast.Dict) or any(key is None for key in node.keys):
        return None
    pairs = zip(node.keys, node.values, strict=True)
    return [Argument(_label(text, key), _source(text, value)) for key, value in pairs if key is not None]


def _label(text: str, key: ast.expr) -> str:
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else _source(text, key)


def _source(text: str, node: ast.expr) -> str:
    return ast.get_source_segment(text, node) or ""

"""Text that others wrote, made safe to look at: nothing invisible, nothing endless, nothing a spreadsheet would run."""

import re
import unicodedata
from typing import Any

from markupsafe import Markup, escape

#: categories that draw nothing or change how their neighbours are drawn: control, format, surrogate, separators
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_LIKELY = re.compile("[^\\x20-\\x7e\\n\\t]")
#: what is neither unseen nor has a meaning in HTML
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\U0010ffff&<>\"']*")
#: letters that draw nothing although their category says letter
_BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
#: repr(Retry("Retry(...)", error, when)), bare or with its class in front (celery/exceptions.py)
_RETRY = re.compile(r"""Retry(?:: |\()["']?Retry\(\.\.\.\)["']?, (?P<cause>.+), [^,]+\)?""", re.DOTALL)
#: characters of one argument, result or exception that a page shows
SHOWN = 20_000


def visible(value: Any) -> Any:
    """Text with each unseen character as its escape, U+202E as backslash u202e; None as nothing; all else as it is.

    It is the template environment's `finalize`, so that no expression can forget it.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _LIKELY.sub(_escaped, value)


def markup(value: str) -> str:
    """Text as a template puts it into a page, for what is put together without one because there are thousands."""
    return value if _PLAIN.fullmatch(value) else str(escape(visible(value)))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _BLANKS or unicodedata.category(character) in _UNSEEN:
        return character.encode("unicode_escape").decode("ascii")
    return character


def cut(text: str | None, size: int) -> str:
    """At most that many characters in one line, with an ellipsis where something was left out."""
    line = " ".join((text or "")[: size * 4].split())
    return line if len(line) <= size else line[: size - 1].rstrip() + "…"


def shortened(text: str, head: int, tail: int) -> tuple[str, int]:
    """The text without its middle when it is longer than head + tail, and how many characters that left out."""
    left_out = len(text) - head - tail
    if left_out <= 0:
        return text, 0
    return f"{text[:head]}\n[… {left_out:,} characters not shown …]\n{text[-tail:]}", left_out


def exception_class(text: str | None) -> str:
    """ValueError of "ValueError('no')"; the start of the text when it does not begin with a name."""
    match = re.match(r"[\w.]+", text or "")
    return match[0].rsplit(".", 1)[-1] if match else cut(text, 40)


def cause(exception: str | None) -> str:
    """The error behind a retry: Celery announces its own Retry, with the error as the second of three arguments."""
    match = _RETRY.fullmatch(exception or "")
    return match["cause"] if match else exception or ""


def spreadsheet_cell(value: object) -> str:
    """Text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(visible(str(value)))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text

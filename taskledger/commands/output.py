"""Answers on stdout: a table for people, tab-separated lines for a pipe, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import click

from taskledger.logs import one_line

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def print_json(answer: object) -> None:
    """Frozen values as JSON: fields by name, times as ISO 8601 UTC with microseconds, states as Celery's words."""
    click.echo(json.dumps(plain(answer), indent=2, ensure_ascii=False))


def plain(value: object, name: str = "") -> Any:
    """The value as json can write it; an integer whose name says that it is a time becomes one."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name), each.name) for each in fields(value)}
    if isinstance(value, dict):
        # What Celery said stays as it was said: only our own fields have times that end in _at.
        return value
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, int) and not isinstance(value, bool) and (name == "at" or name.endswith("_at")):
        return iso(value)
    return value


def iso(at: int) -> str:
    """Microseconds since the epoch as 2026-11-22T03:00:00.000000Z."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> None:
    """Rows of text. Nothing in them is taken as markup, and no control character reaches the terminal."""
    lines = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal():
        for line in lines:
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    for line in lines:
        table.add_row(*map(Text, line))
    Console(highlight=False).print(table)


def print_fields(pairs: Iterable[tuple[str, str | None]]) -> None:
    """One `name  value` a line, without those that are not known."""
    known = [(name, one_line(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{name:<{width}}  {value}")


def note(text: str) -> None:
    """A remark beside the answer: on stderr, so that it never gets among the data."""
    click.echo(f"taskledger: {text}", err=True)


def is_terminal() -> bool:
    return sys.stdout.isatty()

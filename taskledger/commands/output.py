"""Answers on stdout: a table for people, tab-separated lines for a pipe, JSON for programs."""

import sys
from collections.abc import Iterable, Sequence

import click

from taskledger.logs import one_line
from taskledger.plain import as_json, plain


def print_json(answer: object) -> None:
    """Frozen values as JSON: fields by name, times as ISO 8601 UTC with microseconds, states as Celery's words."""
    click.echo(as_json(plain(answer)))


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

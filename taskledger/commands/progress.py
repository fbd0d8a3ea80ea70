"""How far long work has come, on stderr: a bar on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

#: seconds between two lines where there is no terminal
LINE_EVERY_S = 10.0

#: takes what is done and, where it is known, how much there is
Step = Callable[[int, int | None], None]


@contextmanager
def progress(what: str) -> Iterator[Step]:
    """Call what it yields after each step of the work."""
    if sys.stderr.isatty():
        with _bar(what) as step:
            yield step
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def step(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield step


def _lines(what: str) -> Step:
    began = said_at = time.monotonic()

    def step(done: int, total: int | None) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= LINE_EVERY_S:
            said_at = now
            rate = done / (now - began)
            click.echo(f"{what}: {done:,}{f' of {total:,}' if total else ''}, {rate:,.0f} a second", err=True)

    return step

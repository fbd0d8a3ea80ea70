"""The command that folds all events again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from taskledger.commands.asking import asking
from taskledger.commands.options import parameters
from taskledger.commands.output import note, print_json
from taskledger.plain import iso

#: what a shell calls the end by Ctrl-C
INTERRUPTED = 130


@click.command(
    "rebuild",
    short_help="Fold all events again and put right what differs.",
    params=parameters("app", "database_url", "log_level", "log_format"),
)
@click.option("--dry-run", is_flag=True, help="Only say what would be put right.")
@click.option("--from-start", is_flag=True, help="Do not go on where an earlier one stopped.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def rebuild_command(ctx: click.Context, dry_run: bool, from_start: bool, as_json: bool) -> None:
    """Fold all events again, and put right each task, run, failure group, worker and count that differs.

    Recorders and site may go on. After Ctrl-C the next one goes on where this one stopped.
    """
    from taskledger.commands.progress import progress
    from taskledger.ledger import rebuild

    with asking(ctx) as ask, progress("events read") as step, _interruptible() as stop:
        done = rebuild.rebuild(ask.ledger, from_start=from_start, dry_run=dry_run, progress=step, stop=stop)
    if as_json:
        print_json(done)
    else:
        went_on = "" if done.from_at is None else f", going on from {iso(done.from_at)}"
        click.echo(f"Folded {done.events:,} events{went_on}; {'would put' if dry_run else 'put'} right: {done}.")
    if done.left != "nothing":
        note(f"left as they are, because what they were made of is not in the ledger any more: {done.left}")
    if not done.is_whole:
        note("stopped before the end" if dry_run else "stopped before the end: the next one goes on from here")
        ctx.exit(INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, so that the work ends between two steps; the second ends it at once."""
    stop, before = threading.Event(), {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for each in before:
        signal.signal(each, interrupt)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

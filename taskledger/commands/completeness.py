"""What is missing: the command gaps, and check completeness."""

from typing import Any, Unpack

import click

from taskledger.commands.asking import (
    CANNOT_TELL,
    Asking,
    SpanOptions,
    asking,
    of_moment,
    of_span,
    question,
    read_span,
    vouch,
)
from taskledger.commands.output import note, print_json, print_table
from taskledger.plain import plain

#: the exit code for "something is missing"
NOT_WELL = 1


@question("gaps", "What is missing: when, of which worker, and why.")
@of_span
@of_moment
@click.option("--worker", default=None, metavar="NAME", help="Only of this one.")
def gaps_command(
    ctx: click.Context, worker: str | None, at_text: str | None, as_json: bool, **span: Unpack[SpanOptions]
) -> None:
    """What is missing: starts and ends of tasks that workers counted and nobody recorded, newest first.

    With --at: of the time before that moment; --from and --to count from it.
    """
    from taskledger.ledger import query

    with asking(ctx, at_text) as ask:
        range_ = read_span(ask, span)
        rows = query.gaps(ask.ledger, range_.asked, worker=worker)
        if as_json:
            print_json(rows)
        else:
            _print_gaps(ask, rows)
        vouch(ctx, ask, range_, found=len(rows), what="gap")


def _print_gaps(ask: Asking, rows: tuple[Any, ...]) -> None:
    titles = ("Worker", ask.titled("From"), "To", "Starts", "Ends", "Kind", "Cause")
    print_table(
        titles,
        (
            (
                row.worker,
                ask.moment(row.from_at),
                ask.moment(row.to_at),
                f"{row.starts:,}",
                f"{row.ends:,}",
                row.kind,
                row.cause,
            )
            for row in rows
        ),
    )


@question("completeness", "Was everything recorded in a span?")
@click.option("--since", default="-1h", show_default=True, metavar="TIME", help="1h, -7d, all, 2026-11-22T03:00.")
@click.option("--until", default="now", show_default=True, metavar="TIME", help="The same, for the end.")
@click.option("--cluster", default=None, metavar="NAME", help="Only this one.")
def completeness_command(ctx: click.Context, since: str, until: str, cluster: str | None, as_json: bool) -> None:
    """Was everything recorded in a span? 0: proven complete; 1: events are missing; 3: cannot tell.

    What is proven are the starts and ends of tasks: workers count them, and their heartbeats say how many there were.
    """
    from taskledger.ledger import query
    from taskledger.ledger.proofs import COMPLETE, MISSING
    from taskledger_web import proven, view

    with asking(ctx) as ask:
        range_ = read_span(ask, {"from_text": negative(since), "to_text": negative(until)})
        proof = query.completeness(ask.ledger, range_.shown, ask.now_at, cluster=cluster)
        says = proven.sentence(proof, view.View(ask.now_at, ask.zone, "system", keys=False))
    if as_json:
        print_json({"verdict": proof.verdict, "says": says, "lost": proof.lost, **plain(proof)})
    else:
        click.echo(says)
    if cluster is not None and not proof.workers:
        note(f"no worker of a cluster {cluster!r} is known; `taskledger check recorder` lists the clusters")
    ctx.exit({COMPLETE: 0, MISSING: NOT_WELL}.get(proof.verdict, CANNOT_TELL))


def negative(text: str) -> str:
    """1h means an hour ago, as -1h does."""
    return f"-{text}" if text[:1].isdigit() and text[-1:].isalpha() and "-" not in text else text

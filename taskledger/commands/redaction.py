"""The command that brings what was recorded before in line with the redaction of now."""

import click

from taskledger.commands.asking import asking, read_span
from taskledger.commands.options import parameters
from taskledger.commands.output import print_json


@click.command(
    "redact",
    short_help="Take secrets out of what was recorded before.",
    params=parameters(
        "app", "database_url", "redact_keys", "redact_values", "payloads", "timezone", "log_level", "log_format"
    ),
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--since", default="all", show_default=True, help="Only tasks since then: -7d, 2026-11-22T03:00.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def redact_command(ctx: click.Context, dry_run: bool, since: str, as_json: bool) -> None:
    """Take secrets out of what was recorded before, in small steps; Ctrl-C loses nothing.

    New events are redacted before they are kept: this is for new rules, and for what older versions kept.
    """
    from taskledger import redaction
    from taskledger.commands.progress import progress
    from taskledger.ledger import redact

    with asking(ctx) as ask, progress("tasks looked at") as step:
        chosen = ask.settings
        rules = redaction.compiled(chosen.redact_keys, chosen.redact_values, chosen.payloads)
        since_at = 0 if since == "all" else read_span(ask, {"from_text": since, "to_text": "now"}).asked.from_at
        done = redact.redact(ask.ledger, rules, since_at=since_at, dry_run=dry_run, progress=step)
        if as_json:
            print_json(done)
            return
        click.echo(f"{'Would redact' if dry_run else 'Redacted'} {done}.")

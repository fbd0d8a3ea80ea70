"""The commands for the database itself: db upgrade, db check, db stats, prune."""

from typing import Any

import click

from taskledger.commands.asking import asking
from taskledger.commands.options import parameters, settings
from taskledger.commands.output import note, print_fields, print_json, print_table
from taskledger.config import Settings, mask_url
from taskledger.errors import LedgerAway, SettingsError

#: the exit code for "the checked thing is not well"
NOT_WELL = 1

_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group("db")
def db_command() -> None:
    """The schema and size of the database."""


@db_command.command("upgrade", params=parameters("app", "database_url"))
@click.pass_context
def upgrade_command(ctx: click.Context) -> None:
    """Bring the schema to this version; may run while others do, and does nothing twice."""
    from taskledger.ledger import migrate

    chosen = settings(ctx)
    try:
        migrate.check(chosen.database_url)
    except LedgerAway as error:
        raise SettingsError(f"{error}; is --database (TASKLEDGER_DATABASE_URL) right?") from error
    schema = migrate.upgrade(chosen.database_url)
    click.echo(f"{_where(chosen)} is at schema {schema.current}.")


@db_command.command("check", params=parameters("app", "database_url"))
@_as_json
@click.pass_context
def check_command(ctx: click.Context, as_json: bool) -> None:
    """Whether the schema is this version's, and the tables are as it says. Exit code 1 if not."""
    from taskledger.ledger import migrate

    chosen = settings(ctx)
    schema = migrate.check(chosen.database_url)
    differences = migrate.differences(chosen.database_url) if schema.state == "current" else []
    if as_json:
        print_json(
            {"state": schema.state, "current": schema.current, "head": schema.head, "differs": bool(differences)}
        )
    else:
        click.echo(f"{_where(chosen)}: {_verdict(schema)}")
        for difference in differences:
            note(f"differs: {difference}")
    if schema.state != "current" or differences:
        ctx.exit(NOT_WELL)


def _verdict(schema: Any) -> str:
    return {
        "current": f"schema {schema.head} is current.",
        "empty": "there are no taskledger tables yet; run `taskledger db upgrade`.",
        "behind": f"schema {schema.current} is behind {schema.head}; run `taskledger db upgrade`.",
        "ahead": f"schema {schema.current} is newer than this program's {schema.head}; install the newer taskledger.",
    }[str(schema.state)]


@db_command.command("stats", params=parameters("app", "database_url", "timezone"))
@_as_json
@click.pass_context
def stats_command(ctx: click.Context, as_json: bool) -> None:
    """How much is recorded, from when to when."""
    from taskledger.ledger import query

    with asking(ctx) as ask:
        stats = query.stats(ask.ledger)
        if as_json:
            print_json(stats)
            return
        print_fields((
            ("Database", f"{stats.engine}, schema {stats.schema_version}"),
            ("Size", size_text(stats.bytes)),
            (ask.titled("Events from"), ask.moment(stats.oldest_at)),
            (ask.titled("until"), ask.moment(stats.newest_at)),
        ))  # fmt: skip
        click.echo()
        rows = ((table.name, f"{table.rows:,}", size_text(table.bytes)) for table in stats.tables)
        print_table(("Table", "Rows", "Size"), rows)


@click.command(
    "prune",
    short_help="Remove what is older than it is to be kept.",
    params=parameters("app", "database_url", "retention", "log_level", "log_format"),
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_as_json
@click.pass_context
def prune_command(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Remove what the retention no longer keeps, in small steps; Ctrl-C loses nothing."""
    from taskledger.commands.progress import progress
    from taskledger.ledger import retain

    with asking(ctx) as ask, progress("tasks pruned") as step:
        pruned = retain.prune(ask.ledger, ask.settings.retention, ask.now_at, dry_run=dry_run, progress=step)
        if as_json:
            print_json(pruned)
            return
        verb = "Would remove" if dry_run else "Removed"
        click.echo(f"{verb} {pruned} (retention {ask.settings.retention}).")


def size_text(size: int | None) -> str:
    """1.4 GB; empty where the database does not tell."""
    if size is None:
        return ""
    figure, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while figure >= 1000 and len(units) > 1:
        figure, units = figure / 1000, units[1:]
    return f"{figure:.0f} {units[0]}" if units[0] == "B" else f"{figure:.1f} {units[0]}"


def _where(chosen: Settings) -> str:
    return mask_url(chosen.database_url)

"""The commands about this set-up: config, version."""

import os
import sys

import click

from taskledger import __version__, config
from taskledger.commands.options import parameters, settings
from taskledger.commands.output import note, print_json, print_table


@click.command("config", params=parameters(*config.options()))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def config_command(ctx: click.Context, as_json: bool) -> None:
    """Every setting, its value and where it came from."""
    chosen = settings(ctx)
    rows = [
        (name, option.flag, _shown(chosen, name), chosen.origins[name]) for name, option in config.options().items()
    ]
    if as_json:
        print_json([{"name": name, "value": value, "from": origin} for name, _, value, origin in rows])
        return
    lines = [(name, flag, "" if value is None else str(value), origin) for name, flag, value, origin in rows]
    print_table(("Setting", "Flag", "Value", "From"), lines)
    for slip in config.unknown_variables(os.environ):
        note(slip)


@click.command("version")
def version_command() -> None:
    """Versions of taskledger and of what it stands on."""
    from importlib.metadata import version

    click.echo(f"taskledger {__version__}")
    click.echo(f"Python {sys.version.split()[0]}")
    for name in ("celery", "kombu", "SQLAlchemy", "Flask"):
        click.echo(f"{name} {version(name)}")


def _shown(chosen: config.Settings, name: str) -> str | int | float | bool | None:
    value = getattr(chosen, name)
    if isinstance(value, str) and config.options()[name].is_secret:
        return config.mask_url(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)

"""The commands for what waits at the broker: queue show, queue remove."""

from typing import Any

import click

from taskledger.commands.options import parameters, settings
from taskledger.commands.output import note, print_fields, print_json
from taskledger.config import Settings
from taskledger.errors import SettingsError

#: the exit code for "the checked thing is not well"
NOT_WELL = 1

_SETTINGS = ("app", "broker_url", "queue_name", "stream_name")
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group("queue")
def queue_command() -> None:
    """What the broker keeps for the recorder."""


@queue_command.command("show", params=parameters(*_SETTINGS, "queue_type", "queue_bytes", "queue_days"))
@_as_json
@click.pass_context
def show_command(ctx: click.Context, as_json: bool) -> None:
    """How much waits, who reads it, and with what limits. Exit code 1 when there is none."""
    from taskledger.recorder import queues

    found = queues.look(_chosen(ctx))
    _tell(found, as_json=as_json)
    if not all(each.is_there for each in found):
        ctx.exit(NOT_WELL)


@queue_command.command("remove", params=parameters(*_SETTINGS))
@click.option("--yes", is_flag=True, help="Do it: what waits there is lost.")
@_as_json
@click.pass_context
def remove_command(ctx: click.Context, yes: bool, as_json: bool) -> None:
    """Remove it from the broker, with all that waits in it. Stop the recorders first."""
    from taskledger.recorder import queues

    chosen = _chosen(ctx)
    if not yes:
        _tell(queues.look(chosen), as_json=as_json)
        raise SettingsError("Nothing was removed: add --yes, and what waits there is lost.")
    removed = [each for each in queues.remove(chosen) if each.is_there]
    if as_json:
        print_json(removed)
        return
    for each in removed:
        click.echo(f"{each.cluster}: removed the {each.type} {each.name}, {_count(each.messages)} messages.")
    if not removed:
        note("there was nothing to remove")


def _chosen(ctx: click.Context) -> Settings:
    chosen = settings(ctx)
    if not chosen.brokers:
        raise SettingsError("No broker is known: give --broker URL, or --app APP.")
    return chosen


def _tell(found: list[Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for number, each in enumerate(found):
        if number:
            click.echo()
        _print(each)


def _print(kept: Any) -> None:
    from taskledger.commands.database import size_text

    print_fields([("Broker", f"{kept.cluster}: {kept.address}"), (kept.type.capitalize() or "Queue", _state(kept))])
    if not kept.is_there:
        return
    arguments = dict(kept.arguments or {})
    expires_ms = arguments.get("x-expires")
    print_fields((
        ("Messages", _count(kept.messages)),
        ("Unacknowledged", None if kept.unacknowledged is None else _count(kept.unacknowledged)),
        ("Size", size_text(kept.bytes) or "not known"),
        ("Recorders", _count(kept.consumers)),
        ("Removed unread after", f"{expires_ms / 86_400_000:g} days" if isinstance(expires_ms, int) else None),
        ("Arguments", ", ".join(f"{name}={value}" for name, value in sorted(arguments.items()))),
    ))  # fmt: skip


def _state(kept: Any) -> str:
    if kept.is_there:
        return str(kept.name)
    return f"{kept.name} is not there" if kept.name else "this broker keeps nothing"


def _count(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"

"""What the commands share: options made from Settings, and the settings of one invocation."""

import os
from dataclasses import MISSING
from functools import cache

import click

from taskledger import config
from taskledger.origins import CONFIG_FLAG, CONFIG_VARIABLE

#: where the flags of one invocation are gathered: click's meta is shared by a group and its commands
_FLAGS = "taskledger.flags"
#: settings that may stand before the command as well, because every command has them
_COMMON = ("app", "broker_url", "database_url", "timezone", "log_level", "log_format")


@cache
def common_parameters() -> tuple[click.Parameter, ...]:
    """The options that may stand before the command."""
    return tuple(parameters(*_COMMON))


def parameters(*names: str) -> list[click.Parameter]:
    """Options for these fields of Settings, and for the TOML file; `settings` reads what they were given."""
    help_text = f"TOML file of settings. [{CONFIG_VARIABLE}]"
    file = click.Option([CONFIG_FLAG], metavar="FILE", expose_value=False, callback=_keep, help=help_text)
    return [*map(_option, names), file]


def settings(ctx: click.Context) -> config.Settings:
    """The settings of this invocation. Under `celery -A proj taskledger`, ctx.obj is Celery's and has the app."""
    return config.load(ctx.meta.get(_FLAGS, {}), os.environ, celery_app=getattr(ctx.obj, "app", None))


def _option(name: str) -> click.Option:
    """A flag that keeps the text it is given; config.py alone judges it."""
    option = config.options()[name]
    is_switch = "/" in option.flag
    return click.Option(
        [*option.flags, name],
        metavar=None if is_switch else option.metavar,
        type=None if is_switch else click.UNPROCESSED,
        default=None,
        expose_value=False,
        callback=_keep,
        # Celery's command line would read CELERY_TASKLEDGER_… as well; config.py alone reads the environment.
        allow_from_autoenv=False,
        help=f"{option.help} [{config.variable(name)}{_default(name)}]",
    )


def _default(name: str) -> str:
    """`=5555`, for the defaults that are the same everywhere and say something."""
    field = config.Settings.__dataclass_fields__[name]
    value = config.Retention() if name == "retention" else field.default
    return "" if value is MISSING or value is None or value is True or value == "" else f"={value}"


def _keep(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    """The command's flag comes after the group's, and wins."""
    if value is not None and parameter.name is not None:
        ctx.meta.setdefault(_FLAGS, {})[parameter.name] = value

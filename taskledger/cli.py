"""The command line. Celery imports this on each of its own starts, so it holds little and imports less.

It is used in three ways: `taskledger …`, `python -m taskledger …` and `celery -A proj taskledger …`.
"""

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from taskledger.errors import TaskledgerError

if "celery.bin" in sys.modules:
    # This start of Celery may be beat's, and its app or environment may ask for the probe.
    import taskledger.integrations.beat as _  # noqa: F401  It waits for beat's own signal.

#: what a shell calls the end by Ctrl-C, and by writing to a pipe that nobody reads
INTERRUPTED, PIPE_CLOSED = 130, 141
#: command -> its module in taskledger.commands; the order is that of --help
COMMANDS = {
    "record": "doers",
    "web": "doers",
    "demo": "doers",
    "tasks": "questions",
    "task": "questions",
    "failures": "questions",
    "schedules": "expectations",
    "workers": "moments",
    "queues": "moments",
    "gaps": "completeness",
    "check": "check",
    "queue": "queue",
    "db": "database",
    "prune": "database",
    "rebuild": "rebuilding",
    "redact": "redaction",
    "config": "setup",
    "version": "setup",
}


class Commands(click.Group):
    """A group that imports a command when it is asked for, and ends as docs/operations.md promises."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click gives it.
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  As above.
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"taskledger.commands.{COMMANDS[cmd_name]}"), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The settings that all commands share, beside what was declared or what Celery's app added."""
        from taskledger.commands.options import common_parameters

        return [*common_parameters(), *super().get_params(ctx)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """A TaskledgerError is told in one line; anything else that climbs up here is our fault and keeps its trace."""
        try:
            return super().invoke(ctx)
        except TaskledgerError as error:
            click.echo(f"taskledger: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout once more when it ends, and would complain about the pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE_CLOSED)


# Celery may hand over options of the project (user_options["preload"]), which are the project's own affair.
@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, name="taskledger"
)
@click.version_option(package_name="taskledger", message="%(prog)s %(version)s")
def taskledger(**_of_celery: object) -> None:
    """The ledger of Celery's events: record them, ask them, show them.

    A flag may stand before or after the command. In brackets: its variable and
    default. `taskledger config` and docs/settings.md have all settings.
    """


def main() -> None:
    taskledger(prog_name="taskledger")

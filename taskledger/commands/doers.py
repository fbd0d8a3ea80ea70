"""The commands that go on until they are stopped: record, web, demo."""

import logging
import os
from functools import partial
from pathlib import Path

import click

from taskledger import config, logs
from taskledger.commands.options import parameters, settings
from taskledger.config import Settings
from taskledger.errors import LedgerAway, SettingsError

_LOGS = ("log_level", "log_format")
_log = logging.getLogger("taskledger")


@click.command(
    "record",
    params=parameters(
        "broker_url", "app", "database_url", "result_backend", "schedule_url", "retention", "jobs", "recorder_name",
        "queue_name", "queue_type", "queue_bytes", "queue_days", "durable_stream", "stream_name", "accept",
        "spool_folder", "spool_bytes", "batch_size", "batch_wait_s", "writer", "metrics_host", "metrics_port",
        "redact_keys", "redact_values", "payloads", "timezone", *_LOGS,
    ),
)  # fmt: skip
@click.pass_context
def record_command(ctx: click.Context) -> None:
    """Record events until stopped, and run the periodic jobs."""
    from taskledger import jobs
    from taskledger.recorder import daemon

    chosen = _ready(ctx)
    if not chosen.brokers:
        raise SettingsError(
            "No broker is known: give --broker URL, or --app APP, or run it as `celery -A APP taskledger record`."
        )
    ctx.exit(daemon.run(chosen, background=[partial(jobs.start, chosen)] if chosen.jobs else []))


@click.command(
    "web", params=parameters("app", "database_url", "host", "port", "url_prefix", "timezone", "retention", *_LOGS)
)
@click.pass_context
def web_command(ctx: click.Context) -> None:
    """Serve the site until stopped."""
    import taskledger_web

    chosen = _ready(ctx)

    def tell(address: str) -> None:
        _log.info("%s shows %s", address, config.mask_url(chosen.database_url))

    ctx.exit(taskledger_web.serve(chosen, ready=tell))


@click.command("demo")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Keep it here; else temporary.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the site listens on.")
@click.option("--port", default=5555, show_default=True, type=click.IntRange(0, 65535), help="Port of it; 0: any.")
@click.option("--browser/--no-browser", default=True, help="Open the site in a browser.")
@click.pass_context
def demo_command(ctx: click.Context, folder: Path | None, host: str, port: int, browser: bool) -> None:
    """See it work: a worker, beat, recorder and site of its own."""
    from taskledger import demo

    ctx.exit(demo.run(folder, host, port, browser))


def _ready(ctx: click.Context) -> Settings:
    """The settings, with logs set up and a database whose schema fits."""
    from taskledger.ledger import migrate

    chosen = settings(ctx)
    logs.set_up(chosen.log_level, chosen.log_format)
    for slip in config.unknown_variables(os.environ):
        _log.warning(slip)
    try:
        migrate.ensure(chosen.database_url, is_default=chosen.is_embedded)
    except LedgerAway as error:
        # Nothing works yet that could be away: at the start it is the setting that is wrong.
        raise SettingsError(f"{error}; is --database (TASKLEDGER_DATABASE_URL) right?") from error
    return chosen

"""What the demo says on the terminal; bold only there, plain lines elsewhere."""

from pathlib import Path

from rich.console import Console

#: (page, what is to be seen there)
SIGHTS = (
    ("tasks", "tasks that succeed, fail, are retried, wait for their time, are revoked or expire"),
    ("tasks?q=state:running", "what is running right now"),
    ("failures", "a few ways to fail; etl.sync_inventory gives up after three retries"),
    ("schedules", "ops-heartbeat is on time; beat cannot send daily-cleanup, and never loaded refresh-search-index"),
    ("workers", "the worker, its heartbeats and its load"),
    ("ledger", "how much was recorded, and what is known to be missing"),
)


def tell_start(address: str, folder: Path, *, is_kept: bool) -> None:
    fate = "kept" if is_kept else "removed at the end; keep one with --folder"
    say("[bold]taskledger demo[/bold]")
    say(f"  site     [bold]{address}[/bold]")
    say(f"  folder   {folder} ({fate}); celery.log in it is all that Celery itself says")
    say("  running  a Celery worker, beat, a few tasks a second, the recorder and the site, all in this process")
    say("  look at  (the schedules need half a minute to show)")
    for page, sight in SIGHTS:
        say(f"    {address}{page}  {sight}")
    say("Ctrl-C ends it.")


def tell_stop() -> None:
    say("Stopping: the worker finishes its tasks, the recorder writes what is left.")


def tell_end(folder: Path | None) -> None:
    say("Stopped." if folder is None else f"Stopped. The history is in {folder}; start again with it to go on.")


def say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text)

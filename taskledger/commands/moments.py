"""The questions about who is there and what goes on, now or as of a moment: workers, queues."""

from typing import Any

import click

from taskledger.commands.asking import (
    CANNOT_TELL,
    Asking,
    asking,
    of_moment,
    question,
    vouch_for_moment,
)
from taskledger.commands.output import note, print_fields, print_json, print_table


@question("workers", "Workers: are they there, and what do they run?")
@of_moment
@click.argument("name", required=False)
def workers_command(ctx: click.Context, name: str | None, at_text: str | None, as_json: bool) -> None:
    """Workers, and whether they are there: lost, online, not known, offline.

    With NAME: that worker, with each task that it runs. With --at: as it was at that moment, so this is how to find out
    which tasks were running on a worker then:

      taskledger workers celery@web1 --at 03:12:40
    """
    from taskledger.ledger import query

    with asking(ctx, at_text) as ask:
        found = query.workers_at(ask.ledger, ask.now_at, ask.today_at, name=name)
        if as_json:
            print_json(found.rows if name is None and ask.at is None else found)
        elif name is None:
            _print_workers(ask, found.rows)
        else:
            for row in found.rows:
                _print_worker(ask, row)
        if ask.at is not None:
            vouch_for_moment(found.heard)
        if not found.rows:
            _say_none(ctx, name, at_text)


def _say_none(ctx: click.Context, name: str | None, at_text: str | None) -> None:
    then = "" if at_text is None else f" by {at_text}"
    if name is None:
        note(f"No worker was ever heard of{then}: is a recorder running on the workers' broker?")
    else:
        note(f"No worker named {name} was ever heard of{then}; `taskledger workers` lists those that were.")
    ctx.exit(CANNOT_TELL)


def _print_workers(ask: Asking, rows: tuple[Any, ...]) -> None:
    from taskledger_web import words

    print_table(
        ("Worker", "State", ask.titled("Since"), ask.titled("Last heartbeat"), "Running", "Software"),
        (
            (
                row.name,
                words.of_worker(row.status).text,
                ask.moment(row.since_at),
                ask.moment(row.last_heartbeat_at),
                str(sum(task.certainty == "running" for task in row.running)),
                row.software or "",
            )
            for row in rows
        ),
    )


def _print_worker(ask: Asking, row: Any) -> None:
    from taskledger_web import words

    active = "" if row.active is None else f"{row.active} task{'s' if row.active != 1 else ''} active"
    print_fields((
        ("Worker", row.name),
        ("State", words.of_worker(row.status).text),
        (ask.titled("Since"), ask.moment(row.since_at)),
        (ask.titled("Last heartbeat"), ", ".join(filter(None, (ask.moment(row.last_heartbeat_at), active)))),
        ("Software", row.software),
    ))  # fmt: skip
    if row.running:
        click.echo()
        _print_running(ask, row.running)
    else:
        note(f"Nothing is known to run on {row.name}.")


def _print_running(ask: Asking, tasks: tuple[Any, ...]) -> None:
    titles = ("Running", "Task", "Name", "Queue", ask.titled("Started"), "What became of it")
    print_table(
        titles,
        (
            (
                {"running": "yes", "unknown": "perhaps", "lost": "lost with it"}[task.certainty],
                task.id,
                task.name or "",
                task.queue or "",
                ask.moment(task.started_at),
                _became(ask, task),
            )
            for task in tasks
        ),
    )


def _became(ask: Asking, task: Any) -> str:
    from taskledger_web import words

    if task.ended_at is not None:
        return f"{words.of_became(task).text} at {ask.moment(task.ended_at)}"
    if task.certainty == "lost":
        return f"the worker was last heard of at {ask.moment(task.last_sign_at)}"
    return "no end so far" if task.certainty == "running" else "no end was heard; it may have been over"


@question("queues", "Queues: what waits, since when, and what runs?")
@of_moment
def queues_command(ctx: click.Context, at_text: str | None, as_json: bool) -> None:
    """Queues, those with the most waiting first, as far as tasks announced it.

    Waiting: sent or received, and not started; reserved: of those, what a worker has taken. Scheduled: for an ETA or
    another try. Not known: what may have gone on while nobody listened.
    """
    from taskledger.ledger import query

    with asking(ctx, at_text) as ask:
        found = query.queues_at(ask.ledger, ask.now_at, ask.today_at)
        if as_json:
            print_json(found)
        else:
            _print_queues(ask, found.rows)
        if not found.rows:
            note("Nothing is known to wait or to run.")
        is_heard = vouch_for_moment(found.heard)
        if not found.rows and not is_heard:
            ctx.exit(CANNOT_TELL)


def _print_queues(ask: Asking, rows: tuple[Any, ...]) -> None:
    print_table(
        ("Queue", "Waiting", ask.titled("Oldest since"), "Reserved", "Running", "Scheduled", "Not known", "Cluster"),
        (
            (
                row.name or "(not announced)",
                f"{row.waiting:,}",
                ask.moment(row.oldest_at),
                f"{row.reserved:,}",
                f"{row.running:,}",
                f"{row.scheduled:,}",
                f"{row.unknown:,}",
                row.cluster,
            )
            for row in rows
        ),
    )

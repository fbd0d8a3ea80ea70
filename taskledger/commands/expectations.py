"""The question about what should have happened: schedules."""

from typing import Any

import click

from taskledger.commands.asking import CANNOT_TELL, Asking, asking, of_moment, question, vouch_for_moment
from taskledger.commands.output import note, print_json, print_table

#: newest due times of an entry that are asked for; the last is shown
_TICKS = 12


@question("schedules", "Schedule entries: was what was due sent?")
@of_moment
def schedules_command(ctx: click.Context, at_text: str | None, as_json: bool) -> None:
    """Schedule entries, and whether what was due was sent.

    They are shown as `record` read them from the app, and what is due now is judged first. With --at: as they
    stood at that moment, when what is known to be late or missed today may still have been to come.
    """
    from taskledger.ledger import query, schedule_store

    with asking(ctx, at_text) as ask:
        schedule_store.judge_due(ask.ledger, ask.today_at)
        rows = query.schedules(ask.ledger, ask.now_at, ticks=_TICKS, at=ask.at)
        if as_json:
            print_json(rows)
        else:
            _print_schedules(ask, rows)
        if ask.at is not None:
            vouch_for_moment(query.heard_at(ask.ledger, ask.at, ask.today_at))
        if not rows and ask.at is not None:
            note(f"No schedule had been read by {at_text}.")
            ctx.exit(CANNOT_TELL)
        if not rows:
            note("No schedule is known: `celery -A APP taskledger record` reads it from the app.")
            ctx.exit(CANNOT_TELL)


def _print_schedules(ask: Asking, rows: tuple[Any, ...]) -> None:
    print_table(
        ("Entry", "Task", "Due", ask.titled("Last due"), "Sent", "Run", "Late by", ask.titled("Next due")),
        (_schedule_line(ask, row) for row in rows),
    )


def _schedule_line(ask: Asking, row: Any) -> tuple[str, ...]:
    from taskledger_web import times

    # A row goes on with a few due times that are still to come.
    tick = next((tick for tick in reversed(row.ticks) if tick.due_at <= ask.now_at), None)
    return (
        row.name,
        row.task,
        row.words,
        ask.moment(tick.due_at if tick else None),
        tick.fire.replace("_", " ") if tick else "",
        (tick.outcome or "").replace("_", " ") if tick else "",
        times.duration(tick.lateness_s) if tick else "",
        ask.moment(row.next_due_at),
    )

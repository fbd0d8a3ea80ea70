"""The question about what should have happened: schedules, all of them or one with its due times."""

from typing import Any

import click

from taskledger.commands.asking import CANNOT_TELL, Asking, asking, of_moment, question, vouch_for_moment
from taskledger.commands.output import note, print_fields, print_json, print_table

#: newest due times of an entry that are asked for where the last alone is shown
_TICKS = 12
#: due times that --ticks shows without a number
_SHOWN = 30


@question("schedules", "Schedule entries: was what was due sent?")
@of_moment
@click.option(
    "--ticks",
    metavar="[N]",
    type=click.IntRange(1, 10_000),
    is_flag=False,
    flag_value=_SHOWN,
    default=None,
    help=f"With NAME: its last N due times, {_SHOWN} unless said otherwise.",
)
@click.argument("name", required=False)
def schedules_command(
    ctx: click.Context, name: str | None, ticks: int | None, at_text: str | None, as_json: bool
) -> None:
    """Schedule entries, and whether what was due was sent.

    With NAME: that entry. With --ticks as well: when it was due, when it fired, how late, what became of it, and how
    long it ran:

      taskledger schedules nightly-billing --ticks

    They are shown as `record` read them, and what is due now is judged first. With --at: as they stood at that moment,
    when what is known to be late or missed today may still have been to come.
    """
    from taskledger.ledger import query, schedule_store

    if ticks is not None and name is None:
        raise click.UsageError("--ticks needs the NAME of one entry, before it: taskledger schedules NAME --ticks")
    with asking(ctx, at_text) as ask:
        schedule_store.judge_due(ask.ledger, ask.today_at)
        is_found = _tell_all(ask, as_json=as_json) if name is None else _tell_one(ask, name, ticks, as_json=as_json)
        if ask.at is not None:
            vouch_for_moment(query.heard_at(ask.ledger, ask.at, ask.today_at))
        if not is_found:
            note(_not_found(name, at_text))
            ctx.exit(CANNOT_TELL)


def _not_found(name: str | None, at_text: str | None) -> str:
    then = "" if at_text is None else f" by {at_text}"
    if name is not None:
        return f"No schedule entry named {name} was ever read or recorded{then}; `taskledger schedules` lists them."
    if then:
        return f"No schedule had been read{then}."
    return "No schedule is known: `celery -A APP taskledger record` reads it from the app."


def _tell_all(ask: Asking, *, as_json: bool) -> bool:
    from taskledger.ledger import query

    rows = query.schedules(ask.ledger, ask.now_at, ticks=_TICKS, at=ask.at)
    if as_json:
        print_json(rows)
    else:
        dues = (ask.titled("Last due"), "Sent", "Late by", "Outcome", ask.titled("Last fired"))
        titles = ("Entry", "Task", "Due", *dues, "30 days", ask.titled("Next due"))
        print_table(titles, (_schedule_line(ask, row) for row in rows))
    return bool(rows)


def _tell_one(ask: Asking, name: str, ticks: int | None, *, as_json: bool) -> bool:
    from taskledger.ledger import query

    row = query.schedule(ask.ledger, name, ask.now_at, ticks=ticks or _SHOWN, at=ask.at)
    if row is None:
        return False
    if as_json:
        print_json(row)
    elif ticks is None:
        _print_entry(ask, row)
    else:
        _print_ticks(ask, row)
    return True


def _schedule_line(ask: Asking, row: Any) -> tuple[str, ...]:
    from taskledger_web import entries, times

    # A row goes on with a few due times that are still to come.
    tick = next((tick for tick in reversed(row.ticks) if tick.due_at <= ask.now_at), None)
    fire = entries.last_fire(row)
    return (
        row.name,
        row.task,
        row.words,
        ask.moment(tick.due_at if tick else None),
        _fire_word(tick) if tick else "",
        times.duration(tick.lateness_s) if tick else "",
        _outcome_word(tick) if tick else "",
        ask.moment(fire.fired_at if fire else row.last_fired_at),
        " ".join(filter(None, (entries.percent(row.adherence), _left_out(row)))),
        ask.moment(row.next_due_at),
    )


def _left_out(row: Any) -> str:
    from taskledger_web import entries

    words = entries.left_out(row.adherence)
    return f"({words})" if words else ""


def _print_entry(ask: Asking, row: Any) -> None:
    from taskledger_web import entries, strip, times

    fire = entries.last_fire(row)
    verdict = strip.verdict(row)
    last = (
        (ask.moment(fire.fired_at), f"late by {times.duration(fire.lateness_s)}", _outcome_word(fire)) if fire else ()
    )
    counted = (entries.percent(row.adherence), entries.counted(row.adherence), entries.left_out(row.adherence))
    print_fields((
        ("Entry", row.name),
        ("Task", row.task),
        ("Schedule", f"{row.expression} {row.timezone}: {row.words}"),
        ("Verdict", f"{verdict.mark.text}: {verdict.sentence}"),
        (ask.titled("Last fired"), ", ".join(filter(None, last))),
        ("30 days", "; ".join(filter(None, counted))),
        ("Median lateness", times.duration(row.median_lateness_s)),
        (ask.titled("Next due"), ask.moment(row.next_due_at) or ("" if row.enabled else "switched off")),
        ("Read from", f"{row.source}, {ask.moment(row.read_at)}"),
        ("Sends known by", row.evidence),
        *(("Finding", finding.sentence) for finding in row.findings),
    ))  # fmt: skip


def _print_ticks(ask: Asking, row: Any) -> None:
    from taskledger_web import times

    titles = (ask.titled("Due"), "Sent", "Fired", "Late by", "Outcome", "Run time", "Task", "Note")
    print_table(
        titles,
        (
            (
                ask.moment(tick.due_at),
                _fire_word(tick),
                ask.moment(tick.fired_at),
                times.duration(tick.lateness_s),
                _outcome_word(tick),
                times.duration(tick.runtime_s),
                tick.task_id or "",
                tick.remark or "",
            )
            for tick in reversed(row.ticks)
            if tick.fire != "pending"
        ),
    )
    if not any(tick.fire != "pending" for tick in row.ticks):
        note(f"Nothing was due yet of {row.name}.")


def _fire_word(tick: Any) -> str:
    from taskledger_web import strip

    twice = ", more than once" if strip.TWICE.intersection(tick.flags) else ""
    return f"{strip.FIRE_WORDS.get(tick.fire, tick.fire)}{twice}"


def _outcome_word(tick: Any) -> str:
    from taskledger_web import strip

    return strip.OUTCOME_WORDS.get(tick.outcome, tick.outcome) if tick.outcome else ""

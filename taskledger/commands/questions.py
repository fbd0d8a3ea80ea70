"""The questions about tasks and failures: tasks, task, failures."""

from collections.abc import Callable
from typing import Any, Unpack

import click

from taskledger.commands.asking import (
    CANNOT_TELL,
    Asking,
    SpanOptions,
    asking,
    of_moment,
    of_span,
    question,
    read_span,
    vouch,
    vouch_for_moment,
)
from taskledger.commands.output import is_terminal, note, print_fields, print_json, print_table

#: characters of an id that people need to tell tasks apart; `task` takes them
_SHORT_ID = 8
#: characters of an exception or a title in a table
_SHORT_TEXT = 60


@question("tasks")
@of_span
@of_moment
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Most tasks, newest first."
)
@click.argument("words", metavar="[QUERY]...", nargs=-1)
def tasks_command(
    ctx: click.Context,
    words: tuple[str, ...],
    limit: int,
    at_text: str | None,
    as_json: bool,
    **span: Unpack[SpanOptions],
) -> None:
    """Tasks, newest first.

    QUERY is what the site's search takes, e.g. state:failed queue:mail timeout; quote what the shell would take for
    itself. With --at, states and everything else are as they were at that moment, --from and --to count from it, and
    state:running finds what ran then.
    """
    from taskledger.ledger import query as questions
    from taskledger.ledger import search

    query = " ".join(words)
    with asking(ctx, at_text) as ask:
        range_ = read_span(ask, span)
        where = search.parse(query, now_at=ask.now_at, zone=ask.zone)
        page = questions.tasks(ask.ledger, where, range_.asked, limit=limit, at=ask.at)
        if as_json:
            print_json(page.rows)
        else:
            _print_tasks(ask, page.rows)
        if page.older and not as_json:
            note(f"There are more than these {limit}: give --limit, or an earlier --to.")
        if ask.at is not None:
            vouch_for_moment(questions.heard_at(ask.ledger, ask.at, ask.today_at))
        vouch(ctx, ask, range_, found=len(page.rows), what=f"task matches {query!r}" if query else "task")


def _words(ask: Asking) -> Callable[[Any], Any]:
    """What the states of tasks are called at the moment in question."""
    from taskledger.ledger import query
    from taskledger_web import words

    if ask.at is None:
        return lambda row: words.of_task(row, ask.now_at)
    running = query.running_at(ask.ledger, ask.at, ask.today_at)
    return lambda row: words.as_of(row, running)


def _print_tasks(ask: Asking, rows: tuple[Any, ...]) -> None:
    from taskledger_web import times

    word = _words(ask)
    titles = ("Task", "Name", "State", ask.titled("First seen"), "Run time", "Worker", "Exception")
    print_table(
        titles,
        (
            (
                short_id(row.id),
                row.name or "",
                word(row).text,
                ask.moment(row.first_at),
                times.duration(row.runtime_s),
                row.worker or "",
                cut(row.exception),
            )
            for row in rows
        ),
    )


@question("task", "One task: its runs and how it ended.")
@of_moment
@click.argument("id")
def task_command(
    ctx: click.Context,
    id: str,  # noqa: A002  The contract calls it ID.
    at_text: str | None,
    as_json: bool,
) -> None:
    """One task: its runs, its events, and how it ended. ID may be its first characters.

    With --at: as it stood at that moment.
    """
    from taskledger.ledger import query

    with asking(ctx, at_text) as ask:
        detail = query.task(ask.ledger, id, at=ask.at)
        if detail is None:
            alike = [task for task in query.tasks_like(ask.ledger, id) if task.first_at <= ask.now_at]
            detail = query.task(ask.ledger, alike[0].id, at=ask.at) if len(alike) == 1 else None
            if detail is None:
                note(_unknown_task(id, [task.id for task in alike], at_text))
                ctx.exit(CANNOT_TELL)
        if as_json:
            print_json(detail)
        else:
            _print_task(ask, detail)
        if ask.at is not None:
            vouch_for_moment(query.heard_at(ask.ledger, ask.at, ask.today_at))


def _unknown_task(task_id: str, alike: list[str], at_text: str | None) -> str:
    if alike:
        return f"Several tasks begin with {task_id}: {', '.join(alike)}."
    if at_text is not None:
        return f"No event of a task {task_id} by {at_text} was recorded; without --at it is as of now."
    return f"No event of a task {task_id} was recorded; `taskledger tasks --from all` lists what was."


def _print_task(ask: Asking, detail: Any) -> None:
    from taskledger_web import times, words

    task = detail.task
    word = _words(ask)(task)
    print_fields((
        ("Task", task.id),
        ("Name", task.name),
        ("State", f"{word.text} ({word.note})" if word.note else word.text),
        ("Known by", words.KNOWN_BY.get(task.settled_by or "")),
        (ask.titled("Sent"), ask.moment(task.sent_at)),
        ("Queue", task.queue),
        ("Arguments", " ".join(filter(None, (task.args, task.kwargs)))),
        ("Result", task.result),
        ("Exception", task.exception),
        ("Root, parent", " ".join(filter(None, (detail.root_id, detail.parent_id)))),
    ))  # fmt: skip
    click.echo()
    print_table(
        ("Run", "State", "Worker", ask.titled("Started"), ask.titled("Ended"), "Run time", "Beside"),
        (
            (
                str(run.number),
                words.of_run(run).text,
                run.worker or "",
                ask.moment(run.started_at),
                ask.moment(run.ended_at),
                times.duration(run.runtime_s),
                words.beside(run),
            )
            for run in detail.runs
        ),
    )
    _print_last_traceback(detail)


def _print_last_traceback(detail: Any) -> None:
    from taskledger.logs import one_line

    traces = [run.traceback for run in detail.runs if run.traceback]
    if traces:
        click.echo()
        for line in traces[-1].splitlines():
            click.echo(one_line(line))


@question("failures", "Failed runs, grouped by how they failed.")
@of_span
@of_moment
@click.option("--text", default=None, help="Only those that mention it.")
def failures_command(
    ctx: click.Context, text: str | None, at_text: str | None, as_json: bool, **span: Unpack[SpanOptions]
) -> None:
    """Failed runs, grouped by how they failed, the newest group first.

    With --at: those that had failed by that moment; --from and --to count from it.
    """
    from taskledger.ledger import query

    with asking(ctx, at_text) as ask:
        range_ = read_span(ask, span)
        groups = query.failure_groups(ask.ledger, range_.asked, text=text)
        if as_json:
            print_json(groups)
        else:
            _print_failures(ask, groups)
        vouch(ctx, ask, range_, found=len(groups), what="failure")


def _print_failures(ask: Asking, groups: tuple[Any, ...]) -> None:
    titles = ("Runs", "Task", "Failure", "Where", ask.titled("Last"), ask.titled("First"), "Example")
    print_table(
        titles,
        (
            (
                f"{group.number:,}",
                group.task_name or "",
                cut(group.title),
                group.frame or "",
                ask.moment(group.last_at),
                ask.moment(group.first_at),
                short_id(group.example_id),
            )
            for group in groups
        ),
    )


def short_id(task_id: str) -> str:
    """Enough of an id for people; all of it in a pipe."""
    return task_id[:_SHORT_ID] if is_terminal() else task_id


def cut(text: str | None) -> str:
    """A long text in one cell, when people read it."""
    if text is None or len(text) <= _SHORT_TEXT or not is_terminal():
        return text or ""
    return f"{text[: _SHORT_TEXT - 1]}…"

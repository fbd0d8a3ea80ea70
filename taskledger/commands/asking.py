"""How a question is put to the ledger from the command line, and how its answer says what it cannot know."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict
from zoneinfo import ZoneInfo

import click

from taskledger.commands.options import parameters, settings
from taskledger.commands.output import note
from taskledger.config import Settings
from taskledger.errors import QueryError

#: the exit code for "cannot tell": nothing was recorded that could answer
CANNOT_TELL = 3


@dataclass(frozen=True, slots=True)
class Asking:
    """One question: the settings, the open ledger, and the moment it is about: now, unless --at names another."""

    settings: Settings
    ledger: Any
    now_at: int
    #: the same moment where --at names it; None for the present
    at: int | None
    #: the clock
    today_at: int

    @property
    def zone(self) -> ZoneInfo:
        return self.settings.timezone

    def moment(self, at: int | None) -> str:
        """A time as people read it: in the zone, with the date when that is not today's."""
        from taskledger_web import times

        return "" if at is None else times.absolute(at, self.zone, self.now_at)

    def titled(self, title: str) -> str:
        """A column's title with the zone of its times."""
        from taskledger_web import times

        return f"{title} ({times.zone_word(self.zone, self.now_at)})"


def question(name: str, short_help: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that asks: with the settings it needs, and --json."""

    def decorate(command: Callable[..., Any]) -> click.Command:
        as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
        own = click.command(name, short_help=short_help, params=parameters("app", "database_url", "timezone"))
        return own(as_json(click.pass_context(command)))

    return decorate


class SpanOptions(TypedDict):
    """What --from and --to were given."""

    from_text: str
    to_text: str


def of_span(command: Callable[..., Any]) -> Callable[..., Any]:
    """--from and --to, in the words of the site."""
    first = click.option("--from", "from_text", default="-24h", show_default=True, help="-7d, all, 2026-11-22T03:00.")
    last = click.option("--to", "to_text", default="now", show_default=True, help="The same, for the end.")
    return first(last(command))


def of_moment(command: Callable[..., Any]) -> Callable[..., Any]:
    """--at, in the words of the site."""
    help_text = "As of that moment: 03:12:40, -10m, 2026-11-22T03:12:40, in the zone of --timezone."
    return click.option("--at", "at_text", metavar="MOMENT", default=None, help=help_text)(command)


def vouch_for_moment(clusters: Sequence[Any]) -> bool:
    """Say beside an answer about a moment which clusters nobody listened to then; whether all were listened to."""
    from taskledger_web import recorded

    deaf = recorded.unheard(clusters)
    if deaf:
        note(deaf)
    return not deaf


@contextmanager
def asking(ctx: click.Context, at_text: str | None = None) -> Iterator[Asking]:
    """An open ledger whose schema fits. Raises QueryError for a moment that cannot be read, or is to come."""
    from taskledger.ledger import migrate, open_ledger

    chosen = settings(ctx)
    migrate.ensure(chosen.database_url, is_default=chosen.is_embedded)
    today_at = time.time_ns() // 1000
    at = None if at_text is None else _moment(at_text, today_at, chosen.timezone)
    with open_ledger(chosen.database_url) as ledger:
        yield Asking(chosen, ledger, today_at if at is None else at, at, today_at)


def _moment(text: str, today_at: int, zone: ZoneInfo) -> int:
    from taskledger_web import span

    try:
        return span.as_of(text, today_at, zone)
    except ValueError as error:
        raise QueryError(f"--at: {error}", 0) from error


def read_span(ask: Asking, options: SpanOptions) -> Any:
    """The taskledger_web.span.Range that they mean. Raises QueryError for a time that cannot be read."""
    from taskledger.ledger import query
    from taskledger.ledger.answers import Span
    from taskledger_web import span

    began_at = query.coverage(ask.ledger, Span(ask.now_at - 1, ask.now_at)).began_at
    found = span.read(options["from_text"], options["to_text"], ask.now_at, ask.zone, began_at)
    if found.problem:
        raise QueryError(found.problem.partition(";")[0], 0)
    return found if ask.at is None else found.until(ask.at)


def vouch(ctx: click.Context, ask: Asking, span: Any, *, found: int, what: str) -> None:
    """Say beside an answer which part of the span nobody recorded; "none" ends well only if somebody was listening."""
    from taskledger.ledger import query
    from taskledger_web import recorded, times, view

    coverage = query.coverage(ask.ledger, span.shown, ask.now_at)
    seen = view.View(ask.now_at, ask.zone, "system", keys=False)
    if not found:
        when = times.between(span.shown.from_at, span.shown.to_at, ask.zone, ask.now_at)
        note(f"No {what} from {when}. {recorded.sentence(coverage, seen)} Try --from -30d, or --from all.")
    elif not coverage.is_whole:
        note(recorded.sentence(coverage, seen))
    unheard = sum(hole.to_at - hole.from_at for hole in coverage.holes)
    if not found and unheard >= span.shown.to_at - span.shown.from_at:
        ctx.exit(CANNOT_TELL)

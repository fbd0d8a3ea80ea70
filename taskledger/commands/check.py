"""The commands that judge, by exit code: check recorder; the others are in beat.py and completeness.py."""

from dataclasses import dataclass
from typing import Any

import click

from taskledger.commands.asking import CANNOT_TELL, Asking, asking, question
from taskledger.commands.beat import beat_command
from taskledger.commands.completeness import completeness_command
from taskledger.commands.output import note, print_json
from taskledger.logs import one_line
from taskledger.plain import plain
from taskledger.retention import duration_text, parse_duration

#: the exit code for "the checked thing is not well"
NOT_WELL = 1
#: exit code -> the verdict as programs get it
VERDICTS = {0: "well", NOT_WELL: "not well", CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True, slots=True)
class Judged:
    """One cluster with its verdict; `says` is the sentence for people."""

    cluster: str
    is_well: bool
    says: str
    recorders: tuple[str, ...] = ()
    #: recorded since then, or up to then; None when it never was
    since_at: int | None = None
    lag_s: float | None = None
    promise: str | None = None
    cause: str | None = None


@click.group("check", short_help="Verdicts for monitoring: is all well?")
def check_command() -> None:
    """Judge by exit code: 0 well, 1 not well, 2 wrong use, 3 cannot tell."""


def _seconds(_ctx: click.Context, _parameter: click.Parameter, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise click.BadParameter(f"must be a duration such as 30s or 5m, not {text!r}") from None


@question("recorder", "Is everything being recorded right now?")
@click.option(
    "--max-lag",
    "max_lag_s",
    metavar="DURATION",
    default="30s",
    show_default=True,
    callback=_seconds,
    help="Most that is well.",
)
@click.option("--cluster", "named", multiple=True, metavar="NAME", help="Only this one; else all of the last 7 days.")
def recorder_command(ctx: click.Context, as_json: bool, max_lag_s: float, named: tuple[str, ...]) -> None:
    """Is everything being recorded right now? Asks the ledger alone, so it runs wherever that can be reached."""
    from taskledger.ledger import query

    with asking(ctx) as ask:
        has_run = bool(query.recorders(ask.ledger))
        clusters = query.clusters(ask.ledger, ask.now_at)
    judged = [_judged(ask, one, max_lag_s) for one in clusters if not named or one.cluster in named]
    known = {one.cluster for one in clusters}
    judged += [Judged(name, is_well=False, says="never recorded, or long ago") for name in named if name not in known]
    code = _code(judged) if has_run else CANNOT_TELL
    if as_json:
        print_json({"verdict": VERDICTS[code], "max_lag_s": max_lag_s, "clusters": plain(judged)})
    else:
        _tell(judged, has_run=has_run)
    if not has_run:
        note("no recorder has ever written to this ledger; is --database (TASKLEDGER_DATABASE_URL) right?")
    ctx.exit(code)


check_command.add_command(recorder_command)
check_command.add_command(completeness_command)
check_command.add_command(beat_command)


def _code(judged: list[Judged]) -> int:
    return 0 if judged and all(one.is_well for one in judged) else NOT_WELL


def _tell(judged: list[Judged], *, has_run: bool) -> None:
    for one in judged:
        click.echo(one_line(f"{one.cluster}: {one.says}"))
    if not judged and has_run:
        note("no broker was ever listened to; what does the recorder's log say?")


def _judged(ask: Asking, one: Any, max_lag_s: float) -> Judged:
    """The verdict on a ClusterStatus."""
    is_behind = (one.lag_s or 0.0) > max_lag_s
    says = _recorded(ask, one, max_lag_s if is_behind else None) if one.cause is None else _unrecorded(ask, one)
    is_well = one.cause is None and not is_behind
    return Judged(one.cluster, is_well, says, one.recorders, one.since_at, one.lag_s, one.promise, one.cause)


def _recorded(ask: Asking, one: Any, exceeded_s: float | None) -> str:
    from taskledger_web import recorded

    lag = "" if one.lag_s is None else f", lag {recorded.lag_words(one.lag_s)}"
    limit = "" if exceeded_s is None else f" (more than {duration_text(exceeded_s)})"
    names = " and ".join(one.recorders)
    return f"recorded by {names} since {_moment(ask, one)}{lag}{limit}; {recorded.promise_words(one.promise)}"


def _unrecorded(ask: Asking, one: Any) -> str:
    return f"not recorded since {_moment(ask, one)}: {one.cause}"


def _moment(ask: Asking, one: Any) -> str:
    from taskledger_web import times

    return f"{ask.moment(one.since_at)} {times.zone_word(ask.zone, one.since_at)}"

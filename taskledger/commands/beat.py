"""check beat: did beat do what it should, by exit code."""

from typing import Any

import click

from taskledger.commands.asking import CANNOT_TELL, Asking, asking, of_moment, question, read_span
from taskledger.commands.completeness import NOT_WELL, negative
from taskledger.commands.output import note, print_json
from taskledger.logs import one_line
from taskledger.plain import plain

#: what the ledger says -> the exit code
_CODES = {"well": 0, "not_well": NOT_WELL, "cannot_tell": CANNOT_TELL}
#: sentences of one kind that are written out; the rest is counted
_MOST = 20


@question("beat", "Did beat send what was due?")
@of_moment
@click.option("--entry", default=None, metavar="NAME", help="Only this one; else all of them.")
@click.option("--since", default="-24h", show_default=True, metavar="TIME", help="1h, -7d, all, 2026-11-22T03:00.")
def beat_command(ctx: click.Context, entry: str | None, since: str, at_text: str | None, as_json: bool) -> None:
    """Did beat send what was due? 0: all of it, on time; 1: something was not, or is wrong with beat; 3: cannot tell.

    Not well are due times that were missed, late or could not be sent, two beats at once, a beat that is dead. What is
    not known, because nobody was listening, is neither well nor missed. Muted entries are not counted.
    """
    from taskledger.ledger import query, schedule_store

    with asking(ctx, at_text) as ask:
        schedule_store.judge_due(ask.ledger, ask.today_at)
        range_ = read_span(ask, {"from_text": negative(since), "to_text": "now"})
        verdict = query.beat_verdict(ask.ledger, range_.shown, ask.now_at, entry=entry)
        if verdict is None:
            note(f"No schedule entry named {entry} was ever read or recorded; `taskledger schedules` lists them.")
            ctx.exit(CANNOT_TELL)
        if as_json:
            told = plain(verdict)
            print_json({"verdict": verdict.state.replace("_", " "), "says": verdict.sentence, **told})
        else:
            _tell(ask, verdict)
    ctx.exit(_CODES[verdict.state])


def _tell(ask: Asking, verdict: Any) -> None:
    click.echo(one_line(verdict.sentence))
    _tell_each(verdict.problems)
    _tell_each([_finding(ask, finding) for finding in verdict.findings])
    _tell_each([f"not known: {words}" for words in verdict.unknown])


def _tell_each(sentences: Any) -> None:
    for sentence in sentences[:_MOST]:
        click.echo(f"  {one_line(sentence)}")
    if len(sentences) > _MOST:
        click.echo(f"  and {len(sentences) - _MOST:,} more")


def _finding(ask: Asking, finding: Any) -> str:
    about = f"{finding.entry}: " if finding.entry else ""
    until = f" to {ask.moment(finding.to_at)}" if finding.to_at is not None else " and still"
    return f"{about}{finding.sentence.rstrip('.')} (from {ask.moment(finding.from_at)}{until})"

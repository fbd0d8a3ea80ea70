"""What must be found beside the verdicts: two beats, all news of the probe in spite of an outage, sends that were kept."""

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import select

from benchmarks.campaigns._beat_compare import Play
from taskledger import sequences
from taskledger.ledger import open_ledger, schema

#: seconds within which the probe tells what happened
LAST_S = 8.0


def missing_findings(play: Play) -> Iterator[str]:
    """Sentences about what should be in the ledger and is not."""
    if play.evidence == "probe":
        yield from _lost_news(play)
    yield from _lock(play)


def _lost_news(play: Play) -> Iterator[str]:
    """Nothing that the probe told may be missing, unless nobody listened."""
    with open_ledger(play.script.database_url) as ledger, ledger.read() as connection:
        lives = connection.execute(select(schema.beat_process)).all()
        sent = set(connection.scalars(select(schema.fire.c.task_id).where(schema.fire.c.evidence == "probe")))
        failed = Counter(connection.scalars(select(schema.send_failure.c.entry_id)))
    if not lives:
        yield "the ledger knows of no beat process"
    for life in lives:
        runs = sequences.from_text(life.seen)
        if life.dropped or (not play.unheard and (sequences.lost(runs) or runs[0][0] != 1)):
            yield f"of beat {life.beat_id} came {runs}, {life.dropped} were dropped"
    yield from _untold(play, sent, failed.total())


def _untold(play: Play, sent: set[str], failed: int) -> Iterator[str]:
    """What beat's log has must have been told; but a beat that is killed says nothing of its last seconds."""
    heard = [
        one
        for one in play.attempts
        if not play.is_unheard(one.at - LAST_S, one.at + LAST_S)
        and not any(from_s - LAST_S <= one.at < to_s for from_s, to_s in play.downs)
        and one.at < play.to_s
    ]
    untold = [one for one in heard if one.task_id is not None and one.task_id not in sent]
    if untold:
        yield f"{len(untold)} sends of beat's log were never told, the first is {untold[0]}"
    failures = sum(one.error is not None for one in heard)
    if failed < failures:
        yield f"{failures} sends failed by beat's log, {failed} were told"


def _lock(play: Play) -> Iterator[str]:
    """RedBeat's lock keeps a second one from sending."""
    second = [one for one in play.attempts if one.beat == "second"]
    was_there = any(span.scene == "two-beats" for span in play.spans)
    if was_there and play.script.scheduler == "redbeat" and second:
        yield f"a second RedBeat sent {len(second)} times in spite of the lock"
    if was_there and play.script.scheduler != "redbeat" and not second:
        yield "the second beat sent nothing: the scene shows nothing"

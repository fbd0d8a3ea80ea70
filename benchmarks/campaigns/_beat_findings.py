"""What must be found beside the verdicts: two beats, all news of the probe in spite of an outage, sends that were kept."""

import time
from collections import Counter
from collections.abc import Iterator

from sqlalchemy import select

from benchmarks.campaigns._beat_compare import Play
from taskledger import sequences
from taskledger.crontabs import SECOND
from taskledger.ledger import open_ledger, query, schema
from taskledger.ledger.listening_answers import Span

#: seconds within which the probe tells what happened
LAST_S = 8.0
MINUTE_S = 60.0
#: scene, entry -> what must be said of it by how its sends are known
_STATES = (
    ("quiet", "often", {"probe": ("well",), "task-sent": ("well",), "worker": ("well", "cannot_tell")}),
    ("quiet", "wrong", {"probe": ("not_well",), "task-sent": ("not_well",), "worker": ("cannot_tell",)}),
    ("killed", "often", {"probe": ("not_well",), "task-sent": ("not_well",), "worker": ("cannot_tell",)}),
)


def missing_findings(play: Play) -> Iterator[str]:
    """Sentences about what should be in the ledger and is not."""
    if play.evidence == "probe":
        yield from _lost_news(play)
        yield from _not_found(play)
        yield from _not_proven(play)
    yield from _lock(play)
    yield from _overall(play)


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


def _not_found(play: Play) -> Iterator[str]:
    """Two beats, and one that is silent longer than it said."""
    scenes = {span.scene for span in play.spans}
    wanted = {"two_beats"} if "two-beats" in scenes and play.script.scheduler != "redbeat" else set()
    wanted |= {"beat_dead"} if any(to_s - from_s > MINUTE_S for from_s, to_s in play.downs) else set()
    for kind in sorted(wanted - set(play.found)):
        yield f"{kind} was never found, only {', '.join(sorted(play.found)) or 'nothing'}"


def _not_proven(play: Play) -> Iterator[str]:
    """The last send that nobody heard becomes known by the next one."""
    if any(span.scene == "unheard" for span in play.spans):
        inferred = [tick for tick in play.rows["often"].ticks if "inferred" in tick.flags and tick.fire == "on_time"]
        if not inferred:
            yield "no send was inferred from the one after it"


def _overall(play: Play) -> Iterator[str]:
    """What `taskledger check beat` says of whole scenes."""
    now_at = time.time_ns() // 1000
    with open_ledger(play.script.database_url) as ledger:
        for scene, name, states in _STATES:
            span = next((span for span in play.spans if span.scene == scene), None)
            if span is None or name not in play.rules:
                continue
            whole = Span(round(span.from_s * SECOND), round(span.to_s * SECOND))
            told = query.beat_verdict(ledger, whole, now_at, name)
            if told is None or told.state not in states[play.evidence]:
                yield f"of {name} in {scene} check beat says {told}, not {' or '.join(states[play.evidence])}"


def _lock(play: Play) -> Iterator[str]:
    """RedBeat's lock keeps a second one from sending."""
    second = [one for one in play.attempts if one.beat == "second"]
    was_there = any(span.scene == "two-beats" for span in play.spans)
    if was_there and play.script.scheduler == "redbeat" and second:
        yield f"a second RedBeat sent {len(second)} times in spite of the lock"
    if was_there and play.script.scheduler != "redbeat" and not second:
        yield "the second beat sent nothing: the scene shows nothing"

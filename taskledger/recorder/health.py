"""Is the recorder alive, and is it recording: one look at its parts, and what that look means."""

import time
from collections.abc import Mapping

from taskledger.recorder.backlog import Backlog
from taskledger.recorder.gatherer import Gatherer
from taskledger.recorder.progress import Progress
from taskledger.recorder.reader import Reader
from taskledger.recorder.vitals import ClusterVitals, Tally, Vitals
from taskledger.recorder.waiting import Waiting

#: seconds without a move after which a loop counts as stuck
STILL_S = 60.0
#: seconds that the ledger may be behind, and that the database may take for one answer, of a recorder that is ready
READY_LAG_S, READY_ANSWER_S = 30.0, 5.0


def look(
    readers: Mapping[str, Reader], waiting: Waiting, gatherer: Gatherer, backlog: Backlog, progress: Progress
) -> Vitals:
    """How the recorder is at this moment; asks neither broker nor database, so it never waits for one."""
    tally, spool, now_s = progress.tally, backlog.spool, time.monotonic()
    return Vitals(
        clusters=tuple(_cluster(reader, gatherer, tally, now_s) for reader in readers.values()),
        still_s={"writer": now_s - tally.beat_s, "gatherer": now_s - progress.gathered_s},
        trouble=tally.trouble,
        unanswered_s=tally.unanswered_s,
        failures=tally.failures,
        lag_s=_lag_s(backlog, progress),
        committed_s=tally.committed_s,
        waiting_messages=progress.waiting,
        waiting_bytes=waiting.bytes + backlog.memory_bytes,
        spool_bytes=backlog.spooled_bytes,
        spool_max_bytes=0 if spool is None else spool.max_bytes,
        spool_damaged=backlog.damaged,
        batch_events=tally.batch_events,
        batch_s=tally.batch_s,
    )


def not_alive(vitals: Vitals) -> list[str]:
    """Which loops stand still, in sentences; empty when all is well."""
    loops = {f"the {name}": still_s for name, still_s in vitals.still_s.items()}
    loops |= {f"the reader of {one.cluster}": one.still_s for one in vitals.clusters}
    return [f"{loop} has not moved for {still_s:.0f} s" for loop, still_s in loops.items() if still_s > STILL_S]


def not_recording(vitals: Vitals) -> list[str]:
    """Why not everything is being recorded, in sentences; empty when it is."""
    reasons = not_alive(vitals)
    reasons += [f"{one.cluster} is not listened to: {one.trouble}" for one in vitals.clusters if one.trouble]
    if vitals.trouble is not None:
        reasons.append(f"the database is away: {vitals.trouble}")
    elif vitals.unanswered_s > READY_ANSWER_S:
        reasons.append(f"the database has not answered for {vitals.unanswered_s:.0f} s")
    return reasons


def not_ready(vitals: Vitals) -> list[str]:
    """As not_recording; or why it takes too long until it is in the ledger."""
    reasons = not_recording(vitals)
    if (vitals.lag_s or 0.0) > READY_LAG_S:
        reasons.append(f"the ledger is {vitals.lag_s:.0f} s behind")
    return reasons


def _lag_s(backlog: Backlog, progress: Progress) -> float | None:
    """The lag of the last batch; what could not be written since is older by now."""
    waits = bool(progress.waiting or backlog.spooled_bytes)
    unwritten_s = max(backlog.waited_s, progress.tally.unanswered_s) if waits else 0.0
    return unwritten_s or None if progress.lag_s is None else max(progress.lag_s, unwritten_s)


def _cluster(reader: Reader, gatherer: Gatherer, tally: Tally, now_s: float) -> ClusterVitals:
    cluster, link, source = reader.cluster, reader.link, reader.source
    return ClusterVitals(
        cluster=cluster,
        promise=source.promise,
        trouble=link.trouble,
        still_s=now_s - link.beat_s,
        connections=link.connections,
        listened_s=link.listened_s,
        received=reader.received,
        stored=tally.stored[cluster],
        duplicate=tally.duplicate[cluster],
        stale=tally.stale[cluster],
        quarantined=dict(tally.quarantined[cluster]),
        dropped=gatherer.dropped_of(cluster),
        lost=source.lost,
        backlog=source.backlog,
    )

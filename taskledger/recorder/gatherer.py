"""The middle of the recorder: decodes what the readers heard, gathers it into batches, and keeps it from being lost."""

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping

from taskledger.errors import TaskledgerError
from taskledger.recorder.backlog import Backlog
from taskledger.recorder.batch import Gathered, Gathering
from taskledger.recorder.decoding import Decoding
from taskledger.recorder.reader import Reader
from taskledger.recorder.source import Opened, Promise, now_at
from taskledger.recorder.spooled import Work
from taskledger.recorder.waiting import Halted, Heard, Interrupted, Item, Listening, Reached, Waiting

log = logging.getLogger(__name__)

#: seconds; the longest that the gatherer sleeps when there is nothing to do, well below what is synced at once
IDLE_S = 0.05
#: seconds without room after which a broker is let go of: it does not wait for acknowledgements for ever
HOLD_S = 60.0
#: messages; what is decoded before it is looked again whether the writer has enough to do
DECODED_AT_ONCE = 200
#: why reading pauses; and the name under which what is dropped is counted
FULL = "spool full"
PAUSED = f"paused: {FULL}, the broker keeps what comes"


class Dropped:
    """What one cluster lost since there was no room."""

    def __init__(self) -> None:
        self.events = 0
        self.from_at = 0
        #: something with a tag was among it, which its broker will deliver again
        self.has_tags = False

    def add(self, gathered: Gathered) -> None:
        self.has_tags = self.has_tags or gathered.tag is not None
        if not gathered.unkept:
            return
        self.events += gathered.unkept
        oldest = min((event.at for event in gathered.events), default=gathered.received_from_at)
        self.from_at = min(self.from_at or oldest, oldest)

    @property
    def cause(self) -> str:
        return f"messages dropped: {FULL} ({self.events:,} events)" if self.events else PAUSED


class Gatherer:
    """From `waiting` into `backlog`. It talks to no database and no broker, so it is never kept waiting by one.

    What a broker keeps is held back undecoded while the writer has enough to do, so that no more of it comes; without
    room in memory and spool for long, it is let go of until there is. Of the others, what comes is dropped then and
    counted, because whoever stops to read is hung up on, and loses more.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        waiting: Waiting,
        backlog: Backlog,
        batch_size: int,
        batch_wait_s: float,
        *,
        decoding: Decoding | None = None,
        hold_s: float = HOLD_S,
    ) -> None:
        #: what made a reader give up
        self.error: TaskledgerError | None = None
        self._readers, self._waiting, self._backlog = readers, waiting, backlog
        self._hold_s = hold_s
        self._decoding = decoding or Decoding()
        self._gatherings = {cluster: Gathering(cluster, batch_size, batch_wait_s) for cluster in readers}
        self._promises: dict[str, Promise] = {}
        #: what was heard and is not decoded yet, of brokers that keep events; since when it has not moved
        self._held: dict[str, deque[Heard]] = {cluster: deque() for cluster in readers}
        self._held_since_s: dict[str, float] = {}
        self._unhalted = set(readers)
        self._paused: set[str] = set()
        #: clusters whose reader was told to break off, until it has
        self._breaking: set[str] = set()
        self._dropping: dict[str, Dropped] = {}
        self._dropped: Counter[str] = Counter()

    @property
    def is_done(self) -> bool:
        """Every reader has halted, and all that they heard is in the backlog."""
        return not self._unhalted

    @property
    def dropped(self) -> int:
        """Events that were thrown away because there was no room."""
        return self._dropped.total() + sum(reader.dropped for reader in self._readers.values())

    def dropped_of(self, cluster: str) -> dict[str, int]:
        """Reason -> how many of one cluster."""
        return {"memory full": self._readers[cluster].dropped, FULL: self._dropped[cluster]}

    @property
    def messages(self) -> int:
        """How many wait here or before."""
        held = sum(len(heard.deliveries) for queue in self._held.values() for heard in queue)
        return self._waiting.messages + held + sum(gathering.messages for gathering in self._gatherings.values())

    def step(self) -> None:
        """Take what came, and see to what is due; returns soon."""
        item = self._waiting.get(self._patience_s())
        if item is not None:
            self._take(item)
        for cluster in [cluster for cluster, held in self._held.items() if held]:
            self._unhold(cluster)
        now_s = time.monotonic()
        for gathering in self._gatherings.values():
            if gathering.waits_until_s() <= now_s:
                self._offer(gathering.cut())
        self._relieve()

    def spool_rest(self) -> None:
        """At the end, with the database away: what no broker would deliver again goes into the spool."""
        kept = {cluster for cluster, promise in self._promises.items() if promise.keeps}

        def is_meant(work: Work) -> bool:
            return work.cluster not in kept

        self._backlog.spill_rest(is_meant)

    def _take(self, item: Item) -> None:
        match item:
            case Heard():
                self._hear(item)
            case Listening(cluster, opened):
                self._cut(cluster)
                self._promises[cluster] = opened.promise
                self._breaking.discard(cluster)
                self._backlog.put(item)
            case Interrupted(cluster=cluster):
                self._held[cluster].clear()  # It comes again.
                self._cut(cluster)
                self._breaking.discard(cluster)
                self._backlog.put(self._with_losses(item))
            case Halted():
                self._halt(item)

    def _hear(self, heard: Heard) -> None:
        if self._promises[heard.cluster].keeps:
            self._held[heard.cluster].append(heard)
            self._unhold(heard.cluster)
        else:
            self._decode(heard)

    def _unhold(self, cluster: str) -> None:
        """Go on where decoding was left, as far as there is something to do for the writer."""
        held, now_s = self._held[cluster], time.monotonic()
        while held and not self._backlog.is_ample:
            first = held.popleft()
            if len(first.deliveries) > DECODED_AT_ONCE:
                held.appendleft(first._replace(deliveries=first.deliveries[DECODED_AT_ONCE:]))
                first = Heard(cluster, first.deliveries[:DECODED_AT_ONCE])
            self._decode(first)
            self._held_since_s[cluster] = now_s
        if held and now_s - self._held_since_s.setdefault(cluster, now_s) > self._hold_s:
            self._pause(cluster)
        elif not held:
            self._held_since_s.pop(cluster, None)

    def _decode(self, heard: Heard) -> None:
        items = self._decoding.decode(heard)
        gathering, now_s = self._gatherings[heard.cluster], time.monotonic()
        for delivery, made in zip(heard.deliveries, items, strict=True):
            gathering.add(delivery, made, now_s)
            if gathering.is_full:
                self._offer(gathering.cut())
        if not heard.drained_at:
            return
        if gathering.messages:
            gathering.settle(heard.drained_at)
        elif self._takes(heard.cluster):
            self._backlog.put(Reached(heard.cluster, heard.drained_at))

    def _halt(self, halted: Halted) -> None:
        self._held[halted.cluster].clear()
        self._cut(halted.cluster)
        if halted.cluster in self._dropping:
            self._backlog.put(self._with_losses(Interrupted(halted.cluster, "")))
        self._backlog.put(halted)
        self._unhalted.discard(halted.cluster)
        self.error = self.error or halted.error

    def _cut(self, cluster: str) -> None:
        gathering = self._gatherings[cluster]
        if gathering.messages:
            self._offer(gathering.cut())

    def _takes(self, cluster: str) -> bool:
        return cluster not in self._dropping and cluster not in self._breaking

    def _offer(self, gathered: Gathered) -> None:
        cluster = gathered.cluster
        if not self._takes(cluster):
            self._drop(gathered)
        elif self._promises[cluster].keeps or self._has_room():
            self._backlog.put(gathered)
            self._spill()
        else:
            self._drop(gathered)

    def _has_room(self) -> bool:
        if self._backlog.has_room():
            return True
        self._spill()
        return self._backlog.has_room()

    def _drop(self, gathered: Gathered) -> None:
        is_certain = self._promises[gathered.cluster].keeps or gathered.cluster in self._breaking
        if is_certain and not gathered.unkept:
            return  # Its broker has it still, and delivers it again.
        if gathered.cluster not in self._dropping and gathered.unkept:
            log.error(
                "%s: the database is away and there is no room left to wait in: events are being lost",
                gathered.cluster,
                extra={"action": "dropping", "cluster": gathered.cluster},
            )
        self._dropping.setdefault(gathered.cluster, Dropped()).add(gathered)
        self._dropped[gathered.cluster] += gathered.unkept

    def _pause(self, cluster: str) -> None:
        log.warning(
            "%s: the database is away and there is no room left to wait in: the broker keeps the events meanwhile",
            cluster,
            extra={"action": "paused", "cluster": cluster},
        )
        self._held_since_s.pop(cluster, None)
        self._held[cluster].clear()
        self._paused.add(cluster)
        self._breaking.add(cluster)
        self._readers[cluster].pause(PAUSED)
        self._backlog.discard(cluster)

    def _relieve(self) -> None:
        self._spill()
        if self._paused and self._backlog.is_moving and not self._backlog.is_ample:
            for cluster in self._paused:
                self._readers[cluster].resume()
            self._paused.clear()
        if self._dropping and self._has_room():
            for cluster in list(self._dropping):
                self._confess(cluster)

    def _confess(self, cluster: str) -> None:
        """Room again: the coverage has a hole from the first event that was dropped until now."""
        dropped = self._dropping[cluster]
        if cluster in self._breaking:
            return  # Its reader will say when.
        if dropped.has_tags:
            # An acknowledgement counts for all before it, so what has a tag must come once more.
            self._breaking.add(cluster)
            self._readers[cluster].reopen(dropped.cause)
            return
        self._backlog.put(self._with_losses(Interrupted(cluster, "")))
        self._backlog.put(Listening(cluster, Opened(resumed=False, promise=self._promises[cluster]), now_at()))

    def _with_losses(self, interrupted: Interrupted) -> Interrupted:
        dropped = self._dropping.pop(interrupted.cluster, None)
        if dropped is None:
            return interrupted
        log.error(
            "%s: %s",
            interrupted.cluster,
            dropped.cause,
            extra={"action": "dropped", "cluster": interrupted.cluster, "events": dropped.events},
        )
        causes = [dropped.cause, interrupted.cause]
        cause = "; ".join(dict.fromkeys(each for each in causes if each))
        return interrupted._replace(cause=cause, lost_from_at=dropped.from_at)

    def _spill(self) -> None:
        for work in self._backlog.spill():
            if isinstance(work, Gathered) and work.tag is not None:
                self._readers[work.cluster].acknowledge(work.tag)

    def _patience_s(self) -> float:
        due_s = min(gathering.waits_until_s() for gathering in self._gatherings.values())
        return max(0.0, min(IDLE_S, due_s - time.monotonic()))

"""From the spool back into work: what an earlier process left, and what damage means for the coverage."""

from collections.abc import Iterable, Iterator

from taskledger.ledger.presence import KILLED
from taskledger.recorder.batch import Gathered
from taskledger.recorder.segment import Damage
from taskledger.recorder.source import Opened, Promise, now_at
from taskledger.recorder.spool import Segment
from taskledger.recorder.spooled import Continuing, Work, replay
from taskledger.recorder.standing import Standing
from taskledger.recorder.waiting import Interrupted, Listening, Reached


class Replaying:
    """Reads segments for the writer; `standing` is where the writer stands.

    What this process spooled goes on where the writer was. What an earlier one left needs coverage of its own; but a
    broker that keeps events may still hold some that belong between these, so for it nothing is claimed here: its next
    coverage begins where the last one ended, and gets there only when all of them are in the ledger.
    """

    def __init__(self, standing: Standing, batch_size: int) -> None:
        #: records that could not be read
        self.damaged = 0
        self._standing = standing
        self._batch_size = batch_size
        self._promises: dict[str, Promise] = {}
        self._hole = 0
        self._inherits = False

    def read(self, segment: Segment) -> Iterator[Work]:
        if not segment.inherited:
            yield from self.end_inherited()
        self._inherits = segment.inherited
        for item in replay(segment.read(), self._batch_size):
            yield from self._meaning(item, inherited=segment.inherited)

    def end_inherited(self) -> Iterable[Work]:
        """When there are no more segments (of an earlier process): what closes the coverage that it had open."""
        works = self._around_hole(now_at()) if self._hole else []
        if self._inherits:
            open_now = dict.fromkeys([*self._standing, *(work.cluster for work in works)])
            works += [Interrupted(cluster, KILLED) for cluster in open_now]
        self._inherits = False
        return works

    def _meaning(self, item: Work | Continuing | Damage, *, inherited: bool) -> Iterator[Work]:
        if isinstance(item, Damage):
            self.damaged += item.records
            self._hole += item.records
            return
        if isinstance(item, Continuing | Listening):
            yield from self._opening(item, inherited=inherited)
            return
        if self._hole and (moment := _moment(item)):
            yield from self._around_hole(moment)
        yield item

    def _opening(self, item: Continuing | Listening, *, inherited: bool) -> Iterator[Work]:
        promise = item.promise if isinstance(item, Continuing) else item.opened.promise
        self._promises[item.cluster] = promise
        if isinstance(item, Listening):
            if not (inherited and promise.keeps):
                yield item
        elif inherited and not promise.keeps and item.cluster not in self._standing:
            yield Listening(item.cluster, Opened(resumed=False, promise=promise), item.from_at)

    def _around_hole(self, moment: int) -> list[Work]:
        """Records were lost, nobody knows of which cluster: no coverage reaches over that place."""
        cause = f"the spool was damaged: {self._hole:,} records lost"
        self._hole = 0
        ends = [Interrupted(cluster, cause) for cluster in self._standing]
        promises = self._promises | {cluster: each.promise for cluster, each in self._standing.items()}
        return [*ends, *(Listening(name, Opened(resumed=False, promise=of), moment) for name, of in promises.items())]


def _moment(item: Work) -> int:
    """From when on what follows is whole; 0 where the item does not tell."""
    match item:
        case Gathered():
            return item.received_from_at
        case Reached():
            return item.until_at
    return 0

"""Up to where each cluster is covered at one point of the way from the readers to the ledger."""

from taskledger.recorder.batch import Gathered
from taskledger.recorder.spooled import Continuing, Work
from taskledger.recorder.waiting import Halted, Interrupted, Listening, Reached


class Standing(dict[str, Continuing]):
    """Cluster -> what a reader that starts at this point has to know of it; only clusters that are listened to."""

    def follow(self, work: Work) -> None:
        """That work has passed the point."""
        match work:
            case Listening(cluster, opened, from_at):
                self[cluster] = Continuing(cluster, opened.promise, from_at)
            case Gathered(cluster=cluster, until_at=until_at) | Reached(cluster, until_at):
                if cluster in self:
                    before = self[cluster]
                    self[cluster] = before._replace(from_at=max(before.from_at, until_at))
            case Interrupted(cluster=cluster) | Halted(cluster=cluster):
                self.pop(cluster, None)

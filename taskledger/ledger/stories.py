"""The events of tasks that are still going on, remembered between batches so that they need not be read again."""

from collections import OrderedDict
from collections.abc import Mapping

from taskledger.events import Event

#: events remembered, a few kilobytes each
MAX_EVENTS = 10_000


class Stories:
    """What the last batches left of open tasks. A story is only right while it has as many events as the task's row."""

    def __init__(self) -> None:
        self._stories: OrderedDict[tuple[int, str], list[Event]] = OrderedDict()
        self._events = 0
        #: (cluster, host) -> when that worker was noted to tell of its tasks: first, and last to the minute
        self.heard: dict[tuple[int, int], tuple[int, int]] = {}

    def of(self, cluster_id: int, task_id: str) -> list[Event] | None:
        """The remembered events of a task."""
        return self._stories.get((cluster_id, task_id))

    def keep(self, told: Mapping[tuple[int, str], list[Event] | None]) -> None:
        """Remember these stories and forget those that are None; beyond MAX_EVENTS the oldest go."""
        for key, story in told.items():
            self._events -= len(self._stories.pop(key, ()))
            if story is not None:
                self._stories[key] = story
                self._events += len(story)
        while self._events > MAX_EVENTS:
            self._events -= len(self._stories.popitem(last=False)[1])

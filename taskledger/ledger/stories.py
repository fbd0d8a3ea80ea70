"""The events of tasks that are still going on, remembered between batches so that they need not be read again."""

from collections import OrderedDict
from collections.abc import Mapping

from taskledger.events import Event

#: events remembered, a few kilobytes each
MAX_EVENTS = 10_000


#: cluster and packed task id
Key = tuple[int, bytes]


class Stories:
    """What the last batches left of open tasks; for one thread only.

    They hold nothing but events that are written, or will be before any batch that comes after them: `clear` them when
    that fails. So a story is the whole story of a task if its row counts as many events.
    """

    def __init__(self) -> None:
        self._stories: OrderedDict[Key, list[Event]] = OrderedDict()
        self._events = 0

    def of(self, key: Key) -> list[Event]:
        """The remembered events of a task."""
        return self._stories.get(key, [])

    def clear(self) -> None:
        """Forget all."""
        self._stories.clear()
        self._events = 0

    def keep(self, told: Mapping[Key, list[Event] | None]) -> None:
        """Remember these stories and forget those that are None; beyond MAX_EVENTS the oldest go."""
        for key, story in told.items():
            self._events -= len(self._stories.pop(key, ()))
            if story is not None:
                self._stories[key] = story
                self._events += len(story)
        while self._events > MAX_EVENTS:
            self._events -= len(self._stories.popitem(last=False)[1])

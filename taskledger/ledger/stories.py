"""The events of tasks that are still going on, remembered between batches so that they need not be read again."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from taskledger.events import Event

#: events remembered, a few kilobytes each
MAX_EVENTS = 10_000


#: cluster and packed task id
Key = tuple[int, bytes]
#: the events of open tasks; None for a task that needs no remembering
Remembered = Mapping[Key, Sequence[Event] | None]


class Stories:
    """What the last batches left of open tasks; for one thread only.

    All of it is in the ledger, as it is there: a story is all there is of a task if its row counts as many events.
    """

    def __init__(self) -> None:
        self._stories: OrderedDict[Key, Sequence[Event]] = OrderedDict()
        self._expected: Remembered = {}
        self._events = 0

    def of(self, key: Key) -> Sequence[Event]:
        """The remembered events of a task."""
        if key in self._expected:
            return self._expected[key] or ()
        return self._stories.get(key, ())

    @contextmanager
    def expecting(self, told: Remembered) -> Iterator[None]:
        """As if these were kept: what is prepared meanwhile is written after them, or not at all."""
        self._expected = told
        try:
            yield
        finally:
            self._expected = {}

    def keep(self, told: Remembered) -> None:
        """Remember these stories and forget those that are None; beyond MAX_EVENTS the oldest go."""
        for key, story in told.items():
            self._events -= len(self._stories.pop(key, ()))
            if story is not None:
                self._stories[key] = story
                self._events += len(story)
        while self._events > MAX_EVENTS:
            self._events -= len(self._stories.popitem(last=False)[1])

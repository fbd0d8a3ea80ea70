"""Redact what one cluster sends, as soon as it is decoded: before it is gathered, spooled, written or logged."""

from collections import OrderedDict
from collections.abc import Iterable

from taskledger.events import Event, Malformed
from taskledger.redaction import Redaction, redacted, redacted_malformed
from taskledger.redaction_rules import Keep

#: tasks whose rule is remembered, about 250 bytes each; only rules that are not the strictest need be
MAX_TASKS = 50_000


class Redactor:
    """Knows by which rule each task goes, since most of its events do not say its name.

    Only task-sent and task-received do (celery/worker/request.py). An event of a task whose name was never heard, or
    too long ago, goes by the strictest rule.
    """

    def __init__(self, redaction: Redaction, max_tasks: int = MAX_TASKS) -> None:
        self._redaction = redaction
        self._max_tasks = max_tasks
        self._keeps: OrderedDict[str, Keep] = OrderedDict()

    def redact(self, items: Iterable[Event | Malformed]) -> list[Event | Malformed]:
        """The items without their secrets, in the same order."""
        is_clean = self._redaction.is_clean
        if self._redaction.payloads.rules:
            return [self._redacted(item, self._keep_of(item) if isinstance(item, Event) else None) for item in items]
        # Nearly all are clean, and this is in the path of every event.
        return [
            item if item.__class__ is Event and is_clean(item.fields) else self._redacted(item, None) for item in items
        ]

    def _redacted(self, item: Event | Malformed, keep: Keep | None) -> Event | Malformed:
        if isinstance(item, Event):
            return redacted(item, self._redaction, keep)
        return redacted_malformed(item, self._redaction)

    def _keep_of(self, event: Event) -> Keep | None:
        if event.task_id is None:
            return None
        name = event.fields.get("name")
        if isinstance(name, str) and name:
            return self._learn(event.task_id, self._redaction.payloads.keep_of(name))
        return self._keeps.get(event.task_id, self._redaction.payloads.strictest)

    def _learn(self, task_id: str, keep: Keep) -> Keep:
        if keep is self._redaction.payloads.strictest:
            self._keeps.pop(task_id, None)
            return keep
        self._keeps[task_id] = keep
        self._keeps.move_to_end(task_id)
        if len(self._keeps) > self._max_tasks:
            self._keeps.popitem(last=False)
        return keep

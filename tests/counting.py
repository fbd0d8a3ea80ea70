"""Workers that count what they do, recorders that are away at times, and what is compared of both."""

import random
import uuid
from typing import Any

from sqlalchemy import select
from stories import NOON, decoded, raw

from taskledger.ledger import gaps, presence, schema
from taskledger.ledger.record import Batch, Position, record

S = 1_000_000
START_AT = round(NOON * S)


class Node:
    """A worker node as its events show it, seconds after NOON."""

    def __init__(self, name: str = "w1@vm", pid: int = 100, seed: int = 1, shift_s: float = 0.0) -> None:
        self.name, self.pid, self.shift_s = name, pid, shift_s
        self.events: list[dict[str, Any]] = []
        self._chance = random.Random(seed)
        self._processed, self._running = 0, []
        self.tell("worker-online", 0.5)

    def tell(self, kind: str, at_s: float, /, **fields: Any) -> None:
        """One event; `at_s` is the true time, of which this node's clock is wrong by `shift_s`."""
        if kind.startswith("worker"):
            fields |= {"freq": 2.0, "processed": self._processed, "active": len(self._running)}
        at = NOON + at_s + self.shift_s
        self.events.append(raw(kind, at, hostname=self.name, pid=self.pid, **fields) | {"true": at_s})

    def live(self, from_s: int, to_s: int, rate: int = 3) -> "Node":
        """Begin and end tasks, and beat every two seconds."""
        for second in range(from_s, to_s):
            for moment in sorted(self._chance.random() for _ in range(rate)):
                if self._running and self._chance.random() < 0.5:
                    self.tell("task-succeeded", second + moment * 0.99, uuid=self._running.pop(0), result="1")
                else:
                    self._running.append(str(uuid.UUID(int=self._chance.getrandbits(128))))
                    self._processed += 1
                    self.tell("task-started", second + moment * 0.99, uuid=self._running[-1])
            if second % 2:
                self.tell("worker-heartbeat", second + 0.999)
        return self


def started(events: list[dict[str, Any]]) -> int:
    return sum(event["type"] == "task-started" for event in events)


def ended(events: list[dict[str, Any]]) -> int:
    return sum(event["type"] == "task-succeeded" for event in events)


def deliver(ledger, events, coverage_id, *, until_s: float) -> None:
    """Record events as they arrive, a tenth of a second after they were sent, and cover all of it."""
    ordered = sorted(events, key=lambda event: event["true"])
    for begun in range(0, len(ordered), 40):
        batch = ordered[begun : begun + 40]
        clean = [{key: value for key, value in event.items() if key != "true"} for event in batch]
        arrived_at = round((NOON + batch[-1]["true"] + 0.1) * S)
        record(ledger, Batch("default", decoded(*clean), received_at=arrived_at))
    extend(ledger, coverage_id, until_s)


def extend(ledger, coverage_id, until_s: float) -> None:
    until_at = START_AT + round(until_s * S)
    position = Position(coverage_id, until_at)
    presence.extend(ledger, position, recorder_id=recorder_of(ledger), seen_at=until_at, lag_s=0.1, recorded=1)


def listen(ledger, from_s: float) -> int:
    from_at = START_AT + round(from_s * S)
    return presence.listen(ledger, recorder_of(ledger), "default", "counted loss", from_at)


def recorder_of(ledger) -> int:
    """The number of the one recorder there is."""
    with ledger.read() as connection:
        known = connection.scalar(select(schema.recorder.c.id))
    return known or presence.begin(ledger, "r1", "0.1", START_AT)


def found(ledger) -> list[Any]:
    with ledger.read() as connection:
        return list(connection.execute(select(schema.gap).order_by(schema.gap.c.from_at)))


def compare(ledger, at_s: float) -> None:
    gaps.compare(ledger, START_AT + round(at_s * S))

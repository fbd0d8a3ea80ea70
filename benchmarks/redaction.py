"""What redaction adds to the path of an event: medians, for events as workers send them and for those with secrets.

Prints microseconds of processor time per event. The clean ones come once as if never seen (new arguments each time), as nearly all do.
"""

import statistics
import time
from collections.abc import Sequence

import orjson

from taskledger.events import Event, decode
from taskledger.redaction import compiled, redacted

#: tasks a round, and rounds
TASKS, ROUNDS = 5_000, 9
TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/app/shop/{name}.py", line {line}, in {name}\n    {name}(order, amount=amount)\n'
    for line, name in enumerate(("charge", "prepare", "send", "receive", "check", "book", "settle", "close"), 30)
)


def life(number: int, *, kwargs: str, fails: bool = False) -> list[dict[str, object]]:
    """What one task announces: sent, received, started, and how it ended."""
    task_id = f"{number:08x}-c65a-44d1-931b-75c051faf4e8"
    base = {"uuid": task_id, "timestamp": 1_795_262_400.25 + number, "hostname": "w1@vm", "pid": 7, "clock": number}
    about = {
        "name": "shop.charge",
        "args": f"({number}, 'EUR')",
        "kwargs": kwargs,
        "root_id": task_id,
        "parent_id": None,
    }
    about |= {"retries": 0, "eta": None, "expires": None}
    if fails:
        end = {"type": "task-failed", "exception": f"ValueError('no order {number}')", "traceback": TRACEBACK}
    else:
        end = {"type": "task-succeeded", "result": f"{{'booked': {number}}}", "runtime": 0.25}
    return [
        base | about | {"type": "task-sent", "queue": "mail", "routing_key": "mail", "exchange": ""},
        base | about | {"type": "task-received"},
        base | {"type": "task-started"},
        base | end,
    ]


def clean(number: int) -> list[dict[str, object]]:
    return life(
        number, kwargs=f"{{'order_id': {number}, 'note': 'order {number}', 'when': '2026-11-22', 'items': [1, 2]}}"
    )


def failed(number: int) -> list[dict[str, object]]:
    return life(number, kwargs=f"{{'order_id': {number}}}", fails=True)


def dirty(number: int) -> list[dict[str, object]]:
    return life(
        number, kwargs=f"{{'order_id': {number}, 'password': 'hunter{number}', 'url': 'redis://:pw{number}@h/0'}}"
    )


def measured(events: Sequence[Event]) -> float:
    """Microseconds per event, with nothing remembered."""
    redaction = compiled()
    began = time.process_time()
    for event in events:
        redacted(event, redaction)
    return (time.process_time() - began) / len(events) * 1e6


def nothing(events: Sequence[Event]) -> float:
    """The same for a function that does nothing."""
    began = time.process_time()
    for event in events:
        same(event)
    return (time.process_time() - began) / len(events) * 1e6


def same(event: Event) -> Event:
    return event


def main() -> None:
    kinds = {"clean": clean, "failed": failed, "with secrets": dirty}
    events = {
        name: [
            item for number in range(TASKS) for item in decode(orjson.dumps(make(number))) if isinstance(item, Event)
        ]
        for name, make in kinds.items()
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    empty: list[float] = []
    for _ in range(ROUNDS):
        for name, mine in events.items():
            times[name].append(measured(mine))
        empty.append(nothing(events["clean"]))
    print(f"redaction, microseconds per event (four events a task, {TASKS:,} tasks, median of {ROUNDS}):")
    for name, mine in times.items():
        each = [f"{event.type} {statistics.median(measured(events[name][place::4]) for _ in range(3)):.2f}"
                for place, event in enumerate(events[name][:4])]  # fmt: skip
        print(f"  tasks {name:<13}{statistics.median(mine):7.2f}   ({', '.join(each)})")
    print(f"  {'an empty function':<19}{statistics.median(empty):7.2f}")


if __name__ == "__main__":
    main()

"""Events as Celery sends them, made by hand: raw dictionaries, and decoded."""

import itertools
import json
from typing import Any

from taskledger.events import Event, decode

#: 2026-11-21 12:00:00 UTC, in seconds
NOON = 1_795_262_400.0
TASK = "2a3cf87e-c65a-44d1-931b-75c051faf4e8"
TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/srv/app/proj.py", line 35, in charge
    raise ValueError('invalid card for customer %s' % customer_id)
ValueError: invalid card for customer 7215
"""

_clock = itertools.count(1)


def raw(kind: str, at_s: float = NOON, /, **fields: Any) -> dict[str, Any]:
    """A raw event; at_s is seconds since the epoch."""
    base = {"type": kind, "timestamp": at_s, "hostname": "w1@vm", "pid": 100, "clock": next(_clock), "utcoffset": 0}
    return base | fields


def task_event(kind: str, at_s: float = NOON, /, uuid: str = TASK, **fields: Any) -> dict[str, Any]:
    """A raw task event."""
    return raw(f"task-{kind}", at_s, uuid=uuid, **fields)


def decoded(*events: dict[str, Any]) -> list[Event]:
    """The events as the recorder decodes them."""
    found = decode(json.dumps(list(events)).encode())
    assert all(isinstance(event, Event) for event in found), found
    return [event for event in found if isinstance(event, Event)]


def succeeded(
    at_s: float = NOON, uuid: str = TASK, name: str = "billing.charge", **fields: Any
) -> list[dict[str, Any]]:
    """Sent, received, started, succeeded: the usual life."""
    about = {"name": name, "args": "(4187,)", "kwargs": "{'note': 'order 6928'}", "root_id": uuid, "parent_id": None}
    about |= {"retries": 0, "eta": None, "expires": None} | fields
    return [
        task_event("sent", at_s, uuid, hostname="gen7@web", pid=7, queue="billing", routing_key="bill", **about),
        task_event("received", at_s + 0.25, uuid, **about),
        task_event("started", at_s + 0.5, uuid),
        task_event("succeeded", at_s + 1.5, uuid, result="'done'", runtime=0.875),
    ]


def failed(at_s: float = NOON, uuid: str = TASK, name: str = "billing.charge") -> list[dict[str, Any]]:
    """Sent, received, started, failed."""
    life = succeeded(at_s, uuid, name)[:3]
    error = {"exception": "ValueError('invalid card for customer 7215')", "traceback": TRACEBACK}
    return [*life, task_event("failed", at_s + 1.5, uuid, **error)]


def retried_twice(at_s: float = NOON, uuid: str = TASK) -> list[dict[str, Any]]:
    """Three attempts with three different ends; as in Celery, the next attempt is received before the retry is told."""
    about = {"name": "mail.send", "args": "()", "kwargs": "{}", "root_id": uuid, "eta": None, "expires": None}
    story = []
    for attempt in range(3):
        begin = at_s + 10 * attempt
        # Celery's retry names the task as its own parent.
        parent = uuid if attempt else None
        story += [
            task_event(
                "sent",
                begin,
                uuid,
                hostname="gen7@web",
                pid=7,
                queue="mail",
                retries=attempt,
                parent_id=parent,
                **about,
            ),
            task_event("received", begin + 0.1, uuid, retries=attempt, parent_id=parent, **about),
            task_event("started", begin + (1 if attempt else 0.2), uuid),
        ]
        error = {
            "exception": f"ConnectionError('gateway {attempt}')",
            "traceback": f"ConnectionError: gateway {attempt}\n",
        }
        if attempt < 2:
            story.append(task_event("retried", begin + 10.2, uuid, **error))
    return [
        *story,
        task_event("failed", at_s + 25, uuid, exception="KeyError('template')", traceback="KeyError: 'template'\n"),
    ]

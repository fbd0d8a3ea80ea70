"""Events as real workers send them: a shop's day with every fate a task can have; the same seed tells the same day."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from taskledger.crontabs import Crontab
from taskledger.events import Event, Malformed, decode
from taskledger.ledger import Ledger, presence
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.schedule_store import judge_due, keep_definitions
from taskledger.schedules import Entry, Interval

SECOND = 1_000_000
HOUR = 3600 * SECOND
#: the moment at which the site is looked at
NOW = int(datetime(2026, 11, 22, 8, 12, 44, tzinfo=UTC).timestamp()) * SECOND
#: when the recorder was not listening on the recorded day
HOLE = (NOW - 5 * HOUR, NOW - 5 * HOUR + 15 * 60 * SECOND)
#: name -> (queue, usual seconds, arguments, keyword arguments)
TASKS = {
    "billing.charge": ("billing", 0.15, "({n}, 'GBP')", "{{'amount_pence': {m}, 'note': 'order {n}'}}"),
    "mail.send": ("mail", 0.04, "('user{n}@example.com',)", "{{'template': 'reset'}}"),
    "etl.sync_inventory": ("default", 1.2, "()", "{{'kind': 'daily', 'shard': {s}}}"),
    "ops.heartbeat": ("default", 0.004, "()", "{{}}"),
    "reports.build": ("default", 14.0, "('2026-11-{d:02d}',)", "{{}}"),
    "billing.hourly": ("billing", 3.1, "()", "{{}}"),
    "reports.refresh": ("default", 0.8, "()", "{{}}"),
    "ops.cleanup": ("default", 0.5, "()", "{{}}"),
    "ops.ping": ("default", 0.01, "()", "{{}}"),
}
#: what people's requests send, and how often each
TRAFFIC = {"billing.charge": 40, "mail.send": 60, "etl.sync_inventory": 12, "ops.heartbeat": 9, "reports.build": 2}
#: what beat sends
ENTRIES = (
    Entry("hourly-billing", "billing.hourly", Crontab(minute="0", tz="Europe/London")),
    Entry("refresh-reports", "reports.refresh", Crontab(minute="*/15")),
    Entry("cleanup", "ops.cleanup", Crontab(minute="30", hour="*/2")),
    Entry("ping", "ops.ping", Interval(600.0)),
)
CHARGE_TRACE = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 477, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 760, in __protected_call__
    return self.run(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/shop/billing.py", line 35, in charge
    raise ValueError("invalid card for customer %s" % customer_id)
ValueError: invalid card for customer {n}
"""
GATEWAY_TRACE = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 477, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/shop/billing.py", line 33, in charge
    gateway.post("/charges", json=body, timeout=30)
  File "/srv/app/.venv/lib/python3.11/site-packages/requests/sessions.py", line 637, in post
    return self.request("POST", url, data=data, json=json, **kwargs)
ConnectionError: gateway timeout after {t} s
"""
TEMPLATE_TRACE = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 477, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/shop/mail.py", line 88, in render
    return templates[context["template"]]
KeyError: 'template'
"""


@dataclass
class Node:
    """A worker: its clock ticks with everything it says."""

    name: str
    pid: int
    clock: int = 0
    processed: int = 0


@dataclass
class Story:
    """Events under way. `at` are microseconds; `events` come out unsorted, as they happen on several machines."""

    seed: int
    now_at: int
    events: list[dict[str, Any]] = field(default_factory=list)
    #: what a test asks for by its fate -> task id
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.web = Node("gen16402@web1", 16402)
        self.beat = Node("gen99@beat1", 99)
        self.workers = [Node("w1@vm", 16390), Node("w2@vm", 16392), Node("w3@vm", 17001)]

    def say(self, kind: str, at: float, node: Node, **more: Any) -> None:
        """One event."""
        node.clock += 1
        self.events.append(
            {
                "type": kind,
                "timestamp": at / SECOND,
                "hostname": node.name,
                "pid": node.pid,
                "clock": node.clock,
                "utcoffset": 0,
                **more,
            }
        )

    def uuid(self) -> str:
        """An id as Celery makes them."""
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    def sent(
        self,
        name: str,
        at: int,
        *,
        parent: str | None = None,
        root: str | None = None,
        client: Node | None = None,
        **more: Any,
    ) -> str:
        """A task is sent; its id."""
        task_id, (queue, _, args, kwargs) = self.uuid(), TASKS[name]
        words = {
            "n": self.dice.randrange(1000, 9999),
            "m": self.dice.randrange(500, 60_000),
            "s": self.dice.randrange(8),
            "d": self.dice.randrange(1, 22),
        }
        fields = {
            "uuid": task_id,
            "name": name,
            "args": args.format(**words),
            "kwargs": kwargs.format(**words),
            "retries": 0,
            "eta": None,
            "expires": None,
            "queue": queue,
            "exchange": "",
            "routing_key": queue,
            "root_id": root or task_id,
            "parent_id": parent,
            **more,
        }
        self.say("task-sent", at, client or self.web, **fields)
        self._fields = {
            key: fields[key] for key in ("uuid", "name", "args", "kwargs", "eta", "expires", "root_id", "parent_id")
        }
        return task_id

    def received(self, at: int, node: Node, *, retries: int = 0, **more: Any) -> None:
        """The task just sent arrives at a worker. A retry names its own id as its parent, as Celery does."""
        self.say("task-received", at, node, **self._fields | {"retries": retries, **more})

    def run(self, task_id: str, at: int, node: Node, ran: float, end: str, **more: Any) -> int:
        """The task starts and comes to an end; when."""
        self.say("task-started", at, node, uuid=task_id)
        node.processed += 1
        end_at = at + int(ran * SECOND)
        self.say(end, end_at, node, uuid=task_id, **more)
        return end_at

    def whole(self, name: str, at: int, **more: Any) -> str:
        """One task from sending to success or failure."""
        node, usual = self.dice.choice(self.workers), TASKS[name][1]
        task_id = self.sent(name, at, **more)
        taken_at = at + int(self.dice.expovariate(1 / 0.06) * SECOND) + 2000
        self.received(taken_at, node)
        ran = usual * self.dice.lognormvariate(0, 0.5)
        error = self._error(name)
        begun_at = taken_at + self.dice.randrange(500, 9000)
        if error:
            self.run(task_id, begun_at, node, ran, "task-failed", exception=error[0], traceback=error[1])
        else:
            self.run(task_id, begun_at, node, ran, "task-succeeded", result=self._result(name), runtime=ran)
        return task_id

    def retried(self, at: int, *, succeeds: bool) -> str:
        """Two attempts fail and are tried again; the third decides."""
        node = self.dice.choice(self.workers)
        task_id = self.sent("billing.charge", at)
        for attempt, delay in enumerate((1, 2)):
            self.received(at + 12_000, node, retries=attempt, **({"parent_id": task_id} if attempt else {}))
            trace = GATEWAY_TRACE.format(t=30 + attempt)
            at = self.run(
                task_id,
                at + 160_000,
                node,
                0.8,
                "task-retried",
                traceback=trace,
                exception=f"ConnectionError('gateway timeout after {30 + attempt} s')",
            )
            at += delay * SECOND
        self.received(at, node, retries=2, parent_id=task_id)
        if succeeds:
            self.run(task_id, at + 50_000, node, 2.5, "task-succeeded", result="'ch_1Nv0FGQ9'", runtime=2.5)
        else:
            self.run(
                task_id,
                at + 50_000,
                node,
                2.5,
                "task-failed",
                traceback=CHARGE_TRACE.format(n=7215),
                exception="ValueError('invalid card for customer 7215')",
            )
        return task_id

    def chain(self, at: int) -> list[str]:
        """A report that asks for two inventories, and one of them for a mail: a tree of four."""
        root = self.whole("reports.build", at)
        inner = [self.whole("etl.sync_inventory", at + step * SECOND, parent=root, root=root) for step in (15, 17)]
        return [root, *inner, self.whole("mail.send", at + 20 * SECOND, parent=inner[1], root=root)]

    def online(self, node: Node, at: int) -> None:
        """A worker's first word."""
        self.say("worker-online", at, node, freq=2.0, sw_ident="py-celery", sw_ver="5.7.0", sw_sys="Linux")

    def heartbeats(self, node: Node, from_at: int, to_at: int, *, every: int = 30) -> None:
        """A worker's signs of life (thinned: a real one sends one every two seconds)."""
        for at in range(from_at, to_at, every * SECOND):
            self.say(
                "worker-heartbeat",
                at,
                node,
                freq=2.0,
                active=0,
                processed=node.processed,
                loadavg=[0.12, 0.2, 0.18],
                sw_ident="py-celery",
                sw_ver="5.7.0",
                sw_sys="Linux",
            )

    def _error(self, name: str) -> tuple[str, str] | None:
        chance = self.dice.random()
        number = self.dice.randrange(1000, 9999)
        if name == "billing.charge" and chance < 0.08:
            return f"ValueError('invalid card for customer {number}')", CHARGE_TRACE.format(n=number)
        if name == "billing.hourly" and chance < 0.06:
            return "ConnectionError('gateway timeout after 30 s')", GATEWAY_TRACE.format(t=30)
        if name == "mail.send" and chance < 0.03:
            return "KeyError('template')", TEMPLATE_TRACE
        return None

    def _result(self, name: str) -> str:
        return {"billing.charge": "'ch_1Nv0FGQ9'", "etl.sync_inventory": "{'synced': 1204}"}.get(name, "None")


def day(seed: int, now_at: int, *, number: int = 600, hours: float = 23) -> Story:
    """A day that ends now: traffic with a busy hour and an outage, and one of each unusual fate in the last minutes."""
    story = Story(seed, now_at)
    start = now_at - int(hours * HOUR)
    for _ in range(number):
        where = story.dice.choice((story.dice.random(), story.dice.triangular(0.62, 0.74)))
        story.whole(
            story.dice.choices(list(TRAFFIC), list(TRAFFIC.values()))[0],
            start + int(where * (hours * HOUR - 600 * SECOND)),
        )
    _unusual(story, now_at)
    _beat(story, start, now_at)
    for node in story.workers:
        story.online(node, start)
    for node in story.workers[:2]:
        story.heartbeats(node, start, now_at + SECOND, every=600)
        story.heartbeats(node, now_at - 4 * SECOND, now_at + SECOND, every=2)
    story.heartbeats(story.workers[2], start, now_at - 2 * HOUR, every=300)
    return story


def _beat(story: Story, start: int, now_at: int) -> None:
    """Beat sends what is due, but for one hourly run and the last two clean-ups; one report is late, one run fails."""
    quarter = 900 * SECOND
    for number, due_at in enumerate(range(start // quarter * quarter + quarter, now_at, quarter)):
        late = 95 * SECOND if number in (60, 81) else 40_000
        story.whole("reports.refresh", due_at + late, client=story.beat)
        hour, past = divmod(due_at, HOUR)
        is_old = due_at < now_at - 4 * HOUR
        if not past and hour % 24 != 4:
            story.whole("billing.hourly", due_at + 1_200_000, client=story.beat)
        if past == HOUR // 2 and hour % 2 == 0 and is_old:
            story.whole("ops.cleanup", due_at + 30_000, client=story.beat)
    for due_at in range(start, now_at, 600 * SECOND):
        story.whole("ops.ping", due_at + 20_000, client=story.beat)


def _unusual(story: Story, now_at: int) -> None:
    first, second, third = story.workers
    story.ids["failed after retries"] = story.retried(now_at - 300 * SECOND, succeeds=False)
    story.ids["succeeded after retries"] = story.retried(now_at - 280 * SECOND, succeeds=True)
    story.ids["root"], *_, story.ids["leaf"] = story.chain(now_at - 260 * SECOND)
    running = story.sent("reports.build", now_at - 95 * SECOND)
    story.received(now_at - 94 * SECOND, second)
    story.say("task-started", now_at - 93 * SECOND, second, uuid=running)
    story.ids["running"] = running
    story.ids["sent"] = story.sent("mail.send", now_at - 12 * SECOND)
    story.ids["scheduled"] = story.sent("reports.build", now_at - 50 * SECOND, eta=_iso(now_at + 3600 * SECOND))
    story.received(now_at - 49 * SECOND, first)
    expired = story.sent("mail.send", now_at - 200 * SECOND, expires=_iso(now_at - 190 * SECOND))
    story.received(now_at - 180 * SECOND, first)
    story.say("task-revoked", now_at - 180 * SECOND, first, uuid=expired, terminated=False, signum=None, expired=True)
    given_up = story.sent("etl.sync_inventory", now_at - 170 * SECOND)
    story.received(now_at - 169 * SECOND, first)
    story.say("task-rejected", now_at - 168 * SECOND, first, uuid=given_up, requeue=False)
    dead = story.sent("reports.build", now_at - 2 * HOUR - 20 * SECOND)
    story.received(now_at - 2 * HOUR - 19 * SECOND, third)
    story.say("task-started", now_at - 2 * HOUR - 18 * SECOND, third, uuid=dead)
    story.ids |= {"revoked": expired, "rejected": given_up, "on a lost worker": dead}


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat()


def decoded(events: list[dict[str, Any]]) -> Iterator[Event | Malformed]:
    """The events in order of time, through the ledger's own decoder."""
    for event in sorted(events, key=lambda event: event["timestamp"]):
        yield from decode(json.dumps(event).encode())


def tell(
    ledger: Ledger,
    story: Story,
    *,
    holes: tuple[tuple[int, int], ...] = (),
    until_at: int | None = None,
    entries: tuple[Entry, ...] = ENTRIES,
) -> None:
    """Record a story, with a recorder that was listening all day but for the holes (each a from and a to)."""
    items = list(decoded(story.events))
    first = min(item.at for item in items if isinstance(item, Event)) - SECOND
    keep_definitions(ledger, "default", "shop (beat_schedule)", entries, first)
    end = until_at if until_at is not None else story.now_at
    recorder = presence.begin(ledger, "vm", "0.1.0", first)
    edges = [first, *(edge for hole in holes for edge in hole), end]
    for from_at, to_at in zip(edges[::2], edges[1::2], strict=True):
        row = presence.listen(ledger, recorder, "default", "counted loss", from_at)
        inside = [item for item in items if isinstance(item, Event) and from_at <= item.at < to_at + 5 * SECOND]
        for start in range(0, len(inside), 500):
            record(ledger, Batch("default", inside[start : start + 500], (), to_at, Position(row, to_at)))
        if to_at != end:
            presence.end(ledger, Position(row, to_at), "stopped")
    malformed = [item for item in items if isinstance(item, Malformed)]
    if malformed:
        record(ledger, Batch("default", (), malformed, end, None))
    presence.extend(ledger, None, recorder_id=recorder, seen_at=end, lag_s=0.4, recorded=len(items))
    while judge_due(ledger, end):
        pass

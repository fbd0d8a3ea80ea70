"""A realistic corpus of Celery events, made from a seed: task lives as prefork workers and web clients announce them."""

import random
import uuid
from collections.abc import Iterator
from typing import Any

Raw = dict[str, Any]

#: task name -> (queue, weight, arguments, keyword arguments, result)
TASKS = {
    "shop.billing.tasks.charge_card": (
        "billing",
        20,
        "({customer}, {order}, {amount})",
        "{{'currency': 'EUR', 'note': 'order {order}'}}",
        "{{'receipt': 'R-{order}', 'amount': {amount}}}",
    ),
    "shop.mail.tasks.send_mail": (
        "mail",
        30,
        "('user{customer}@example.com',)",
        "{{'template': 'order-confirmation', 'language': 'de', 'order': {order}}}",
        "'<20261121.{order}@mx2.example.com>'",
    ),
    "shop.search.tasks.reindex_product": ("search", 18, "({product},)", "{{}}", "None"),
    "shop.stock.tasks.sync_inventory": (
        "etl",
        10,
        "('warehouse-{warehouse}',)",
        "{{'since': '2026-11-21T{hour:02}:00:00+00:00', 'full': False}}",
        "{{'changed': {amount}, 'seen': {order}}}",
    ),
    "shop.reports.tasks.build_daily_report": (
        "reports",
        2,
        "()",
        "{{'day': '2026-11-{day:02}', 'shops': [1, 2, 3, 5, 8], 'format': 'pdf'}}",
        "'/var/reports/2026-11-{day:02}.pdf'",
    ),
    "shop.ops.tasks.heartbeat": ("celery", 12, "()", "{{}}", "'ok'"),
    "celery.chord_unlock": (
        "celery",
        3,
        "('{group}', {{'task': 'shop.reports.tasks.merge', 'args': [], 'kwargs': {{}}, 'options': {{}}, 'subtask_type': None, 'immutable': False}})",
        "{{'interval': None, 'max_retries': None, 'result': [[['{group}', None], None]]}}",
        "None",
    ),
    "shop.webhooks.tasks.deliver": (
        "webhooks",
        5,
        "('https://hooks.example.com/orders/{order}', {{'event': 'order.paid', 'order': {order}, 'customer': {customer}}})",
        "{{'timeout': 10, 'attempt': 1}}",
        "200",
    ),
}
ERRORS = (
    (
        "ValueError('invalid card for customer {customer}')",
        "ValueError: invalid card for customer {customer}",
        "shop/billing/gateway.py",
        148,
        "authorize",
        'raise ValueError(f"invalid card for customer {{customer}}")',
    ),
    (
        "ConnectionError('gateway timeout after 30s')",
        "requests.exceptions.ConnectionError: gateway timeout after 30s",
        "shop/webhooks/client.py",
        61,
        "post",
        "response = session.post(url, json=payload, timeout=timeout)",
    ),
    (
        "KeyError('template')",
        "KeyError: 'template'",
        "shop/mail/render.py",
        88,
        "render",
        "template = context['template']",
    ),
    (
        "IntegrityError('(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint \"product_pkey\"')",
        'sqlalchemy.exc.IntegrityError: (psycopg.errors.UniqueViolation) duplicate key value violates unique constraint "product_pkey"\nDETAIL:  Key (id)=({product}) already exists.',
        "shop/search/index.py",
        203,
        "save",
        "session.commit()",
    ),
)
TRACEBACK = """Traceback (most recent call last):
  File "/usr/local/lib/python3.11/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/usr/local/lib/python3.11/site-packages/celery/app/trace.py", line 736, in __protected_call__
    return self.run(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/{module}.py", line {line1}, in {task}
    return {function}(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/app/{path}", line {line}, in {function}
    {code}
{end}
"""
WORKERS = tuple(
    (f"celery@{role}-worker-{n}.prod.example.com", 7 + n) for role in ("default", "mail", "etl") for n in range(1, 5)
)
CLIENTS = tuple((f"gen{pid}@web-{n}.prod.example.com", pid) for n in range(1, 4) for pid in (11 + n, 18 + n))


class _Clock:
    """Lamport clocks, one a process."""

    def __init__(self) -> None:
        self._ticks: dict[str, int] = {}

    def tick(self, host: str, rng: random.Random) -> int:
        self._ticks[host] = self._ticks.get(host, 1000) + rng.randint(1, 3)
        return self._ticks[host]


def events(tasks: int, seed: int, *, begin_s: float = 1_795_262_400.0, rate: float = 200.0) -> list[Raw]:
    """The events of so many tasks, `rate` a second, in the order of their time."""
    rng, clock = random.Random(seed), _Clock()
    made = [event for n in range(tasks) for event in _life(rng, begin_s + n / rate)]
    made.sort(key=lambda event: event["timestamp"])
    for event in made:
        event["clock"] = clock.tick(event["hostname"], rng)
    return made


def messages(made: list[Raw], seed: int) -> Iterator[tuple[str, list[Raw]]]:
    """The events as messages: (routing key, items). Prefork workers send small lists, clients single events."""
    rng, waiting = random.Random(seed), {host: [] for host, _ in WORKERS}
    for event in made:
        if event["hostname"] not in waiting:
            yield "task.sent", [event]
            continue
        batch = waiting[event["hostname"]]
        batch.append(event)
        if len(batch) >= rng.choice((1, 2, 3, 3, 4, 6)):
            yield "task.multi", batch[:]
            batch.clear()
    yield from (("task.multi", batch) for batch in waiting.values() if batch)


def _life(rng: random.Random, at: float) -> Iterator[Raw]:
    name = rng.choices(list(TASKS), [task[1] for task in TASKS.values()])[0]
    queue, _, args, kwargs, result = TASKS[name]
    values = _values(rng)
    uid, (worker, pid), (client, client_pid) = _uuid(rng), rng.choice(WORKERS), rng.choice(CLIENTS)
    about = {"uuid": uid, "name": name, "args": args.format(**values), "kwargs": kwargs.format(**values)}
    about |= {
        "root_id": uid if rng.random() < 0.7 else _uuid(rng),
        "parent_id": None,
        "retries": 0,
        "eta": None,
        "expires": None,
    }
    received = at + rng.expovariate(1 / 0.15)
    started = received + rng.expovariate(1 / 0.05)
    ended = started + rng.lognormvariate(-1.5, 1.0)
    yield _event("task-sent", at, client, client_pid, **about, queue=queue, exchange="", routing_key=queue)
    yield _event("task-received", received, worker, pid, **about)
    yield _event("task-started", started, worker, pid, uuid=uid)
    if rng.random() < 0.03:
        yield _event("task-failed", ended, worker, pid, uuid=uid, **_error(rng, name, values))
    else:
        yield _event(
            "task-succeeded", ended, worker, pid, uuid=uid, result=result.format(**values), runtime=ended - started
        )


def _values(rng: random.Random) -> dict[str, Any]:
    return {
        "customer": rng.randint(1000, 99_999),
        "order": rng.randint(100_000, 9_999_999),
        "amount": rng.randint(100, 99_999),
        "product": rng.randint(1, 500_000),
        "warehouse": rng.randint(1, 12),
        "hour": rng.randint(0, 23),
        "day": rng.randint(1, 28),
        "group": _uuid(rng),
    }


def _error(rng: random.Random, name: str, values: dict[str, Any]) -> Raw:
    exception, end, path, line, function, code = rng.choice(ERRORS)
    end = end.format(**values)
    about = {
        "module": name.rpartition(".")[0].replace(".", "/"),
        "task": name.rpartition(".")[2],
        "line1": rng.randint(20, 90),
    }
    traceback = TRACEBACK.format(**about, path=path, line=line, function=function, code=code, end=end)
    return {"exception": exception.format(**values), "traceback": traceback}


def _event(kind: str, at: float, hostname: str, pid: int, **fields: Any) -> Raw:
    return {"hostname": hostname, "utcoffset": 0, "pid": pid, "clock": 0, **fields, "timestamp": at, "type": kind}


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))

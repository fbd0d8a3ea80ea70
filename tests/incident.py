"""A scripted incident: three workers, retries, a worker that is killed, and a time in which nobody listened.

Everything is told in seconds after 03:00:00 of 22 November 2026, UTC: 760 is 03:12:40.

|    s | what |
|------|------|
|    0 | w1, w2 and w3 come online, and send a heartbeat every two seconds |
|  100 | "quick" is sent, received and started on w1; it succeeds at 110 |
|  200 | "long" starts on w1, and succeeds at 4000 |
|  300 | "retried" starts on w2, fails at 310 and waits; its second try starts at 490 and succeeds at 500 |
|  700 | "doomed" and "held" are sent; doomed starts on w2 at 701, held is only reserved by it |
|  760 | w2 is killed: its last heartbeat |
|  760 | "queued" is sent; w1 receives it at 1500 and runs it until 1510 |
|  770 | "later" is sent with an ETA at 3000; w1 has it from 771, and runs it from 3001 to 3002 |
|  900 | "ignored" starts on w3 and ends without an event, as Ignore does |
| 2000 | "open" starts on w3; its end falls into the time when nobody listens |
| 2090 | "unheard" is sent, and never heard of again |
| 2100 | the recorder stops |
| 2400 | another one begins; w1 and w3 were there all the while |
| 5000 | the end |
"""

from datetime import UTC, datetime

from stories import decoded, raw, task_event

from taskledger.ledger import presence
from taskledger.ledger.record import Batch, Position, record

START_S = datetime(2026, 11, 22, 3, tzinfo=UTC).timestamp()
SECOND = 1_000_000
#: name -> (task id, queue)
TASKS = {
    name: (f"{number:08d}-0000-4000-8000-000000000000", queue)
    for number, (name, queue) in enumerate(
        (
            ("quick", "mail"),
            ("long", "reports"),
            ("retried", "mail"),
            ("doomed", "mail"),
            ("held", "mail"),
            ("queued", "reports"),
            ("later", "reports"),
            ("ignored", "mail"),
            ("open", "reports"),
            ("unheard", "mail"),
        ),
        1,
    )
}
NAMES = {task_id: name for name, (task_id, _) in TASKS.items()}
PIDS = {"w1": 101, "w2": 102, "w3": 103}
#: from when to when a recorder listened
HEARD = ((-10, 2100), (2400, 5000))
END_S = 5000


def at(second):
    """The moment in microseconds."""
    return round((START_S + second) * SECOND)


def _task(kind, second, name, worker=None, **fields):
    task_id, queue = TASKS[name]
    about = {"name": f"shop.{name}", "args": "()", "kwargs": "{}", "root_id": task_id, "parent_id": None, "retries": 0,
             "eta": None, "expires": None}  # fmt: skip
    if kind == "sent":
        return task_event(kind, START_S + second, task_id, hostname="gen1@web", pid=1, queue=queue, **about | fields)
    host = {"hostname": f"{worker}@vm", "pid": PIDS[worker]}
    return task_event(kind, START_S + second, task_id, **host, **(about if kind == "received" else {}) | fields)


def _life(name, worker, sent, started, ended=None, *, received=None, end="succeeded", **fields):
    received = started - 0.5 if received is None else received
    yield _task("sent", sent, name, **fields)
    yield _task("received", received, name, worker, **fields)
    yield _task("started", started, name, worker)
    if ended is not None:
        more = {"result": "1", "runtime": ended - started} if end == "succeeded" else {"exception": "KeyError('x')"}
        yield _task(end, ended, name, worker, **more)


def _tasks():
    yield from _life("quick", "w1", 99, 100, 110)
    yield from _life("long", "w1", 199, 200, 4000)
    yield from _life("retried", "w2", 299, 300, 310, end="retried")
    yield _task("received", 310.1, "retried", "w2", retries=1)
    yield _task("started", 490, "retried", "w2")
    yield _task("succeeded", 500, "retried", "w2", result="1", runtime=10)
    yield from _life("doomed", "w2", 700, 701)
    yield _task("sent", 700, "held")
    yield _task("received", 702, "held", "w2")
    yield from _life("queued", "w1", 760, 1501, 1510, received=1500)
    eta = datetime.fromtimestamp(START_S + 3000, UTC).isoformat()
    yield from _life("later", "w1", 770, 3001, 3002, received=771, eta=eta)
    yield from _life("ignored", "w3", 899, 900)
    yield from _life("open", "w3", 1999, 2000)
    yield _task("sent", 2090, "unheard")


#: what was running when, as the workers know it: worker -> [(name, from, to)]
RAN = {
    "w1": [("quick", 100, 110), ("long", 200, 4000), ("queued", 1501, 1510), ("later", 3001, 3002)],
    "w2": [("retried", 300, 310), ("retried", 490, 500), ("doomed", 701, 760)],
    "w3": [("ignored", 900, 901), ("open", 2000, 2200)],
}


def _beats(worker):
    host = {"hostname": f"{worker}@vm", "pid": PIDS[worker], "freq": 2.0}
    yield raw("worker-online", START_S, **host)
    for second in range(1, 760 if worker == "w2" else END_S, 2):
        active = sum(begin <= second < end for _, begin, end in RAN[worker])
        done = sum(begin <= second for _, begin, _ in RAN[worker])
        yield raw("worker-heartbeat", START_S + second, **host, active=active, processed=done, loadavg=[0.5, 0.4, 0.3])


def events():
    """All events of the incident that anybody heard, in their order."""
    told = [*_tasks(), *(beat for worker in PIDS for beat in _beats(worker))]
    heard = [event for event in told if any(begin <= event["timestamp"] - START_S < end for begin, end in HEARD)]
    return sorted(heard, key=lambda event: event["timestamp"])


def tell(ledger, cluster="default"):
    """Record the incident as a recorder would have, life by life."""
    told = events()
    for begin, end in HEARD:
        recorder = presence.begin(ledger, "r", "1", at(begin))
        row = presence.listen(ledger, recorder, cluster, "counted loss", at(begin))
        mine = [event for event in told if begin <= event["timestamp"] - START_S < end]
        for first in range(0, len(mine), 2000):
            chunk = decoded(*mine[first : first + 2000])
            record(ledger, Batch(cluster, chunk, received_at=chunk[-1].at, position=Position(row, chunk[-1].at)))
        presence.end(ledger, Position(row, at(end)), "stopped")
        presence.stop(ledger, recorder, at(end))

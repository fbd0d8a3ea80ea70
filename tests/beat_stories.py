"""What beat's probe tells, as events: schedules, sends, failures, promises, ends."""

from hashlib import blake2b
from itertools import count
from typing import Any
from uuid import UUID

from taskledger.events import Event, canonical, decode
from taskledger.ledger import Ledger
from taskledger.ledger.record import Batch, Recorded, record

SECOND = 1_000_000
QUARTERS = {
    "type": "crontab", "minute": "*/15", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*",
    "tz": "UTC", "class": "celery.schedules.crontab", "repr": "<crontab: */15 * * * * (m/h/dM/MY/d)>",
}  # fmt: skip
_numbers = count(1)


def entry(name: str, schedule: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An entry as beat-schedule tells it."""
    return {
        "entry": name, "task": "proj.add", "args": "()", "kwargs": "{}",
        "options": {"queue": None, "expires": None, "priority": None, "shadow": None},
        "schedule": schedule or QUARTERS, "enabled": True, "one_off": False, "start_time": None, "expires_at": None,
        "last_run": None, "run_count": 0, "next_due": None,
    } | more  # fmt: skip


class Beat:
    """A beat process with the probe: each call makes the event that it would tell."""

    def __init__(self, beat_id: str = "b1", host: str = "gen7@beat") -> None:
        self.beat_id, self.host = beat_id, host
        self.seq = 0
        self.dropped = 0

    def tell(self, kind: str, at: int, /, **fields: Any) -> Event:
        """One event; `at` in microseconds."""
        self.seq += 1
        common = {"beat_id": self.beat_id, "seq": self.seq, "dropped": self.dropped, "hostname": self.host, "pid": 7}
        return event({"type": f"beat-{kind}", "timestamp": at / SECOND} | common | fields)

    def online(self, at: int, **more: Any) -> Event:
        said = {
            "sw_ver": "5.6.3", "scheduler": "celery.beat.PersistentScheduler", "max_interval": 300.0,
            "timezone": "UTC", "enable_utc": True, "beat_cron_starting_deadline": None,
        }  # fmt: skip
        return self.tell("online", at, **said | more)

    def schedule(self, at: int, *entries: dict[str, Any], parts: int = 1) -> list[Event]:
        """A schedule in so many parts; its hash is made of what it says."""
        said = str([{key: value for key, value in one.items() if key != "next_due"} for one in entries])
        told = blake2b(said.encode(), digest_size=8).hexdigest()
        size = -(-len(entries) // parts) or 1
        shares = [entries[size * number : size * (number + 1)] for number in range(parts)]
        return [
            self.tell("schedule", at + number, hash=told, part=number + 1, parts=parts, entries=list(share))
            for number, share in enumerate(shares)
        ]

    def sent(self, at: int, name: str, **more: Any) -> Event:
        """A send that went well; what is not given is not known."""
        said = {
            "entry": name, "task": "proj.add", "uuid": str(UUID(int=next(_numbers))), "at": at / SECOND, "due": None,
            "prev_run": None, "run_count": None, "next_due": None, "publish_ms": 1.0,
        }  # fmt: skip
        return self.tell("sent", at + 1_000, **said | more)

    def failed(self, at: int, name: str, message: str = "no broker", **more: Any) -> Event:
        said = {
            "entry": name, "task": "proj.add", "at": at / SECOND, "due": None, "run_count": None,
            "exception": "SchedulingError", "message": message, "cause": None,
        }  # fmt: skip
        return self.tell("failed", at + 1_000, **said | more)

    def tick(self, at: int, next_in: float) -> Event:
        return self.tell("tick", at, next_in=next_in)

    def offline(self, at: int, reason: str = "stopped") -> Event:
        return self.tell("offline", at, reason=reason)


def event(fields: dict[str, Any]) -> Event:
    made = decode(canonical(fields))[0]
    assert isinstance(made, Event)
    return made


def write(ledger: Ledger, *events: Event, cluster: str = "default") -> Recorded:
    """Record them as one batch that came just after the newest of them."""
    return record(ledger, Batch(cluster, events, received_at=max(one.at for one in events) + SECOND // 100))

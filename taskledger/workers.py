"""What is known of a worker node: its sessions, one a life of its process, folded from worker events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskledger.events import INT32_MAX, Event, integer
from taskledger.texts import text

#: heartbeats that may be missing before a worker counts as lost
MISSED_HEARTBEATS = 3
#: seconds between heartbeats where a worker does not say (celery/worker/heartbeat.py)
DEFAULT_FREQ_S = 2.0


@dataclass(frozen=True, slots=True)
class Session:
    """One life of a worker's process, from its first to its last sign; `pid` is 0 where events carry none."""

    pid: int
    first_at: int
    last_at: int
    online_at: int | None = None
    offline_at: int | None = None
    heartbeat_at: int | None = None
    freq_s: float | None = None
    active: int | None = None
    #: tasks begun since the process started: what the first and the last heartbeat heard said
    processed_from: int | None = None
    processed: int | None = None
    loadavg: str | None = None
    software: str | None = None
    #: least arrival minus event time: how far the node's clock is behind ours (negative: ahead), at most
    lag_ms: int | None = None


def fold(sessions: Sequence[Session], event: Event, received_at: int | None = None) -> tuple[Session, ...]:
    """The sessions of one node after one more worker event; the same event again changes nothing."""
    index = _of(sessions, event)
    if index is None:
        added = _told(Session(event.pid or 0, event.at, event.at), event, received_at)
        return tuple(sorted([*sessions, added], key=lambda session: (session.first_at, session.pid)))
    changed = list(sessions)
    changed[index] = _told(sessions[index], event, received_at)
    return tuple(changed)


def lost_after_s(freq_s: float | None) -> float:
    """Seconds of silence after which a worker that sent heartbeats at this frequency counts as lost."""
    return max((freq_s or DEFAULT_FREQ_S) * MISSED_HEARTBEATS, 6.0)


def _of(sessions: Sequence[Session], event: Event) -> int | None:
    """The session an event belongs to: the newest of its pid that had begun and was not over; None for a new one."""
    mine = [n for n, session in enumerate(sessions) if session.pid == (event.pid or 0)]
    begun = [n for n in mine if sessions[n].first_at <= event.at]
    if not begun:
        # Older than all that is known of this pid: it belongs to the first, unless that announced its own beginning.
        return mine[0] if mine and sessions[mine[0]].online_at is None else None
    latest = sessions[begun[-1]]
    if latest.offline_at is not None and event.at > latest.offline_at:
        return None
    # A process announces itself once: a second worker-online under the same pid is another process.
    if event.type == "worker-online" and latest.online_at != event.at and latest.last_at < event.at:
        return None
    return begun[-1]


def _told(session: Session, event: Event, received_at: int | None) -> Session:
    fields = event.fields
    changes: dict[str, Any] = {"first_at": min(session.first_at, event.at), "last_at": max(session.last_at, event.at)}
    if received_at is not None:
        lag_ms = max(-INT32_MAX, min(INT32_MAX, (received_at - event.at) // 1000))
        changes["lag_ms"] = lag_ms if session.lag_ms is None else min(session.lag_ms, lag_ms)
    processed = integer(fields.get("processed"))
    if event.type == "worker-heartbeat" and processed is not None:
        known = processed if session.processed_from is None else session.processed_from
        changes["processed_from"] = min(processed, known)
    if event.type == "worker-online":
        changes["online_at"] = event.at if session.online_at is None else min(session.online_at, event.at)
    if event.type == "worker-offline":
        changes["offline_at"] = max(session.offline_at or 0, event.at)
    if event.at >= (session.heartbeat_at or 0):
        changes |= {"freq_s": _number(fields.get("freq")), "software": _software(fields) or session.software}
        if event.type == "worker-heartbeat":
            changes |= _heartbeat(session, event)
    return replace(session, **changes)


def _heartbeat(session: Session, event: Event) -> dict[str, Any]:
    # The first heartbeat, an answer to a broadcast, has no `processed` (celery/worker/control.py).
    processed, active = integer(event.fields.get("processed")), integer(event.fields.get("active"))
    return {
        "heartbeat_at": event.at,
        "active": session.active if active is None else active,
        "processed": session.processed if processed is None else processed,
        "loadavg": load_of(event.fields),
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9 else None


def _software(fields: dict[str, Any]) -> str | None:
    parts = [text(fields.get(key)) for key in ("sw_ident", "sw_ver", "sw_sys")]
    return " ".join(part for part in parts if part)[:255] or None


def load_of(fields: Mapping[str, Any]) -> str | None:
    """The load averages of a heartbeat, as text."""
    value = fields.get("loadavg")
    if not isinstance(value, list):
        return None
    return (
        " ".join(f"{number:.2f}" for number in value[:3] if isinstance(number, int | float) and abs(number) < 1e9)[:100]
        or None
    )

"""What was recorded of workers in a span: their signs, and each start and end of a task, for comparing both."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from taskledger import bodies
from taskledger.events import WORKER_EVENT_TYPES, first_id_at, integer, restore
from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.losses import Sign
from taskledger.states import ENDS

#: microseconds before a span in which ends are looked at as well, to know one that is told twice
TWICE = 5_000_000
START = "task-started"
#: an end of these kinds may be told twice, and only the first counts (Celery 5.7: `tests/test_tasks.py`)
_TOLD_TWICE = frozenset({"task-failed", "task-revoked", "task-rejected"})
#: ends that say in their body whether the task had begun at all
_SAYING = frozenset({"task-revoked", "task-failed"})
#: what a worker says of a task that it does not know, and never begins (celery/worker/consumer/consumer.py)
_UNKNOWN_TASK = "NotRegistered("

E = schema.event.c


@dataclass(slots=True)
class Told:
    """What one node told in a span, in the order of its own clock."""

    signs: list[Sign] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


def told(
    connection: Connection, labels: Labels, cluster_id: int, from_at: int, to_at: int, host_id: int | None = None
) -> dict[int, Told]:
    """Host -> what was recorded of it after one moment and up to another; of all hosts, or of one."""
    types = {name: number for name in (*WORKER_EVENT_TYPES, START, *ENDS) if (number := _known(labels, name))}
    span = (E.id >= first_id_at(from_at - TWICE)) & (E.id < first_id_at(to_at + 1000)) & (E.cluster_id == cluster_id)
    mine = span & E.type_id.in_(types.values()) & (E.host_id.is_not(None) if host_id is None else E.host_id == host_id)
    rows = connection.execute(select(E.at, E.type_id, E.host_id, E.task_id, E.id).where(mine).order_by(E.id)).all()
    names = {number: name for name, number in types.items()}
    found: dict[int, Told] = defaultdict(Told)
    _add_signs(
        connection, found, [row for row in rows if names[row.type_id] in WORKER_EVENT_TYPES and row.at > from_at]
    )
    tasks = [row for row in rows if names[row.type_id] not in WORKER_EVENT_TYPES]
    tasks.sort(key=lambda row: row.at)
    _add_tasks(found, tasks, names, _never_began(connection, tasks, names), from_at)
    for one in found.values():
        one.signs = sorted(sign for sign in one.signs if sign.at <= to_at)
    return found


def _known(labels: Labels, name: str) -> int | None:
    return labels.find(Kind.TYPE, name)


def _add_signs(connection: Connection, found: dict[int, Told], rows: Sequence[Any]) -> None:
    stored = _bodies(connection, [row.id for row in rows])
    for row in rows:
        sign = sign_of(row.at, stored[bytes(row.id)])
        if sign is not None:
            found[row.host_id].signs.append(sign)


def sign_of(at: int, fields: dict[str, Any]) -> Sign | None:
    """What a worker event says of its process; None where it says nothing.

    The first heartbeat, an answer to a broadcast, has no counts (celery/worker/control.py).
    """
    processed, active = integer(fields.get("processed")), integer(fields.get("active"))
    if processed is None or active is None:
        return None
    return Sign(at, integer(fields.get("pid")) or 0, processed, active)


def _never_began(connection: Connection, rows: Iterable[Any], names: dict[int, str]) -> set[bytes]:
    """Ids of the ends of tasks that were not begun: revoked before, or not known to the worker."""
    begun: set[str] = set()
    asked: list[bytes] = []
    for row in rows:
        if names[row.type_id] == START:
            begun.add(row.task_id)
        elif names[row.type_id] in _SAYING and row.task_id not in begun:
            asked.append(row.id)
    return {event_id for event_id, fields in _bodies(connection, asked).items() if not _had_begun(fields)}


def _had_begun(fields: dict[str, Any]) -> bool:
    """Whether the end of a task whose start was not seen is that of a run."""
    if fields.get("type") == "task-revoked":
        return bool(fields.get("terminated"))
    return not str(fields.get("exception")).startswith(_UNKNOWN_TASK)


def _bodies(connection: Connection, ids: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    for chunk in dialects.chunks(ids):
        for row in connection.execute(select(E.id, E.codec, E.body).where(E.id.in_(chunk))):
            found[bytes(row.id)] = restore(bodies.unpack(row.codec, bytes(row.body)))
    return found


def _add_tasks(
    found: dict[int, Told], rows: Iterable[Any], names: dict[int, str], never_began: set[bytes], from_at: int
) -> None:
    """Starts and ends, each end once."""
    ended: set[tuple[int, str]] = set()
    for row in rows:
        key, kind = (row.host_id, row.task_id), names[row.type_id]
        if kind == START:
            ended.discard(key)
        elif bytes(row.id) in never_began or (kind in _TOLD_TWICE and key in ended):
            continue
        else:
            ended.add(key)
        if row.at > from_at:
            one = found[row.host_id]
            (one.starts if kind == START else one.ends).append(row.at)


def compared_at(connection: Connection, cluster_id: int) -> int | None:
    """Up to where the counts of a cluster's workers are compared; None when they never were."""
    done_at: int | None = connection.scalar(
        select(schema.mark.c.value).where(schema.mark.c.name == compared_mark(cluster_id))
    )
    return done_at


def compared_mark(cluster_id: int) -> str:
    return f"compared_at:{cluster_id}"

"""What was recorded of workers in a span: their signs, and each start and end of a task, for comparing both."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from taskledger import bodies
from taskledger.events import WORKER_EVENT_TYPES, first_id_at, integer, restore
from taskledger.ledger import dialects, schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.losses import Sign
from taskledger.states import ENDS

#: microseconds before a span in which ends are looked at as well, to know one that is told twice
TWICE = 5_000_000
#: rows in one go
PAGE = 5_000
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
    types = {number: name for name in (*WORKER_EVENT_TYPES, START, *ENDS) if (number := labels.find(Kind.TYPE, name))}
    span = (E.id >= first_id_at(from_at - TWICE)) & (E.id < first_id_at(to_at + 1000)) & (E.cluster_id == cluster_id)
    mine = span & E.type_id.in_(types) & (E.host_id.is_not(None) if host_id is None else E.host_id == host_id)
    taking = _Taking(connection, types, from_at, to_at)
    for rows in _pages(connection, mine):
        taking.take(rows)
    for one in taking.found.values():
        one.signs.sort()
        one.starts.sort()
        one.ends.sort()
    return taking.found


def _pages(connection: Connection, mine: ColumnElement[bool]) -> Iterator[Sequence[Any]]:
    """The rows by time, some thousands at once, so that a busy cluster takes little memory; no millisecond is cut."""
    columns = select(E.at, E.type_id, E.host_id, E.task_id, E.id).order_by(E.id).limit(PAGE)
    after = first_id_at(0)
    while True:
        rows = connection.execute(columns.where(mine, E.id >= after)).all()
        if len(rows) < PAGE:
            yield sorted(rows, key=_moment)
            return
        after = first_id_at(rows[-1].at)
        whole = [row for row in rows if bytes(row.id) < after]
        # A page of one millisecond is cut all the same.
        yield sorted(whole or rows, key=_moment)
        after = after if whole else bytes(rows[-1].id) + b"\0"


def _moment(row: Any) -> int:
    at: int = row.at
    return at


@dataclass(slots=True)
class _Taking:
    """Takes in what was told, page by page."""

    connection: Connection
    types: dict[int, str]
    from_at: int
    to_at: int
    found: dict[int, Told] = field(default_factory=lambda: defaultdict(Told))
    #: (host, task) whose last word was an end that may be told twice; and those that have begun and not ended
    ended: set[tuple[int, str]] = field(default_factory=set)
    begun: set[tuple[int, str]] = field(default_factory=set)

    def take(self, rows: Sequence[Any]) -> None:
        """One page, in the order of its times."""
        signs = [row for row in rows if self.types[row.type_id] in WORKER_EVENT_TYPES]
        self._take_signs([row for row in signs if self.from_at < row.at <= self.to_at])
        tasks = [row for row in rows if self.types[row.type_id] not in WORKER_EVENT_TYPES]
        doubtful = _bodies(self.connection, [row.id for row in self._doubtful(tasks)])
        for row in tasks:
            fields = doubtful.get(bytes(row.id))
            if fields is None or _had_begun(fields):
                self._take_task(row, self.types[row.type_id])

    def _take_signs(self, rows: Sequence[Any]) -> None:
        stored = _bodies(self.connection, [row.id for row in rows])
        for row in rows:
            sign = sign_of(row.at, stored[bytes(row.id)])
            if sign is not None:
                self.found[row.host_id].signs.append(sign)

    def _doubtful(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Ends of tasks whose start was not seen: they may never have begun."""
        for row in rows:
            kind, key = self.types[row.type_id], (row.host_id, row.task_id)
            if kind == START:
                self.begun.add(key)
            elif kind in _SAYING and key not in self.begun:
                yield row
            else:
                self.begun.discard(key)

    def _take_task(self, row: Any, kind: str) -> None:
        """A start, or an end that was not told before."""
        key = (row.host_id, row.task_id)
        if kind not in _TOLD_TWICE:
            self.ended.discard(key)
        elif key in self.ended:
            return
        else:
            self.ended.add(key)
        if row.at > self.from_at:
            one = self.found[row.host_id]
            (one.starts if kind == START else one.ends).append(row.at)


def sign_of(at: int, fields: dict[str, Any]) -> Sign | None:
    """What a worker event says of its process; None where it says nothing.

    The first heartbeat, an answer to a broadcast, has no counts (celery/worker/control.py).
    """
    processed, active = integer(fields.get("processed")), integer(fields.get("active"))
    if processed is None or active is None:
        return None
    return Sign(at, integer(fields.get("pid")) or 0, processed, active)


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


def compared_at(connection: Connection, cluster_id: int) -> int | None:
    """Up to where the counts of a cluster's workers are compared; None when they never were."""
    done_at: int | None = connection.scalar(
        select(schema.mark.c.value).where(schema.mark.c.name == compared_mark(cluster_id))
    )
    return done_at


def compared_mark(cluster_id: int) -> str:
    return f"compared_at:{cluster_id}"

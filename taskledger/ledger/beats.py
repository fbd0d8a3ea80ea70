"""What the probe in beat tells, folded into rows in the transaction that wrote its events; see docs/beat-probe.md.

Whatever the order in which events come, and however often, the rows are the same: moments are the first or the last of
their kind, events are counted when they are new, and versions are made of all schedules that were told.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, and_, select, update

from taskledger import bodies, sequences
from taskledger.events import MAX_TASK_ID_CHARS, Event, integer
from taskledger.ledger import beat_entries, beat_versions, dialects, schema
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.texts import kept, text

BEAT_EVENT_TYPES = frozenset({
    "beat-online", "beat-schedule", "beat-sent", "beat-failed", "beat-tick", "beat-offline",
})  # fmt: skip
#: events that may change which definitions are in force
_OF_SCHEDULES = frozenset({"beat-online", "beat-schedule", "beat-offline"})
#: characters of a beat_id, a number of a process that the probe makes up
MAX_BEAT_ID_CHARS = 64
#: parts of one schedule that are put together, at most
MAX_PARTS = 10_000


def fold(connection: Connection, ledger: Ledger, cluster_id: int, events: Sequence[Event]) -> None:
    """Fold new events of the probe; most batches have none."""
    told = [event for event in events if event.type in BEAT_EVENT_TYPES and _beat_id(event) is not None]
    if not told:
        return
    processes = _fold_processes(connection, ledger, cluster_id, told)
    mine = [(event, processes[_beat_id(event) or ""]) for event in told]
    names = [(name, event.at) for event, _ in mine for name in beat_entries.names_of(event)]
    ids = beat_entries.keep(connection, cluster_id, names)
    _keep_sends(connection, ids, mine)
    _keep_failures(connection, ids, mine)
    _keep_schedules(connection, mine)
    beat_entries.keep_dues(connection, ids, told)
    if any(event.type in _OF_SCHEDULES for event in told):
        beat_versions.settle(connection, cluster_id)


@dataclass(slots=True)
class _Process:
    """What some events make of a process: as in the table, and each field by a rule that knows no order."""

    values: dict[str, Any] = field(default_factory=dict)

    def tell(self, event: Event, host_id: int | None) -> None:
        """One more event; it must be new."""
        said, seq = event.fields, _seq(event)
        self.merge({
            "first_at": event.at, "last_seen_at": event.at, "seen": [(seq, seq, event.at, event.at)],
            "dropped": max(0, integer(said.get("dropped")) or 0), "host_id": host_id, "pid": event.pid,
        })  # fmt: skip
        if event.type == "beat-online":
            self.merge(_of_online(event))
        elif event.type == "beat-offline":
            self.merge({"offline_at": event.at, "reason": kept(said.get("reason"))})
        elif event.type == "beat-tick" and (next_in := seconds(said.get("next_in"))) is not None:
            self.merge({"tick_at": event.at, "promised_at": event.at + round(next_in * 1_000_000)})

    def merge(self, more: Mapping[str, Any]) -> None:
        mine = self.values
        promise, known = [(values.get("tick_at") or 0, values.get("promised_at") or 0) for values in (more, mine)]
        if promise > known:
            # The last promise counts, and not the one that reaches farthest.
            mine["tick_at"], mine["promised_at"] = promise
        for name, value in more.items():
            if value is not None and name not in ("tick_at", "promised_at"):
                join = _JOINS.get(name, _greater)
                mine[name] = value if mine.get(name) is None else join(mine[name], value)

    def row(self) -> dict[str, Any]:
        return self.values | {"seen": sequences.as_text(self.values["seen"])}


def _greater(one: Any, other: Any) -> Any:
    return max(one, other)


#: how two values of a column become one, where it is not the greater of both
_JOINS: Mapping[str, Callable[[Any, Any], Any]] = {"first_at": min, "seen": sequences.joined}


def _of_online(event: Event) -> dict[str, Any]:
    said = event.fields
    names = {"scheduler": ("scheduler", 255), "version": ("sw_ver", 64), "timezone": ("timezone", 64)}
    texts = {column: (text(said.get(key)) or "")[:size] or None for column, (key, size) in names.items()}
    return texts | {
        "online_at": event.at,
        "max_interval_s": seconds(said.get("max_interval")),
        "starting_deadline_s": seconds(said.get("beat_cron_starting_deadline")),
    }


def _fold_processes(connection: Connection, ledger: Ledger, cluster_id: int, told: Iterable[Event]) -> dict[str, int]:
    """Bring the rows of the processes in line; beat_id -> number of the process."""
    made: dict[str, _Process] = defaultdict(_Process)
    for event in told:
        host_id = None if event.hostname is None else ledger.labels.number(Kind.HOST, event.hostname)
        made[_beat_id(event) or ""].tell(event, host_id)
    return {beat_id: _put_process(connection, cluster_id, beat_id, made[beat_id]) for beat_id in sorted(made)}


def _put_process(connection: Connection, cluster_id: int, beat_id: str, told: _Process) -> int:
    table = schema.beat_process
    mine = and_(table.c.cluster_id == cluster_id, table.c.beat_id == beat_id)
    question = select(table).where(mine).with_for_update()
    row = connection.execute(question).mappings().first()
    if row is None:
        fresh = {"cluster_id": cluster_id, "beat_id": beat_id} | told.row()
        if connection.execute(dialects.insert_ignore(connection, table), [fresh]).rowcount > 0:
            return int(connection.execute(question).mappings().one()["id"])
        # Another recorder was first.
        row = connection.execute(question).mappings().one()
    joined = _Process({name: value for name, value in row.items() if name not in _KEYS})
    joined.values["seen"] = sequences.from_text(row["seen"])
    joined.merge(told.values)
    connection.execute(update(table).where(table.c.id == row["id"]).values(joined.row()))
    return int(row["id"])


_KEYS = ("id", "cluster_id", "beat_id")


def _keep_sends(connection: Connection, ids: Mapping[str, int], told: Iterable[tuple[Event, int]]) -> None:
    """What beat itself says of a send counts for more than what a task looks like."""
    rows = {}
    for event, process_id in told:
        name, task_id = beat_entries.name_of(event), event.fields.get("uuid")
        if event.type != "beat-sent" or name is None or not _is_task_id(task_id):
            continue
        rows[ids[name], task_id] = _of_send(event) | {
            "entry_id": ids[name],
            "task_id": task_id,
            "fired_at": beat_entries.moment(event.fields.get("at")) or event.at,
            "next_due_at": beat_entries.moment(event.fields.get("next_due")),
            "process_id": process_id,
        }
    if rows:
        connection.execute(dialects.upsert(connection, schema.fire), [rows[key] for key in sorted(rows)])


def _of_send(event: Event) -> dict[str, Any]:
    said = event.fields
    return {
        "evidence": beat_entries.PROBE,
        "due_at": beat_entries.moment(said.get("due")),
        "prev_run_at": beat_entries.moment(said.get("prev_run")),
        "run_count": integer(said.get("run_count")),
    }


def _keep_failures(connection: Connection, ids: Mapping[str, int], told: Iterable[tuple[Event, int]]) -> None:
    rows = {}
    for event, process_id in told:
        name = beat_entries.name_of(event)
        if event.type != "beat-failed" or name is None:
            continue
        said, at = event.fields, beat_entries.moment(event.fields.get("at")) or event.at
        rows[ids[name], at] = {
            "entry_id": ids[name],
            "at": at,
            "due_at": beat_entries.moment(said.get("due")),
            "run_count": integer(said.get("run_count")),
            "process_id": process_id,
            "evidence": beat_entries.PROBE,
            "exception": (text(said.get("exception")) or "")[:255] or None,
            "message": kept(said.get("message") or said.get("cause")),
        }
    if rows:
        connection.execute(dialects.insert_ignore(connection, schema.send_failure), [rows[key] for key in sorted(rows)])


def _keep_schedules(connection: Connection, told: Iterable[tuple[Event, int]]) -> None:
    rows = {}
    for event, process_id in told:
        part, parts = integer(event.fields.get("part")), integer(event.fields.get("parts"))
        if event.type != "beat-schedule" or part is None or parts is None or not 0 < parts <= MAX_PARTS:
            continue
        codec, packed = bodies.pack(orjson.dumps(beat_entries.of(event), default=str))
        rows[process_id, _seq(event)] = {
            "process_id": process_id,
            "seq": _seq(event),
            "at": event.at,
            "part": part,
            "parts": parts,
            "codec": codec,
            "hash": beat_entries.digest(str(event.fields.get("hash"))),
            "entries": packed,
        }
    if rows:
        table = schema.beat_schedule
        connection.execute(dialects.insert_ignore(connection, table), [rows[key] for key in sorted(rows)])


def _beat_id(event: Event) -> str | None:
    """Which process the event is of; None for an event that no probe made."""
    beat_id = event.fields.get("beat_id")
    if not isinstance(beat_id, str) or not 0 < len(beat_id) <= MAX_BEAT_ID_CHARS or not beat_id.isascii():
        return None
    return beat_id if beat_id.isprintable() else None


def _seq(event: Event) -> int:
    return max(0, integer(event.fields.get("seq")) or 0)


def _is_task_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TASK_ID_CHARS


def seconds(value: Any) -> float | None:
    """A duration as events have it; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e10 else None

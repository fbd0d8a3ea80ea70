"""The entries of a schedule as the probe tells them: their rows, their announced due times, their definitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, select, update

from taskledger.crontabs import SECOND
from taskledger.events import INT64_MAX, Event
from taskledger.ledger import dialects, schema
from taskledger.schedules import Entry, Unverifiable, parse
from taskledger.texts import kept, text

PROBE = "probe"
#: characters of an entry's name
MAX_NAME_CHARS = 2_000
#: schedule types whose due times follow from the definition; of others beat must announce each
_RECKONED = ("crontab", "interval", "clocked")
_FIELDS = {item.name for item in fields(Entry)}


def digest(name: str) -> bytes:
    """16 bytes by which an entry is found: names have any length."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def name_of(event: Event) -> str | None:
    """The entry that a beat-sent or beat-failed is about."""
    return _name(event.fields.get("entry")) if event.type in ("beat-sent", "beat-failed") else None


def of(event: Event) -> list[dict[str, Any]]:
    """The entries of a beat-schedule, those that have a name."""
    entries = event.fields.get("entries")
    if event.type != "beat-schedule" or not isinstance(entries, list):
        return []
    return [one for one in entries if isinstance(one, dict) and _name(one.get("entry")) is not None]


def names_of(event: Event) -> list[str]:
    """The names of all entries that an event tells of."""
    name = name_of(event)
    return [_name(one["entry"]) or "" for one in of(event)] if name is None else [name]


def keep(connection: Connection, cluster_id: int, told: Iterable[tuple[str, int]]) -> dict[str, int]:
    """A row for each entry; name -> number. Entries that only the probe told were read when it told of them last."""
    read: dict[str, int] = {}
    for name, at in told:
        read[name] = max(at, read.get(name, 0))
    if not read:
        return {}
    table = schema.schedule_entry
    keys = {digest(name): name for name in sorted(read)}
    known = _known(connection, cluster_id, list(keys))
    missing = [
        {"cluster_id": cluster_id, "digest": key, "name": name, "source": PROBE, "read_at": read[name]}
        for key, name in keys.items()
        if key not in known
    ]
    if missing:
        connection.execute(dialects.insert_ignore(connection, table), missing)
        known = _known(connection, cluster_id, list(keys))
    for at in sorted({*read.values()}):
        mine = [known[digest(name)] for name, its_at in read.items() if its_at == at]
        for chunk in dialects.chunks(mine):
            older = table.c.id.in_(chunk) & (table.c.source == PROBE) & (table.c.read_at < at)
            connection.execute(update(table).where(older).values(read_at=at))
    return {name: known[key] for key, name in keys.items()}


def keep_dues(connection: Connection, ids: Mapping[str, int], events: Iterable[Event]) -> None:
    """The due times that a schedule announced for entries whose own code alone knows them."""
    found = {
        (ids[_name(one["entry"]) or ""], due_at)
        for event in events
        for one in of(event)
        if _type(one) not in _RECKONED and (due_at := moment(one.get("next_due"))) is not None
    }
    rows = [{"entry_id": entry_id, "due_at": due_at} for entry_id, due_at in sorted(found)]
    if rows:
        connection.execute(dialects.insert_ignore(connection, schema.explicit_due), rows)


def entry_of(told: Mapping[str, Any]) -> Entry:
    """An entry of beat-schedule in the words of the program; a schedule that makes no sense is not verifiable."""
    options = told["options"] if isinstance(told.get("options"), dict) else {}
    shape = told["schedule"] if isinstance(told.get("schedule"), dict) else {}
    try:
        schedule = parse(
            {key: value for key, value in shape.items() if key not in ("class", "repr") and value is not None}
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        schedule = Unverifiable(text(_type(told)) or "custom", kept(shape.get("repr") or shape.get("text")) or "?")
    more: dict[str, Any] = {
        "one_off": bool(told.get("one_off")),
        "starts_at": moment(told.get("start_time")),
        "expires_at": moment(told.get("expires_at")),
    }
    return Entry(
        name=_name(told.get("entry")) or "",
        task=text(told.get("task")) or "",
        schedule=schedule,
        args=_repr(told.get("args")),
        kwargs=_repr(told.get("kwargs")),
        queue=text(options.get("queue")) or None,
        shadow=text(options.get("shadow")) or None,
        expires_s=_seconds(options.get("expires")),
        enabled=told.get("enabled") is not False,
        **{key: value for key, value in more.items() if key in _FIELDS},
    )


def moment(value: Any) -> int | None:
    """Microseconds since the epoch of a moment in seconds; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < INT64_MAX / SECOND:
        return None
    return round(value * SECOND)


def _type(told: Mapping[str, Any]) -> Any:
    schedule = told.get("schedule")
    return schedule.get("type") if isinstance(schedule, dict) else None


def _name(value: Any) -> str | None:
    name = text(value) if isinstance(value, str) else None
    return name[:MAX_NAME_CHARS] if name else None


def _repr(value: Any) -> str | None:
    return kept(value) if isinstance(value, str) else None


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e10 else None


def _known(connection: Connection, cluster_id: int, keys: Sequence[bytes]) -> dict[bytes, int]:
    table = schema.schedule_entry
    found: dict[bytes, int] = {}
    for chunk in dialects.chunks(keys):
        mine = select(table.c.id, table.c.digest).where(table.c.cluster_id == cluster_id, table.c.digest.in_(chunk))
        found |= {bytes(row.digest): row.id for row in connection.execute(mine)}
    return found

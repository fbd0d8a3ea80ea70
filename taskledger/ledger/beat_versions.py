"""Which definitions beat had, from when to when: made of all schedules that its processes told, whatever came first.

A process stands by the schedule that it told last until it ends. While nobody else has told one since, that goes on to
be what is promised: a beat that is down misses its entries, it does not take them back.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, RowMapping, and_, delete, insert, or_, select, update

from taskledger import bodies
from taskledger.ledger import beat_entries, dialects, schema
from taskledger.ledger.beat_entries import PROBE, digest
from taskledger.schedules import definition_hash, entry_text
from taskledger.ticks import NEVER_AT, merged


class Told(NamedTuple):
    """A schedule that a process told, whole: where its parts lie."""

    at: int
    hash: bytes
    process_id: int
    #: seq of its first and of its last part
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Life:
    """A beat process as far as it says how long its schedule counts."""

    id: int
    first_at: int
    last_seen_at: int
    #: until when it promised another sign, or when it said goodbye
    over_at: int
    is_over: bool
    told: tuple[Told, ...]


class Piece(NamedTuple):
    """A definition of one entry: from_at <= t < to_at (NEVER_AT: still)."""

    from_at: int
    to_at: int
    text: str
    enabled: bool
    one_off: bool


def settle(connection: Connection, cluster_id: int) -> int:
    """Bring the probe's versions of a cluster in line with what was told; how many rows changed."""
    name, since_at = f"beat_versions:{cluster_id}", _since(connection, cluster_id)
    # The row of the mark is the lock: of two recorders the second sees what the first one has committed.
    connection.execute(dialects.insert_ignore(connection, schema.mark), {"name": name, "value": 0})
    mark = schema.mark.c
    seen = connection.scalar(select(mark.value).where(mark.name == name).with_for_update())
    stretches = [*_stretches(claims(read(connection, cluster_id)), since_at)]
    fingerprint = _fingerprint(stretches)
    if seen == fingerprint:
        return 0
    connection.execute(update(schema.mark).where(mark.name == name).values(value=fingerprint))
    return _put(connection, cluster_id, _pieces(connection, stretches), since_at)


def forget(connection: Connection, cluster_id: int, process_ids: Collection[int]) -> None:
    """What versions were made of goes with these processes: those that began until then stay as they are."""
    ends = [to_at for _, to_at, told in claims(read(connection, cluster_id)) if told.process_id in process_ids]
    until_at = max([to_at for to_at in ends if to_at != NEVER_AT], default=0)
    name = f"beat_pruned_at:{cluster_id}"
    before_at = connection.scalar(select(schema.mark.c.value).where(schema.mark.c.name == name)) or 0
    connection.execute(dialects.upsert(connection, schema.mark), {"name": name, "value": max(until_at, before_at)})


def read(connection: Connection, cluster_id: int) -> list[Life]:
    """The processes of a cluster with the schedules that they told, without their contents."""
    process, table = schema.beat_process.c, schema.beat_schedule.c
    columns = (process.id, process.first_at, process.last_seen_at, process.offline_at, process.promised_at)
    rows = connection.execute(select(*columns).where(process.cluster_id == cluster_id)).all()
    parts: dict[int, list[Any]] = defaultdict(list)
    mine = select(process.id).where(process.cluster_id == cluster_id)
    question = select(table.process_id, table.seq, table.at, table.part, table.parts, table.hash)
    for row in connection.execute(question.where(table.process_id.in_(mine)).order_by(table.process_id, table.seq)):
        parts[row.process_id].append(row)
    return [
        Life(
            row.id,
            row.first_at,
            row.last_seen_at,
            row.offline_at or max(row.last_seen_at, row.promised_at or 0),
            row.offline_at is not None,
            tuple(_whole(parts[row.id])),
        )
        for row in rows
    ]


def _whole(parts: Iterable[Any]) -> Iterator[Told]:
    """The schedules of which all parts came: their numbers count up as those of the events do."""
    groups: dict[tuple[int, int, bytes], list[Any]] = defaultdict(list)
    for row in parts:
        groups[row.seq - row.part, row.parts, bytes(row.hash)].append(row)
    for (_, number, its_hash), rows in groups.items():
        if len(rows) == number:
            yield Told(rows[0].at, its_hash, rows[0].process_id, rows[0].seq, rows[-1].seq)


def claims(lives: Sequence[Life]) -> list[tuple[int, int, Told]]:
    """From when to when each schedule was stood by, by the moment it was told."""
    found = []
    for life in lives:
        others = [other for other in lives if other.id != life.id and other.told]
        end_at = _end(life, others)
        told = sorted(life.told)
        for one, following in pairwise([*told, None]):
            to_at = end_at if following is None else min(following.at, end_at)
            if one is not None and one.at < to_at:
                found.append((one.at, to_at, one))
    return sorted(found)


def _end(life: Life, others: Sequence[Life]) -> int:
    """When the schedule of a process counts no more: at its end if another beat goes on, else when one comes."""
    seen_at = life.over_at if life.is_over else life.last_seen_at
    later = [told.at for other in others for told in other.told if told.at > seen_at]
    beside = [life.over_at for other in others if min(other.told).at <= life.over_at < other.last_seen_at]
    return min([*later, *beside], default=NEVER_AT)


def _stretches(found: Sequence[tuple[int, int, Told]], since_at: int) -> Iterator[tuple[int, int, tuple[Told, ...]]]:
    """Pieces of time in which the same schedules counted; of each only one is named that was told with that hash."""
    first: dict[bytes, Told] = {}
    for _, _, told in found:
        first.setdefault(told.hash, told)
    ends = sorted({since_at, *(max(at, since_at) for claim in found for at in claim[:2])})
    last: tuple[int, int, tuple[Told, ...]] | None = None
    for from_at, to_at in pairwise(ends):
        active = [told for begin, end, told in found if begin <= from_at < end]
        now = tuple(dict.fromkeys(first[told.hash] for told in sorted(active, reverse=True)))[::-1]
        if last is not None and last[2] == now:
            last = (last[0], to_at, now)
            continue
        if last is not None:
            yield last
        last = (from_at, to_at, now)
    if last is not None:
        yield last


def _pieces(connection: Connection, stretches: Sequence[tuple[int, int, tuple[Told, ...]]]) -> dict[str, list[Piece]]:
    """The definitions of each entry, by its name; of two beats that differ, the schedule that was told last counts."""
    contents: dict[Told, dict[str, tuple[str, bool, bool]]] = {}
    pieces: dict[str, list[Piece]] = defaultdict(list)
    for from_at, to_at, schedules in stretches:
        entries: dict[str, tuple[str, bool, bool]] = {}
        for told in schedules:
            if told not in contents:
                contents[told] = _content(connection, told)
            entries |= contents[told]
        for name, definition in entries.items():
            mine = pieces[name]
            if mine and mine[-1].to_at == from_at and mine[-1][2:] == definition:
                mine[-1] = mine[-1]._replace(to_at=to_at)
            else:
                mine.append(Piece(from_at, to_at, *definition))
    return pieces


def _content(connection: Connection, told: Told) -> dict[str, tuple[str, bool, bool]]:
    table = schema.beat_schedule.c
    mine = and_(table.process_id == told.process_id, table.seq.between(told.first_seq, told.last_seq))
    found = {}
    for row in connection.execute(select(table.codec, table.entries).where(mine).order_by(table.seq)):
        for one in orjson.loads(bodies.unpack(row.codec, bytes(row.entries))):
            entry = beat_entries.entry_of(one)
            found[entry.name] = (entry_text(entry), entry.enabled, bool(one.get("one_off")))
    return found


def _put(connection: Connection, cluster_id: int, pieces: Mapping[str, list[Piece]], since_at: int) -> int:
    """Make the rows what they should be; those that are right already keep their numbers."""
    table, entry = schema.schedule_version, schema.schedule_entry.c
    ids = {
        bytes(row.digest): row.id
        for row in connection.execute(select(entry.id, entry.digest).where(entry.cluster_id == cluster_id))
    }
    seen = _rows(connection, cluster_id, since_at)
    changed = 0
    wanted, one_off = [], {}
    for name, mine in pieces.items():
        entry_id = ids.get(digest(name))
        if entry_id is None:
            continue
        one_off[entry_id] = mine[-1].one_off
        for piece in mine:
            row = _row(entry_id, piece)
            old = seen.pop((entry_id, piece.from_at, row["definition_hash"]), None)
            if old is None and piece.from_at == since_at:
                old = seen.pop((entry_id, None, row["definition_hash"]), None)
            if old is None:
                wanted.append(row)
            elif old["valid_to_at"] != row["valid_to_at"]:
                close = update(table).where(table.c.id == old["id"]).values(valid_to_at=row["valid_to_at"])
                changed += connection.execute(close).rowcount
    changed += _take_back(connection, list(seen.values()), since_at)
    if wanted:
        connection.execute(insert(table), wanted)
    _put_one_off(connection, one_off)
    return changed + len(wanted)


def _row(entry_id: int, piece: Piece) -> dict[str, Any]:
    return {
        "entry_id": entry_id,
        "valid_from_at": piece.from_at,
        "valid_to_at": None if piece.to_at == NEVER_AT else piece.to_at,
        "definition_hash": definition_hash(piece.text),
        "definition": piece.text,
        "enabled": piece.enabled,
        "source": PROBE,
    }


def _rows(connection: Connection, cluster_id: int, since_at: int) -> dict[tuple[int, int | None, bytes], RowMapping]:
    """The probe's versions that may change; one that began before that moment has no beginning here."""
    table, entry = schema.schedule_version, schema.schedule_entry.c
    mine = select(entry.id).where(entry.cluster_id == cluster_id)
    lasting = or_(table.c.valid_to_at.is_(None), table.c.valid_to_at >= since_at)
    question = select(table).where(table.c.entry_id.in_(mine), table.c.source == PROBE, lasting)
    return {
        (
            row["entry_id"],
            row["valid_from_at"] if row["valid_from_at"] >= since_at else None,
            bytes(row["definition_hash"]),
        ): row
        for row in connection.execute(question).mappings()
    }


def _take_back(connection: Connection, rows: Sequence[RowMapping], since_at: int) -> int:
    """What was thought to be in force and was not; what began before that moment ends at it."""
    table = schema.schedule_version
    old = [row["id"] for row in rows if row["valid_from_at"] < since_at and row["valid_to_at"] != since_at]
    for chunk in dialects.chunks(old):
        connection.execute(update(table).where(table.c.id.in_(chunk)).values(valid_to_at=since_at))
    wrong = [row["id"] for row in rows if row["valid_from_at"] >= since_at]
    for chunk in dialects.chunks(wrong):
        connection.execute(delete(table).where(table.c.id.in_(chunk)))
    return len(old) + len(wrong)


def _put_one_off(connection: Connection, one_off: Mapping[int, bool]) -> None:
    table = schema.schedule_entry
    for value in (True, False):
        mine = [entry_id for entry_id, is_one in one_off.items() if is_one is value]
        for chunk in dialects.chunks(mine):
            connection.execute(update(table).where(table.c.id.in_(chunk)).values(one_off=value))


def _since(connection: Connection, cluster_id: int) -> int:
    name = f"beat_pruned_at:{cluster_id}"
    return connection.scalar(select(schema.mark.c.value).where(schema.mark.c.name == name)) or 0


def _fingerprint(stretches: Sequence[tuple[int, int, tuple[Told, ...]]]) -> int:
    """A number that differs when the versions may."""
    said = repr([(from_at, to_at, [told.hash for told in schedules]) for from_at, to_at, schedules in stretches])
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "big") >> 1


def spans(lives: Sequence[Life], margin: int) -> list[tuple[int, int]]:
    """When the probe had a say: from a process's first sign until so long after its last promise."""
    return merged((life.first_at, life.over_at + margin) for life in lives)

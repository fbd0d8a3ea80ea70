"""Work as records of the spool and back: one record an event, so that damage costs no more than what it hit.

A record is one line of JSON that says what it is, then the bytes of the body, where there is one. Events are spooled
as they will be stored: redacted, with the identity of the original.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from taskledger.events import Event, Malformed
from taskledger.recorder.batch import MAX_BATCH_BYTES, Gathered
from taskledger.recorder.segment import Damage
from taskledger.recorder.source import Opened, Promise
from taskledger.recorder.waiting import Halted, Interrupted, Listening, Reached

#: microseconds; a batch that is put together again takes one time of arrival for all, so these may not be far apart
SAME_ARRIVAL = 5_000_000

#: what waits for the database
Work = Gathered | Reached | Listening | Interrupted | Halted


#: what a record says of an event beside its id and its body
_SAID = ("type", "at", "hostname", "pid", "clock", "task_id")


class Continuing(NamedTuple):
    """That cluster was being listened to already, and all up to `from_at` went before."""

    cluster: str
    promise: Promise
    from_at: int


def records(work: Work | Continuing) -> list[bytes]:
    """As records, without acknowledgements: what is in the spool was acknowledged."""
    match work:
        case Gathered():
            said = {"cluster": work.cluster, "received_at": work.received_at}
            events = [_record("event", said | _of_event(event), event.body) for event in work.events]
            malformed = [_record("malformed", said | _of_malformed(item), item.body) for item in work.malformed]
            return [*events, *malformed, _record("reached", {"cluster": work.cluster, "until_at": work.until_at})]
        case Reached():
            return [_record("reached", work._asdict())]
        case Listening(cluster, opened, from_at):
            return [_record("listening", {"cluster": cluster, "from_at": from_at, **opened._asdict()})]
        case Continuing():
            return [_record("continuing", work._asdict())]
        case Interrupted():
            return [_record("interrupted", work._asdict())]
        case Halted(cluster):
            return [_record("interrupted", {"cluster": cluster, "cause": "stopped"})]


def replay(items: Iterable[bytes | Damage], size: int) -> Iterator[Work | Continuing | Damage]:
    """What these records say, in order, with the events gathered into batches of about that size."""
    gathering: _Regathering | None = None
    for item in items:
        parts = _read(item)
        if isinstance(parts, _Part):
            if gathering is not None and not gathering.takes(parts, size):
                yield gathering.cut()
                gathering = None
            gathering = gathering or _Regathering(parts.cluster)
            gathering.add(parts)
        else:
            if gathering is not None:
                yield gathering.cut()
                gathering = None
            yield parts
    if gathering is not None:
        yield gathering.cut()


class _Part(NamedTuple):
    """A piece of a batch."""

    cluster: str
    item: Event | Malformed | None
    received_at: int
    until_at: int


class _Regathering:
    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._events: list[Event] = []
        self._malformed: list[Malformed] = []
        self._bytes = self._from_at = self._received_at = self._until_at = 0

    def takes(self, part: _Part, size: int) -> bool:
        if part.cluster != self._cluster:
            return False
        if part.item is None:
            return True
        is_near = not self._from_at or part.received_at - self._from_at <= SAME_ARRIVAL
        return is_near and len(self._events) + len(self._malformed) < size and self._bytes < MAX_BATCH_BYTES

    def add(self, part: _Part) -> None:
        self._until_at = max(self._until_at, part.until_at)
        if part.item is None:
            return
        self._from_at = self._from_at or part.received_at
        self._received_at = part.received_at
        self._bytes += len(part.item.body)
        if isinstance(part.item, Event):
            self._events.append(part.item)
        else:
            self._malformed.append(part.item)

    def cut(self) -> Work:
        if not self._received_at:
            return Reached(self._cluster, self._until_at)
        events, malformed = tuple(self._events), tuple(self._malformed)
        return Gathered(self._cluster, events, malformed, None, self._from_at, self._received_at, self._until_at)


def _read(record: bytes | Damage) -> "_Part | Work | Continuing | Damage":
    if isinstance(record, Damage):
        return record
    try:
        line, _, body = record.partition(b"\n")
        return _meaning(_said(line), body)
    except (ValueError, LookupError, TypeError):
        # Whole, so it was written like this: by another version of taskledger.
        return Damage(1, len(record))


def _said(line: bytes) -> dict[str, Any]:
    said: dict[str, Any]
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        said = json.loads(line)  # with lone surrogates, see _record
    return said


def _meaning(said: dict[str, Any], body: bytes) -> "_Part | Work | Continuing":
    kind, cluster = said.pop("kind"), said["cluster"]
    match kind:
        case "event":
            received_at = said.pop("received_at")
            del said["cluster"]
            event = Event(**said | {"id": bytes.fromhex(said["id"]), "body": body})
            return _Part(cluster, event, received_at, 0)
        case "malformed":
            item = Malformed(bytes.fromhex(said["id"]), said["reason"], said["detail"], body, said["size"])
            return _Part(cluster, item, said["received_at"], 0)
        case "reached":
            return _Part(cluster, None, 0, said["until_at"])
        case "listening":
            return Listening(cluster, Opened(said["resumed"], Promise(said["promise"])), said["from_at"])
        case "continuing":
            return Continuing(cluster, Promise(said["promise"]), said["from_at"])
        case "interrupted":
            return Interrupted(cluster, said["cause"], said.get("lost_from_at", 0))
    raise ValueError(kind)


def _of_event(event: Event) -> dict[str, Any]:
    """All but what its body says again."""
    said = {key: getattr(event, key) for key in _SAID}
    return said | {"id": event.id.hex()}


def _of_malformed(item: Malformed) -> dict[str, Any]:
    return {"id": item.id.hex(), "reason": item.reason, "detail": item.detail, "size": item.size}


def _record(kind: str, said: dict[str, Any], body: bytes = b"") -> bytes:
    told = {"kind": kind, **said}
    try:
        return orjson.dumps(told) + b"\n" + body
    except TypeError:
        # A name with a lone surrogate in it, which is no Unicode to orjson; Python's json spells it out.
        return json.dumps(told, separators=(",", ":")).encode() + b"\n" + body

"""Decode what arrives on the wire into events whose identity is their content, or say why that cannot be done.

The facts about Celery's wire format: celery/events/dispatcher.py. A message is one JSON object, or (prefork workers,
group `task`) a list of them under the routing key `task.multi`.
"""

import json
from collections.abc import Collection
from hashlib import blake2b
from sys import intern
from typing import Any, NamedTuple

import orjson

from taskledger import unpacking

#: bytes; a larger message is quarantined unread (Redis drops subscribers that lag 32 MB behind)
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
#: bytes of a malformed message that are kept
MAX_QUARANTINED_BYTES = 64 * 1024
#: characters; Celery's own result backends stop at 155 to 255
MAX_TASK_ID_CHARS = 255
#: characters
MAX_TYPE_CHARS = 255
#: levels of objects and lists in what orjson does not read
MAX_DEPTH = 500
#: seconds since the epoch at which the year 10000 begins
YEAR_10000_S = 253_402_300_800

INT64_MAX = 2**63 - 1
INT32_MAX = 2**31 - 1

#: what is read unless the settings say more
JSON_ONLY = frozenset({"json"})

#: Every task-* event of Celery 5.4 to 5.7 (celery/app/amqp.py, celery/worker/request.py, celery/worker/strategy.py).
TASK_EVENT_TYPES = frozenset(
    {
        "task-sent",
        "task-received",
        "task-started",
        "task-succeeded",
        "task-failed",
        "task-retried",
        "task-revoked",
        "task-rejected",
        "task-cancelled",
    }
)
WORKER_EVENT_TYPES = frozenset({"worker-online", "worker-heartbeat", "worker-offline"})

# orjson silently turns integers beyond 64 bits into floats; 19 digits in a row send a message down the exact path,
# unless they follow a point, as in most runtimes. (Digits made zeros are found twenty times as fast as by a pattern.)
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * 19
_ZERO, _POINT = ord("0"), ord(".")
_NESTED = frozenset({dict, list})


class Event:
    """A fact Celery announced. `body` is the canonical JSON of the original event, whole; `id` is its identity.

    `at` is the event's own timestamp in microseconds since the epoch, UTC, as it was sent: Celery's `timestamp` already
    is a UTC epoch, and `utcoffset` says only which zone the sender lives in (celery/events/event.py).

    Never changed. `fields` is what the body says; many events wait in memory at once, so they can do without it until
    somebody asks (`forget`): that is a third of the memory. `is_exact` says that orjson reads the body as it was.
    """

    __slots__ = (
        "_fields", "at", "body", "clock", "hostname", "id", "is_exact", "packed", "pid", "task_id", "type",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - made once for each event: in order, which takes half as long as by name
        self,
        id: bytes,  # noqa: A002 - its name in the ledger
        type: str,  # noqa: A002 - as Celery calls it
        at: int,
        hostname: str | None,
        pid: int | None,
        clock: int | None,
        task_id: str | None,
        body: bytes,
        fields: dict[str, Any] | None = None,
        packed: tuple[int, bytes] | None = None,
        is_exact: bool = False,
    ) -> None:
        self.id = id
        self.type = type
        self.at = at
        self.hostname = hostname
        self.pid = pid
        self.clock = clock
        self.task_id = task_id
        self.body = body
        self._fields = fields
        #: what `bodies.pack` makes of the body, where that was done already
        self.packed = packed
        self.is_exact = is_exact

    @property
    def fields(self) -> dict[str, Any]:
        """All that the event says, by name; to be read only."""
        fields = self._fields
        if fields is None:
            fields = self._fields = orjson.loads(self.body) if self.is_exact else restore(self.body)
        return fields

    def forget(self) -> None:
        """Give the memory of `fields` back."""
        self._fields = None

    def plain(self) -> tuple[Any, ...]:
        """What makes it again, as plain values."""
        return (
            self.id, self.type, self.at, self.hostname, self.pid, self.clock, self.task_id, self.body, None,
            self.packed, self.is_exact,
        )  # fmt: skip

    def with_body(self, body: bytes) -> "Event":
        """The same event, of which something else is kept."""
        return Event(self.id, self.type, self.at, self.hostname, self.pid, self.clock, self.task_id, body)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return all(getattr(self, key) == getattr(other, key) for key in _SAID)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        said = ", ".join(f"{key}={getattr(self, key)!r}" for key in _SAID)
        return f"Event({said})"


#: what makes an event
_SAID = ("id", "type", "at", "hostname", "pid", "clock", "task_id", "body")


class Malformed(NamedTuple):
    """Input that cannot be used: why (`reason` is a stable word, `detail` a sentence) and the start of its bytes."""

    id: bytes
    reason: str
    detail: str
    body: bytes
    size: int


def decode(
    body: bytes,
    content_type: str = "application/json",
    content_encoding: str = "utf-8",
    accept: Collection[str] = JSON_ONLY,
) -> list[Event | Malformed]:
    """Every event of one message, in the order sent; what cannot be used comes as Malformed in its place.

    Never raises for any input. Only JSON is read, and what `accept` names beside it (see `unpacking`); a compressed
    body must have been refused before (see `refuse`).
    """
    if len(body) > MAX_MESSAGE_BYTES:
        return [refuse(body, "too-large", f"{len(body):,} bytes; at most {MAX_MESSAGE_BYTES:,} are read")]
    word = unpacking.WORDS.get(content_type)
    if word is None or word not in accept:
        read = " and ".join(sorted(accept)).upper()
        return [refuse(body, "content-type", f"content type {content_type[:80]!r} is not read; only {read}")]
    try:
        document, is_exact = _loads(body, content_encoding) if word == "json" else (unpacking.unpack(body, word), False)
    except (ValueError, RecursionError, LookupError) as error:
        return [refuse(body, f"not-{word}", f"not readable as {word.upper()}: {str(error)[:200]}")]
    items = document if isinstance(document, list) else [document]
    return [_event(item, is_exact=is_exact) for item in items]


def refuse(body: bytes, reason: str, detail: str) -> Malformed:
    """Input that is set aside, identified by its bytes so that a redelivery is not counted twice."""
    return Malformed(blake2b(body, digest_size=16).digest(), reason, detail, body[:MAX_QUARANTINED_BYTES], len(body))


def canonical(fields: dict[str, Any], *, is_exact: bool = True) -> bytes:
    """The one spelling of an event's content: sorted keys, no white space, UTF-8.

    `is_exact` says that orjson can write every value as it is. Where it cannot, the standard library does, which keeps
    integers of any size, NaN and lone surrogates; that depends on this event alone, not on those it came with.
    """
    try:
        body = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        # It writes NaN as null, and that is not the same.
        if is_exact or orjson.loads(body) == fields:
            # What orjson gives back goes on holding the 4 kB that it was written into; a copy holds what it needs.
            return bytes(memoryview(body))
    except (TypeError, ValueError):
        pass  # nested too deep, or text that is not Unicode: the slower way keeps it
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode()


def restore(body: bytes) -> dict[str, Any]:
    """The original event from its canonical JSON."""
    document: dict[str, Any] = _loads(body, "utf-8")[0]
    return document


def identity(at: int, body: bytes) -> bytes:
    """16 bytes: the event's millisecond (6 bytes, so that ids sort by time), then 80 bits of blake2b of its content."""
    return (at // 1000).to_bytes(6, "big") + blake2b(body, digest_size=10).digest()


def first_id_at(at: int) -> bytes:
    """The smallest id an event of that moment can have: with it, a span of time is a range of ids."""
    return (max(at, 0) // 1000).to_bytes(6, "big") + bytes(10)


def _loads(body: bytes, encoding: str) -> tuple[Any, bool]:
    if encoding.lower() not in ("utf-8", "utf8", "us-ascii", "ascii", "binary", ""):
        body = body.decode(encoding).encode()
    if not _has_long_integer(body):
        try:
            return orjson.loads(body), True
        except orjson.JSONDecodeError:
            pass  # NaN, infinity and lone surrogates are no JSON to orjson, but Python's json sends them
    document = json.loads(body)
    _refuse_depth(document)
    return document, False


def _refuse_depth(document: Any) -> None:
    """Python's own parser goes as deep as the stack of the moment lets it; what it read once must be readable again."""
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise RecursionError(f"nested more than {MAX_DEPTH} deep")


def _has_long_integer(body: bytes) -> bool:
    """Whether there may be one: also in a text, where it does no harm."""
    zeros = body.translate(_AS_ZEROS)
    found = zeros.find(_LONG_INTEGER)
    while found >= 0:
        if found == 0 or zeros[found - 1] != _POINT:
            return True
        end = found + len(_LONG_INTEGER)
        while end < len(zeros) and zeros[end] == _ZERO:
            end += 1
        found = zeros.find(_LONG_INTEGER, end)
    return False


def _event(item: Any, *, is_exact: bool) -> Event | Malformed:
    if not isinstance(item, dict):
        return _refuse_item(item, "not-an-object", f"an event is an object, this is {type(item).__name__}")
    try:
        body = canonical(item, is_exact=is_exact)
    except (ValueError, RecursionError) as error:
        return _refuse_item(item, "too-deep", str(error)[:200])
    get = item.get
    kind, timestamp = get("type"), _seconds(get("timestamp"))
    if kind.__class__ is not str or not 0 < len(kind) <= MAX_TYPE_CHARS:
        return refuse(body, "bad-type", f"`type` must be text of 1 to {MAX_TYPE_CHARS} characters")
    if timestamp is None:
        wrong = str(get("timestamp"))[:60]
        return refuse(body, "bad-timestamp", f"`timestamp` must be seconds between 1970 and 9999, not {wrong}")
    task_id = get("uuid")
    if task_id.__class__ is not str or not 0 < len(task_id) <= MAX_TASK_ID_CHARS:
        if kind in TASK_EVENT_TYPES:
            return refuse(body, "bad-task-id", f"`uuid` must be text of 1 to {MAX_TASK_ID_CHARS} characters")
        task_id = None
    at = round(timestamp * 1_000_000)
    hostname = get("hostname")
    return Event(
        identity(at, body),
        intern(kind),
        at,
        # Thousands of events say the same few names.
        intern(hostname) if hostname.__class__ is str and hostname else None,
        integer(get("pid")),
        integer(get("clock")),
        task_id,
        body,
        # What is in a value has another order in the body, and what is told of it must not depend on when it is read.
        item if is_exact and _NESTED.isdisjoint(map(type, item.values())) else None,
        None,
        is_exact,
    )


def _refuse_item(item: Any, reason: str, detail: str) -> Malformed:
    return refuse(str(item)[:MAX_QUARANTINED_BYTES].encode("utf-8", "backslashreplace"), reason, detail)


def _seconds(value: Any) -> float | None:
    """Seconds since the epoch if that is what it is, and the year has four digits."""
    if value.__class__ is not float and value.__class__ is not int:
        return None
    # Also what is no number, infinite, or too large for a float does not lie between the two.
    return value if 0 <= value < YEAR_10000_S else None


def integer(value: Any) -> int | None:
    """The value if it is an integer that a 64-bit column holds, else None (the original stays in the body)."""
    if value.__class__ is int and -INT64_MAX <= value <= INT64_MAX:
        return value
    return None

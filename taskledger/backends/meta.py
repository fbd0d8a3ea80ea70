"""What a result backend keeps of a task, as texts like those of events: plain JSON, redacted, never unpickled."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from taskledger.events import INT32_MAX
from taskledger.orphans import Found
from taskledger.redaction import Redaction, redacted_payload
from taskledger.texts import kept, name, text

log = logging.getLogger(__name__)

#: bytes of a value; a larger one is left where it is
MAX_BYTES = 1024 * 1024
#: how pickles begin since protocol 2 of 2003
PICKLED = b"\x80"
#: what stands for a value that is not read
PICKLED_MARK, UNREADABLE_MARK = "[pickled, not read]", "[not JSON, not read]"
#: texts that stand for a value, and are shown as they are
_MARKS = frozenset({PICKLED_MARK, UNREADABLE_MARK, "None"})
#: these carry an exception in place of a result (celery/backends/base.py, `prepare_exception`)
_FAILED = frozenset({"FAILURE", "RETRY", "REVOKED"})


@dataclass(slots=True)
class Reading:
    """How values are read: what is redacted, in which zone times without one are; and what could not be read."""

    redaction: Redaction
    zone: ZoneInfo
    #: reason -> how often
    unread: Counter[str] = field(default_factory=Counter)

    def refuse(self, reason: str) -> None:
        """Count a value that is not read; each reason is told once."""
        self.unread[reason] += 1
        if self.unread[reason] == 1:
            log.warning("a result was not read: %s", reason, extra={"action": "result_not_read"})

    def document(self, value: bytes) -> Any:
        """A whole value as JSON; None, counted, for what is none."""
        if value.startswith(PICKLED):
            self.refuse("it is pickled, and reading that would run what it says")
            return None
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            self.refuse("it is no JSON")
            return None

    def value(self, raw: object) -> Any:
        """One field as JSON; a mark for what is none, and text as it is."""
        if isinstance(raw, memoryview | bytearray):
            raw = bytes(raw)
        if isinstance(raw, bytes) and raw.startswith(PICKLED):
            self.unread["pickled"] += 1
            return PICKLED_MARK
        if not isinstance(raw, bytes | str):
            return raw
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            return raw if isinstance(raw, str) else UNREADABLE_MARK

    def found(self, meta: Mapping[str, Any], task_name: str | None) -> Found | None:
        """What the fields of a task's meta say; `task_name` is what the ledger calls it. None for what is no meta."""
        status = meta.get("status")
        if not isinstance(status, str):
            return None
        said_name = meta.get("name") if isinstance(meta.get("name"), str) else None
        payload = redacted_payload(_payload(meta, status), task_name or said_name, self.redaction)
        texts = {
            key: self._text(key, payload.get(key)) for key in ("args", "kwargs", "result", "exception", "traceback")
        }
        worker, retries = meta.get("worker"), meta.get("retries")
        return Found(
            status=status,
            done_at=self._moment(meta.get("date_done")),
            worker=name(worker) if isinstance(worker, str) else None,
            retries=retries if type(retries) is int and 0 <= retries <= INT32_MAX else None,
            name=name(self.redaction.name(said_name)) if said_name else None,
            note=_note(meta, status),
            **texts,
        )

    def _text(self, key: str, value: Any) -> str | None:
        """As the events have it: a repr, of arguments a tuple's."""
        if value is None:
            return None
        if isinstance(value, str) and (key != "result" or value in _MARKS or value.startswith("[redacted: ")):
            return kept(text(value))
        shown = repr(tuple(value) if key == "args" and isinstance(value, list) else value)
        return kept(text(self.redaction.text(shown)))

    def _moment(self, value: object) -> int | None:
        """Microseconds since the epoch of an ISO text or a datetime."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return None
        if not isinstance(value, datetime):
            return None
        aware = value if value.tzinfo else value.replace(tzinfo=self.zone)
        try:
            return max(0, round(aware.astimezone(UTC).timestamp() * 1_000_000))
        except (OverflowError, ValueError):
            return None


def _payload(meta: Mapping[str, Any], status: str) -> dict[str, Any]:
    payload = {key: meta.get(key) for key in ("args", "kwargs", "result", "traceback")}
    if status not in _FAILED:
        # Else a result of None could not be told from one that was not kept.
        payload["result"] = "None" if payload["result"] is None else payload["result"]
        return payload
    payload["exception"] = None if status == "REVOKED" else _exception(payload.pop("result"))
    payload["result"] = None
    return payload


def _exception(result: Any) -> str | None:
    """As the repr in an event: JSON has class and arguments apart."""
    if not isinstance(result, dict):
        return None if result in (None, PICKLED_MARK, UNREADABLE_MARK) else str(result)
    message = result.get("exc_message")
    arguments = message if isinstance(message, list) else [] if message is None else [message]
    return f"{result.get('exc_type') or 'Error'}({', '.join(map(repr, arguments))})"


def _note(meta: Mapping[str, Any], status: str) -> str | None:
    """Why a task was revoked, in Celery's word."""
    result = meta.get("result")
    if status != "REVOKED" or not isinstance(result, dict):
        return None
    message = result.get("exc_message")
    first = message[0] if isinstance(message, list) and message else message
    return first if first in ("expired", "terminated") else None

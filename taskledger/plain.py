"""Frozen values as JSON has them: fields by name, times as ISO 8601 UTC with microseconds, states as Celery's words."""

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_json(value: object) -> str:
    """Plain values as text for people to read, too."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plain(value: object, name: str = "") -> Any:
    """The value as json can write it; an integer whose name says that it is a time becomes one."""
    if names := _fields(value):
        return {each: plain(getattr(value, each), each) for each in names}
    if isinstance(value, dict):
        # What Celery said stays as it was said: only our own fields have times that end in _at.
        return value
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, int) and not isinstance(value, bool) and (name == "at" or name.endswith("_at")):
        return iso(value)
    return value


def _fields(value: object) -> tuple[str, ...]:
    """The names of what a frozen value has, dataclass or named tuple; none of any other value."""
    if is_dataclass(value) and not isinstance(value, type):
        return tuple(each.name for each in fields(value))
    return getattr(value, "_fields", ()) if isinstance(value, tuple) else ()


def iso(at: int) -> str:
    """Microseconds since the epoch as 2026-11-22T03:00:00.000000Z."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds").replace("+00:00", "Z")

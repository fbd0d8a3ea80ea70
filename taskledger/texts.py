"""Values of events as texts, names and moments that every database can hold."""

from datetime import UTC, datetime
from typing import Any

#: characters of args, kwargs, a result or an exception that a task or run keeps; the event keeps all
MAX_TEXT_CHARS = 16_384
#: characters of a traceback that a run keeps: its start and its end
MAX_TRACEBACK_CHARS = 65_536
#: characters of a task name, queue, host name or routing key
MAX_NAME_CHARS = 512
#: stands in the middle of a text that was cut
CUT = "characters cut by taskledger"


def text(value: Any) -> str | None:
    """Any value as text that every database can hold: NUL and lone surrogates become visible escapes."""
    if value is None:
        return None
    string = value if isinstance(value, str) else str(value)
    if string.isascii() and "\x00" not in string:
        return string
    if "\x00" in string:
        string = string.replace("\x00", "\\x00")
    try:
        string.encode()
    except UnicodeEncodeError:
        string = string.encode("utf-8", "backslashreplace").decode()
    return string


def cut(string: str | None, limit: int = MAX_TEXT_CHARS) -> str | None:
    """At most `limit` characters: the start and the end, with a mark that says how much is missing between."""
    if string is None or len(string) <= limit:
        return string
    half = limit // 2 - 40
    return f"{string[:half]}\n… [{len(string) - 2 * half:,} {CUT}] …\n{string[-half:]}"


def kept(value: Any) -> str | None:
    """Any value as a text of at most MAX_TEXT_CHARS, as `text` and `cut` make it."""
    # Nearly all are like this, and this is done several times for each task.
    if value.__class__ is str and len(value) <= MAX_TEXT_CHARS and value.isascii() and "\x00" not in value:
        return value
    return cut(text(value))


def name(value: Any) -> str | None:
    """A name as text of at most MAX_NAME_CHARS characters; the end of a longer one is replaced by a mark."""
    if value.__class__ is str and 0 < len(value) <= MAX_NAME_CHARS and value.isascii() and "\x00" not in value:
        return value
    string = text(value)
    if not string:
        return None
    return string if len(string) <= MAX_NAME_CHARS else string[: MAX_NAME_CHARS - 1] + "…"


def moment(value: Any) -> int | None:
    """Microseconds since the epoch of an ISO 8601 text (Celery's eta and expires); None where there is none.

    Celery writes them with an offset; a text without one is UTC (celery/app/amqp.py, `as_task_v2`).
    """
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    try:
        at = round(aware.timestamp() * 1_000_000)
    except (OverflowError, ValueError):
        return None
    return at if at >= 0 else None

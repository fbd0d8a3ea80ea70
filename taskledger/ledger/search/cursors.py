"""A place in a list of tasks as opaque text for an address."""

import base64
import json

from taskledger.errors import QueryError
from taskledger.ledger.answers import Cursor

#: characters of a cursor's text; an id of a thousand characters fits
MAX_CHARS = 16_384
#: microseconds since the epoch that every database can compare with
_MAX_AT = 2**63 - 1


def cursor_text(cursor: Cursor) -> str:
    """The cursor as text that needs no escaping in an address."""
    packed = json.dumps([cursor.first_at, cursor.id, cursor.cluster], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def cursor_from(text: str) -> Cursor:
    """The cursor that `cursor_text` wrote. Raises QueryError for any other text."""
    try:
        return _read(text)
    # Text of a stranger: nested brackets end in RecursionError, a number where a list should be in TypeError.
    except (ValueError, TypeError, RecursionError) as error:
        raise QueryError(
            "the place in the list (after= or before=) cannot be read: take it out of the address to start at the top",
            0,
            text,
        ) from error


def _read(text: str) -> Cursor:
    if len(text) > MAX_CHARS:
        raise ValueError("longer than any cursor")
    packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    at, task_id, cluster = json.loads(packed)
    if type(at) is not int or abs(at) > _MAX_AT or not isinstance(task_id, str) or not isinstance(cluster, str):
        raise ValueError("not the parts of a cursor")
    return Cursor(at, task_id, cluster)

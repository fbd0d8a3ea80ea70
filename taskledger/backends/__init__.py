"""Result backends, read to settle what events left open: their own values, by our own reading, nothing executed.

Celery's own readers (AsyncResult) unpickle what they find; whoever can write into a result backend would run code here.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from taskledger.backends.meta import Reading
from taskledger.errors import BackendUnreadable
from taskledger.orphans import Found
from taskledger.parsing import mask_url

__all__ = ["Backend", "Reading", "open_backend"]

log = logging.getLogger(__name__)


class Backend(Protocol):
    """A result backend that can be read."""

    def read(self, names: Mapping[str, str | None]) -> dict[str, Found]:
        """What it keeps of these tasks (id -> name, where the ledger knows it). Raises BackendAway."""
        ...

    def close(self) -> None:
        """Give its connections back."""
        ...


def open_backend(url: str, celery_app: Any, reading: Reading) -> Backend:
    """The backend behind a URL as `result_backend` has it; connects on first use.

    Raises BackendUnreadable, with the reason, for one that cannot be read.
    """
    scheme = url.partition(":")[0].lower()
    opener = next((opener for begins, opener in _OPENERS if scheme == begins or scheme.startswith(f"{begins}+")), None)
    if opener is None:
        raise BackendUnreadable(f"The result backend {mask_url(url)} cannot be read: {_why(scheme)}.")
    try:
        return opener(url, celery_app, reading)
    except ValueError as error:
        raise BackendUnreadable(f"The result backend {mask_url(url)} is no address: {mask_url(str(error))}.") from error


def _redis(url: str, celery_app: Any, reading: Reading) -> Backend:
    from taskledger.backends.redis import RedisBackend  # noqa: PLC0415  Only who has results there needs it.

    return RedisBackend(url, celery_app, reading)


def _database(url: str, celery_app: Any, reading: Reading) -> Backend:
    from taskledger.backends.database import open_database  # noqa: PLC0415  As above.

    return open_database(url, celery_app, reading)


_OPENERS: tuple[tuple[str, Callable[[str, Any, Reading], Backend]], ...] = (
    ("redis", _redis),
    ("rediss", _redis),
    ("socket", _redis),
    ("db", _database),
    ("database", _database),
    ("django-db", _database),
)
_REASONS = {
    "rpc": "its results are messages for whoever sent the task, and reading them would take them away",
    "amqp": "its results are messages for whoever sent the task, and reading them would take them away",
    "cache+memory": "its results stay inside the worker's own process",
    "sentinel": "Redis behind Sentinel is not supported; name the Redis itself with --result-backend redis://…",
}


def _why(scheme: str) -> str:
    return _REASONS.get(scheme, "redis://, db+… and django-db can be")

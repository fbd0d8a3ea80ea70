"""What the ledger knows of one task: a pure projection of the set of its events, so order and repetition cannot matter."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from taskledger import failures
from taskledger.events import Event


class State(IntEnum):
    """Celery's states, stored as these numbers; the number is also the rank of a state within one run.

    CANCELLED is the end that Celery announces as `task-cancelled`: the worker gave a run up after it lost its broker,
    and the broker will deliver the task again (celery/worker/request.py, `_announce_cancelled`).
    """

    PENDING = 10
    RECEIVED = 20
    STARTED = 30
    CANCELLED = 35
    RETRY = 40
    REJECTED = 50
    REVOKED = 60
    FAILURE = 70
    SUCCESS = 80

    @property
    def is_end(self) -> bool:
        """Whether a task in this state does nothing more by itself."""
        return self >= State.REJECTED

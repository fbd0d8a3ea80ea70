"""The states of tasks and runs, and what Celery's events say about them."""

from enum import IntEnum


class State(IntEnum):
    """Celery's states, stored as these numbers.

    UNKNOWN: only events of unknown types were seen. CANCELLED is what Celery announces as `task-cancelled`: the worker
    gave the run up when it lost its broker, which will deliver the task again (celery/worker/request.py,
    `_announce_cancelled`). LOST: the life of its worker ended in the middle of the run. IGNORED: the run ended and
    nothing said how, as after Celery's Ignore. These two no event announces: they are settled (see `settlements`).
    """

    UNKNOWN = 0
    PENDING = 10
    RECEIVED = 20
    STARTED = 30
    CANCELLED = 35
    RETRY = 40
    REJECTED = 50
    IGNORED = 55
    REVOKED = 60
    LOST = 65
    FAILURE = 70
    SUCCESS = 80

    @property
    def is_end(self) -> bool:
        """Whether a task in this state does nothing more by itself."""
        return self >= State.REJECTED


#: How each ending event leaves its run.
ENDS = {
    "task-cancelled": State.CANCELLED,
    "task-retried": State.RETRY,
    "task-rejected": State.REJECTED,
    "task-revoked": State.REVOKED,
    "task-failed": State.FAILURE,
    "task-succeeded": State.SUCCESS,
}
#: These say what became of a task and nothing about it: name, arguments and relations stand in other events.
SILENT_TYPES = frozenset({"task-started", *ENDS})
#: What beat's probe says of a send: `task` is its name there (docs/beat-probe.md). It counts where no `task-sent` came.
BEAT_SENT = "beat-sent"
#: Order of events that carry the same timestamp.
RANK = {"task-sent": 0, "task-received": 1, "task-started": 2, **{kind: int(state) for kind, state in ENDS.items()}}

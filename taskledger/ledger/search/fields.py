"""The fields of the search language: their names, and what kind of value each one takes."""

from difflib import get_close_matches
from enum import Enum, auto
from typing import Final

from taskledger.states import State


class Takes(Enum):
    """How the value of a field is read."""

    TEXT = auto()  #: part of a text
    LABEL = auto()  #: a name that repeats: exact, by glob, or part of it
    ID = auto()  #: a task id or how it begins
    FINGERPRINT = auto()  #: the key of a failure group or how it begins
    STATE = auto()
    NUMBER = auto()
    SECONDS = auto()
    MOMENT = auto()
    FLAG = auto()  #: one of the words of FLAGS


FIELDS: Final = {
    "name": Takes.LABEL,
    "state": Takes.STATE,
    "queue": Takes.LABEL,
    "worker": Takes.LABEL,
    "client": Takes.LABEL,
    "cluster": Takes.LABEL,
    "id": Takes.ID,
    "root": Takes.ID,
    "parent": Takes.ID,
    "args": Takes.TEXT,
    "kwargs": Takes.TEXT,
    "result": Takes.TEXT,
    "exc": Takes.TEXT,
    "trace": Takes.TEXT,
    "error": Takes.TEXT,
    "fp": Takes.FINGERPRINT,
    "pid": Takes.NUMBER,
    "retries": Takes.NUMBER,
    "runs": Takes.NUMBER,
    "runtime": Takes.SECONDS,
    "wait": Takes.SECONDS,
    "sent": Takes.MOMENT,
    "received": Takes.MOMENT,
    "started": Takes.MOMENT,
    "finished": Takes.MOMENT,
    "first": Takes.MOMENT,
    "is": Takes.FLAG,
    "has": Takes.FLAG,
}
#: other words for the same fields
ALIASES: Final = {
    "task": "name",
    "uuid": "id",
    "exception": "exc",
    "traceback": "trace",
    "ended": "finished",
    "fingerprint": "fp",
}
#: the words that a yes-or-no field knows
FLAGS: Final = {
    "is": ("child", "done", "expired", "retried", "root", "running", "scheduled"),
    "has": ("args", "error", "eta", "result", "traceback"),
}
#: our word of each state, which is how a canonical search spells it
STATE_WORDS: Final = {
    State.UNKNOWN: "unknown",
    State.PENDING: "sent",
    State.RECEIVED: "received",
    State.STARTED: "running",
    State.CANCELLED: "cancelled",
    State.RETRY: "retrying",
    State.REJECTED: "rejected",
    State.IGNORED: "ended",
    State.REVOKED: "revoked",
    State.LOST: "lost",
    State.FAILURE: "failed",
    State.SUCCESS: "succeeded",
}
_STATES: Final = {
    **{state.name.lower(): state for state in State},
    **{word: state for state, word in STATE_WORDS.items()},
}


def field_named(name: str) -> str | None:
    """The field of that name or other name, in any case; None if there is none."""
    lowered = name.lower()
    lowered = ALIASES.get(lowered, lowered)
    return lowered if lowered in FIELDS else None


def state_named(word: str) -> State | None:
    """The state by our word or by Celery's, in any case."""
    return _STATES.get(word.lower())


def fields_like(name: str) -> str:
    """`: did you mean state:?`, or all fields when none is near."""
    near = get_close_matches(name.lower(), [*FIELDS, *ALIASES], n=1)
    return f"did you mean {near[0]}:?" if near else f"the fields are {', '.join(FIELDS)}"


def states_like(word: str) -> str:
    """What to write instead of a state that is none."""
    if word.lower() in FLAGS["is"]:
        return f"did you mean is:{word.lower()}?"
    near = get_close_matches(word.lower(), _STATES, n=1)
    return f"did you mean {near[0]}?" if near else f"the states are {', '.join(STATE_WORDS.values())}"

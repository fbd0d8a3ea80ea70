"""How long what is recorded is kept: a default age and rules for the tasks and events that deserve another."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: seconds of each unit; a year is 365 days
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
#: longest age: beyond it a subtraction from today would leave the calendar
LONGEST_S = 1000 * UNITS["y"]
#: what a rule may say of a state: Celery's word, or the one on the pages, and the state it means
STATES = {
    "pending": "PENDING",
    "sent": "PENDING",
    "received": "RECEIVED",
    "started": "STARTED",
    "running": "STARTED",
    "cancelled": "CANCELLED",
    "retry": "RETRY",
    "retrying": "RETRY",
    "rejected": "REJECTED",
    "ignored": "IGNORED",
    "ended": "IGNORED",
    "revoked": "REVOKED",
    "lost": "LOST",
    "failure": "FAILURE",
    "failed": "FAILURE",
    "success": "SUCCESS",
    "succeeded": "SUCCESS",
}
#: fields of a task that a rule may name
TASK_FIELDS = ("state", "task", "queue")

_DURATION = re.compile(r"(\d+)\s*([smhdwy])")
_EVENT_TYPE = re.compile(r"[a-z]+(-[a-z]+)+")


@dataclass(frozen=True, slots=True)
class Rule:
    """`field` is "state", "task" or "queue" of a task, or "type" of an event; `pattern` may hold * and ?."""

    field: str
    #: a state is written as Celery does, e.g. FAILURE
    pattern: str
    keep_s: float

    def matches(self, value: str | None) -> bool:
        return value is not None and fnmatchcase(value, self.pattern)

    def __str__(self) -> str:
        if self.field == "type":
            return f"{self.pattern}={duration_text(self.keep_s)}"
        pattern = self.pattern.lower() if self.field == "state" else self.pattern
        return f"{self.field}:{pattern}={duration_text(self.keep_s)}"


@dataclass(frozen=True, slots=True)
class Retention:
    """A default age and rules; of the rules that match, the first one written decides."""

    default_s: float = 2_592_000.0
    rules: tuple[Rule, ...] = ()

    def task_keep_s(self, *, state: str, task: str | None, queue: str | None) -> float:
        """How long a task is kept after its last event. `state` as Celery writes it, e.g. FAILURE."""
        values = {"state": state, "task": task, "queue": queue}
        return next((rule.keep_s for rule in self.rules if rule.matches(values.get(rule.field))), self.default_s)

    def event_keep_s(self, event_type: str) -> float:
        """How long an event that belongs to no task is kept, e.g. worker-heartbeat."""
        return next(
            (rule.keep_s for rule in self.rules if rule.field == "type" and rule.matches(event_type)), self.default_s
        )

    def __str__(self) -> str:
        return ",".join([duration_text(self.default_s), *map(str, self.rules)])


def parse_retention(text: str) -> Retention:
    """`30d,state:failure=90d,task:billing.*=1y,queue:mail=7d,worker-heartbeat=2d`; ValueError says what is wrong."""
    default_s: float | None = None
    rules = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        target, is_rule, age = part.rpartition("=")
        if is_rule:
            rules.append(_rule(target.strip(), parse_duration(age)))
        elif default_s is None:
            default_s = parse_duration(part)
        else:
            raise ValueError(f"has two default ages; {part!r} needs something in front, such as state:failure={part}")
    return Retention(Retention().default_s if default_s is None else default_s, tuple(rules))


def parse_duration(text: str) -> float:
    """Seconds of `90d`; ValueError when it is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"needs an age such as 12h, 30d or 1y (units: s m h d w y), not {text.strip()!r}")
    seconds = float(int(match[1]) * UNITS[match[2]])
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"needs an age from 1s to 1000y, not {text.strip()!r}")
    return seconds


def duration_text(seconds: float) -> str:
    """`7776000.0` as `90d`: the greatest unit that divides it, weeks left out because people count days."""
    for unit in ("y", "d", "h", "m"):
        if seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"


def _rule(target: str, keep_s: float) -> Rule:
    field, colon, pattern = target.partition(":")
    if not colon and _EVENT_TYPE.fullmatch(target):
        return Rule("type", target, keep_s)
    if field not in TASK_FIELDS or not pattern:
        raise ValueError(
            f"does not know {target!r}; a rule is state:…, task:…, queue:… or an event type such as worker-heartbeat"
        )
    return Rule(field, _state(pattern) if field == "state" else pattern, keep_s)


def _state(word: str) -> str:
    try:
        return STATES[word.lower()]
    except KeyError:
        raise ValueError(f"does not know the state {word!r}; states are {', '.join(STATES)}") from None

"""How sends of beat are known, in words: the probe says all, events of tasks less, workers alone the least."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.ledger.answers import ScheduleRow
from taskledger.ledger.beat_answers import BeatRow

#: what switches the probe on: one line of the Celery app
PROBE_LINE = "app.conf.taskledger_beat = True"
#: level, best first -> what it is worth
LEVELS = {
    "probe": "beat's own probe says what was due, what was sent and what could not be sent",
    "counter": "beat's own run counter says that it was due, not when it was sent",
    "task-sent": "lateness is measured when the task was sent; a send that failed leaves no trace",
    "worker only": "lateness is measured when a worker received the task, its wait in the queue included",
    "none yet": "no send was seen yet",
}


@dataclass(frozen=True, slots=True)
class Level:
    """One level of evidence with how many entries rest on it."""

    name: str
    worth: str
    number: int


def levels(rows: Sequence[ScheduleRow]) -> list[Level]:
    """The levels that the entries rest on, best first."""
    counts = Counter(row.evidence for row in rows)
    return [Level(name, worth(name), counts[name]) for name in (*LEVELS, *(counts.keys() - LEVELS)) if counts[name]]


def worth(level: str) -> str:
    """What a level of evidence is worth."""
    return LEVELS.get(level, "")


def has_probe(rows: Sequence[ScheduleRow], beats: Sequence[BeatRow]) -> bool:
    """Whether a beat tells of itself, now or in the due times shown."""
    return any(beat.state in ("online", "silent") for beat in beats) or any(row.evidence == "probe" for row in rows)


def at_once(beats: Sequence[BeatRow]) -> list[tuple[str, int]]:
    """(cluster, how many beats) where more than one is sending."""
    counts = Counter(beat.cluster for beat in beats if beat.state == "online")
    return [(cluster, number) for cluster, number in counts.items() if number > 1]

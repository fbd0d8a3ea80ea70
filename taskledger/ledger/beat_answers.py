"""What the questions about beat answer: frozen values, times in microseconds since the epoch, durations in seconds."""

from dataclasses import dataclass
from typing import Literal

from taskledger.ledger.listening_answers import Micros

#: "alarm": somebody should look now; "warning": something is not as it should be
Severity = Literal["alarm", "warning"]
#: what `taskledger check beat` says by its exit code: 0, 1 and 3
BeatState = Literal["well", "not_well", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Adherence:
    """How many due times of a span came to which verdict; only whole days as kept in `tick_count`, and today so far."""

    on_time: int = 0
    late: int = 0
    missed: int = 0
    failed_to_send: int = 0
    #: due times that do not count, because nobody can say
    unknown: int = 0
    #: disabled, skipped by the clock change
    excluded: int = 0

    @property
    def percent(self) -> float | None:
        """On time of all that can be judged (beat.md 4.1); None where nothing can."""
        judged = self.on_time + self.late + self.missed + self.failed_to_send
        return 100 * self.on_time / judged if judged else None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What no single due time shows; `sentence` says what happened, by what that is known, and what to do."""

    #: refire_storm two_beats beat_dead beat_wedged lock_lost never_fired timer_reset_by_restart
    kind: str
    cluster: str
    #: the schedule entry, or None when it is about beat as a whole
    entry: str | None
    from_at: Micros
    #: None: it still goes on
    to_at: Micros | None
    number: int
    sentence: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class EntrySettings:
    """What somebody set for one entry; None: the default."""

    grace_s: float | None = None
    receive_within_s: float | None = None
    max_runtime_s: float | None = None
    #: until then its problems are shown, and `check beat` does not count them
    muted_until_at: Micros | None = None


@dataclass(frozen=True, slots=True)
class BeatRow:
    """One beat process as its probe told of it."""

    cluster: str
    beat_id: str
    hostname: str
    pid: int | None
    scheduler: str | None
    version: str | None
    timezone: str | None
    online_at: Micros
    offline_at: Micros | None
    #: why it went: "stopped", or the exception
    reason: str | None
    last_seen_at: Micros
    #: when it promised to tick again
    promised_at: Micros | None
    #: events of its probe that did not arrive, and that its buffer threw away
    lost: int
    dropped: int
    #: online, silent (the promise is broken), offline, or unknown (nobody listened since)
    state: str
    #: seconds from due to sent over its last sends; None where there are none
    lag_p95_s: float | None


@dataclass(frozen=True, slots=True)
class TickNote:
    """A remark on a due time. `acknowledges`: True, False for one that takes that back, None for a note alone."""

    text: str
    author: str
    acknowledges: bool | None
    created_at: Micros


@dataclass(frozen=True, slots=True)
class Tally:
    """How many due times of an entry in a stretch of time came to the same: words as of a TickRow."""

    cluster: str
    entry: str
    #: where the stretch begins
    from_at: Micros
    fire: str
    #: None: nothing fired, or there are so many that it was not looked at
    outcome: str | None
    flags: tuple[str, ...]
    number: int
    #: the first and the last of them
    first_at: Micros
    last_at: Micros
    #: of a single one
    task_id: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a definition that changed: as it was and as it became, in words; None: was not there."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ScheduleVersionRow:
    """A definition from one moment to another, newest first in lists, with what it changed."""

    valid_from_at: Micros
    valid_to_at: Micros | None
    #: probe, django-celery-beat, redbeat, "proj (beat_schedule)"
    source: str
    enabled: bool
    expression: str
    words: str
    timezone: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class BeatVerdict:
    """Whether beat did what it should in a span: a sentence for people, and what it rests on."""

    state: BeatState
    sentence: str
    counts: Adherence
    findings: tuple[FindingRow, ...]
    #: one sentence for each entry that is not well, worst first
    problems: tuple[str, ...]
    #: what could not be told, and why
    unknown: tuple[str, ...]

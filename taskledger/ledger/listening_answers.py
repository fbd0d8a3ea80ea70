"""Answers about recorders: who listened when, and what a span can vouch for; as `answers` has them."""

from dataclasses import dataclass

Micros = int


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of time: from_at <= t < to_at."""

    from_at: Micros
    to_at: Micros


@dataclass(frozen=True, slots=True)
class Stretch:
    """When one recorder was listening to one cluster. `until_at` is the last moment it can vouch for."""

    recorder: str
    cluster: str
    from_at: Micros
    until_at: Micros
    #: why it ended: "stopped", "broker lost: …", "killed"; None while it goes on
    cause: str | None


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch in which no recorder was listening, with the reason if one is known."""

    from_at: Micros
    to_at: Micros
    cause: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a span can vouch for: its holes, and from when to when anything was ever recorded.

    `began_at` is None when no recorder ever ran.
    """

    span: Span
    holes: tuple[Hole, ...]
    began_at: Micros | None
    until_at: Micros | None

    @property
    def is_whole(self) -> bool:
        return not self.holes


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What the header's pill says: is anything being recorded right now?"""

    #: "recording", "stopped" or "never"
    state: str
    lag_s: float | None
    #: when it was last heard of
    seen_at: Micros | None
    promise: str | None


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Whether one cluster is being recorded right now."""

    cluster: str
    #: names of those that listen to it
    recorders: tuple[str, ...]
    #: since when it is recorded; or up to when it was
    since_at: Micros
    #: why nobody listens; None while somebody does
    cause: str | None
    promise: str
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class RecorderRow:
    """One life of a recorder's process."""

    name: str
    started_at: Micros
    seen_at: Micros
    stopped_at: Micros | None
    version: str
    #: cluster -> what its transport can promise, in words
    promises: tuple[tuple[str, str], ...]
    lag_s: float | None
    #: events so far; None of a moment in its life
    recorded: int | None

"""Schedules as of a moment: what is known of entries, and all that verdicts rest on, without what came later.

A verdict that is final today may have been open then: which of them were final by the moment follows from the due
times, and what was open is judged again by what had been sent by then.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from taskledger.ledger.schedule_facts import Heard
from taskledger.ledger.schedule_judge import Gathered
from taskledger.ledger.schedule_known import BeatLife, Beats, Known, KnownVersion, beats_of
from taskledger.ticks import Fire


def entries_at(entries: Iterable[Known], at: int) -> list[Known]:
    """The entries that had been read by a moment, with the versions that there were."""
    found = ((entry, tuple(_versions_at(entry.versions, at))) for entry in entries)
    return [replace(entry, read_at=_read_at(entry, mine, at), versions=mine) for entry, mine in found if mine]


def heard_at(heard: Heard, at: int) -> Heard:
    """When somebody listened, up to a moment."""
    spans = [(from_at, min(to_at, at)) for from_at, to_at in heard.spans if from_at < at]
    return Heard(spans, min(heard.until_at, at))


def beats_at(beats: Beats, at: int) -> Beats:
    """The beat processes that had been heard of by a moment, as if they had told nothing since."""
    lives = [life for life in beats.lives if life.first_at <= at]
    return beats_of([life if life.last_seen_at <= at else _life_at(life, at) for life in lives])


def cut(gathered: Gathered, at: int) -> None:
    """Take away what was sent after a moment."""
    gathered.scopes = {
        entry_id: replace(scope, to_at=min(scope.to_at, at), now_at=min(scope.now_at, at))
        for entry_id, scope in gathered.scopes.items()
    }
    gathered.fires = {entry_id: _until(fires, at) for entry_id, fires in gathered.fires.items()}
    gathered.recent = {entry_id: _until(fires, at) for entry_id, fires in gathered.recent.items()}
    gathered.until_at = at


def _life_at(life: BeatLife, at: int) -> BeatLife:
    """What it promised then is no longer known; it was alive."""
    return replace(life, last_seen_at=at, over_at=at, is_over=False)


def _versions_at(versions: Iterable[KnownVersion], at: int) -> Iterable[KnownVersion]:
    for version in versions:
        if version.from_at <= at:
            is_over = version.to_at is not None and version.to_at <= at
            yield version if is_over else replace(version, to_at=None)


def _read_at(entry: Known, versions: Sequence[KnownVersion], at: int) -> int:
    """When it was last read, as far as that is known: when its version began it was."""
    return entry.read_at if entry.read_at <= at else versions[-1].from_at


def _until(fires: Iterable[Fire], at: int) -> list[Fire]:
    return [fire for fire in fires if fire.at <= at]

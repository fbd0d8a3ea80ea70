"""Schedule entries as the ledger knows them: all definitions, of which each moment has one in force, and its source.

What the probe tells is a history beside that of what is polled. It is in force while a beat with the probe lives and
for ten minutes more, and where nothing was polled; then what was polled is.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

from sqlalchemy import Connection, RowMapping, select

from taskledger import sequences
from taskledger.crontabs import SECOND
from taskledger.ledger import schema
from taskledger.ledger.beat_answers import EntrySettings
from taskledger.ledger.beat_entries import PROBE, digest
from taskledger.schedules import Entry, entry_from
from taskledger.ticks import NEVER_AT, Spans, Version, is_covered, merged

#: microseconds for which what a beat told outlives its last promise
OUTLIVES = 600 * SECOND
#: microseconds between two looks of a probe for changes, and for it to tell of them (integrations/beat_probe.py)
LOOKS_EVERY = 40 * SECOND
#: microseconds after its last sign in which a send of a beat still is one of its life
AFTER = SECOND


@dataclass(frozen=True, slots=True)
class BeatLife:
    """A beat process with the probe: from when to when it was heard, and until when another sign was promised."""

    id: int
    beat_id: str
    first_at: int
    last_seen_at: int
    over_at: int
    is_over: bool
    holes: Spans
    scheduler: str | None = None

    @property
    def looks_again(self) -> bool:
        """Whether its probe looks for changes every now and then: RedBeat keeps nothing that would tell of one."""
        return "redbeat" in (self.scheduler or "").lower()

    def is_awaited(self, at: int) -> bool:
        """Whether it may yet tell what it did at that moment."""
        return not self.is_over and self.first_at <= at and self.last_seen_at < at


@dataclass(frozen=True, slots=True)
class Beats:
    """The beat processes with the probe of one cluster."""

    lives: tuple[BeatLife, ...] = ()
    #: when any was heard of
    heard: Spans = ()
    #: when what they told of their schedules counts
    say: Spans = ()
    #: when something that they told was lost
    holes: Spans = ()

    def speak_at(self, at: int) -> bool:
        """Whether a send at that moment would have been told of by the probe."""
        return is_covered(self.heard, at, at) and not any(since <= at <= until for since, until in self.holes)

    def looks_again_at(self, at: int) -> bool:
        """Whether a change that was told at that moment was made some time before."""
        return any(life.looks_again and life.first_at < at <= life.over_at for life in self.lives)

    @property
    def last_seen_at(self) -> int:
        return max((life.last_seen_at for life in self.lives), default=0)


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """An entry as it was from one moment to another."""

    id: int
    from_at: int
    to_at: int | None
    entry: Entry
    source: str | None = None
    #: when it was read last before it was found changed or gone; None if it ended when it says
    sure_until_at: int | None = None

    @property
    def rule(self) -> Version:
        entry = self.entry
        return Version(
            self.from_at, self.to_at, entry.schedule, entry.enabled,
            starts_at=entry.starts_at, expires_at=entry.expires_at, one_off=entry.one_off,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """A schedule entry with all its versions, earliest first."""

    id: int
    cluster_id: int
    name: str
    source: str
    read_at: int
    versions: tuple[KnownVersion, ...]
    settings: EntrySettings = field(default_factory=EntrySettings)

    @property
    def latest(self) -> KnownVersion:
        return self.versions[-1]

    def in_force(self, at: int) -> KnownVersion | None:
        """The version that was in force; before the first one, the first: a fire may come a little early."""
        if at < self.versions[0].from_at:
            return self.versions[0]
        return next(
            (version for version in reversed(self.versions) if version.from_at <= at < (version.to_at or at + 1)), None
        )

    def is_doubtful(self, at: int) -> bool:
        """Whether the definition was changed around that moment, and nobody can say when exactly."""
        return any(
            version.sure_until_at is not None and version.sure_until_at <= at < (version.to_at or at)
            for version in self.versions
        )

    def is_probed(self, at: int) -> bool:
        """Whether the definition in force came from the probe."""
        version = self.in_force(at)
        return version is not None and version.source == PROBE


def known(connection: Connection, now_at: int, *, name: str | None = None) -> list[Known]:
    """All schedule entries by name, or those of one name in any cluster."""
    return known_with(connection, beats(connection), now_at, name=name)


def known_with(connection: Connection, told: dict[int, Beats], now_at: int, *, name: str | None = None) -> list[Known]:
    """As `known`, where the beat processes were read before."""
    entry, setting = schema.schedule_entry, schema.schedule_setting
    question = select(entry, setting).outerjoin(setting, setting.c.entry_id == entry.c.id).order_by(entry.c.name)
    if name is not None:
        question = question.where(entry.c.digest == digest(name))
    rows = [row for row in connection.execute(question).mappings() if name in (None, row["name"])]
    versions = _versions(connection, name=name)
    return [
        _known(row, versions[row["id"]], told.get(row["cluster_id"], Beats()), now_at)
        for row in rows
        if row["id"] in versions
    ]


def beats(connection: Connection) -> dict[int, Beats]:
    """The beat processes of each cluster that has any."""
    found: dict[int, list[BeatLife]] = defaultdict(list)
    for row in connection.execute(select(schema.beat_process)):
        over_at = row.offline_at or max(row.last_seen_at, row.promised_at or 0)
        holes = tuple(sequences.holes(sequences.from_text(row.seen)))
        is_over = row.offline_at is not None
        life = BeatLife(row.id, row.beat_id, row.first_at, row.last_seen_at, over_at, is_over, holes, row.scheduler)
        found[row.cluster_id].append(life)
    return {cluster_id: beats_of(lives) for cluster_id, lives in found.items()}


def settings_of(row: RowMapping) -> EntrySettings:
    """What was set for an entry, from a row that has these columns."""
    return EntrySettings(row["grace_s"], row["receive_within_s"], row["max_runtime_s"], row["muted_until_at"])


def layered(polled: Sequence[KnownVersion], probed: Sequence[KnownVersion], say: Spans) -> tuple[KnownVersion, ...]:
    """The versions in force, of two histories of one entry, each by its time; `say` is when the probe counts."""
    if not polled or not probed:
        return tuple(polled or probed)
    edges = {edge for version in (*polled, *probed) for edge in (version.from_at, version.to_at or NEVER_AT)}
    edges |= {edge for span in say for edge in span}
    made: list[KnownVersion] = []
    for from_at, to_at in pairwise(sorted(edges)):
        is_told = from_at >= probed[0].from_at and (
            is_covered(say, from_at, from_at + 1) or from_at < polled[0].from_at
        )
        chosen = next(
            (v for v in (probed if is_told else polled) if v.from_at <= from_at < (v.to_at or NEVER_AT)), None
        )
        if chosen is None:
            continue
        if made and made[-1].to_at == from_at and made[-1].entry == chosen.entry and made[-1].source == chosen.source:
            made[-1] = _with_end(made[-1], to_at)
        else:
            made.append(replace(chosen, from_at=from_at, to_at=None if to_at == NEVER_AT else to_at))
    return tuple(made)


def _known(row: RowMapping, versions: tuple[list[KnownVersion], list[KnownVersion]], told: Beats, now_at: int) -> Known:
    in_force = _until(layered(versions[0], _looked_at(versions[1], told), told.say), now_at)
    is_probed = in_force[-1].source == PROBE
    return Known(
        row["id"],
        row["cluster_id"],
        row["name"],
        PROBE if is_probed else in_force[-1].source or row["source"],
        max(row["read_at"], told.last_seen_at) if is_probed else row["read_at"],
        in_force,
        EntrySettings() if row["entry_id"] is None else settings_of(row),
    )


def _until(versions: tuple[KnownVersion, ...], now_at: int) -> tuple[KnownVersion, ...]:
    """Without what is in force only later, as what is polled will be if beat's probe says nothing more."""
    begun = [version for version in versions if version.from_at <= now_at] or [*versions[:1]]
    if begun and begun[-1].to_at is not None and begun[-1].to_at > now_at:
        begun[-1] = replace(begun[-1], to_at=None)
    return tuple(begun)


def _looked_at(probed: Sequence[KnownVersion], told: Beats) -> Sequence[KnownVersion]:
    """What the probe told, with the doubt when it ended where changes are only looked for."""
    return [
        replace(version, sure_until_at=max(version.from_at, version.to_at - LOOKS_EVERY))
        if version.to_at is not None and told.looks_again_at(version.to_at)
        else version
        for version in probed
    ]


def _with_end(version: KnownVersion, to_at: int) -> KnownVersion:
    end_at = None if to_at == NEVER_AT else to_at
    return replace(version, to_at=end_at)


def beats_of(lives: Sequence[BeatLife]) -> Beats:
    """What some processes make together."""
    return Beats(
        tuple(sorted(lives, key=lambda life: life.first_at)),
        merged((life.first_at, life.last_seen_at + AFTER) for life in lives),
        merged((life.first_at, life.over_at + OUTLIVES) for life in lives),
        merged(hole for life in lives for hole in life.holes),
    )


def _versions(connection: Connection, *, name: str | None) -> dict[int, tuple[list[KnownVersion], list[KnownVersion]]]:
    """By entry, what was polled and what the probe told."""
    version, entry = schema.schedule_version, schema.schedule_entry
    columns = [column for column in version.columns if column.name != "definition_hash"]
    question = select(*columns, entry.c.name).join(entry, entry.c.id == version.c.entry_id)
    if name is not None:
        question = question.where(entry.c.digest == digest(name))
    found: dict[int, tuple[list[KnownVersion], list[KnownVersion]]] = defaultdict(lambda: ([], []))
    for row in connection.execute(question.order_by(version.c.valid_from_at, version.c.id)):
        made = KnownVersion(
            row.id,
            row.valid_from_at,
            row.valid_to_at,
            _entry_from(row.name, row.definition),
            row.source,
            row.sure_until_at,
        )
        found[row.entry_id][row.source == PROBE].append(made)
    return found


@lru_cache(maxsize=20_000)
def _entry_from(name: str, text: str) -> Entry:
    """Each is asked for again with every page."""
    return entry_from(name, text)

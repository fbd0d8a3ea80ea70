"""What the templates of schedules share: strips with their words, and the zone of their columns."""

from collections.abc import Sequence
from functools import cache

from taskledger.ledger.answers import ScheduleRow
from taskledger.ledger.beat_answers import TickNote
from taskledger_web import entries, minutes, strip, times
from taskledger_web.strip import Strip
from taskledger_web.view import View


def acknowledged_by(notes: Sequence[TickNote]) -> TickNote | None:
    """The note by which a due time is acknowledged; None where it is not, or not any more."""
    said = [note for note in notes if note.acknowledges is not None]
    return said[-1] if said and said[-1].acknowledges else None


def common(seen: View) -> dict[str, object]:
    """Names that the templates use."""

    @cache
    def when(at: int) -> str:
        # Many entries are due at the same times.
        return f"{times.absolute(at, seen.zone, seen.now_at)} {times.zone_word(seen.zone, at)}"

    def drawn(row: ScheduleRow) -> Strip:
        return strip.of_slots(minutes.slots(row), when)

    return {
        "strip": drawn,
        "mark_of": strip.mark_of,
        "outcome_words": strip.OUTCOME_WORDS,
        "marks": strip.MARKS,
        "went_wrong": lambda tick: strip.is_bad(strip.mark_of(tick)),
        "acknowledged_by": acknowledged_by,
        "column_zone": seen.zone_word,
        "last_fire": entries.last_fire,
        "percent": entries.percent,
        "left_out": entries.left_out,
        "counted": entries.counted,
        "countdown": lambda at: entries.countdown(at, seen.now_at),
    }

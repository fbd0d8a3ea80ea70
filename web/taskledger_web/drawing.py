"""What the templates of schedules share: strips with their words, and the zone of their columns."""

from functools import cache

from taskledger.ledger.answers import ScheduleRow
from taskledger_web import entries, minutes, strip, times
from taskledger_web.strip import Strip
from taskledger_web.view import View


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
        "column_zone": seen.zone_word,
        "last_fire": entries.last_fire,
        "percent": entries.percent,
        "left_out": entries.left_out,
        "counted": entries.counted,
        "countdown": lambda at: entries.countdown(at, seen.now_at),
    }

"""A definition for people: in words ("every day at 03:00") and as a short expression ("0 3 * * *")."""

from collections.abc import Collection, Iterable
from datetime import datetime

from taskledger.crontabs import FIELDS, Crontab, field_values, wall_at, zone_of
from taskledger.schedules import Clocked, Definition, Interval

#: times of day that are named one by one; more are described by their minutes and hours
MOST_TIMES = 4
WEEKDAYS = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
#: units of an interval: seconds, short and long name
UNITS = ((86_400, "d", "day"), (3_600, "h", "hour"), (60, "min", "minute"), (1, "s", "second"))


def words(definition: Definition) -> str:
    """E.g. "every day at 03:00", "every 15 minutes", "Sundays at 05:00", "every 10 seconds"; without the zone."""
    if isinstance(definition, Crontab):
        return _crontab_words(definition)
    if isinstance(definition, Interval):
        number, _, unit = _in_units(definition.every_s)
        every = f"every {unit}" if number == "1" else f"every {number} {unit}s"
        return f"{every}, cut to the full {_resolution(definition.every_s)}" if definition.relative else every
    if isinstance(definition, Clocked):
        wall = _moment(definition)
        return f"once, on {wall.day} {MONTHS[wall.month - 1]} {wall:%Y at %H:%M:%S}".removesuffix(":00")
    return f"{definition.text} (due times not known)"


def expression(definition: Definition) -> str:
    """E.g. "0 3 * * *" (minute, hour, day of month, month, day of week) or "every 10 s"."""
    if isinstance(definition, Crontab):
        return " ".join(getattr(definition, name) for name in FIELDS)
    if isinstance(definition, Interval):
        number, short, _ = _in_units(definition.every_s)
        return f"every {number} {short}"
    return f"{_moment(definition):%Y-%m-%d %H:%M:%S}" if isinstance(definition, Clocked) else definition.text


def _moment(definition: Clocked) -> datetime:
    return wall_at(definition.at, zone_of(definition.tz))


def _in_units(every_s: float) -> tuple[str, str, str]:
    """The greatest unit that divides it: number, short and long name."""
    size, short, unit = next((unit for unit in UNITS if every_s % unit[0] == 0), UNITS[-1])
    return f"{every_s / size:.10g}", short, unit


def _resolution(every_s: float) -> str:
    return next((unit for size, _, unit in UNITS if every_s >= size), "second")


def _crontab_words(crontab: Crontab) -> str:
    values = {name: field_values(name, getattr(crontab, name)) for name in FIELDS}
    clock, is_exact = _clock(values["minute"], values["hour"])
    days = _days(values["day_of_month"], values["month_of_year"], values["day_of_week"])
    if is_exact:
        return f"{days or 'every day'} {clock}"
    return f"{clock}, {days}" if days else clock


def _clock(minutes: Collection[int], hours: Collection[int]) -> tuple[str, bool]:
    """The time of day, and whether it names each moment."""
    if len(minutes) * len(hours) <= MOST_TIMES:
        return "at " + _listed(f"{hour:02}:{minute:02}" for hour in sorted(hours) for minute in sorted(minutes)), True
    every = _repeated(minutes, 60, "minute")
    at = "at " + _listed(f":{minute:02}" for minute in sorted(minutes))
    often = _repeated(hours, 24, "hour")
    if often and (len(minutes) == 1 or len(hours) == 24):
        return every or (often if set(minutes) == {0} else f"{often} {at}"), False
    return f"{every or at} {_hours(hours)}", False


def _hours(hours: Collection[int]) -> str:
    spans = _spans(sorted(hours))
    if len(spans) == 1:
        return f"from {spans[0][0]:02}:00 to {spans[0][1]:02}:59"
    return f"of the hours {_listed(_span_text(span) for span in spans)}"


def _days(days: Collection[int], months: Collection[int], weekdays: Collection[int]) -> str:
    """The days, or nothing when it is every day. All three fields must hold."""
    parts = []
    if len(weekdays) < 7:
        parts.append(_weekdays(weekdays))
    if len(days) < 31:
        spans = _spans(sorted(days))
        parts.append(f"on day{'s' * (len(days) > 1)} {_listed(_span_text(span) for span in spans)} of the month")
    if len(months) < 12:
        if not parts:
            parts.append("every day")
        parts.append("in " + _listed(MONTHS[month - 1] for month in sorted(months)))
    return " ".join(parts)


def _weekdays(weekdays: Collection[int]) -> str:
    if set(weekdays) == {1, 2, 3, 4, 5}:
        return "Mondays to Fridays"
    # A week as people write it begins on Monday.
    return _listed(WEEKDAYS[day] for day in sorted(weekdays, key=lambda day: (day - 1) % 7))


def _repeated(values: Collection[int], whole: int, unit: str) -> str | None:
    """Words such as "every 15 minutes" when the values are evenly spread from 0 on, else None."""
    width = whole // len(values)
    if len(values) == 1 or whole % len(values) or set(values) != set(range(0, whole, width)):
        return None
    return f"every {unit}" if width == 1 else f"every {width} {unit}s"


def _span_text(span: tuple[int, int]) -> str:
    return f"{span[0]}" if span[0] == span[1] else f"{span[0]} to {span[1]}"


def _spans(values: list[int]) -> list[tuple[int, int]]:
    """Runs of neighbours: 1, 2, 3, 7 as (1, 3), (7, 7)."""
    spans: list[tuple[int, int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], value)
        else:
            spans.append((value, value))
    return spans


def _listed(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last

"""Times and durations in words: absolute first, relative second, always in one named zone."""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: what a page may be asked for: years 1970 to 2200, so that no sum of times leaves datetime's range
EARLIEST, LATEST = 0, 7_258_118_400 * MICROS
#: what people mean by a zone; not the server's own files, such as localtime, posix/… and Factory
_ZONE = re.compile(r"UTC|GMT|[A-Z]\w+(/[A-Z][\w+-]+)+", re.ASCII)
_LONGEST_ZONE = 100
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def local(at: int, zone: tzinfo) -> datetime:
    """The moment on the wall clock of a zone, exact to the microsecond; odd times are held inside the range."""
    return (_EPOCH + timedelta(microseconds=min(max(at, EARLIEST), LATEST))).astimezone(zone)


def micros(moment: datetime) -> int:
    """The moment as microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(at: int, zone: tzinfo) -> str:
    """ISO 8601 with offset, as it goes into `datetime=` and onto the clipboard."""
    return local(at, zone).isoformat(timespec="microseconds")


def utc(at: int, *, timespec: str = "microseconds") -> str:
    """ISO 8601 in UTC with a Z, as it goes into addresses and files."""
    return local(at, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def zone_named(name: str | None) -> ZoneInfo | None:
    """The zone of that name, written as Area/City, UTC or GMT; None when there is none."""
    try:
        return ZoneInfo(name) if name and len(name) <= _LONGEST_ZONE and _ZONE.fullmatch(name) else None
    except (KeyError, ValueError, OSError):
        return None


def zone_word(zone: tzinfo, *moments: int) -> str:
    """What heads a column of times: GMT, CET; the zone's own name when the letters change between the moments."""
    words = {local(at, zone).strftime("%Z") for at in moments}
    word = words.pop()
    return word if not words and word.isalpha() else str(zone)


def day(at: int, zone: tzinfo, now_at: int) -> str:
    """22 Nov; with the year when it is not this year's."""
    moment, now = local(at, zone), local(now_at, zone)
    year = "" if moment.year == now.year else f" {moment.year}"
    return f"{moment.day} {_MONTHS[moment.month - 1]}{year}"


def clock(at: int, zone: tzinfo, *, precise: bool = False) -> str:
    """03:12:43; with milliseconds when asked for."""
    return local(at, zone).isoformat(sep=" ", timespec="milliseconds" if precise else "seconds")[
        11 : 23 if precise else 19
    ]


def absolute(at: int, zone: tzinfo, now_at: int, *, precise: bool = False) -> str:
    """The clock, with the date in front of it when that is not today."""
    text = clock(at, zone, precise=precise)
    is_today = local(at, zone).date() == local(now_at, zone).date()
    return text if is_today else f"{day(at, zone, now_at)} {text}"


def stamp(at: int, zone: tzinfo, now_at: int) -> str:
    """22 Nov 03:12: the date and the minute, for sentences and axes."""
    return f"{day(at, zone, now_at)} {clock(at, zone)[:5]}"


def between(from_at: int, to_at: int, zone: tzinfo, now_at: int) -> str:
    """21 Nov 08:00 to 22 Nov 08:00; the date once when both are on one day, none when that is today."""
    same_day = local(from_at, zone).date() == local(to_at, zone).date()
    is_today = local(to_at, zone).date() == local(now_at, zone).date()
    seconds = 8 if to_at - from_at < 120 * MICROS else 5
    last = clock(to_at, zone)[:seconds]
    if not same_day:
        last = f"{day(to_at, zone, now_at)} {last}"
    first = clock(from_at, zone)[:seconds]
    return f"{first if same_day and is_today else f'{day(from_at, zone, now_at)} {first}'} to {last}"


def ago(at: int, now_at: int) -> str:
    """2 min ago, in 4 h; "now" inside a second."""
    seconds = (now_at - at) / MICROS
    if abs(seconds) < 1:
        return "now"
    return f"{rough(seconds)} ago" if seconds > 0 else f"in {rough(-seconds)}"


def rough(seconds: float) -> str:
    """One figure that a person would say: 12 s, 40 min, 5 h, 3 d."""
    for limit, unit, word in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // unit)} {word}"
    return f"{int(seconds // 86_400)} d"


def duration(seconds: float | None) -> str:
    """9 ms, 1.15 s, 12.3 s, 4 m 07 s, 2 h 03 m, 3 d 4 h; a minus for clocks that disagree; empty when not known."""
    if seconds is None or math.isnan(seconds):
        return ""
    # Clocks do not agree to a millisecond: below it nothing is said to be early.
    sign, seconds = ("−", -seconds) if seconds < -0.0005 else ("", max(seconds, 0.0))
    return sign + (_short(seconds) if seconds < 59.95 else _long(seconds))


def _short(seconds: float) -> str:
    if seconds < 0.9995:
        milliseconds = round(seconds * 1000)
        return f"{milliseconds} ms" if milliseconds or not seconds else "<1 ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def _long(seconds: float) -> str:
    whole = int(min(seconds, 1e12) + 0.5)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400:,} d {whole % 86_400 // 3600} h"

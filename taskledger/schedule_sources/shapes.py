"""Definitions from what schedulers keep: the same whether a table or a key holds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery.schedules import crontab

from taskledger import schedules
from taskledger.crontabs import FIELDS, SECOND
from taskledger.schedules import Definition, Unverifiable


class BeatRefusesError(ValueError):
    """Celery itself cannot make a schedule of it: beat leaves the entry out, or does not start."""


def crontab_of(values: Mapping[str, Any], tz: str) -> Definition:
    """A crontab from its five fields: texts, numbers or lists of numbers. Raises BeatRefusesError.

    Celery forgives blanks around numbers.
    """
    fields = {name: _field(values.get(name)) for name in FIELDS}
    try:
        crontab(**fields)
    except Exception as error:  # Its parser raises what comes along.
        raise BeatRefusesError(f"its crontab cannot be read by beat: {error}") from error
    return _parsed({"type": "crontab", "tz": tz} | fields, f"crontab {' '.join(fields.values())}")


def interval_of(every_s: float, tz: str, *, relative: bool = False) -> Definition:
    return _parsed({"type": "interval", "every": every_s, "relative": relative, "tz": tz}, f"every {every_s:g} s")


def clocked_of(at: int, tz: str) -> Definition:
    """Once, at that moment (microseconds)."""
    return _parsed({"type": "clocked", "at": at / SECOND, "tz": tz}, f"once, {at / SECOND:g} s after 1970")


def solar_of(event: str, latitude: Any, longitude: Any, tz: str) -> Definition:
    """Sunrise and its like: Celery asks the library ephem when it is due."""
    place = ", ".join(f"{float(each):.6f}".rstrip("0").rstrip(".") for each in (latitude, longitude))
    return Unverifiable("solar", f"{event.replace('_', ' ')} at {place}", tz)


def _parsed(shape: Mapping[str, Any], text: str) -> Definition:
    try:
        return schedules.parse(shape)
    except ValueError as error:
        return Unverifiable(shape["type"], f"{text}: {error}"[:200], shape["tz"])


def _field(value: Any) -> str:
    if value is None:
        return "*"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(str(each) for each in value)
    return "".join(str(value).split())

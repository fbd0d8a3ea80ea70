"""What is expected of one entry: grace, how soon a worker takes it, how long it may run, and whether it is muted."""

from collections.abc import Mapping
from dataclasses import dataclass

from taskledger.ledger.beat_answers import EntrySettings
from taskledger.retention import duration_text, parse_duration
from taskledger_web.times import MICROS

#: field of the form -> (its label, what an empty one means, the most it may be, seconds)
FIELDS = {
    "grace_s": ("Grace", "60s; short intervals: half of them", 86_400.0),
    "receive_within_s": ("Received within", "300s", 604_800.0),
    "max_runtime_s": ("Longest run", "no limit", 2_592_000.0),
}
#: what the form offers: (value, word)
MUTES = (("", "not muted"), ("1h", "for an hour"), ("1d", "for a day"), ("7d", "for 7 days"), ("30d", "for 30 days"))
_KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Field:
    """One field as it stands in the form; `problem` says what is wrong with what was typed."""

    name: str
    label: str
    default: str
    text: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """The form. `settings` is what it means; None when a field cannot be read."""

    fields: tuple[Field, ...]
    muted_until_at: int | None
    settings: EntrySettings | None


def shown(settings: EntrySettings | None, now_at: int) -> Form:
    """The form with what is kept."""
    kept = settings or EntrySettings()
    fields = tuple(Field(name, *FIELDS[name][:2], _text(getattr(kept, name))) for name in FIELDS)
    return Form(fields, _still(kept, now_at), kept)


def read(sent: Mapping[str, str], settings: EntrySettings | None, now_at: int) -> Form:
    """The form as somebody sent it."""
    until_at = _muted_until(sent.get("mute", ""), settings or EntrySettings(), now_at)
    fields, values = [], {}
    for name, (label, default, most_s) in FIELDS.items():
        text = sent.get(name, "").strip()[:40]
        try:
            values[name] = _seconds(text, most_s)
            fields.append(Field(name, label, default, text))
        except ValueError as error:
            fields.append(Field(name, label, default, text, str(error)))
    is_read = len(values) == len(FIELDS)
    return Form(tuple(fields), until_at, EntrySettings(**values, muted_until_at=until_at) if is_read else None)


def _seconds(text: str, most_s: float) -> float | None:
    """None for an empty field. Raises ValueError, with what to write instead."""
    if not text:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a duration: write 30s, 5m, 2h, or nothing for the default") from None
    if not 0 < seconds <= most_s:
        raise ValueError(f"{text!r} is not between 1s and {duration_text(most_s)}")
    return seconds


def _text(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return duration_text(seconds) if seconds == int(seconds) else f"{seconds:g}"


def _still(settings: EntrySettings, now_at: int) -> int | None:
    until_at = settings.muted_until_at
    return until_at if until_at is not None and until_at > now_at else None


def _muted_until(choice: str, settings: EntrySettings, now_at: int) -> int | None:
    if choice == _KEEP:
        return _still(settings, now_at)
    return now_at + int(parse_duration(choice) * MICROS) if choice in dict(MUTES) and choice else None

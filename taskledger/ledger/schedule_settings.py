"""What somebody set for a single schedule entry: how late is late, how long is long, and for how long to be quiet."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from taskledger.errors import SettingsError
from taskledger.ledger import dialects, schema
from taskledger.ledger.beat_answers import EntrySettings
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger

#: seconds; a year is more than anybody waits for
MOST_S = 366 * 86_400.0


def keep(ledger: Ledger, name: str, settings: EntrySettings, now_at: int) -> None:
    """Set all of it for the entry of that name, in any cluster; None is the default. What was judged before stays.

    Raises SettingsError for durations that are none.
    """
    kept = asdict(settings)
    for key, value in kept.items():
        _check(key, value)
    rows = [{"entry_id": entry_id, "changed_at": now_at} | kept for entry_id in _found(ledger, name)]
    if rows:
        with ledger.write() as connection:
            connection.execute(dialects.upsert(connection, schema.schedule_setting), rows)


def _check(key: str, value: Any) -> None:
    if value is None or key == "muted_until_at":
        return
    if not 0 < value <= MOST_S:
        words = key.removesuffix("_s").replace("_", " ")
        raise SettingsError(f"{words} of {value:g} s is none: give more than 0 seconds and at most a year")


def _found(ledger: Ledger, name: str) -> list[int]:
    entry = schema.schedule_entry.c
    question = select(entry.id, entry.name).where(entry.digest == digest(name)).order_by(entry.id)
    with ledger.read() as connection:
        return [row.id for row in connection.execute(question) if row.name == name]

"""What somebody set for a single schedule entry: how late is late, how long is long, and for how long to be quiet."""

import time
from enum import Enum
from typing import Any, Final

from sqlalchemy import select

from taskledger.errors import SettingsError
from taskledger.ledger import dialects, schema
from taskledger.ledger.beat_answers import EntrySettings
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.schedule_known import settings_of

#: seconds; a year is more than anybody waits for
MOST_S = 366 * 86_400.0


class _Left(Enum):
    """Stands for a value that is left as it is; None is the default."""

    AS_IS = 0


AS_IS: Final = _Left.AS_IS


def get(ledger: Ledger, name: str, *, cluster: str | None = None) -> EntrySettings | None:
    """What is set for the entry of that name; None if there never was one."""
    found = _found(ledger, name, cluster)
    return next(iter(found.values()), None)


def set(  # noqa: A001 - as in `schedule_settings.set`
    ledger: Ledger,
    name: str,
    *,
    cluster: str | None = None,
    grace_s: float | _Left | None = AS_IS,
    receive_within_s: float | _Left | None = AS_IS,
    max_runtime_s: float | _Left | None = AS_IS,
    muted_until_at: int | _Left | None = AS_IS,
    now_at: int | None = None,
) -> EntrySettings | None:
    """Set what is given for the entry of that name, in any cluster, unless one is named; None sets the default again.

    What was judged before stays. Returns what is set then; None if there never was such an entry. Raises SettingsError
    for durations that are none.
    """
    given = {
        "grace_s": grace_s, "receive_within_s": receive_within_s, "max_runtime_s": max_runtime_s,
        "muted_until_at": muted_until_at,
    }  # fmt: skip
    changed = {key: value for key, value in given.items() if value is not AS_IS}
    for key, value in changed.items():
        _check(key, value)
    rows = [
        {"entry_id": entry_id, "changed_at": now_at or time.time_ns() // 1000}
        | {key: changed.get(key, getattr(before, key)) for key in given}
        for entry_id, before in _found(ledger, name, cluster).items()
    ]
    if rows:
        with ledger.write() as connection:
            connection.execute(dialects.upsert(connection, schema.schedule_setting), rows)
    return get(ledger, name, cluster=cluster)


def keep(ledger: Ledger, name: str, settings: EntrySettings, now_at: int) -> EntrySettings | None:
    """Set all of it at once; see `set`."""
    return set(
        ledger, name, grace_s=settings.grace_s, receive_within_s=settings.receive_within_s,
        max_runtime_s=settings.max_runtime_s, muted_until_at=settings.muted_until_at, now_at=now_at,
    )  # fmt: skip


def _check(key: str, value: Any) -> None:
    if value is None or key == "muted_until_at":
        return
    if not 0 < value <= MOST_S:
        words = key.removesuffix("_s").replace("_", " ")
        raise SettingsError(f"{words} of {value:g} s is none: give more than 0 seconds and at most a year")


def _found(ledger: Ledger, name: str, cluster: str | None) -> dict[int, EntrySettings]:
    entry, setting = schema.schedule_entry, schema.schedule_setting
    question = select(entry.c.id, entry.c.name, setting).outerjoin(setting, setting.c.entry_id == entry.c.id)
    question = question.where(entry.c.digest == digest(name)).order_by(entry.c.id)
    if cluster is not None:
        question = question.where(entry.c.cluster_id == (ledger.labels.find(Kind.CLUSTER, cluster) or 0))
    with ledger.read() as connection:
        rows = connection.execute(question).mappings().all()
    return {
        row["id"]: EntrySettings() if row["entry_id"] is None else settings_of(row)
        for row in rows
        if row["name"] == name
    }

"""One entry, or all of them, with their newest due times, and with what is wrong with them beyond these."""

from dataclasses import replace

from taskledger.ledger import schedule_rows
from taskledger.ledger.answers import ScheduleRow
from taskledger.ledger.beat_answers import FindingRow
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_findings import of_known, of_rows

__all__ = ["schedule", "schedules", "schedules_and_findings"]

schedules = schedule_rows.schedules


def schedules_and_findings(
    ledger: Ledger, now_at: int, *, ticks: int = 30, by_minute: bool = False
) -> tuple[tuple[ScheduleRow, ...], list[FindingRow]]:
    """`schedules` and `findings_of` them in one look at the ledger, which then is read once."""
    with ledger.read() as connection:
        rows, entries = schedule_rows.rows_and_entries(
            connection, ledger.labels, now_at, ticks, None, by_minute=by_minute
        )
        return rows, of_known(connection, ledger.labels, entries, rows, now_at)


def schedule(ledger: Ledger, name: str, now_at: int, *, ticks: int = 200, at: int | None = None) -> ScheduleRow | None:
    """As `schedule_rows.schedule`, with the findings about it; as of a moment there are none."""
    row = schedule_rows.schedule(ledger, name, now_at, ticks=ticks, at=at)
    if row is None or at is not None:
        return row
    return replace(row, findings=tuple(one for one in of_rows(ledger, [row], now_at) if one.entry == name))

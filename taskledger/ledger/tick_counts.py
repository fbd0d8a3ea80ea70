"""How many final ticks of each kind an entry has a day: counted with the ticks, so that a month is a few rows."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select

from taskledger.crontabs import DAY
from taskledger.ledger import dialects, schema
from taskledger.ledger.beat_answers import Adherence

#: verdicts that count; others (disabled, dst_skipped) say nothing for or against beat
JUDGED = ("on_time", "late", "missed", "failed_to_send", "unknown")


def adherence(
    connection: Connection, entry_ids: Sequence[int], since_at: int, until_at: int | None = None
) -> dict[int, Adherence]:
    """By entry, the ticks of the days from that moment's on, up to another; entries without any are left out."""
    count = schema.tick_count.c
    found: dict[int, dict[str, int]] = {}
    for chunk in dialects.chunks(list(entry_ids)):
        mine = select(count.entry_id, count.fire, func.sum(count.number).label("number"))
        mine = mine.where(dialects.among(connection, count.entry_id, chunk), count.day_at >= since_at // DAY * DAY)
        mine = mine if until_at is None else mine.where(count.day_at <= until_at)
        for row in connection.execute(mine.group_by(count.entry_id, count.fire)):
            name = row.fire if row.fire in JUDGED else "excluded"
            numbers = found.setdefault(row.entry_id, {})
            numbers[name] = numbers.get(name, 0) + int(row.number)
    return {entry_id: Adherence(**numbers) for entry_id, numbers in found.items() if any(numbers.values())}


def add(connection: Connection, ticks: Mapping[tuple[int, int, str], int]) -> None:
    """Add ticks, (entry, due, verdict) -> number, to the counts of their days; in the transaction that writes them."""
    days: Counter[tuple[int, int, str]] = Counter()
    for (entry_id, due_at, fire), number in ticks.items():
        days[entry_id, due_at // DAY * DAY, fire] += number
    rows = [
        {"entry_id": entry_id, "day_at": day_at, "fire": fire, "number": number}
        for (entry_id, day_at, fire), number in sorted(days.items())
    ]
    if rows:
        connection.execute(dialects.upsert(connection, schema.tick_count, add=("number",)), rows)

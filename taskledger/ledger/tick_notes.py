"""What people say of single due times: notes, and that what went wrong is known and needs nobody's eye any more.

They belong to an entry and a due time, whatever the verdict on it: judging again and rebuilding leave them alone.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, insert, select

from taskledger.errors import SettingsError
from taskledger.ledger import dialects, schema
from taskledger.ledger.answers import ScheduleRow, TickRow
from taskledger.ledger.beat_answers import TickNote
from taskledger.ledger.beat_entries import digest
from taskledger.ledger.engine import Ledger
from taskledger.ledger.kept import MAX_NOTE
from taskledger.texts import text as plain

#: due times that one remark may be about
MOST_DUE = 1_000


def add(
    ledger: Ledger,
    row: ScheduleRow,
    dues: Sequence[int],
    text: str,
    author: str,
    now_at: int,
    *,
    acknowledges: bool | None = None,
) -> None:
    """Leave a remark on due times of an entry; None acknowledges nothing, False takes an acknowledgement back.

    Raises SettingsError for one that neither says nor does anything, and for too many due times.
    """
    body = (plain(text) or "").strip()[:MAX_NOTE]
    if (not body and acknowledges is None) or len(dues) > MOST_DUE:
        raise SettingsError(f"a note needs some text, and at most {MOST_DUE:,} due times")
    with ledger.write() as connection:
        entry_id = _entry_id(connection, ledger, row)
        about = {"text": body, "author": (plain(author) or "").strip()[:255], "acknowledges": acknowledges}
        rows = [{**about, "entry_id": entry_id, "due_at": due_at, "created_at": now_at} for due_at in dues]
        if entry_id is not None and rows:
            connection.execute(insert(schema.tick_note), rows)


def of_entry(
    ledger: Ledger, row: ScheduleRow, from_at: int, to_at: int, until_at: int
) -> dict[int, tuple[TickNote, ...]]:
    """By due time, of those between the two moments, the remarks made up to a third, the oldest first."""
    note, found = schema.tick_note.c, defaultdict[int, list[TickNote]](list)
    with ledger.read() as connection:
        entry_id = _entry_id(connection, ledger, row)
        mine = select(schema.tick_note).where(note.entry_id == entry_id, note.due_at >= from_at, note.due_at < to_at)
        for one in connection.execute(mine.where(note.created_at <= until_at).order_by(note.id)):
            found[one.due_at].append(TickNote(one.text, one.author, one.acknowledges, one.created_at))
    return {due_at: tuple(notes) for due_at, notes in found.items()}


def acknowledged(connection: Connection, entry_ids: Sequence[int], at: int | None = None) -> dict[int, set[int]]:
    """By entry the due times that are acknowledged, up to a moment; entries without any are left out."""
    note, said = schema.tick_note.c, dict[tuple[int, int], bool]()
    for chunk in dialects.chunks(list(entry_ids)):
        question = select(note.entry_id, note.due_at, note.acknowledges)
        question = question.where(note.entry_id.in_(chunk), note.acknowledges.is_not(None))
        question = question if at is None else question.where(note.created_at <= at)
        # What was said last holds.
        said |= {(one.entry_id, one.due_at): one.acknowledges for one in connection.execute(question.order_by(note.id))}
    found: dict[int, set[int]] = {}
    for (entry_id, due_at), is_acknowledged in said.items():
        if is_acknowledged:
            found.setdefault(entry_id, set()).add(due_at)
    return found


def marked(ticks: list[TickRow], known: Collection[int] | None) -> list[TickRow]:
    """The ticks, those that are acknowledged with that; `known` are the due times."""
    if not known:
        return ticks
    return [tick._replace(is_acknowledged=True) if tick.due_at in known else tick for tick in ticks]


def _entry_id(connection: Connection, ledger: Ledger, row: ScheduleRow) -> int | None:
    entry = schema.schedule_entry.c
    question = select(entry.id, entry.cluster_id, entry.name).where(entry.digest == digest(row.name))
    for one in connection.execute(question):
        if one.name == row.name and ledger.labels.value(one.cluster_id) == row.cluster:
            return int(one.id)
    return None

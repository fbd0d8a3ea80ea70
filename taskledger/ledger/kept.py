"""What people keep in the ledger: searches with a name, and notes on tasks."""

import re
from hashlib import blake2b

from sqlalchemy import delete, insert, select

from taskledger.errors import SettingsError
from taskledger.ledger import dialects, schema
from taskledger.ledger.answers import NoteRow, SavedView
from taskledger.ledger.engine import Ledger
from taskledger.texts import text as plain

#: characters
MAX_VIEW_NAME = 120
MAX_QUERY = 4_000
MAX_NOTE = 4_000


def save_view(ledger: Ledger, name: str, query: str, now_at: int) -> SavedView:
    """Keep a search under a name; the same name again replaces it.

    Raises SettingsError for an empty name or an endless query.
    """
    name = (plain(name) or "").strip()[:MAX_VIEW_NAME]
    if not name or len(query) > MAX_QUERY:
        raise SettingsError(f"a saved view needs a name and a query of at most {MAX_QUERY:,} characters")
    view = SavedView(_slug(name), name, plain(query) or "", now_at)
    row = {"slug": view.slug, "name": view.name, "query": view.query, "created_at": now_at}
    with ledger.write() as connection:
        connection.execute(dialects.upsert(connection, schema.saved_view), [row])
    return view


def views(ledger: Ledger) -> tuple[SavedView, ...]:
    """The saved views by name."""
    with ledger.read() as connection:
        rows = connection.execute(select(schema.saved_view)).all()
    found = [SavedView(row.slug, row.name, row.query, row.created_at) for row in rows]
    return tuple(sorted(found, key=lambda view: view.name.casefold()))


def delete_view(ledger: Ledger, slug: str) -> None:
    """Forget a saved view; one that is not there is no error."""
    with ledger.write() as connection:
        connection.execute(delete(schema.saved_view).where(schema.saved_view.c.slug == slug))


def add_note(ledger: Ledger, task_id: str, text: str, author: str, now_at: int) -> None:
    """Leave a remark on a task. Raises SettingsError for an empty one."""
    body = (plain(text) or "").strip()[:MAX_NOTE]
    if not body:
        raise SettingsError("a note needs some text")
    row = {"task_id": task_id, "text": body, "author": (plain(author) or "")[:255], "created_at": now_at}
    with ledger.write() as connection:
        connection.execute(insert(schema.note), row)


def notes(ledger: Ledger, task_id: str) -> tuple[NoteRow, ...]:
    """The remarks on a task, oldest first."""
    columns = schema.note.c
    query = select(schema.note).where(columns.task_id == task_id).order_by(columns.created_at, columns.id)
    with ledger.read() as connection:
        return tuple(NoteRow(row.id, row.text, row.author, row.created_at) for row in connection.execute(query))


def _slug(name: str) -> str:
    """A short name for addresses; names that differ only in signs get different ones."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{words}-{blake2b(name.encode(), digest_size=3).hexdigest()}".strip("-")

"""Reading a search: what was typed, what it means, and what to show when it means nothing."""

import re
from dataclasses import dataclass

from flask import request

from taskledger.errors import QueryError
from taskledger.ledger import query, search
from taskledger.ledger.answers import Cursor
from taskledger_web.asking import ask
from taskledger_web.view import View

LIMITS = (50, 100, 200)
#: the start of a task id that is worth looking up
_ID = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F-]*")


@dataclass(frozen=True, slots=True)
class Search:
    """A search as typed. `where` is what the list shows, and `shown` its text: another one when there is a problem."""

    text: str
    shown: str
    where: search.Expression | None
    problem: QueryError | None

    @property
    def message(self) -> str:
        """What is wrong, as a sentence."""
        text = str(self.problem or "")
        return text[:1].upper() + text[1:]

    @property
    def caret(self) -> str:
        """A caret under the place of the problem, to stand below the text in a fixed-width font."""
        position = self.problem.position if self.problem else 0
        return " " * min(max(position, 0), len(self.text)) + "^"


def read(text: str, good: str, seen: View) -> Search:
    """The search; the last good one, with the problem, when it cannot be read."""
    text = text.strip()
    try:
        return Search(text, text, _parsed(text, seen), None)
    except QueryError as problem:
        try:
            return Search(text, good, _parsed(good, seen), problem)
        except QueryError:
            return Search(text, "", None, problem)


def _parsed(text: str, seen: View) -> search.Expression | None:
    return search.parse(text, now_at=seen.now_at, zone=seen.zone)


def term(field: str, value: str) -> str:
    """field:value as a search writes it."""
    return search.edited("", field, value)


def task_meant(text: str) -> str | None:
    """The id of the task that a lone id, or the start of one, can only mean."""
    if not _ID.fullmatch(text):
        return None
    if ask(query.task, text) is not None:
        return text
    alike = ask(query.tasks_like, text, limit=2)
    return alike[0].id if len(alike) == 1 else None


def cursor(name: str) -> Cursor | None:
    """The place in the list that a parameter names; None when there is none, or none that can be read."""
    text = request.args.get(name)
    try:
        return search.cursor_from(text) if text else None
    except (QueryError, ValueError):
        return None


def limit() -> int:
    """Rows on a page: one of LIMITS."""
    asked = request.args.get("limit", "")
    return int(asked) if asked in map(str, LIMITS) else LIMITS[0]

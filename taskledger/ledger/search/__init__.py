"""The search language: `parse` text, turn it into a `condition`, edit it, and write places in its list."""

from taskledger.ledger.search.condition import LabelIds, condition, id_begins
from taskledger.ledger.search.cursors import cursor_from, cursor_text
from taskledger.ledger.search.edit import edited
from taskledger.ledger.search.text import And, Expression, Field, Not, Or, Word, parse

__all__ = [
    "And",
    "Expression",
    "Field",
    "LabelIds",
    "Not",
    "Or",
    "Word",
    "condition",
    "cursor_from",
    "cursor_text",
    "edited",
    "id_begins",
    "parse",
]

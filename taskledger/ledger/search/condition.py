"""An expression as a condition in SQL over `task`, where a run's fields ask for any run of the task.

Names are matched in Python against the small table of labels, so SQL compares numbers. Values are always bound.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, LargeBinary, and_, false, func, literal, not_, or_, select, tuple_

from taskledger.errors import QueryError
from taskledger.ledger import schema
from taskledger.ledger.labels import Kind
from taskledger.ledger.search.flags import any_failed_run, any_run, flag
from taskledger.ledger.search.text import UUID, And, Expression, Field, Not, Or, Word
from taskledger.ledger.search.values import Flag, IdStart, Interval, Pair, Pattern, StateIs, Value

#: names that one search may stand for: a database takes no more than 32,766 bound values
MAX_NAMES = 10_000
#: characters of an id from which on a word is taken for the beginning of one
MIN_ID_CHARS = 4
#: what LIKE takes literally after it; the backslash is taken by MariaDB's strings
_ESCAPE = "!"
_OPERATORS = {"=": eq, ">": gt, ">=": ge, "<": lt, "<=": le}

Condition = ColumnElement[bool]

_task = schema.task.c
_run = schema.run.c
_COLUMNS: dict[str, Column[Any]] = {
    "id": _task.id,
    "root": _task.root_id,
    "parent": _task.parent_id,
    "pid": _run.pid,
    "retries": _task.retries,
    "runs": _task.runs,
    "runtime": _task.runtime_s,
    "wait": _task.wait_s,
    "sent": _task.sent_at,
    "received": _task.received_at,
    "started": _task.started_at,
    "finished": _task.ended_at,
    "first": _task.first_at,
}
_LABELS: dict[str, tuple[Kind, tuple[Column[Any], ...]]] = {
    "name": (Kind.NAME, (_task.name_id,)),
    "queue": (Kind.QUEUE, (_task.queue_id,)),
    "worker": (Kind.HOST, (_task.worker_id, _run.worker_id)),
    "client": (Kind.HOST, (_task.client_id,)),
    "cluster": (Kind.CLUSTER, (_task.cluster_id,)),
}
_TEXTS: dict[str, tuple[Column[Any], ...]] = {
    "args": (_task.args,),
    "kwargs": (_task.kwargs,),
    "result": (_task.result,),
    "exc": (_task.exception, _run.exception),
    "trace": (_run.traceback,),
    "error": (_task.exception, _run.exception, _run.traceback),
}
#: where a word is looked for, beside the task's name and id
_ANYWHERE = (_task.exception, _task.args, _task.kwargs, _task.result, _run.exception, _run.traceback)


class LabelIds(Protocol):
    """The label table, as far as a search needs it."""

    def ids(self, kind: Kind, matches: Callable[[str], bool]) -> list[int]:
        """The ids of the labels of that kind for whose value the predicate holds."""


def condition(expression: Expression, labels: LabelIds) -> Condition:
    """The expression over `schema.task`. Raises QueryError for one that stands for more than MAX_NAMES names."""
    return _compiled(expression, _Names(labels, MAX_NAMES))


@dataclass(slots=True)
class _Names:
    """The label table for one search, and how many more names it may stand for."""

    labels: LabelIds
    left: int

    def matching(self, kind: Kind, matches: Callable[[str], bool], node: Expression) -> list[int]:
        found = self.labels.ids(kind, matches)
        self.left -= len(found)
        if self.left < 0:
            raise QueryError(
                f"'{node}' stands for too many different names (a search may stand for {MAX_NAMES:,} in all): "
                "be more precise",
                node.span[0],
            )
        return found


def _compiled(node: Expression, names: _Names) -> Condition:
    match node:
        case And(parts):
            return and_(*(_compiled(part, names) for part in parts))
        case Or(parts):
            return or_(*(_compiled(part, names) for part in parts))
        case Not(part):
            # What is not known does not match, so its opposite must: NOT NULL would be neither.
            return not_(func.coalesce(_compiled(part, names), false()))
        case Word(text):
            return _word(text, node, names)
        case Field():
            return _field(node, names)


def _word(text: str, node: Word, names: _Names) -> Condition:
    wanted = text.lower()
    named = names.matching(Kind.NAME, lambda name: wanted in name.lower(), node)
    return or_(
        _id(_task.id, text, least=MIN_ID_CHARS),
        _among(_task.name_id, named),
        _contains(_ANYWHERE, _like(Pattern((text,)))),
    )


def _field(node: Field, names: _Names) -> Condition:
    if node.name in _LABELS:
        return _labelled(node, names)
    states = [int(value.state) for value in node.values if isinstance(value, StateIs)]
    if states:
        return _task.state.in_(states)
    return or_(*(_value(node.name, value) for value in node.values))


def _value(field: str, value: Value) -> Condition:
    match value:
        case IdStart(text):
            return _failed_so(text) if field == "fp" else _indexed(_COLUMNS[field], text)
        case Interval(bounds=bounds):
            column = _COLUMNS[field]
            return _any(column, and_(*(_OPERATORS[operator](column, number) for operator, number in bounds)))
        case Flag(word, now_at):
            return flag(field, word, now_at)
        case Pair():
            return or_(*(_contains((_task.kwargs,), like) for like in _pair_likes(value)))
        case Pattern():
            return _contains(_TEXTS[field], _like(value))
        case StateIs(state):
            return _task.state == int(state)


def _labelled(node: Field, names: _Names) -> Condition:
    kind, columns = _LABELS[node.name]
    patterns = [value for value in node.values if isinstance(value, Pattern)]
    if any(pattern.literals == ("", "") and pattern.wildcards == "*" for pattern in patterns):
        return or_(*(_any(column, column.is_not(None)) for column in columns))
    found = sorted({number for pattern in patterns for number in _label_ids(kind, pattern, node, names)})
    return or_(*(_any(column, _among(column, found)) for column in columns)) if found else false()


def _label_ids(kind: Kind, pattern: Pattern, node: Field, names: _Names) -> list[int]:
    """By the whole name; if there is none such, and it was not quoted, by any part of it, as in Flower."""
    found = names.matching(kind, _whole(pattern), node)
    if found or pattern.is_exact or pattern.wildcards:
        return found
    part = pattern.literals[0].lower()
    return names.matching(kind, lambda name: part in name.lower(), node)


def _whole(pattern: Pattern) -> Callable[[str], bool]:
    """Whether a whole name matches. What stands between stars is matched once and for all, so time stays linear."""
    runs = [""]
    for text, wildcard in zip(pattern.literals, [*pattern.wildcards, ""], strict=True):
        runs[-1] += re.escape(text) + ("." if wildcard == "?" else "")
        if wildcard == "*":
            runs.append("")
    first, *rest = runs
    middle = "".join(f"(?>.*?{run})" for run in rest[:-1])
    compiled = re.compile(first + middle + (f".*{rest[-1]}" if rest else ""), re.IGNORECASE | re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def _among(column: Column[Any], ids: list[int]) -> Condition:
    return column.in_(ids) if ids else false()


def _any(column: Column[Any], test: Condition) -> Condition:
    """The test itself, or that any run of the task passes it, if the column is one of `run`."""
    return any_run(test) if column.table is schema.run else test


def _contains(columns: tuple[Column[Any], ...], like: str) -> Condition:
    """Any of these texts matches the LIKE pattern in any case; the texts of runs are looked through in one go."""
    of_task = [_matches(column, like) for column in columns if column.table is schema.task]
    of_run = [_matches(column, like) for column in columns if column.table is schema.run]
    return or_(*of_task, any_failed_run(or_(*of_run))) if of_run else or_(*of_task)


def _matches(column: Column[Any], like: str) -> Condition:
    return func.lower(column).like(func.lower(like), escape=_ESCAPE)


def _like(pattern: Pattern, before: str = "", after: str = "") -> str:
    """The pattern for LIKE that finds it anywhere, with these literal texts around it."""
    joints = [*("%" if wildcard == "*" else "_" for wildcard in pattern.wildcards), ""]
    middle = "".join(_escaped(text) + joint for text, joint in zip(pattern.literals, joints, strict=True))
    return f"%{_escaped(before)}{middle}{_escaped(after)}%"


def _escaped(text: str) -> str:
    return re.sub(r"([!%_])", r"!\1", text)


def _pair_likes(pair: Pair) -> list[str]:
    """How a keyword argument can stand in the repr of a dict: a value of any type, or the same as a text."""
    key = f"{pair.key!r}: "
    quote = '"' if any("'" in part for part in pair.value.literals) else "'"
    plain = [_like(pair.value, key, end) for end in (",", "}")]
    return [*plain, _like(pair.value, key + quote, quote)]


def id_begins(text: str) -> Condition:
    """That a task's id begins like this; of fewer than MIN_ID_CHARS characters, that it is this."""
    return _indexed(_task.id, text) if len(text) >= MIN_ID_CHARS else _id(_task.id, text, least=MIN_ID_CHARS)


def _indexed(column: Column[Any], text: str) -> Condition:
    """That the id begins like this, asked so that SQLite goes by the ids even where a span of time narrows, too."""
    if UUID.fullmatch(text):
        return _id(column, text, least=1)
    other = schema.task.alias("other")
    alike = other.c[column.key]
    return column.in_(select(alike).where(_id(alike, text, least=1)))


def _id(column: Column[Any], text: str, least: int) -> Condition:
    """That the id is this one, or begins like this if that is at least so many characters."""
    exact = column.in_(sorted({text, text.lower()}))
    if len(text) < least or UUID.fullmatch(text):
        return exact
    packed = text.encode("utf-8", "surrogatepass")
    ranges = [_text_range(column, mark + packed) for mark in (b"\x00", b"\x01")]
    digits = _uuid_digits(text.lower())
    if digits is not None:
        ranges.append(and_(_hex_range(column, digits), func.length(column) == 16))
    return or_(exact, *ranges)


def _text_range(column: Column[Any], start: bytes) -> Condition:
    """Ids that are no UUIDs and begin so; no UTF-8 text holds the byte 0xff, so all of them come before it."""
    return and_(column >= _bytes(start), column < _bytes(start + b"\xff"), func.length(column) != 16)


def _hex_range(column: Column[Any], digits: str) -> Condition:
    """Sixteen bytes that begin with these hex digits."""
    low, high = (bytes.fromhex(digits.ljust(32, filler)) for filler in "0f")
    return and_(column >= _bytes(low), column <= _bytes(high))


def _failed_so(digits: str) -> Condition:
    """That a run failed with such a fingerprint: by the index over fingerprints, not run by run."""
    runs = select(_run.task_id, _run.cluster_id).where(_hex_range(_run.fingerprint, digits))
    return tuple_(_task.id, _task.cluster_id).in_(runs)


def _bytes(value: bytes) -> ColumnElement[bytes]:
    return literal(value, LargeBinary())


def _uuid_digits(text: str) -> str | None:
    """The hex digits that a UUID begins with, written with its hyphens or with none; None for anything else."""
    digits = text.replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        return None
    hyphened = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return digits if text in (digits, hyphened[: len(text)]) else None

"""Names as numbers: every repeated name is written once, and rows carry its number."""

from collections.abc import Callable, Iterable
from enum import IntEnum
from hashlib import blake2b
from threading import Lock

from sqlalchemy import ColumnElement, Connection, Engine, select

from taskledger.errors import NameUnknown
from taskledger.ledger import dialects, schema
from taskledger.ledger.faults import translated
from taskledger.texts import name as spelled

#: names of one kind held in memory; a flood of made-up names must not eat the machine
MAX_KNOWN = 50_000
#: Numbers are given before their transactions commit, so a lower one may turn up later: look back this far for them.
LOOK_BACK = 1_000
#: number, kind, name
_Row = tuple[int, int, str]


class Kind(IntEnum):
    """What a label names."""

    CLUSTER = 1
    TYPE = 2
    HOST = 3
    NAME = 4
    QUEUE = 5
    ROUTING_KEY = 6


class Labels:
    """The names of one ledger, cached: they are only ever added."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        #: kind -> name, as it came or as it is spelled in the table -> number
        self._known: dict[int, dict[str, int]] = {int(kind): {} for kind in Kind}
        self._values: dict[int, tuple[int, str]] = {}
        self._last = 0

    def known(self, kind: Kind) -> dict[str, int]:
        """The names of that kind whose numbers are at hand; for reading only."""
        return self._known[kind]

    def intern(self, wanted: Iterable[tuple[Kind, str]]) -> dict[tuple[Kind, str], int]:
        """The number of each (kind, name), made where it is new; in its own transaction, so call it before yours."""
        pairs = {(kind, value): (int(kind), spelled(value) or "") for kind, value in wanted}
        missing = sorted({pair for pair in pairs.values() if pair[1] not in self._known[pair[0]]})
        if missing:
            self._make(missing)
        numbers = {given: self._known[kind][value] for given, (kind, value) in pairs.items()}
        for (kind, value), number in numbers.items():
            self._known[kind][value] = number
        return numbers

    def number(self, kind: Kind, value: str) -> int:
        """The number of a name that was interned before, by this program or another."""
        found = self._known[kind].get(value)
        if found is None:
            found = self.find(kind, spelled(value) or "")
        if found is None:
            raise NameUnknown(f"the name {value!r} has no number in the ledger: it was never recorded")
        return found

    def find(self, kind: Kind, value: str) -> int | None:
        """The number of a name, or None if the ledger never heard it."""
        if value not in self._known[kind]:
            self._forget_a_flood()
            with translated(self._engine.url), self._engine.connect() as connection:
                self._remember(_rows(connection, schema.label.c.digest == _digest(value)))
        return self._known[kind].get(value)

    def ids(self, kind: Kind, matches: Callable[[str], bool], connection: Connection | None = None) -> list[int]:
        """The numbers of the names of that kind for which the predicate holds; asked over a connection that is open."""
        self._refresh(connection)
        with self._lock:
            return [number for number, (of, value) in self._values.items() if of == kind and matches(value)]

    def value(self, number: int | None) -> str | None:
        """The name behind a number; None for None."""
        if number is None:
            return None
        if number not in self._values:
            self._refresh()
        return self._values[number][1]

    def _make(self, pairs: list[tuple[int, str]]) -> None:
        rows = [{"kind": kind, "digest": _digest(value), "value": value} for kind, value in pairs]
        self._forget_a_flood()
        with translated(self._engine.url), self._engine.connect() as connection:
            connection.info["immediate"] = True
            with connection.begin():
                connection.execute(dialects.insert_ignore(self._engine, schema.label), rows)
                made = [
                    row
                    for chunk in dialects.chunks(rows)
                    for row in _rows(connection, schema.label.c.digest.in_([each["digest"] for each in chunk]))
                ]
        # Only what is committed may be remembered: else events would carry a number that stands for nothing, or,
        # on SQLite, for the next name.
        self._remember(made)

    def _forget_a_flood(self) -> None:
        for names in self._known.values():
            if len(names) > MAX_KNOWN:
                names.clear()

    def _refresh(self, connection: Connection | None = None) -> None:
        newest = schema.label.c.id > self._last - LOOK_BACK
        if connection is not None:
            self._remember(_rows(connection, newest))
            return
        with translated(self._engine.url), self._engine.connect() as own:
            self._remember(_rows(own, newest))

    def _remember(self, rows: Iterable[_Row]) -> None:
        with self._lock:
            for number, kind, value in rows:
                self._known[kind][value] = number
                self._values[number] = (kind, value)
                self._last = max(self._last, number)


def _rows(connection: Connection, condition: ColumnElement[bool]) -> list[_Row]:
    columns = schema.label.c
    found = connection.execute(select(columns.id, columns.kind, columns.value).where(condition))
    return [(number, kind, value) for number, kind, value in found]


def _digest(value: str) -> bytes:
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()

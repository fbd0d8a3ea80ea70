"""Names as numbers: every repeated name is written once, and rows carry its number."""

from collections.abc import Callable, Iterable
from enum import IntEnum
from hashlib import blake2b
from threading import Lock

from sqlalchemy import ColumnElement, Connection, Engine, select

from taskledger.ledger import dialects, schema
from taskledger.ledger.faults import translated

#: names held in memory; a flood of made-up names must not eat the machine
MAX_CACHED = 200_000
#: Numbers are given before their transactions commit, so a lower one may turn up later: look back this far for them.
LOOK_BACK = 1_000


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
        self._ids: dict[tuple[int, str], int] = {}
        self._values: dict[int, tuple[int, str]] = {}
        self._last = 0

    def intern(self, wanted: Iterable[tuple[Kind, str]]) -> "Numbers":
        """The number of each (kind, name), made where it is new; in its own transaction, so call it before yours."""
        pairs = {(int(kind), value) for kind, value in wanted}
        missing = sorted(pair for pair in pairs if pair not in self._ids)
        if missing:
            self._make(missing)
        return Numbers(self, {pair: self._ids[pair] for pair in pairs if pair in self._ids})

    def find(self, kind: Kind, value: str) -> int | None:
        """The number of a name, or None if the ledger never heard it."""
        if (int(kind), value) not in self._ids:
            with translated(self._engine.url), self._engine.connect() as connection:
                self._load(connection, schema.label.c.digest == _digest(value))
        return self._ids.get((int(kind), value))

    def ids(self, kind: Kind, matches: Callable[[str], bool]) -> list[int]:
        """The numbers of the names of that kind for which the predicate holds."""
        self._refresh()
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
        with translated(self._engine.url), self._engine.connect() as connection:
            connection.info["immediate"] = True
            with connection.begin():
                connection.execute(dialects.insert_ignore(self._engine, schema.label), rows)
                self._load(connection, schema.label.c.digest.in_([row["digest"] for row in rows]))

    def _refresh(self) -> None:
        with translated(self._engine.url), self._engine.connect() as connection:
            self._load(connection, schema.label.c.id > self._last - LOOK_BACK)

    def _load(self, connection: Connection, condition: ColumnElement[bool]) -> None:
        columns = schema.label.c
        rows = connection.execute(select(columns.id, columns.kind, columns.value).where(condition)).all()
        with self._lock:
            if len(self._ids) > MAX_CACHED:
                self._ids.clear()
            for number, kind, value in rows:
                self._ids[kind, value] = number
                self._values[number] = (kind, value)
                self._last = max(self._last, number)


class Numbers(dict[tuple[int, str], int]):
    """(kind, name) -> number; of a name that an earlier batch brought, the number is looked up."""

    def __init__(self, labels: Labels, known: dict[tuple[int, str], int]) -> None:
        super().__init__(known)
        self._labels = labels

    def __missing__(self, pair: tuple[int, str]) -> int:
        number = self._labels.find(Kind(pair[0]), pair[1])
        if number is None:
            raise KeyError(pair)
        self[pair] = number
        return number


def _digest(value: str) -> bytes:
    return blake2b(value.encode(), digest_size=16).digest()

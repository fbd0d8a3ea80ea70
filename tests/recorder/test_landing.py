"""Batches in which the database refuses something: what lands, what stands aside; nothing holds up the rest."""

import json
from typing import Any, ClassVar

import pytest
from sqlalchemy import select, text

from taskledger.errors import LedgerAway
from taskledger.events import Event, Malformed, decode
from taskledger.ledger import Ledger, schema
from taskledger.ledger.record import Batch, Position, Recorded, record
from taskledger.recorder.landing import REFUSED, land

#: a moment; the event of each id is so many microseconds later
AT = 1_500_000
#: what the database below refuses
POISON = frozenset({"id-3", "id-4", "id-11"})


def events(number: int) -> tuple[Event, ...]:
    documents = [{"type": "task-sent", "uuid": f"id-{each}", "timestamp": (AT + each) / 1e6} for each in range(number)]
    return tuple(item for item in decode(json.dumps(documents).encode()) if isinstance(item, Event))


class Picky:
    """Records like the ledger does, but refuses some events for a reason of its own; remembers what it took."""

    def __init__(self, *, refuses_all: bool = False) -> None:
        self.took: list[str | None] = []
        self.aside: list[Malformed] = []
        self.positions: list[Position] = []
        self.refuses_all = refuses_all

    def __call__(self, batch: Batch) -> Recorded:
        if any(event.task_id in POISON for event in batch.events) or (self.refuses_all and batch.malformed):
            raise ValueError("out of range: 'secret'")
        self.took += [event.task_id for event in batch.events]
        self.aside += batch.malformed
        if batch.position is not None:
            self.positions.append(batch.position)
        return Recorded(new=len(batch.events), quarantined=len(batch.malformed))


def test_poison_stands_alone() -> None:
    """Each refused event is set aside whole, with its identity and why; all others are written once, in order."""
    picky, batch = Picky(), events(20)
    recorded = land(picky, Batch("default", batch, received_at=9, position=Position(1, 5)))

    assert picky.took == [event.task_id for event in batch if event.task_id not in POISON]
    assert {item.id for item in picky.aside} == {event.id for event in batch if event.task_id in POISON}
    assert {(item.reason, item.detail) for item in picky.aside} == {(REFUSED, "ValueError: out of range: 'secret'")}
    assert all(json.loads(item.body)["uuid"] in POISON for item in picky.aside)
    assert (recorded.new, recorded.quarantined) == (17, 3)


@pytest.mark.parametrize("last", ["id-19", "id-11"])
def test_coverage_goes_forward_last(last: str) -> None:
    """The coverage goes forward once, when all of the batch is there, also when its last event is refused."""
    picky, batch = Picky(), events(20)
    ordered = sorted(batch, key=lambda event: event.task_id == last)
    land(picky, Batch("default", ordered, position=Position(1, 5)))

    assert picky.positions == [Position(1, 5)]


def test_refused_in_quarantine_too() -> None:
    """What not even quarantine takes does not hold up the rest."""
    picky = Picky(refuses_all=True)
    land(picky, Batch("default", events(5), position=Position(1, 5)))

    assert picky.took == ["id-0", "id-1", "id-2"]
    assert picky.positions == [Position(1, 5)]


def test_malformed_input_is_refused() -> None:
    """Of malformed input that is refused, a note without its bytes is kept."""
    batch = Batch("default", (), (Malformed(b"i" * 16, "not-json", "détail", b"\x00", 1),))

    def refuses_bytes(tried: Batch) -> Recorded:
        if any(item.body for item in tried.malformed):
            raise ValueError("no bytes, please")
        return Recorded(quarantined=len(tried.malformed))

    assert land(refuses_bytes, batch) == Recorded(quarantined=1)


def test_a_database_that_is_away() -> None:
    """That the database is away is nobody's fault among the events."""

    def away(_: Batch) -> Recorded:
        raise LedgerAway("gone")

    with pytest.raises(LedgerAway):
        land(away, Batch("default", events(5)))


class TestOnDatabases:
    """With a constraint that makes a real database refuse a value."""

    #: what makes the event table refuse one event, and not any more
    REFUSALS: ClassVar = {
        "postgresql": "ALTER TABLE event ADD CONSTRAINT picky CHECK (at <> 1500003)",
        "mariadb": "ALTER TABLE event ADD CONSTRAINT picky CHECK (at <> 1500003)",
        "sqlite": "CREATE TRIGGER picky BEFORE INSERT ON event WHEN NEW.at = 1500003"
        " BEGIN SELECT RAISE(ABORT, 'picky'); END",
    }  # fmt: skip
    MENDED: ClassVar = {
        "postgresql": "ALTER TABLE event DROP CONSTRAINT picky",
        "mariadb": "ALTER TABLE event DROP CONSTRAINT picky",
        "sqlite": "DROP TRIGGER picky",
    }

    def test_constraint(self, ledger: Ledger, database_engine: str) -> None:
        """Of a batch of which the database refuses one event the others are there, and that one in quarantine."""
        with ledger.write() as connection:
            connection.execute(text(self.REFUSALS[database_engine]))
        try:
            land(lambda batch: record(ledger, batch), Batch("default", events(6)))
        finally:
            with ledger.write() as connection:
                connection.execute(text(self.MENDED[database_engine]))

        assert task_ids(ledger) == ["id-0", "id-1", "id-2", "id-4", "id-5"]
        with ledger.read() as connection:
            (row,) = connection.execute(select(schema.quarantine)).all()

        assert row.reason == REFUSED
        assert json.loads(row.body)["uuid"] == "id-3"

    @pytest.mark.parametrize("database_engine", ["postgresql", "mariadb"])
    def test_constraint_on_what_is_made_of_it(self, ledger: Ledger) -> None:
        """An event whose task the database refuses stands in quarantine too, instead of being tried for ever."""
        with ledger.write() as connection:
            connection.execute(text("ALTER TABLE task ADD CONSTRAINT picky CHECK (first_at <> 1500003)"))
        try:
            land(lambda batch: record(ledger, batch), Batch("default", events(6)))
        finally:
            with ledger.write() as connection:
                connection.execute(text("ALTER TABLE task DROP CONSTRAINT picky"))

        assert task_ids(ledger) == ["id-0", "id-1", "id-2", "id-4", "id-5"]
        with ledger.read() as connection:
            assert [json.loads(row.body)["uuid"] for row in connection.execute(select(schema.quarantine))] == ["id-3"]

    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_read_only(self, ledger: Ledger) -> None:
        """A PostgreSQL that is read-only, as after a failover, is away: nothing goes into quarantine."""
        read_only(ledger, "on")
        try:
            with pytest.raises(LedgerAway, match="read-only"):
                land(lambda batch: record(ledger, batch), Batch("default", events(6)))
        finally:
            read_only(ledger, "off")
        land(lambda batch: record(ledger, batch), Batch("default", events(6)))

        assert len(task_ids(ledger)) == 6

    def test_missing_table(self, ledger: Ledger) -> None:
        """A ledger without its tables is no fault of the events either."""
        with ledger.write() as connection:
            connection.execute(text("ALTER TABLE event RENAME TO elsewhere"))
        try:
            with pytest.raises(Exception, match="no taskledger tables"):
                land(lambda batch: record(ledger, batch), Batch("default", events(6)))
        finally:
            with ledger.write() as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO event"))


def task_ids(ledger: Ledger) -> list[Any]:
    with ledger.read() as connection:
        return sorted(connection.scalars(select(schema.event.c.task_id)))


def read_only(ledger: Ledger, value: str) -> None:
    """For all connections from now on."""
    name = ledger.engine.url.database
    with ledger.engine.connect() as connection:
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        autocommit.execute(text("SET default_transaction_read_only = off"))
        autocommit.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"))
    ledger.engine.dispose()

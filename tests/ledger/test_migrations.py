"""Migrations: forth and back on three databases, one at a time, and equal to the tables that the program knows."""

import subprocess
import sys
import threading

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import func, insert, inspect, select
from stories import TASK, decoded, succeeded

from taskledger.errors import SchemaAhead, SchemaBehind
from taskledger.ledger import migrate, open_ledger
from taskledger.ledger.query import task
from taskledger.ledger.record import Batch, record
from taskledger.ledger.schema import metadata, note, tick, tick_count, tick_note


def tables(url):
    with open_ledger(url) as ledger:
        return set(inspect(ledger.engine).get_table_names()) - {"alembic_version"}


def test_models_equal_migrations(bare_database_url):
    """After all migrations Alembic finds nothing different from schema.py."""
    assert migrate.check(bare_database_url).state == "empty"
    assert migrate.upgrade(bare_database_url).state == "current"
    assert migrate.differences(bare_database_url) == []
    assert tables(bare_database_url) == set(metadata.tables)


def test_revisions_as_alembic_has_them():
    """The revisions that the program reads from the names of the files are those that Alembic finds, in its order."""
    script = ScriptDirectory.from_config(migrate.config(""))

    assert migrate.revisions() == [revision.revision for revision in script.walk_revisions()][::-1]


def test_every_revision_goes_down_and_up_again(bare_database_url):
    """Each migration can be taken back and made again, with rows in the tables, and nothing is left at the bottom."""
    script = ScriptDirectory.from_config(migrate.config(bare_database_url))
    for revision in reversed([revision.revision for revision in script.walk_revisions()]):
        migrate.upgrade(bare_database_url, revision)
    with open_ledger(bare_database_url) as ledger:
        record(ledger, Batch("default", decoded(*succeeded()), received_at=1))
    for revision in script.walk_revisions():
        migrate.downgrade(bare_database_url, str(revision.down_revision or "base"))

    assert tables(bare_database_url) == set()
    assert migrate.upgrade(bare_database_url).state == "current"


def test_ticks_from_before_they_were_counted_are_counted(bare_database_url):
    """The upgrade counts the ticks that are there by entry, day and verdict, and leaves them as they are."""
    migrate.upgrade(bare_database_url, "0003")
    day, rows = 86_400_000_000, [(1, 5, "on_time"), (1, 7, "on_time"), (1, 9, "missed"), (2, 5, "late")]
    with open_ledger(bare_database_url) as ledger, ledger.write() as connection:
        for entry_id, hours, fire in [*rows, (1, 30, "on_time")]:
            due_at = 20_000 * day + hours * 3_600_000_000
            connection.exec_driver_sql(
                f"INSERT INTO tick (entry_id, due_at, version_id, fire) VALUES ({entry_id}, {due_at}, 1, '{fire}')"
            )
    migrate.upgrade(bare_database_url)

    with open_ledger(bare_database_url) as ledger, ledger.read() as connection:
        counted = connection.execute(select(tick_count).order_by(*tick_count.primary_key)).all()
        assert [tuple(row) for row in counted] == [
            (1, 20_000 * day, "missed", 1),
            (1, 20_000 * day, "on_time", 2),
            (1, 20_001 * day, "on_time", 1),
            (2, 20_000 * day, "late", 1),
        ]
        assert connection.scalar(select(func.count()).select_from(tick)) == 5


def test_notes_find_the_due_times_that_were_there_before(bare_database_url):
    """After the upgrade due times and notes on tasks are as they were, and a due time takes a note."""
    migrate.upgrade(bare_database_url, "0004")
    with open_ledger(bare_database_url) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("INSERT INTO tick (entry_id, due_at, version_id, fire) VALUES (1, 7, 1, 'missed')")
        connection.execute(insert(note).values(task_id=TASK, text="seen", author="Ann", created_at=5))
    migrate.upgrade(bare_database_url)

    with open_ledger(bare_database_url) as ledger:
        with ledger.write() as connection:
            said = {"entry_id": 1, "due_at": 7, "text": "", "author": "Bob", "acknowledges": True, "created_at": 9}
            connection.execute(insert(tick_note).values(said))
        with ledger.read() as connection:
            mine = tick.join(tick_note, tick.c.due_at == tick_note.c.due_at)
            found = connection.execute(select(tick.c.fire, tick_note.c.acknowledges).select_from(mine)).all()
            assert [tuple(row) for row in found] == [("missed", True)]
            assert connection.scalars(select(note.c.text)).all() == ["seen"]


def test_two_upgrades_at_once_do_not_race(bare_database_url):
    """Four programs that upgrade the same empty database at the same moment all end well."""
    command = [
        sys.executable,
        "-c",
        "import sys; from taskledger.ledger import migrate; migrate.upgrade(sys.argv[1])",
        bare_database_url,
    ]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [(process.communicate(timeout=90)[1], process.returncode) for process in running]

    assert [code for _, code in ended] == [0] * 4, ended
    assert migrate.check(bare_database_url).state == "current"


def test_upgrading_what_is_current_keeps_the_data(database_url):
    """An upgrade with nothing to do changes nothing."""
    with open_ledger(database_url) as ledger:
        record(ledger, Batch("default", decoded(*succeeded()), received_at=1))
        before = task(ledger, TASK)
        migrate.upgrade(database_url)

        assert task(ledger, TASK) == before


def test_threads_may_upgrade_as_well(bare_database_url):
    """Two threads of one program that upgrade at once end well, one after the other."""
    problems = []

    def upgrade():
        try:
            migrate.upgrade(bare_database_url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            problems.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []


def test_only_the_embedded_default_is_upgraded_unasked(tmp_path):
    """`ensure` makes the tables of the embedded default; of any other database it says what to do."""
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    with pytest.raises(SchemaBehind, match="taskledger db upgrade"):
        migrate.ensure(url, is_default=False)
    migrate.ensure(url, is_default=True)

    assert migrate.check(url).state == "current"


def test_a_schema_from_the_future_is_refused(sqlite_url):
    """A database that a newer program wrote is left alone, with a sentence."""
    with open_ledger(sqlite_url) as ledger, ledger.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaAhead, match="newer taskledger"):
        migrate.ensure(sqlite_url, is_default=True)

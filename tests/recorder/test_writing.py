"""Writing in a process of its own: the same rows and the same answers, whatever becomes of that process."""

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_corpus
import pytest
from recording import until
from sqlalchemy import create_engine, func, select, text
from stories import decoded, failed, succeeded

from taskledger.config import Settings
from taskledger.errors import LedgerAway, LedgerError
from taskledger.events import Event, Malformed, decode
from taskledger.ledger import Ledger, open_ledger, presence, rebuild, schema
from taskledger.ledger.record import Batch, Position, Recorded, record
from taskledger.recorder import writing as module
from taskledger.recorder.batch import Gathered
from taskledger.recorder.landing import land
from taskledger.recorder.pipes import receive
from taskledger.recorder.source import Promise
from taskledger.recorder.writing import Writing

#: tables whose rows are compared; what a label's number is depends on the order of the names
COMPARED = (schema.event, schema.task, schema.run, schema.event_count, schema.quarantine, schema.label)


@contextmanager
def writing(url: str, mode: str = "on") -> Iterator[Writing]:
    with open_ledger(url) as ledger:
        made = Writing(ledger, Settings(database_url=url, writer=mode))
        try:
            yield made
        finally:
            made.close()


@contextmanager
def foreseeing(url: str, *foreseen: Gathered | None) -> Iterator[tuple[Ledger, Ledger, Writing]]:
    """A ledger, the same as another recorder has it, and who writes and is told what comes next; every row is right."""
    turns = iter(foreseen)
    with open_ledger(url) as ledger, open_ledger(url) as beside:
        asked = Writing(ledger, Settings(database_url=url, writer="on"), lambda: next(turns, None))
        try:
            yield ledger, beside, asked
        finally:
            asked.close()
        assert str(rebuild.rebuild(ledger, dry_run=True)) == "nothing"


#: when all of it was heard
AT = 1_700_000_000_000_000


def batch(*items: Event | Malformed, position: Position | None = None) -> Batch:
    events = [item for item in items if isinstance(item, Event)]
    return Batch("default", events, [item for item in items if isinstance(item, Malformed)], AT, position)


def gathered(*events: Event) -> Gathered:
    return Gathered("default", events, (), None, AT, AT, AT)


def story(number: int) -> list[Event]:
    return [item for item in decoded(*succeeded(uuid=f"task-{number}")) if isinstance(item, Event)]


def rows(url: str) -> dict[str, list[Any]]:
    with open_ledger(url) as ledger, ledger.read() as connection:
        return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in COMPARED}


def count(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(schema.event)) or 0


class TestAnswers:
    def test_hostile(self, sqlite_url: str, tmp_path: Path) -> None:
        """Whatever the events hold, the process writes the same rows as we do here, and says the same of them."""
        cases = hostile_corpus.cases(str(tmp_path / "marker"))
        batches = [
            batch(*decode(case.body, case.content_type, case.encoding)) for case in cases if not case.compression
        ]
        other = sqlite_url.replace(".sqlite3", "-other.sqlite3")
        Path(other.removeprefix("sqlite:///")).write_bytes(Path(sqlite_url.removeprefix("sqlite:///")).read_bytes())
        said = []
        for url, mode in ((sqlite_url, "on"), (other, "off")):
            with writing(url, mode) as asked:
                said.append([land(asked.record, each) for each in batches])
                assert (asked.pid is not None) == (mode == "on")

        assert said[0] == said[1]
        assert sum(one.new for one in said[0]) > 100
        assert rows(sqlite_url) == rows(other)

    def test_every_database(self, database_url: str) -> None:
        """What was new, known already, or malformed is said as it is, and the coverage goes forward with it."""
        with open_ledger(database_url) as ledger, writing(database_url) as asked:
            recorder = presence.begin(ledger, "test", "1", 1)
            row = presence.listen(ledger, recorder, "default", Promise.COUNTED_LOSS, 1)
            told, malformed = story(1), decode(b"[1]")
            first = asked.record(batch(*told, *malformed, position=Position(row, 77)))
            again = asked.record(batch(*told, *story(2)))

            assert first == Recorded(new=len(told), quarantined=1)
            assert again == Recorded(new=len(told), duplicate=len(told))
            assert asked.pid is not None
            with ledger.read() as connection:
                assert connection.scalar(select(schema.coverage.c.until_at).where(schema.coverage.c.id == row)) == 77

    def test_large(self, sqlite_url: str) -> None:
        """A batch that no pipe holds is written as any other."""
        events = [event for number in range(2_000) for event in decoded(*failed(uuid=f"t{number}"))]
        with writing(sqlite_url) as asked:
            assert asked.record(batch(*events)).new == len(events)

    def test_an_error_is_the_same_error(self, sqlite_url: str) -> None:
        """What the ledger says of itself is raised as here, and writing goes on beside once that is mended."""
        with writing(sqlite_url) as asked:
            asked.record(batch(*story(1)))
            engine = create_engine(sqlite_url)
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE event RENAME TO gone"))
            with pytest.raises(LedgerError, match="taskledger db upgrade"):
                asked.record(batch(*story(2)))
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE gone RENAME TO event"))
            engine.dispose()
            assert asked.record(batch(*story(2))).new == len(story(2))
            assert asked.pid is not None

    def test_a_refusal_is_raised_here(self, database_url: str) -> None:
        """What the database refuses of a batch is raised as its driver says it; the process goes on."""
        with writing(database_url) as asked:
            asked.record(batch(*story(1)))
            before = asked.pid
            never = Event(b"i" * 16, "task-sent", 2**70, "h", 1, 1, "t", b"{}")
            with pytest.raises(Exception, match=r"(?i)large|range|overflow|convert") as raised:
                asked.record(batch(never))
            assert not isinstance(raised.value, LedgerError)
            assert asked.record(batch(*story(2))).new == len(story(2))
            assert asked.pid == before is not None


def test_a_database_that_is_away(tmp_path: Path) -> None:
    """LedgerAway comes back from the process as LedgerAway, without the password of the URL."""
    url = "postgresql://user:sesame@127.0.0.1:9/nowhere"
    with writing(url) as asked:
        with pytest.raises(LedgerAway) as raised:
            asked.record(batch(*story(1)))
        assert "sesame" not in str(raised.value)
        assert "sesame" not in Path(f"/proc/{asked.pid}/cmdline").read_text() if Path("/proc").exists() else True


def test_something_else_in_the_pipe() -> None:
    """What somebody printed into the pipe is not taken for the length of an answer that is then waited for."""
    with pytest.raises(ValueError, match="not the start"):
        receive(io.BytesIO(b"Welcome to Python!\n"))
    with pytest.raises(EOFError):
        receive(io.BytesIO(b"\0\0"))


class TestSentAhead:
    """What is sent ahead is written when it is asked for, and only then."""

    def test_whatever_comes(self, sqlite_url: str) -> None:
        """Whether the next batch is the one that was foreseen, another, or none, each is written once and in order."""
        foreseen = [gathered(*story(number)) for number in range(6)]
        turns = iter([foreseen[1], foreseen[2], None, foreseen[5], foreseen[5], None])
        with open_ledger(sqlite_url) as ledger:
            asked = Writing(ledger, Settings(database_url=sqlite_url, writer="on"), lambda: next(turns))
            try:
                for number, one in enumerate([foreseen[0], foreseen[1], gathered(*story(9)), *foreseen[3:]], 1):
                    said = asked.record(Batch("default", one.events, one.malformed, AT, None))
                    assert (said.new, said.duplicate) == (len(one.events), 0)
                    assert count(ledger) == number * len(story(0))
                assert asked.pid is not None
            finally:
                asked.close()

    def test_nothing_but_malformed(self, sqlite_url: str) -> None:
        """Batches without a single event are told apart like any others."""
        with writing(sqlite_url) as asked:
            said = [asked.record(batch(*decode(body))).quarantined for body in (b"[1]", b"[2, 3]", b"[4]")]
        assert said == [1, 2, 1]

    def test_one_that_failed_is_sent_again(self, sqlite_url: str) -> None:
        """What was sent ahead of a batch that failed is not written before it; both are, when the database is back."""
        first, second = gathered(*story(1)), gathered(*story(2))
        with open_ledger(sqlite_url) as ledger:
            asked = Writing(ledger, Settings(database_url=sqlite_url, writer="on"), lambda: second)
            engine = create_engine(sqlite_url)
            try:
                asked.record(batch(*story(0)))
                with engine.begin() as connection:
                    connection.execute(text("ALTER TABLE label RENAME TO gone"))
                with pytest.raises(LedgerError):
                    asked.record(batch(*decoded({"type": "new", "timestamp": 1.0})))
                with engine.begin() as connection:
                    connection.execute(text("ALTER TABLE gone RENAME TO label"))
                assert count(ledger) == len(story(0))
                for one in (first, second):
                    assert asked.record(Batch("default", one.events, (), AT, None)).new == len(one.events)
            finally:
                engine.dispose()
                asked.close()

    def test_what_builds_on_another(self, sqlite_url: str) -> None:
        """What was planned after a batch that is not written now does not take its events for written."""
        sent, received, started, ended = story(1)
        with foreseeing(sqlite_url, gathered(received)) as (_, beside, asked):
            asked.record(batch(sent))
            record(beside, batch(started))
            # One of the two is in the ledger, and not the one that was foreseen.
            asked.record(batch(ended))
            assert asked.pid is not None

    def test_what_builds_on_one_that_failed(self, database_url: str) -> None:
        """What was sent ahead of a batch of which the database refuses something is planned again."""
        sent, received, started, ended = story(1)
        never = Event(b"i" * 16, "task-sent", 2**70, "h", 1, 1, "t", b"{}")
        first, second = gathered(received, never), gathered(ended)
        with foreseeing(database_url, first, second) as (_, beside, asked):
            asked.record(batch(sent))
            with pytest.raises(Exception, match=r"(?i)large|range|overflow|convert"):
                asked.record(Batch("default", first.events, (), AT, None))
            record(beside, batch(started))
            asked.record(Batch("default", second.events, (), AT, None))
            assert asked.pid is not None

    def test_what_is_too_old(self, sqlite_url: str) -> None:
        """What was planned on an event that was then too old to be taken is planned again."""
        sent, received, _, ended = story(1)
        first, second = gathered(sent), gathered(ended)
        with foreseeing(sqlite_url, first, second) as (ledger, beside, asked):
            asked.record(batch(*story(2)))
            with ledger.write() as connection:
                connection.execute(schema.mark.insert(), {"name": "pruned_before_at", "value": sent.at + 1})
            assert asked.record(Batch("default", first.events, (), AT, None)).stale == 1
            record(beside, batch(received))
            assert asked.record(Batch("default", second.events, (), AT, None)).new == 1

    def test_malformed_input_that_came_later(self, sqlite_url: str) -> None:
        """What is malformed and goes with a batch that was sent ahead is kept as well."""
        first, second = gathered(*story(1)), gathered(*story(2))
        with foreseeing(sqlite_url, second) as (_, _, asked):
            asked.record(Batch("default", first.events, (), AT, None))
            said = asked.record(Batch("default", second.events, tuple(decode(b"[1]")), AT, None))
            assert (said.new, said.quarantined) == (len(second.events), 1)

    def test_what_builds_on_one_that_was_known(self, sqlite_url: str) -> None:
        """What was planned on an event that is there in another shape, as after redaction, is planned again."""
        sent, received, started, _ = story(1)
        first, second = gathered(sent, received), gathered(started)
        with foreseeing(sqlite_url, second) as (_, beside, asked):
            record(beside, batch(sent.with_body(sent.body.replace(b"(4187,)", b"[gone]"))))
            assert asked.record(Batch("default", first.events, (), AT, None)) == Recorded(new=1, duplicate=1)
            assert asked.record(Batch("default", second.events, (), AT, None)) == Recorded(new=1)
            assert asked.pid is not None

    def test_closed_in_between(self, sqlite_url: str) -> None:
        """What was sent ahead to a process that is closed is not taken for written."""
        sent, received, started, ended = story(1)
        with foreseeing(sqlite_url, gathered(received)) as (_, beside, asked):
            asked.record(batch(sent))
            asked.close()
            record(beside, batch(started))
            asked.record(batch(ended))
            assert asked.pid is None

    def test_an_error_in_between(self, sqlite_url: str) -> None:
        """An answer that nobody waited for is not taken for that of the next batch."""

        def broken() -> Gathered | None:
            raise RuntimeError("what comes next cannot be told")

        with open_ledger(sqlite_url) as ledger:
            asked = Writing(ledger, Settings(database_url=sqlite_url, writer="on"), broken)
            with pytest.raises(RuntimeError, match="what comes next"):
                asked.record(batch(*story(1)))
            said = asked.record(batch(*story(1), *story(2)))
            asked.close()
            assert said.new + said.duplicate == 2 * len(story(1))
            assert count(ledger) == 2 * len(story(1))


class TestLife:
    def test_killed(self, sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the process is killed in mid-work the batch is written once all the same, and another takes over."""
        monkeypatch.setattr(module, "AGAIN_AFTER_S", 0.0)
        with open_ledger(sqlite_url) as ledger, writing(sqlite_url) as asked:
            asked.record(batch(*story(0)))
            before = asked.pid
            assert before is not None
            os.kill(before, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (before, signal.SIGKILL)).start()

            asked.record(batch(*story(1)))

            assert "writing here for now" in caplog.text
            assert asked.record(batch(*story(2))).new == len(story(2))
            assert asked.pid not in (None, before)
            assert count(ledger) == 3 * len(story(0))

    def test_cannot_be_started(
        self, sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no process can be started, writing goes on here."""
        monkeypatch.setattr(module.sys, "executable", "/nowhere/python")
        with writing(sqlite_url) as asked:
            assert asked.record(batch(*story(1))).new
            assert asked.pid is None
        assert "writing here for now" in caplog.text

    def test_ends_with_its_recorder(self, sqlite_url: str) -> None:
        """The process ends when its recorder closes it, and it does not obey the signals that stop a recorder."""
        with writing(sqlite_url) as asked:
            asked.record(batch(*story(1)))
            pid = asked.pid
            assert pid is not None
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(pid, number)
            assert asked.record(batch(*story(2))).new
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_one_that_hangs_is_left(self, sqlite_url: str) -> None:
        """Closing does not wait for a process that does not answer; who waits for its answer goes on."""
        with writing(sqlite_url) as asked:
            asked.record(batch(*story(1)))
            assert asked.pid is not None
            os.kill(asked.pid, signal.SIGSTOP)
            said: list[Recorded] = []
            thread = threading.Thread(target=lambda: said.append(asked.record(batch(*story(2)))))
            thread.start()
            asked.close()
            thread.join(20)

            assert said[0].new == len(story(2))
            assert asked.pid is None

    def test_auto(self, sqlite_url: str) -> None:
        """Little work is done here; much work gets a process."""
        with writing(sqlite_url, "auto") as asked:
            for number in range(3):
                asked.record(batch(*story(number)))
            assert asked.pid is None
            numbers = iter(range(10, 1_000_000))

            def is_helped() -> bool:
                asked.record(batch(*(event for _ in range(500) for event in story(next(numbers)))))
                return asked.pid is not None

            until(is_helped, "a process of its own")

"""Redacting what was recorded before: no secret is left in any row, and everything else is as if it had come so."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from secrets_corpus import BROKEN, PLANTED
from sqlalchemy import select, text
from stories import NOON, TASK, TRACEBACK, failed, retried_twice, succeeded, task_event

from taskledger import bodies
from taskledger.events import Malformed, canonical, decode
from taskledger.ledger import Ledger, open_ledger, redact, schema, settle
from taskledger.ledger.record import Batch, record
from taskledger.ledger.schedule_store import keep_definitions
from taskledger.redaction import NONE_MARK, compiled, redacted, redacted_entry
from taskledger.redaction_rules import parse_payloads
from taskledger.schedules import Crontab, Entry
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State

RULES = compiled()
NOON_AT = round(NOON * 1_000_000)
SECRET = "zq-Hunter-99"
#: of a task that failed with a secret in each place
BAD = [
    *succeeded(kwargs=f"{{'password': '{SECRET}', 'n': 1}}")[:3],
    task_event("failed", NOON + 1.5, exception=f"AuthError('redis://u:{SECRET}@h')",
               traceback=f"AuthError: redis://u:{SECRET}@h\n"),
]  # fmt: skip


def tell(ledger: Ledger, *raw: dict[str, Any], redaction: Any = None) -> None:
    """Record raw events, as a recorder without redaction did; or with it."""
    items = [item for each in raw for item in decode(canonical(each))]
    events = [item for item in items if not isinstance(item, Malformed)]
    kept = [redacted(event, redaction) for event in events] if redaction else events
    record(ledger, Batch("default", kept, received_at=NOON_AT))


def tables(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, with the bodies of events as they read."""
    with ledger.read() as connection:
        found = {}
        for table in schema.metadata.sorted_tables:
            names = [column.name for column in table.columns]
            rows = [dict(zip(names, row, strict=True)) for row in connection.execute(select(table))]
            for row in rows:
                if table is schema.event:
                    row["body"] = bodies.unpack(row.pop("codec"), bytes(row["body"]))
            found[table.name] = sorted((tuple(row.values()) for row in rows), key=repr)
        return found


def leaks(ledger: Ledger, *secrets: str) -> list[str]:
    """Where any of the secrets is."""
    return [
        f"{name}: {secret}"
        for name, rows in tables(ledger).items()
        for row in rows
        for value in row
        for secret in secrets or (SECRET,)
        if secret in (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
    ]


def rows_of(ledger: Ledger, *names: str) -> dict[str, Any]:
    found = tables(ledger)
    return {name: found[name] for name in names}


def test_as_if_it_had_come_so(ledger: Ledger, tmp_path: Path) -> None:
    """Events, tasks, runs and groups are those that a recorder with these rules would have written."""
    raw = [*BAD, *retried_twice(NOON, "b"), *failed(NOON, "c")]
    tell(ledger, *raw)
    done = redact.redact(ledger, RULES)
    after = rows_of(ledger, "event", "task", "run", "failure_group")
    with ledger.write() as connection:
        for table in ("event", "task", "run", "failure_group"):
            connection.execute(text(f"DELETE FROM {table}"))
    tell(ledger, *raw, redaction=RULES)

    assert str(done) == "1 task, 3 events"
    assert after == rows_of(ledger, "event", "task", "run", "failure_group")
    assert leaks(ledger) == []


def test_corpus(ledger: Ledger) -> None:
    """No secret of the corpus is left in any table, of tasks, of events without a task, or in quarantine."""
    for number, planted in enumerate(PLANTED):
        tell(ledger, task_event("succeeded", uuid=f"t{number}", **{planted.field: planted.value}))
        tell(ledger, {"type": "shop-event", "timestamp": NOON + number, planted.field: planted.value})
    for broken in BROKEN:
        items = [item for item in decode(broken.body, broken.content_type) if isinstance(item, Malformed)]
        record(ledger, Batch("default", [], items, received_at=NOON_AT))
    before = set(leaks(ledger, *(secret for planted in PLANTED for secret in planted.secrets)))
    done = redact.redact(ledger, RULES)

    assert len(before) > 100
    assert leaks(ledger, *(secret for each in (*PLANTED, *BROKEN) for secret in each.secrets)) == []
    assert (done.tasks, done.events, done.other_events) == (len(PLANTED),) * 3
    assert done.quarantined == len(BROKEN)


def test_what_was_settled(ledger: Ledger) -> None:
    """Texts from a result backend are redacted as well, in the facts and in the task and run that they filled."""
    tell(ledger, *succeeded(NOON, "b")[1:3])
    secret = f"{{'password': '{SECRET}'}}"
    texts = {"result": secret, "traceback": f"E: password={SECRET}", "exception": f"E('password={SECRET}')"}
    for state, by in ((State.FAILURE, SettledBy.BACKEND), (State.SUCCESS, SettledBy.INFERRED)):
        fact = Settlement("w1@vm", NOON_AT + 500_000, by, NOON_AT, state, args=secret, kwargs=secret, **texts)
        settle.write(ledger, {("default", "b"): [fact]})
    assert leaks(ledger)
    done = redact.redact(ledger, RULES)

    assert (leaks(ledger), done.tasks) == ([], 1)
    assert str(redact.redact(ledger, RULES)) == "nothing"
    redact.redact(ledger, compiled(payloads=parse_payloads("*=none")))
    with ledger.read() as connection:
        kept = connection.execute(select(schema.settlement.c.result, schema.settlement.c.args)).all()
    assert kept == [(NONE_MARK, NONE_MARK)] * 2


def test_twice(ledger: Ledger) -> None:
    """A second time finds nothing to do and changes nothing."""
    tell(ledger, *BAD, {"type": "shop-event", "timestamp": NOON, "note": f"password={SECRET}"})
    redact.redact(ledger, RULES)
    before = tables(ledger)
    done = redact.redact(ledger, RULES)

    assert str(done) == "nothing"
    assert tables(ledger) == before


def test_dry_run(ledger: Ledger) -> None:
    """It says what would change, and changes nothing."""
    tell(ledger, *BAD, {"type": "shop-event", "timestamp": NOON, "note": f"password={SECRET}"})
    before = tables(ledger)
    dry = redact.redact(ledger, RULES, dry_run=True)

    assert tables(ledger) == before
    assert dry == redact.redact(ledger, RULES)
    assert str(dry) == "1 task, 3 events, 1 other event"


def test_ids_stay(ledger: Ledger) -> None:
    """A redacted event is still known: delivered again as it was sent, it is no new one."""
    tell(ledger, *BAD)
    redact.redact(ledger, RULES)
    before = rows_of(ledger, "event", "event_count")
    tell(ledger, *BAD)

    assert rows_of(ledger, "event", "event_count") == before


def test_since(ledger: Ledger) -> None:
    """Tasks first seen before are left alone, and so are events and quarantine of that time."""
    for at_s, uuid in ((NOON - 100, "old"), (NOON, "new")):
        kwargs = f"{{'token': '{SECRET}-{uuid}'}}"
        tell(ledger, *succeeded(at_s, uuid, kwargs=kwargs))
        tell(ledger, {"type": "shop-event", "timestamp": at_s, "note": kwargs})
        record(ledger, Batch("default", [], decode(kwargs.encode()), received_at=round(at_s * 1e6)))  # type: ignore[arg-type]
    done = redact.redact(ledger, RULES, since_at=NOON_AT)

    assert str(done) == "1 task, 2 events, 1 other event, 1 quarantined"
    assert leaks(ledger, f"{SECRET}-new") == []
    assert len(leaks(ledger, f"{SECRET}-old")) == 5


def test_many_tasks_and_pages(ledger: Ledger) -> None:
    """However many tasks begin at one moment, and however many events one has, none is left out."""
    tell(ledger, *(
        task_event("received", NOON, f"t{number}", kwargs=f"{{'token': '{SECRET}'}}") for number in range(450)
    ))  # fmt: skip
    tell(ledger, *(
        task_event("started", NOON + number, "long", note=f"password={SECRET}") for number in range(1_200)
    ))  # fmt: skip
    seen: list[tuple[int, int]] = []
    done = redact.redact(ledger, RULES, progress=lambda *step: seen.append(step))

    assert (done.tasks, done.events) == (451, 1_650)
    assert leaks(ledger) == []
    assert seen[-1] == (451, 451)
    assert [step for step, _ in seen] == sorted({step for step, _ in seen})


def test_stopped(ledger: Ledger) -> None:
    """It ends between two steps; what is done is done, and the next run does the rest."""
    tell(ledger, *(
        task_event("received", NOON + number, f"t{number}", kwargs=f"{{'token': '{SECRET}'}}") for number in range(300)
    ))  # fmt: skip
    stop = threading.Event()
    first = redact.redact(ledger, RULES, stop=stop, progress=lambda *_: stop.set())
    second = redact.redact(ledger, RULES)

    assert 0 < first.tasks < 300
    assert first.tasks + second.tasks == 300
    assert leaks(ledger) == []


def test_group_titles(ledger: Ledger) -> None:
    """A group whose title tells a secret is gone once no run is in it; a group that others are in stays."""
    error = {"exception": "AuthError('password=huntertwo')", "traceback": "AuthError: password=huntertwo\n"}
    tell(ledger, *succeeded(NOON, "a")[:3], task_event("failed", NOON + 2, "a", **error))
    tell(ledger, *failed(NOON, "b"))
    redact.redact(ledger, RULES)
    with ledger.read() as connection:
        titles = set(connection.scalars(select(schema.failure_group.c.title)))

    assert titles == {"AuthError: password=[redacted: rule key]", "ValueError: invalid card for customer *"}


def test_payloads(ledger: Ledger) -> None:
    """The rule for a task reaches all of its events, as the ledger knows its name; others keep theirs."""
    tell(ledger, *failed(NOON, "a", "billing.charge"), *failed(NOON, "b", "mail.send"))
    redact.redact(ledger, compiled(payloads=parse_payloads("billing.*=none")))
    with ledger.read() as connection:
        found = connection.execute(select(schema.run.c.exception, schema.run.c.traceback)).all()
        kwargs = set(connection.scalars(select(schema.task.c.kwargs)))

    assert {tuple(row) for row in found} == {
        (f"ValueError: {NONE_MARK}", NONE_MARK), ("ValueError: invalid card for customer 7215", TRACEBACK)
    }  # fmt: skip
    assert kwargs == {NONE_MARK, "{'note': 'order 6928'}"}


def test_schedule(ledger: Ledger) -> None:
    """What beat promised is redacted too, in such a way that the next reading finds it as it is."""
    entry = Entry("nightly", "billing.charge", Crontab(), kwargs=f"{{'token': '{SECRET}'}}")
    other = Entry("daily", "mail.send", Crontab(hour="3"))
    keep_definitions(ledger, "default", "app", [entry, other], NOON_AT)
    done = redact.redact(ledger, RULES)
    changed = keep_definitions(ledger, "default", "app", [redacted_entry(entry, RULES), other], NOON_AT + 1)

    assert (str(done), changed) == ("1 schedule version", 0)
    assert leaks(ledger) == []


def test_recorder_meanwhile(ledger: Ledger) -> None:
    """Events that a recorder writes at the same time are neither lost nor taken for others."""
    tell(ledger, *(
        task_event("received", NOON + number, f"t{number}", kwargs=f"{{'token': '{SECRET}'}}") for number in range(300)
    ))  # fmt: skip

    def record_more() -> None:
        with open_ledger(ledger.engine.url.render_as_string(hide_password=False)) as beside:
            for number in range(300):
                tell(beside, task_event("started", NOON + number + 0.5, f"t{number}"), redaction=RULES)

    recorder = threading.Thread(target=record_more)
    recorder.start()
    redact.redact(ledger, RULES)
    recorder.join()
    redact.redact(ledger, RULES)
    with ledger.read() as connection:
        rows = connection.execute(select(schema.task.c.events, schema.task.c.started_at)).all()

    assert len(rows) == 300
    assert all(row.events == 2 and row.started_at for row in rows)
    assert leaks(ledger) == []


def test_projected_from_memory(ledger: Ledger) -> None:
    """A recorder that remembers a task from before may project it so once more: the next run finds and mends that."""
    first, *rest = succeeded(kwargs=f"{{'token': '{SECRET}'}}")
    with open_ledger(ledger.engine.url.render_as_string(hide_password=False)) as beside:
        tell(beside, first, rest[1])
        redact.redact(ledger, RULES)
        tell(beside, rest[2], redaction=RULES)
    before = leaks(ledger)
    done = redact.redact(ledger, RULES)

    assert before == [f"task: {SECRET}"]
    assert str(done) == "1 task"
    assert leaks(ledger) == []
    assert str(redact.redact(ledger, RULES)) == "nothing"


def test_nothing_left_in_the_file(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    """After VACUUM, as the documents say, the file itself holds no secret."""
    tell(sqlite_ledger, *BAD)
    path = Path(sqlite_ledger.engine.url.database or "")
    redact.redact(sqlite_ledger, RULES)
    raw = sqlite_ledger.engine.raw_connection()
    raw.cursor().execute("VACUUM")
    raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))

    assert SECRET.encode() not in kept
    assert json.dumps(TASK) not in kept.decode("latin-1")


@pytest.mark.parametrize("number", [0, 1])
def test_words(number: int) -> None:
    """What was done is said in words, in the right number."""
    assert str(redact.Redacted(tasks=number)) == ("1 task" if number else "nothing")

"""What beat's probe tells, folded when it is recorded: the same rows whatever the order, however often."""

import random
import threading
from typing import Any

import pytest
from beat_stories import QUARTERS, SECOND, Beat, entry, write
from sqlalchemy import select

from taskledger import bodies, redaction
from taskledger.events import Event
from taskledger.ledger import Ledger, query, rebuild, redact, retain, schema
from taskledger.redaction_rules import parse_payloads
from taskledger.retention import Retention
from taskledger.schedules import entry_from
from taskledger.states import State

#: 2026-11-22 10:00:00 UTC
TEN_AT = 1_795_341_600 * SECOND
MINUTE = 60 * SECOND
HOURLY = QUARTERS | {"minute": "0"}
SUNSET = {"type": "solar", "text": "sunset", "tz": "UTC"}


def at(minutes: float) -> int:
    return TEN_AT + round(minutes * MINUTE)


def story() -> list[Event]:
    """Two beats: the first changes its schedule and ends, the second has another one, loses an event and goes on."""
    one, two = Beat("b1"), Beat("b2", "gen8@beat")
    told = [
        one.online(at(0)),
        *one.schedule(at(0.1), entry("a"), entry("b"), entry("c"), parts=3),
        one.sent(at(15), "a", due=at(15) / SECOND, prev_run=at(0) / SECOND, run_count=5, next_due=at(30) / SECOND),
        one.failed(at(15.1), "b", "add() takes 0 positional arguments but 1 was given"),
        one.tick(at(15.2), 290.0),
        *one.schedule(at(20), entry("a", HOURLY), entry("c"), entry("sun", SUNSET, next_due=at(400) / SECOND)),
        one.tick(at(20.1), 5.0),
        *one.schedule(at(21), entry("a"), entry("c"), parts=2),
        one.sent(at(30), "c"),
        one.offline(at(31)),
        two.online(at(32)),
        *two.schedule(at(32.1), entry("a"), entry("d", enabled=False), parts=2),
    ]
    two.seq += 3
    return [*told, two.sent(at(45), "a"), two.tick(at(45.1), 120.0)]


def snapshot(ledger: Ledger) -> dict[str, list[Any]]:
    """All rows that the probe made, with names for numbers."""
    with ledger.read() as connection:
        names = {row.id: row.name for row in connection.execute(select(schema.schedule_entry))}
        beats = {row.id: row.beat_id for row in connection.execute(select(schema.beat_process))}
        made = {}
        for table in (
            schema.schedule_entry, schema.schedule_version, schema.fire, schema.send_failure, schema.explicit_due,
            schema.beat_process, schema.beat_schedule,
        ):  # fmt: skip
            rows = []
            for row in connection.execute(select(table)).mappings():
                kept = {key: value for key, value in row.items() if key != "id"}
                kept |= {"entry_id": names[row["entry_id"]]} if "entry_id" in row else {}
                kept |= {"process_id": beats[row["process_id"]]} if row.get("process_id") else {}
                rows.append(sorted((key, str(value)) for key, value in kept.items()))
            made[table.name] = sorted(rows)
    return made


def versions(ledger: Ledger, name: str) -> list[tuple[float, float | None, str]]:
    """Minutes after ten from and to, and the expression of each definition that the probe told."""
    version, its_entry = schema.schedule_version.c, schema.schedule_entry.c
    joined = select(schema.schedule_version).join(schema.schedule_entry, version.entry_id == its_entry.id)
    with ledger.read() as connection:
        rows = connection.execute(joined.where(its_entry.name == name).order_by(version.valid_from_at)).all()
    return [
        (
            (row.valid_from_at - TEN_AT) / MINUTE,
            row.valid_to_at and (row.valid_to_at - TEN_AT) / MINUTE,
            getattr(entry_from(name, row.definition).schedule, "minute", "?"),
        )
        for row in rows
    ]


def test_a_story_makes_versions_fires_and_failures(ledger: Ledger) -> None:
    """Each schedule holds until the next one of its beat, or until that ended and another one told its own."""
    write(ledger, *story())

    assert versions(ledger, "a") == [(0.1, 20, "*/15"), (20, 21, "0"), (21, None, "*/15")]
    assert versions(ledger, "b") == [(0.1, 20, "*/15")]
    assert versions(ledger, "c") == [(0.1, 32.1, "*/15")]
    assert versions(ledger, "sun") == [(20, 21, "?")]
    assert versions(ledger, "d") == [(32.1, None, "*/15")]
    with ledger.read() as connection:
        fires = connection.execute(select(schema.fire).order_by(schema.fire.c.fired_at)).all()
        failures = connection.execute(select(schema.send_failure)).all()
        due = connection.scalars(select(schema.explicit_due.c.due_at)).all()
    assert [(row.fired_at, row.evidence) for row in fires] == [(at(minutes), "probe") for minutes in (15, 30, 45)]
    assert (fires[0].due_at, fires[0].prev_run_at, fires[0].next_due_at, fires[0].run_count) == (
        at(15),
        at(0),
        at(30),
        5,
    )
    assert [(row.at, row.exception, row.message) for row in failures] == [
        (at(15.1), "SchedulingError", "add() takes 0 positional arguments but 1 was given")
    ]
    assert due == [at(400)]


def test_the_processes_know_what_was_lost_and_what_was_promised(ledger: Ledger) -> None:
    """A hole in the numbers is told with its moments; the last promise counts, if an earlier one reaches further."""
    write(ledger, *story())

    with ledger.read() as connection:
        one, two = connection.execute(select(schema.beat_process).order_by(schema.beat_process.c.beat_id)).all()
    assert (one.online_at, one.offline_at, one.reason) == (at(0), at(31), "stopped")
    assert (one.promised_at, two.promised_at) == (at(20.1) + 5 * SECOND, at(47.1))
    assert two.seen == f"[[1,3,{at(32)},{at(32.1) + 1}],[7,8,{at(45) + 1000},{at(45.1)}]]"


@pytest.mark.parametrize("seed", range(6))
def test_order_and_repetition_change_nothing(ledger: Ledger, seed: int) -> None:
    """In any order, in batches of any size, and each event up to three times: the rows are those of the plain story."""
    told, chance = story(), random.Random(seed)
    shuffled = [event for event in told for _ in range(chance.randint(1, 3))]
    chance.shuffle(shuffled)
    while shuffled:
        size = chance.randint(1, 5)
        write(ledger, *shuffled[:size])
        del shuffled[:size]
    made = snapshot(ledger)
    with ledger.write() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            if table.name not in ("alembic_version", "label"):
                connection.execute(table.delete())
    write(ledger, *told)

    assert made == snapshot(ledger)


def test_pruning_keeps_the_history_of_definitions(ledger: Ledger) -> None:
    """Beats of long ago go with what they told; the definitions that they had stay, and what comes later fits on."""
    write(ledger, *story())
    before = {name: versions(ledger, name) for name in "abcd"}
    now_at = at(45) + 40 * 86_400 * SECOND
    three = Beat("b3")
    write(ledger, three.online(now_at - MINUTE), *three.schedule(now_at, entry("a"), entry("e")))
    pruned = retain.prune(ledger, Retention(30 * 86_400.0), now_at)
    write(ledger, *three.schedule(now_at + MINUTE, entry("a", HOURLY)))

    with ledger.read() as connection:
        assert connection.scalars(select(schema.beat_process.c.beat_id)).all() == ["b3"]
    assert (pruned.beats, pruned.fires, pruned.send_failures) == (2, 3, 1)
    later = (now_at - TEN_AT) / MINUTE
    assert versions(ledger, "a") == [*before["a"][:2], (21, later + 1, "*/15"), (later + 1, None, "0")]
    assert [versions(ledger, name) for name in "bc"] == [before["b"], before["c"]]
    assert versions(ledger, "d") == [(32.1, later, "*/15")]
    assert versions(ledger, "e") == [(later, later + 1, "*/15")]


def test_a_rebuild_brings_back_what_the_probe_told(ledger: Ledger) -> None:
    """Folding all events again changes no row, and what was deleted is there again."""
    write(ledger, *story())
    before = snapshot(ledger)
    rebuild.rebuild(ledger)
    again = snapshot(ledger)
    with ledger.write() as connection:
        for table in (schema.fire, schema.send_failure, schema.beat_schedule, schema.beat_process, schema.explicit_due):
            connection.execute(table.delete())
        connection.execute(schema.schedule_version.delete())
        connection.execute(schema.mark.delete())
    rebuild.rebuild(ledger)

    assert again == before
    assert snapshot(ledger) == before


def test_two_recorders_at_once_make_the_same_rows(ledger: Ledger) -> None:
    """Both hear all and write it at the same time, in batches of their own: nothing is there twice, nothing is lost."""
    told = story()
    problems: list[BaseException] = []

    def recorder(size: int) -> None:
        try:
            for start in range(0, len(told), size):
                write(ledger, *told[start : start + size])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
            problems.append(error)

    threads = [threading.Thread(target=recorder, args=(size,)) for size in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = snapshot(ledger)
    rebuild.rebuild(ledger)

    assert problems == []
    assert snapshot(ledger) == made
    assert versions(ledger, "a") == [(0.1, 20, "*/15"), (20, 21, "0"), (21, None, "*/15")]


def test_what_entries_give_to_their_tasks_is_redacted(ledger: Ledger) -> None:
    """A secret in the arguments of an entry goes when it is heard, by its task's rule, and from what was kept."""
    rules = redaction.compiled(payloads=parse_payloads("proj.*=none"))
    told = Beat().schedule(at(0), entry("a", args="['hunter2']"))[0]
    write(ledger, told)
    heard = redaction.redacted(told, rules)
    redact.redact(ledger, rules)

    assert b"hunter2" not in heard.body
    with ledger.read() as connection:
        row = connection.execute(select(schema.beat_schedule)).one()
        assert b"hunter2" not in bodies.unpack(row.codec, bytes(row.entries))
        assert "hunter2" not in connection.scalars(select(schema.schedule_version.c.definition)).one()
        event = connection.execute(select(schema.event)).one()
        assert b"hunter2" not in bodies.unpack(event.codec, bytes(event.body))


def test_a_send_is_a_task_that_waits(ledger: Ledger) -> None:
    """Before any worker has received it, what beat sent stands among the tasks, under its name and as waiting."""
    told = Beat().sent(at(15), "a", task="proj.never_heard_of")

    write(ledger, told)

    found = query.task(ledger, told.task_id or "")
    assert found is not None
    assert (found.task.name, found.task.state) == ("proj.never_heard_of", State.PENDING)
    assert found.client == "gen7@beat"

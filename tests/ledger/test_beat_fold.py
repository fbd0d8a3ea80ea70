"""What beat's probe tells, folded when it is recorded: the same rows whatever the order, however often."""

import random
from typing import Any

import pytest
from beat_stories import QUARTERS, SECOND, Beat, entry, write
from sqlalchemy import select

from taskledger.events import Event
from taskledger.ledger import Ledger, schema
from taskledger.schedules import entry_from

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
    """A hole in the numbers is told with its moments; the last promise counts, even if an earlier one reaches farther."""
    write(ledger, *story())

    with ledger.read() as connection:
        one, two = connection.execute(select(schema.beat_process).order_by(schema.beat_process.c.beat_id)).all()
    assert (one.online_at, one.offline_at, one.reason) == (at(0), at(31), "stopped")
    assert (one.promised_at, two.promised_at) == (at(20.1) + 5 * SECOND, at(47.1))
    assert two.seen == f"[[1,3,{at(32)},{at(32.1) + 1}],[7,8,{at(45) + 1000},{at(45.1)}]]"


@pytest.mark.parametrize("seed", range(6))
def test_order_and_repetition_change_nothing(ledger: Ledger, seed: int) -> None:
    """In any order, in batches of any size, and each event up to three times: the rows are those of the plain story."""
    told, chance = story(), random.Random(seed)  # noqa: S311 - no secret
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

"""What is planned of a task before the database is asked: used where it holds, and nowhere else."""

import random
from typing import Any

import pytest
from sqlalchemy import select
from stories import NOON, TASK, decoded, failed, raw, retried_twice, succeeded, task_event

from taskledger.events import Event
from taskledger.ledger import Ledger, fold, open_ledger, rebuild, schema
from taskledger.ledger.prepare import prepare, restored
from taskledger.ledger.record import Batch, Recorded, prepared_of, record, write
from taskledger.recorder.pipes import receive, send

AT = round(NOON * 1e6)
#: too late for any column
NEVER = Event(b"i" * 16, "task-sent", 2**70, "h", 1, 1, "poison", b"{}")


def put(ledger: Ledger, *events: Event) -> Recorded:
    return record(ledger, Batch("default", events, received_at=AT))


def url_of(ledger: Ledger) -> str:
    return ledger.engine.url.render_as_string(hide_password=False)


def is_right(ledger: Ledger) -> bool:
    """Every row is what all stored events make."""
    return str(rebuild.rebuild(ledger, dry_run=True)) == "nothing"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks were projected of their stored events, each time that this was done."""
    seen: list[int] = []
    whole = fold._from_events

    def counted(*asked: Any) -> Any:
        seen.append(len(asked[3]))
        return whole(*asked)

    monkeypatch.setattr(fold, "_from_events", counted)
    return seen


def test_of_what_is_remembered(ledger: Ledger, looks: list[int]) -> None:
    """A task whose events come one after the other is written as planned each time, and no event is read again."""
    for event in decoded(*retried_twice()):
        put(ledger, event)

    assert looks == []
    assert is_right(ledger)


def test_somebody_else_was_faster(ledger: Ledger, looks: list[int]) -> None:
    """What another recorder wrote of a task meanwhile counts as well."""
    sent, received, started, ended = decoded(*succeeded())
    with open_ledger(url_of(ledger)) as beside:
        put(ledger, sent)
        put(beside, received)
        put(ledger, started)
        put(beside, ended)

    assert looks == [1, 1, 1]
    assert is_right(ledger)


def test_after_a_restart(ledger: Ledger, looks: list[int]) -> None:
    """What was read of an open task is remembered: a recorder that begins anew reads it once."""
    sent, *others = decoded(*succeeded())
    put(ledger, sent)
    with open_ledger(url_of(ledger)) as beside:
        for event in others:
            put(beside, event)

    assert looks == [1]
    assert is_right(ledger)


def test_one_known_event(ledger: Ledger, looks: list[int]) -> None:
    """An event that is known already costs its own task a look, and no other."""
    first, second = decoded(*succeeded(uuid="a")), decoded(*succeeded(NOON + 9, "b"))
    put(ledger, first[0], second[0])
    put(ledger, first[0], first[1], *second[1:])

    assert looks == [1]
    assert is_right(ledger)


def test_known_in_another_shape(ledger: Ledger) -> None:
    """Of an event that is known the ledger's copy counts: what comes again may hold what is redacted there by now."""
    sent, received, started, _ = decoded(*succeeded())
    put(ledger, sent.with_body(sent.body.replace(b"(4187,)", b"[gone]")))
    with open_ledger(url_of(ledger)) as beside:
        put(beside, sent)
        put(beside, received, started)

    assert is_right(ledger)


def test_known_in_another_cluster(ledger: Ledger) -> None:
    """One broker under two names: what one cluster has is not remembered as the other's."""
    sent, received, started, ended = decoded(*succeeded())
    with open_ledger(url_of(ledger)) as beside:
        for where, cluster, event in (
            (ledger, "a", sent), (ledger, "b", received), (beside, "a", started), (beside, "b", started),
            (beside, "b", ended),
        ):  # fmt: skip
            record(where, Batch(cluster, [event], received_at=AT))

    assert is_right(ledger)


@pytest.mark.parametrize("field", ["name", "queue", "routing_key", "kwargs"])
def test_odd_values(ledger: Ledger, field: str) -> None:
    """Values that are equal and not spelled the same, and objects, whose order differs, are what their events say."""
    for values in ((1, True, 1.0), (0, False, -0.0, 0.0), ({"b": 1, "a": 2}, {"a": 2, "b": 1}, [{"d": 1, "c": 2}])):
        lives = [
            task_event(kind, NOON + number, f"{values!r}-{number}", **({field: value} if kind == "received" else {}))
            for number, value in enumerate(values)
            for kind in ("received", "started")
        ]
        put(ledger, *decoded(*lives[::2]))
        put(ledger, *decoded(*lives[1::2]))

    assert is_right(ledger)


def test_a_pruned_story(ledger: Ledger) -> None:
    """A task that was pruned, and that somebody else told of since, is not what is remembered of it."""
    sent, received, started, ended = decoded(*succeeded())
    with open_ledger(url_of(ledger)) as beside:
        put(ledger, sent)
        with ledger.write() as connection:
            for table in (schema.event, schema.task, schema.run):
                connection.execute(table.delete())
        put(beside, received)
        put(ledger, started, ended)

    assert rebuild.rebuild(ledger, dry_run=True).tasks == 0


def test_what_was_not_written_is_forgotten(ledger: Ledger) -> None:
    """A batch that failed leaves nothing in memory that could be taken for an event of somebody else."""
    sent, received, started, ended = decoded(*succeeded())
    with open_ledger(url_of(ledger)) as beside:
        put(ledger, sent)
        with pytest.raises(Exception, match=r"(?i)large|range|overflow|convert"):
            put(ledger, received, NEVER)
        put(beside, started)
        # As many events as were thought to be there, and not the same.
        put(ledger, ended)

    assert is_right(ledger)


def test_what_was_too_old_is_forgotten(ledger: Ledger) -> None:
    """An event that was not taken since its time is pruned is not remembered either."""
    sent, received, started, ended = decoded(*succeeded())
    with ledger.write() as connection:
        connection.execute(schema.mark.insert(), {"name": "pruned_before_at", "value": AT + 100_000})
    with open_ledger(url_of(ledger)) as beside:
        assert put(ledger, sent).stale == 1
        put(beside, received)
        put(ledger, started, ended)

    assert is_right(ledger)


def test_settled(ledger: Ledger, looks: list[int]) -> None:
    """Of a task of which something was settled all facts are asked for."""
    sent, received, started, _ = decoded(*succeeded())
    put(ledger, sent, received)
    with ledger.write() as connection:
        connection.execute(schema.task.update().values(settled_by=0))
    put(ledger, started)

    assert looks == [1]


def test_long_stories(sqlite_ledger: Ledger, looks: list[int]) -> None:
    """A story that is too long to be remembered is read from its ends."""
    events = decoded(*[task_event("retried", NOON + n, clock=n, exception=f"E({n})") for n in range(1_200)])
    for start in range(0, 1_200, 300):
        put(sqlite_ledger, *events[start : start + 300])

    assert looks == [1]
    assert is_right(sqlite_ledger)


@pytest.mark.parametrize("seed", range(6))
def test_any_course_of_things(sqlite_ledger: Ledger, seed: int) -> None:
    """However two recorders share, repeat and fail, each task's row is what all of its stored events make."""
    rng = random.Random(seed)
    events = [
        event
        for number in range(12)
        for life in (succeeded, failed, retried_twice)
        for event in decoded(*life(NOON + number, f"{life.__name__}-{number}"))
    ]
    events.sort(key=lambda event: event.at)
    with open_ledger(url_of(sqlite_ledger)) as beside:
        for start in range(0, len(events), 5):
            few = events[start : start + 5] + rng.sample(events[: start + 5], 2)
            for one in rng.sample((sqlite_ledger, beside), 2):
                mine = [event for event in few if rng.random() < 0.6]
                if rng.random() < 0.2:
                    with pytest.raises(OverflowError):
                        put(one, *mine, NEVER)
                else:
                    put(one, *mine)

    assert is_right(sqlite_ledger)
    with sqlite_ledger.read() as connection:
        assert len(connection.execute(select(schema.task)).all()) == 36


def test_in_a_plan_of_another_process(ledger: Ledger, tmp_path: Any) -> None:
    """What was prepared goes through a pipe as it is, and is written by whoever gets it."""
    events = decoded(*failed(), *retried_twice(NOON + 1, "r"), raw("worker-heartbeat", processed=3), raw("custom"))
    prepared = prepared_of(ledger, Batch("default", events, [], AT))
    with (tmp_path / "pipe").open("wb") as pipe:
        send(pipe, prepared.plain())
    with (tmp_path / "pipe").open("rb") as pipe:
        found = restored(receive(pipe))

    assert found == prepared._replace(remembered={})
    assert [event.type for event in found.apart] == ["worker-heartbeat"]
    with open_ledger(url_of(ledger)) as beside:
        assert write(beside, found, None)[0] == Recorded(new=len(events))
        assert write(beside, found, None)[0] == Recorded(duplicate=len(events))
    assert is_right(ledger)


def test_an_event_twice_in_a_batch(ledger: Ledger) -> None:
    """It is prepared once, and counted as known the second time."""
    sent, *_ = decoded(*succeeded())

    assert len(prepare(ledger, "default", AT, [sent, sent]).rows) == 1
    assert put(ledger, sent, sent) == Recorded(new=1, duplicate=1)
    with ledger.read() as connection:
        assert connection.execute(select(schema.task.c.id, schema.task.c.events)).all() == [(TASK, 1)]

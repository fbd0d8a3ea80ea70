"""Gaps: what workers counted and nobody recorded, on three databases, with outages, restarts and late events."""

import pytest
from counting import START_AT, Node, S, compare, deliver, ended, extend, found, listen, started

from taskledger.ledger import presence
from taskledger.ledger.proofs import LOST, UNANNOUNCED
from taskledger.ledger.record import Position


@pytest.mark.parametrize("shift_s", [0.0, 900.0, -1800.0])
def test_an_outage_is_counted_exactly(ledger, shift_s):
    """Of what happened while the recorder was away each start and end is missing; its cause is the recorder's."""
    node = Node(shift_s=shift_s).live(1, 60)
    away = [event for event in node.events if 20.3 < event["true"] < 26.1]
    first = listen(ledger, 0)
    deliver(ledger, [event for event in node.events if event["true"] <= 20.3], first, until_s=20.3)
    compare(ledger, 20.4)
    presence.end(ledger, Position(first, START_AT + round(20.3 * S)), "lost the connection")
    second = listen(ledger, 26.1)
    deliver(ledger, [event for event in node.events if event["true"] >= 26.1], second, until_s=60)
    compare(ledger, 60)
    (gap,) = found(ledger)

    assert (gap.starts, gap.ends) == (started(away), ended(away))
    assert (gap.kind, gap.cause) == (LOST, "lost the connection")
    assert gap.from_at <= START_AT + round((20.3 + shift_s) * S) < START_AT + round((26.1 + shift_s) * S) <= gap.to_at


def test_bit_by_bit_is_at_once(ledger):
    """Compared every few seconds or once at the end, the same is missing."""
    nodes = [Node(f"w{number}@vm", seed=number).live(1, 50) for number in (1, 2)]
    events = [event for node in nodes for event in node.events if not 11 < event["true"] < 14]
    lost = [event for node in nodes for event in node.events if 11 < event["true"] < 14]
    first = listen(ledger, 0)
    for from_s in range(0, 50, 5):
        deliver(ledger, [e for e in events if from_s <= e["true"] < from_s + 5], first, until_s=from_s + 5)
        compare(ledger, from_s + 5)
    extend(ledger, first, 70)
    compare(ledger, 70)
    rows = found(ledger)

    assert sum(row.starts for row in rows) == started(lost) > 0
    assert sum(row.ends for row in rows) == ended(lost)
    assert {row.host_id for row in rows} == {ledger.labels.number(3, "w1@vm"), ledger.labels.number(3, "w2@vm")}


def test_nothing_missing_no_gap(ledger):
    """A worker that restarts under its pid, ends, and comes again has no gap, and neither has one that joins late."""
    one = Node(seed=3).live(1, 20)
    one.tell("worker-offline", 20.1)
    again = Node(seed=4)
    again.events = [event | {"true": event["true"] + 30, "timestamp": event["timestamp"] + 30} for event in
                    Node(seed=4).live(1, 20).events]  # fmt: skip
    late = [event for event in Node("late@vm", seed=5).live(1, 50).events if event["true"] > 15]
    coverage_id = listen(ledger, 0)
    deliver(ledger, [*one.events, *again.events, *late], coverage_id, until_s=80)
    compare(ledger, 80)

    assert found(ledger) == []


def test_a_worker_that_lost_its_broker(ledger):
    """Events that could not be sent are missing as well, and the worker's own silence is the cause."""
    node = Node(seed=6).live(1, 60)
    lost = [event for event in node.events if 20 < event["true"] < 32]
    coverage_id = listen(ledger, 0)
    deliver(ledger, [event for event in node.events if not 20 < event["true"] < 32], coverage_id, until_s=60)
    compare(ledger, 60)
    (gap,) = found(ledger)

    assert (gap.starts, gap.ends, gap.kind) == (started(lost), ended(lost), LOST)
    assert "lost its broker" in gap.cause


def test_what_is_never_announced_is_no_loss(ledger):
    """Tasks with send_events=False run while everything is heard: they are kept apart, as one stretch."""
    node = Node(seed=7).live(1, 40)
    quiet = {event["uuid"] for event in node.events if event["type"] == "task-started"}
    quiet = set(sorted(quiet)[: len(quiet) // 3])
    coverage_id = listen(ledger, 0)
    deliver(ledger, [event for event in node.events if event.get("uuid") not in quiet], coverage_id, until_s=60)
    compare(ledger, 60)
    rows = found(ledger)

    assert {row.kind for row in rows} == {UNANNOUNCED}
    assert sum(row.starts for row in rows) == len(quiet)


def test_what_comes_late_is_taken_out_again(ledger):
    """A dead recorder's messages come through another one a minute later: then they are not missing any more."""
    node = Node(seed=8).live(1, 60)
    late = [event for event in node.events if 20 < event["true"] < 24 and event["type"].startswith("task")]
    coverage_id = listen(ledger, 0)
    deliver(ledger, [event for event in node.events if event not in late], coverage_id, until_s=60)
    compare(ledger, 60)
    before = found(ledger)
    deliver(ledger, late[:-1], coverage_id, until_s=61)
    compare(ledger, 61)
    between = found(ledger)
    deliver(ledger, late[-1:], coverage_id, until_s=62)
    compare(ledger, 62)

    assert sum(row.starts + row.ends for row in before) == len(late)
    assert sum(row.starts + row.ends for row in between) == 1
    assert found(ledger) == []


def test_what_begins_in_the_millisecond_of_a_heartbeat_is_not_late(ledger):
    """A solo worker begins its next task right after each heartbeat: that start is none of the gap that ends there."""
    node = Node()
    for second in range(1, 60, 2):
        node.tell("worker-heartbeat", second + 0.999)
        node._processed += 1
        node._running.append(f"task-{second}")
        node.tell("task-started", second + 0.9994, uuid=f"task-{second}")
        node.tell("task-succeeded", second + 1.5, uuid=node._running.pop(), result="1")
    away = [event for event in node.events if 20.3 < event["true"] < 26.1]
    first = listen(ledger, 0)
    deliver(ledger, [event for event in node.events if event["true"] <= 20.3], first, until_s=20.3)
    presence.end(ledger, Position(first, START_AT + round(20.3 * S)), "lost the connection")
    second_id = listen(ledger, 26.1)
    deliver(ledger, [event for event in node.events if event["true"] >= 26.1], second_id, until_s=60)
    for at_s in (60, 61):
        extend(ledger, second_id, at_s)
        compare(ledger, at_s)

    assert [(gap.starts, gap.ends) for gap in found(ledger)] == [(started(away), ended(away))]


def test_ends_that_are_told_twice_or_of_nothing(ledger):
    """A failure told twice counts once; a task that was revoked before it began, or is unknown, counts not at all."""
    node = Node(seed=9)
    node._processed = 1
    node.tell("task-started", 1.0, uuid="a")
    node.tell("task-failed", 1.2, uuid="a", exception="ExceptionWithTraceback()")
    node.tell("task-failed", 1.3, uuid="a", exception="TimeLimitExceeded(1,)")
    node.tell("task-revoked", 1.4, uuid="b", terminated=False, expired=True)
    node.tell("task-failed", 1.5, uuid="c", exception="NotRegistered('nobody.knows')")
    node.tell("worker-heartbeat", 2.0)
    node._processed, node._running = 2, []
    node.tell("task-started", 2.5, uuid="d")
    node.tell("task-revoked", 2.6, uuid="d", terminated=True)
    for second in range(4, 30, 2):
        node.tell("worker-heartbeat", second)
    coverage_id = listen(ledger, 0)
    deliver(ledger, node.events, coverage_id, until_s=60)
    compare(ledger, 60)

    assert found(ledger) == []

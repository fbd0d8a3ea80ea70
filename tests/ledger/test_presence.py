"""Coverage: who was listening when, and which holes a span has."""

import pytest

from taskledger.ledger.answers import Span
from taskledger.ledger.presence import KILLED, begin, end, extend, listen, stop
from taskledger.ledger.query import coverage, recorders, status, stretches
from taskledger.ledger.record import Position

S = 1_000_000
EVERYTHING = Span(0, 10**9 * S)


def listened(ledger, from_s, until_s, cause=None, **more):
    recorder_id = begin(ledger, "r1", "0.1", from_s * S)
    coverage_id = listen(ledger, recorder_id, "default", "counted loss", from_s * S, **more)
    position = Position(coverage_id, until_s * S)
    if cause:
        end(ledger, position, cause)
        stop(ledger, recorder_id, until_s * S)
    else:
        extend(ledger, position, recorder_id=recorder_id, seen_at=until_s * S, lag_s=0.5, recorded=7)
    return recorder_id


def holes(ledger, from_s, to_s, now_s):
    return [
        (hole.from_at // S, hole.to_at // S, hole.cause)
        for hole in coverage(ledger, Span(from_s * S, to_s * S), now_s * S).holes
    ]


def test_a_ledger_without_recorder_knows_nothing(ledger):
    """Where no recorder ever ran, the whole span is a hole, and the status says so."""
    assert holes(ledger, 100, 200, 300) == [(100, 200, "no recorder had run yet")]
    assert status(ledger, 0).state == "never"
    assert coverage(ledger, Span(0, S), S).began_at is None


def test_a_covered_span_has_no_hole(ledger):
    """While one recorder listens without a break, a span within is whole, up to the present."""
    listened(ledger, 100, 299)

    assert holes(ledger, 150, 1000, 300) == []
    assert coverage(ledger, Span(150 * S, 1000 * S), 300 * S).is_whole
    assert (status(ledger, 300 * S).state, status(ledger, 300 * S).lag_s) == ("recording", 0.5)


def test_before_between_and_after_are_holes_with_their_causes(ledger):
    """Before the first recording, between two, and after the last: three holes, each with its reason."""
    listened(ledger, 100, 200, "broker lost: connection reset")
    listened(ledger, 260, 300, "stopped")

    assert holes(ledger, 50, 400, 500) == [
        (50, 100, "before the first recording"),
        (200, 260, "broker lost: connection reset"),
        (300, 400, "stopped"),
    ]
    assert status(ledger, 500 * S).state == "stopped"


def test_a_killed_recorder_leaves_a_hole_that_says_so(ledger):
    """A recorder that came back under its name closes what its earlier life left open."""
    listened(ledger, 100, 200)
    listened(ledger, 260, 300)

    assert holes(ledger, 100, 300, 300) == [(200, 260, KILLED)]
    assert [stretch.cause for stretch in stretches(ledger, EVERYTHING)] == [KILLED, None]


def test_a_durable_queue_listens_while_nobody_reads_it(ledger):
    """A recorder that resumed a durable queue covers the time since the last one stopped."""
    listened(ledger, 100, 200, "stopped")
    listened(ledger, 260, 300, resumed=True)

    assert holes(ledger, 100, 300, 300) == []


@pytest.mark.parametrize("order", [((100, 250), (200, 300)), ((200, 300), (100, 250)), ((100, 300), (150, 160))])
def test_two_recorders_cover_together(ledger, order):
    """Where two recorders overlap, a span is whole if either was listening."""
    for from_s, until_s in order:
        listened(ledger, from_s, until_s, "stopped")

    assert holes(ledger, 100, 300, 300) == []


def test_recorders_are_listed_with_what_they_promise(ledger):
    """Each life of a recorder is a row: when, how much, and the promise of its transport."""
    listened(ledger, 100, 200)
    (one,) = recorders(ledger)

    assert (one.name, one.recorded, one.promises) == ("r1", 7, (("default", "counted loss"),))
    assert (one.started_at, one.seen_at, one.stopped_at) == (100 * S, 200 * S, None)


def test_a_second_recorder_of_the_same_name_does_not_bury_the_first(ledger):
    """Two that live at once under one name leave each other alone; one called dead that speaks is alive again."""
    first = begin(ledger, "vm", "0.1", 100 * S)
    covered = Position(listen(ledger, first, "default", "counted loss", 100 * S), 110 * S)
    extend(ledger, covered, recorder_id=first, seen_at=110 * S, lag_s=0.0, recorded=1)
    begin(ledger, "vm", "0.1", 112 * S)

    assert [stretch.cause for stretch in stretches(ledger, EVERYTHING)] == [None]

    begin(ledger, "vm", "0.1", 200 * S)
    assert [stretch.cause for stretch in stretches(ledger, EVERYTHING)] == [KILLED]
    extend(ledger, covered._replace(until_at=201 * S), recorder_id=first, seen_at=201 * S, lag_s=0.0, recorded=1)
    assert [stretch.cause for stretch in stretches(ledger, EVERYTHING)] == [None]
    assert next(one for one in recorders(ledger) if one.recorded == 1).stopped_at is None


def test_each_cluster_has_holes_of_its_own(ledger):
    """While one cluster is not listened to, a span has a hole that names it, whoever listens to another."""
    for cluster, until_s in (("eu", 200), ("us", 300)):
        recorder_id = begin(ledger, cluster, "0.1", 100 * S)
        position = Position(listen(ledger, recorder_id, cluster, "counted loss", 100 * S), until_s * S)
        end(ledger, position, "stopped")

    assert holes(ledger, 100, 300, 300) == [(200, 300, "eu: stopped")]
    assert coverage(ledger, Span(100 * S, 300 * S), 300 * S, cluster="us").is_whole
    assert not coverage(ledger, Span(100 * S, 300 * S), 300 * S, cluster="eu").is_whole


def test_a_cluster_that_came_later_makes_no_hole_before(ledger):
    """Before a further cluster was first recorded nothing is missing from what was known."""
    for cluster, from_s in (("eu", 100), ("us", 200)):
        recorder_id = begin(ledger, cluster, "0.1", from_s * S)
        end(ledger, Position(listen(ledger, recorder_id, cluster, "counted loss", from_s * S), 300 * S), "stopped")

    assert holes(ledger, 100, 300, 300) == []


def test_what_is_lost_is_not_covered(ledger):
    """A stretch ends before the oldest event that is known to be lost, also if it was said to reach further."""
    recorder_id = begin(ledger, "r1", "0.1", 100 * S)
    for from_s, lost_s in ((100, 150), (300, 250)):
        coverage_id = listen(ledger, recorder_id, "default", "counted loss", from_s * S)
        position = Position(coverage_id, (from_s + 90) * S)
        extend(ledger, position, recorder_id=recorder_id, seen_at=400 * S, lag_s=0.5, recorded=7)
        end(ledger, position, "messages dropped: spool full (3 events)", lost_from_at=lost_s * S)

    found = [(each.from_at // S, each.until_at // S) for each in stretches(ledger, EVERYTHING)]

    assert sorted(found) == [(100, 150), (250, 250)]
    assert (150, 250, "messages dropped: spool full (3 events)") in holes(ledger, 100, 400, 400)

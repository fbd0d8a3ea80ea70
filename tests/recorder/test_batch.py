"""Decoding and cutting batches, without brokers, databases or clocks."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskledger.events import Event, Malformed, restore
from taskledger.recorder.batch import Gathering, read
from taskledger.recorder.raw import plainly_published, published
from taskledger.recorder.source import REFUSALS, Delivery, Tag

#: a moment as workers send it, and as the ledger keeps it
SENT_S, SENT_AT = 1_700_000_000.0, 1_700_000_000_000_000


def delivery(*documents: Any, number: int = 1, received_at: int = SENT_AT + 500, **more: Any) -> Delivery:
    body = json.dumps(documents[0] if len(documents) == 1 else list(documents)).encode()
    return Delivery(body, "application/json", "utf-8", Tag(1, number), received_at, **more)


def event(task_id: str = "a", timestamp: float = SENT_S) -> dict[str, Any]:
    return {"type": "task-sent", "uuid": task_id, "timestamp": timestamp}


def taken(message: Delivery) -> tuple[Delivery, list[Event | Malformed]]:
    """A message with what it holds."""
    return message, read(message)


ODD = st.sampled_from(["e30=", "W10=", "no base64!", "äöü", "", "\ud800", 7, None, True, ["e30="], {"x": 1}])
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "body": ODD,
        "content-type": ODD | st.just("application/json"),
        "content-encoding": ODD | st.just("utf-8"),
        "headers": ODD | st.fixed_dictionaries({}, optional={"compression": ODD, "hostname": ODD}),
        "properties": ODD | st.fixed_dictionaries({}, optional={"body_encoding": ODD | st.just("base64")}),
    },
)


@settings(max_examples=1_000)
@given(ENVELOPES | ODD)
def test_an_envelope_opened_quickly_is_one_opened_with_care(envelope: Any) -> None:
    """Whatever stands in an envelope, the quick look says the same as the careful one, or nothing."""
    data = json.dumps(envelope).encode()
    plain, careful = plainly_published(data), published(data)

    assert plain is None or careful.refused is None
    assert plain is None or plain == (careful.body, careful.content_type, careful.content_encoding)


def test_an_envelope_as_kombu_makes_it_is_opened_quickly() -> None:
    """What kombu publishes needs no second look."""
    envelope = {
        "body": "e30=",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"hostname": "w1@vm"},
        "properties": {"body_encoding": "base64", "delivery_tag": "3f", "priority": 0},
    }
    assert plainly_published(json.dumps(envelope).encode()) == (b"{}", "application/json", "utf-8")


class TestRead:
    def test_list(self) -> None:
        """Every event of a message comes out, in order, with what is malformed in its place."""
        good, bad, last = read(delivery(event("a"), 7, event("b")))

        assert (good.task_id, bad.reason, last.task_id) == ("a", "not-an-object", "b")

    @pytest.mark.parametrize("reason", REFUSALS)
    def test_refused(self, reason: str) -> None:
        """A refused message is set aside whole, whatever it holds, with a sentence why."""
        (malformed,) = read(delivery(event(), refused=reason))

        assert (malformed.reason, malformed.detail) == (reason, REFUSALS[reason])


class TestCutting:
    def test_full_by_events(self) -> None:
        """It is full at its size in events; a message is never split."""
        gathering = Gathering("default", size=3, wait_s=1)
        gathering.add(*taken(delivery(event("a"), event("b"))), 0)
        before = gathering.is_full
        gathering.add(*taken(delivery(event("c"), event("d"), number=2)), 0)
        gathered = gathering.cut()

        assert (before, [each.task_id for each in gathered.events]) == (False, ["a", "b", "c", "d"])
        assert gathered.tag == Tag(1, 2)

    def test_full_by_messages(self) -> None:
        """Messages without events fill it too, so that they are acknowledged."""
        gathering = Gathering("default", size=2, wait_s=1)
        for number in (1, 2):
            gathering.add(*taken(delivery([], number=number)), 0)

        assert gathering.is_full

    def test_due(self) -> None:
        """It is due when its first message has waited long enough, and never while it is empty."""
        gathering = Gathering("default", size=10, wait_s=0.2)
        empty = gathering.waits_until_s()
        gathering.add(*taken(delivery(event())), 100.0)
        gathering.add(*taken(delivery(event())), 100.1)

        assert (empty, gathering.waits_until_s()) == (float("inf"), 100.2)

    def test_cut_leaves_nothing(self) -> None:
        """After a cut the next batch starts from nothing."""
        gathering = Gathering("default", size=10, wait_s=1)
        gathering.add(*taken(delivery(event(), 7)), 0)
        gathering.settle(SENT_AT)
        gathering.cut()
        second = gathering.cut()

        assert second == ("default", (), (), None, 0, 0, 0, 0)

    def test_arrivals(self) -> None:
        """A batch knows the arrival of its oldest and of its newest message."""
        gathering = Gathering("default", size=10, wait_s=1)
        for received_at in (SENT_AT + 1, SENT_AT + 9):
            gathering.add(*taken(delivery(event(), received_at=received_at)), 0)
        gathered = gathering.cut()

        assert (gathered.received_from_at, gathered.received_at) == (SENT_AT + 1, SENT_AT + 9)


class TestHowFarItCovers:
    def test_up_to_the_newest_event(self) -> None:
        """With more waiting at the broker, only up to the newest event that was received."""
        gathering = Gathering("default", size=10, wait_s=1)
        for offset_s in (0, 2, 1):
            gathering.add(*taken(delivery(event(timestamp=SENT_S + offset_s), received_at=SENT_AT + 60_000_000)), 0)

        assert gathering.cut().until_at == SENT_AT + 2_000_000

    def test_up_to_the_drained_moment(self) -> None:
        """With nothing waiting at the broker, up to the moment at which that was so."""
        gathering = Gathering("default", size=10, wait_s=1)
        gathering.add(*taken(delivery(event())), 0)
        gathering.settle(SENT_AT + 60_000_000)

        assert gathering.cut().until_at == SENT_AT + 60_000_000

    def test_drained_before_the_last_message(self) -> None:
        """A drained moment counts for nothing once another message has come."""
        gathering = Gathering("default", size=10, wait_s=1)
        gathering.add(*taken(delivery(event())), 0)
        gathering.settle(SENT_AT + 60_000_000)
        gathering.add(*taken(delivery(event())), 0)

        assert gathering.cut().until_at == SENT_AT

    def test_a_clock_that_is_ahead(self) -> None:
        """An event from the future covers nothing beyond its arrival."""
        gathering = Gathering("default", size=10, wait_s=1)
        gathering.add(*taken(delivery(event(timestamp=SENT_S + 86_400), received_at=SENT_AT + 500)), 0)

        assert gathering.cut().until_at == SENT_AT + 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_what_an_event_says_is_what_its_body_says(said: dict[str, Any]) -> None:
    """Once gathered, an event says to the letter what its body will say when it is read from the ledger."""
    message, items = taken(delivery(event() | said))
    gathering = Gathering("default", 10, 1.0)
    gathering.add(message, items, 0.0)

    for one in gathering.cut().events:
        assert sorted(map(repr, one.fields.items())) == sorted(map(repr, restore(one.body).items()))


def test_what_was_read_is_not_read_again() -> None:
    """An event as Celery sends it is not parsed a second time before it is written."""
    message, items = taken(delivery(event()))
    before = [item.fields for item in items if isinstance(item, Event)]
    gathering = Gathering("default", 10, 1.0)
    gathering.add(message, items, 0.0)

    assert [one.fields is said for one, said in zip(gathering.cut().events, before, strict=True)] == [True]

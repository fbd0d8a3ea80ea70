"""Decoding: every input becomes an event, or a reason why not."""

import json
import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stories import NOON, TASK, decoded, raw, succeeded, task_event

from taskledger.events import (
    MAX_MESSAGE_BYTES,
    MAX_QUARANTINED_BYTES,
    Event,
    Malformed,
    canonical,
    decode,
    first_id_at,
    restore,
)


def only(body: bytes, **how: str) -> Event | Malformed:
    found = decode(body, **how)
    assert len(found) == 1
    return found[0]


def test_an_event_is_decoded_field_by_field():
    """The fields that the ledger asks for are lifted out; the time is the event's own, in microseconds."""
    event = only(json.dumps(task_event("received", 1795323570.331234, clock=44, pid=123)).encode())

    assert isinstance(event, Event)
    assert (event.type, event.at, event.hostname) == ("task-received", 1795323570331234, "w1@vm")
    assert (event.pid, event.clock, event.task_id) == (123, 44, TASK)


def test_a_list_is_many_events_in_order():
    """A `task.multi` message gives each of its events, in the order sent."""
    assert [event.type for event in decoded(*succeeded())] == [
        "task-sent",
        "task-received",
        "task-started",
        "task-succeeded",
    ]


def test_one_bad_item_does_not_take_its_neighbours_along():
    """Around an unusable item of a list, the others are decoded."""
    good = task_event("started")
    found = decode(json.dumps([good, 7, {"type": "task-failed"}, good | {"clock": 99}]).encode())

    assert [type(item).__name__ for item in found] == ["Event", "Malformed", "Malformed", "Event"]
    assert [item.reason for item in found if isinstance(item, Malformed)] == ["not-an-object", "bad-timestamp"]


def test_the_timestamp_is_taken_as_it_is_whatever_the_utcoffset():
    """Celery's timestamp is a UTC epoch already; utcoffset moves nothing."""
    events = decoded(raw("worker-online", NOON, utcoffset=5), raw("worker-online", NOON, utcoffset=-5.75))

    assert {event.at for event in events} == {round(NOON * 1e6)}


def test_identity_is_content():
    """The same content in another order of keys or with other white space is the same event; another value is not."""
    one = task_event("started")
    spellings = [json.dumps(one), json.dumps(dict(reversed(one.items())), indent=2)]
    ids = {only(spelling.encode()).id for spelling in spellings}

    assert len(ids) == 1
    assert only(json.dumps(one | {"pid": 101}).encode()).id not in ids


def test_ids_sort_by_time():
    """The id of a later millisecond is greater, and first_id_at is below every id of its moment."""
    early, late = decoded(raw("worker-online", NOON), raw("worker-online", NOON + 0.001))

    assert early.id < late.id
    assert first_id_at(early.at) <= early.id < first_id_at(early.at + 1000) <= late.id


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": None}, "bad-type"),
        ({"type": ""}, "bad-type"),
        ({"type": 7}, "bad-type"),
        ({"type": "x" * 256}, "bad-type"),
        ({"timestamp": None}, "bad-timestamp"),
        ({"timestamp": "now"}, "bad-timestamp"),
        ({"timestamp": True}, "bad-timestamp"),
        ({"timestamp": -1}, "bad-timestamp"),
        ({"timestamp": math.nan}, "bad-timestamp"),
        ({"timestamp": math.inf}, "bad-timestamp"),
        ({"timestamp": 253_402_300_800}, "bad-timestamp"),
        ({"timestamp": 2**70}, "bad-timestamp"),
        ({"type": "task-started", "uuid": None}, "bad-task-id"),
        ({"type": "task-started", "uuid": 7}, "bad-task-id"),
        ({"type": "task-started", "uuid": ""}, "bad-task-id"),
        ({"type": "task-started", "uuid": "x" * 256}, "bad-task-id"),
    ],
)
def test_an_event_without_what_identifies_it_is_set_aside(fields, reason):
    """Type, time and (for Celery's task events) the task id are needed; without them the event goes to quarantine."""
    found = only(json.dumps(task_event("started") | fields).encode())

    assert isinstance(found, Malformed)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("fields", "lifted"),
    [
        ({"hostname": 7}, (None, 100, 1)),
        ({"hostname": ""}, (None, 100, 1)),
        ({"pid": "7"}, ("w1@vm", None, 1)),
        ({"pid": 2**70}, ("w1@vm", None, 1)),
        ({"clock": None}, ("w1@vm", 100, None)),
        ({"clock": 2**63}, ("w1@vm", 100, None)),
        ({"clock": True}, ("w1@vm", 100, None)),
    ],
)
def test_a_field_of_the_wrong_type_is_kept_but_not_used(fields, lifted):
    """Odd values in fields that do not identify the event are unknown to the ledger and whole in the body."""
    event = only(json.dumps(task_event("started", clock=1) | fields).encode())

    assert isinstance(event, Event)
    assert (event.hostname, event.pid, event.clock) == lifted
    assert restore(event.body) | fields == restore(event.body)


@pytest.mark.parametrize(
    "value", [2**70, -(2**80), math.inf, "\x00", "\ud800", 1e400, "é\u202e", [[[1]]], {"a": {"b": None}}, 0.1 + 0.2]
)
def test_any_value_of_json_can_be_read_back_exactly(value):
    """What Python's json can send, the body gives back."""
    event = only(json.dumps(task_event("succeeded", result=value)).encode())

    assert isinstance(event, Event)
    assert restore(event.body)["result"] == value


def test_nan_can_be_read_back():
    """NaN, which is not JSON but is what Python sends, stays NaN."""
    event = only(json.dumps(task_event("succeeded", result=math.nan)).encode())

    assert isinstance(event, Event)
    assert math.isnan(restore(event.body)["result"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters()), JSON, max_size=8))
def test_every_field_of_the_original_can_be_read_back(extra):
    """Whatever fields an event carries, restore(body) is the event that was sent."""
    sent = extra | task_event("received", clock=1)
    event = only(json.dumps(sent).encode())

    assert isinstance(event, Event)
    assert restore(event.body) == sent
    assert canonical(restore(event.body), is_exact=False) == canonical(sent, is_exact=False)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_input_raises(body):
    """Any bytes at all become events or reasons, and the same bytes the same ids."""
    found = decode(body)

    assert all(isinstance(item, Event | Malformed) for item in found)
    assert [item.id for item in decode(body)] == [item.id for item in found]


@pytest.mark.parametrize(
    "content_type",
    ["application/x-python-serialize", "application/x-yaml", "application/data", "application/x-msgpack", ""],
)
def test_only_json_is_read(content_type):
    """A pickle, or anything else that is not JSON, is set aside unread."""
    found = only(json.dumps(task_event("started")).encode(), content_type=content_type)

    assert isinstance(found, Malformed)
    assert found.reason == "content-type"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (zlib.compress(b"{}"), "not-json"),
        (b"[" * 100_000, "not-json"),
        (b'"text"', "not-an-object"),
        (b"null", "not-an-object"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "too-large"),
    ],
)
def test_what_is_not_an_event_says_why(body, reason):
    """Input that is no event at all carries its reason, its size and the start of its bytes."""
    found = only(body)

    assert isinstance(found, Malformed)
    assert (found.reason, len(found.body) <= MAX_QUARANTINED_BYTES) == (reason, True)


def test_an_empty_list_is_no_event():
    """A message with an empty list holds nothing, and that is no fault."""
    assert decode(b"[]") == []


def test_unknown_types_are_events_too():
    """An event of a type that Celery does not have is decoded like any other, with its task id if it has one."""
    event, bare = decoded(raw("task-progress", uuid=TASK, percent=40), raw("custom", uuid=7))

    assert (event.type, event.task_id, event.fields["percent"]) == ("task-progress", TASK, 40)
    assert (bare.type, bare.task_id) == ("custom", None)


def test_identity_does_not_depend_on_company():
    """An event has one identity, whether it comes alone or in a list with numbers that need the exact way."""
    event = {"type": "task-sent", "timestamp": 1.5, "uuid": "a", "args": "é", "runtime": 1e16, "x": -0.0}
    other = {"type": "task-sent", "timestamp": 1.5, "uuid": "b", "retries": 2**70}
    (alone,) = decode(json.dumps(event).encode())
    together = decode(json.dumps([event, other]).encode())

    assert together[0].id == alone.id
    assert together[0].body == alone.body


def test_not_a_number_is_no_null():
    """NaN stays what it was, and is not the same event as one with null."""
    event = {"type": "task-sent", "timestamp": 1.5, "uuid": "a", "runtime": float("nan")}
    (odd,) = decode(json.dumps(event).encode())
    (null,) = decode(json.dumps({**event, "runtime": None}).encode())

    assert b"NaN" in odd.body
    assert odd.id != null.id

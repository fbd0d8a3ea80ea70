"""Events in msgpack and YAML: only where the settings say so, only plain values, and bounded."""

import datetime as dt
import math
from typing import Any

import msgpack
import pytest
import yaml

from taskledger.config import load
from taskledger.errors import SettingsError
from taskledger.events import Event, Malformed, decode

ALL = frozenset({"json", "msgpack", "yaml"})
MSGPACK, YAML = "application/x-msgpack", "application/x-yaml"
EVENT = {"type": "task-sent", "timestamp": 1.5, "uuid": "a", "clock": 7, "args": "(é,)", "nested": {"a": [None, True]}}


def packed(document: Any) -> bytes:
    packer: bytes = msgpack.packb(document, use_bin_type=True)
    return packer


def reasons(body: bytes, content_type: str, accept: frozenset[str] = ALL) -> list[str]:
    return [item.reason for item in decode(body, content_type, "binary", accept) if isinstance(item, Malformed)]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (packed(EVENT), MSGPACK),
        (packed([EVENT]), MSGPACK),
        (yaml.safe_dump(EVENT).encode(), YAML),
        (yaml.safe_dump([EVENT]).encode(), YAML),
    ],
)
def test_read_when_accepted(body: bytes, content_type: str) -> None:
    """What a project writes with that serializer is the event it wrote; unasked, it is set aside."""
    (item,) = decode(body, content_type, "utf-8", ALL)

    assert isinstance(item, Event)
    assert item.fields == EVENT
    assert reasons(body, content_type, frozenset({"json"})) == ["content-type"]


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"\xc1", MSGPACK, "not-msgpack"),
        (b"", MSGPACK, "not-msgpack"),
        (b"\xdd\xff\xff\xff\xff", MSGPACK, "not-msgpack"),
        (b"\x91" * 100_000 + b"\xc0", MSGPACK, "not-msgpack"),
        (packed({"type": b"\xff"}), MSGPACK, "not-msgpack"),
        (msgpack.packb({1: 2}), MSGPACK, "not-msgpack"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), MSGPACK, "not-msgpack"),
        (msgpack.packb(dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC), datetime=True), MSGPACK, "not-msgpack"),
        (packed(EVENT) + b"\x00", MSGPACK, "not-msgpack"),
        (packed([1]), MSGPACK, "not-an-object"),
        (packed({**EVENT, "timestamp": math.nan}), MSGPACK, "bad-timestamp"),
        (b"!!python/object/apply:os.system ['touch /tmp/never']", YAML, "not-yaml"),
        (b"!!python/name:os.system", YAML, "not-yaml"),
        (b"a: &a [1]\nb: [*a, *a]", YAML, "not-yaml"),
        (b"2020-01-01", YAML, "not-yaml"),
        (b"!!set {a, b}", YAML, "not-yaml"),
        (b"!!binary AAAA", YAML, "not-yaml"),
        (b"1: 2", YAML, "not-yaml"),
        (b"[" * 100_000, YAML, "not-yaml"),
        (b"- " * 100_000, YAML, "not-yaml"),
        (b"{a", YAML, "not-yaml"),
        (b"--- 1\n--- 2", YAML, "not-yaml"),
        (b"\xff\xfe\x00", YAML, "not-yaml"),
        (b"- 1\n" * 300_000, YAML, "not-yaml"),
        (b"", YAML, "not-an-object"),
        (b"x", "application/x-python-serialize", "content-type"),
        (b"x", "application/data", "content-type"),
    ],
)
def test_hostile(body: bytes, content_type: str, reason: str) -> None:
    """Whatever is no plain document is set aside with its reason, though everything is accepted."""
    assert reasons(body, content_type) == [reason]


def test_pickle_is_no_word() -> None:
    """Pickle cannot be accepted by any setting."""
    with pytest.raises(SettingsError, match="must be words of json, msgpack, yaml"):
        load({"accept": "json,pickle"}, {})


def test_json_always() -> None:
    """JSON is accepted, whatever else is named."""
    assert load({"accept": "yaml"}, {}).accept == "json,yaml"

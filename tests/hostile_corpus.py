"""Messages that nobody should send and somebody will: each with what must become of it.

`CASES` go over any broker; `ENVELOPES` are what a stranger publishes on Redis' channel instead of kombu's envelope.
"""

import bz2
import gzip
import itertools
import json
import lzma
import pickle
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

STORED = "stored"
#: seconds since the epoch; a quiet moment that all good parts of the corpus are of
AT = 1_790_000_000.25
JSON = "application/json"


class Case(NamedTuple):
    """A message: `expect` says of each of its events, in order, STORED or the reason of its quarantine."""

    id: str
    body: bytes
    expect: tuple[str, ...] = (STORED,)
    content_type: str = JSON
    encoding: str = "utf-8"
    compression: Any = None


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (self.marker, "w")


def event(**fields: Any) -> dict[str, Any]:
    """A good event, but for what is given; `...` takes a field away."""
    good = {"type": "task-sent", "timestamp": AT, "uuid": "u", "hostname": "w@h", "pid": 1, "clock": 7, "utcoffset": 0}
    return {name: value for name, value in (good | fields).items() if value is not ...}


def written(document: Any) -> bytes:
    """As Python's json writes it: NaN, lone surrogates and integers of any size included."""
    return json.dumps(document).encode()


def cases(marker: str) -> list[Case]:
    """All of them; unpickling any of them would make the file `marker`."""
    found = [
        *_syntax(),
        *_shapes(),
        *_types(),
        *_timestamps(),
        *_ids(),
        *_fields(),
        *_keys(),
        *_texts(),
        *_content_types(marker),
        *_encodings(),
        *_compressed(),
        *_sizes(),
    ]
    assert len({case.id for case in found}) == len(found)
    return found


def _syntax() -> Iterator[Case]:
    good = written(event(uuid="syntax"))
    bad = {
        "nothing": b"",
        "blanks": b" \n\t ",
        "word": b"nope",
        "cut": good[:-1],
        "more-after": good + b"x",
        "two": good + good,
        "single-quotes": b"{'type': 'task-sent'}",
        "comment": b"/* */" + good,
        "trailing-comma": good[:-1] + b",}",
        "bad-utf8": good[:-2] + b"\xff\xfe" + good[-2:],
        "binary": bytes(range(256)),
        "nul-bytes": b"\x00" * 100,
        "control-character": b'{"type": "task-\nsent"}',
        "number-with-zero": b'{"type": 01}',
        "deep-lists": b"[" * 100_000,
        "deep-objects": b'{"a":' * 100_000,
        "deep-and-whole": b"[" * 50_000 + b"]" * 50_000,
        "lone-minus": b"-",
        "bad-escape": b'{"a": "\\x41"}',
        "huge-integer": b"9" * 10_000,
    }
    for name, body in bad.items():
        yield Case(f"syntax-{name}", body, ("not-json",))
    yield Case("syntax-utf8-mark", b"\xef\xbb\xbf" + written(event(uuid="mark")))
    yield Case("syntax-utf16", json.dumps(event(uuid="utf16")).encode("utf-16"))
    # Python's json reads what Python's json writes with surrogatepass.
    yield Case("syntax-surrogate-in-utf8", b'{"a": "\xed\xa0\x80"}', ("bad-type",))
    yield Case("syntax-white-space", b"\n\n  " + written(event(uuid="white")) + b"\r\n")
    yield Case("syntax-same-key-twice", b'{"uuid": 7, ' + written(event(uuid="twice"))[1:])


def _shapes() -> Iterator[Case]:
    for name, value in {
        "null": None,
        "true": True,
        "text": "task",
        "number": 17,
        "real": 1.5,
        "nan": float("nan"),
    }.items():
        yield Case(f"shape-{name}", written(value), ("not-an-object",))
        yield Case(f"shape-{name}-in-list", written([[value], 7]), ("not-an-object", "not-an-object"))
    yield Case("shape-empty-list", b"[]", ())
    yield Case("shape-empty-object", b"{}", ("bad-type",))
    yield Case("shape-lists-of-lists", written([[event(uuid="deep")]]), ("not-an-object",))
    mixed = [event(uuid="m1"), None, event(uuid="m2", timestamp=-1), event(uuid="m3"), {}, "x", event(uuid="m4")]
    expect = (STORED, "not-an-object", "bad-timestamp", STORED, "bad-type", "not-an-object", STORED)
    yield Case("shape-mixed-list", written(mixed), expect)
    yield Case("shape-many", written([event(uuid=f"many-{each}") for each in range(500)]), (STORED,) * 500)
    yield Case("shape-same-twice", written([event(uuid="same"), event(uuid="same")]), (STORED, STORED))


def _types() -> Iterator[Case]:
    bad = [..., None, 7, 1.5, True, [], ["task-sent"], {}, "", "t" * 256]
    for number, kind in enumerate(bad):
        yield Case(f"type-bad-{number}", written(event(type=kind, uuid=f"type-{number}")), ("bad-type",))
    strange = [
        "t" * 255, "custom-thing", "task-", "task-SENT", "task-custom", "worker-custom", "-", "ünï-cödé", "a\x00b",
        "a\nb", "\ud800", "task-sent'; DROP TABLE event;--", "<script>alert(1)</script>", " task-sent", "%s%n",
        "a" * 100 + "\U0001f4a5",
    ]  # fmt: skip
    for number, kind in enumerate(strange):
        yield Case(f"type-strange-{number}", written(event(type=kind, uuid=f"strange-{number}")))


def _timestamps() -> Iterator[Case]:
    bad = [
        ..., None, "1.5", "now", True, [], {}, -1, -0.001, float("nan"), float("inf"), float("-inf"), 1e308, 2**63,
        2**70, -(2**70), 253_402_300_800, 1e18, 10**400,
    ]  # fmt: skip
    for number, value in enumerate(bad):
        yield Case(
            f"timestamp-bad-{number}", written(event(timestamp=value, uuid=f"when-{number}")), ("bad-timestamp",)
        )
    for number, value in enumerate([0, -0.0, 1, 5e-324, AT, 253_402_300_799, 253_402_300_799.5, int(AT)]):
        yield Case(f"timestamp-odd-{number}", written(event(timestamp=value, uuid=f"odd-{number}")))


def _ids() -> Iterator[Case]:
    for number, value in enumerate([..., None, 7, 1.5, True, [], {}, "", "u" * 256]):
        document = event(uuid=value, type="task-received", clock=number)
        yield Case(f"id-bad-{number}", written(document), ("bad-task-id",))
        yield Case(f"id-not-needed-{number}", written(event(uuid=value, type="worker-heartbeat", clock=number)))
    strange = [
        "u" * 255, "a\x00b", "\ud800\ud800", "\u202e\u0000", "../../etc/passwd", "' OR 1=1 --", "<img src=x>", "%00",
        " ", "\n", "ä" * 255, "\U0001f4a5" * 100, "=cmd|' /C calc'!A0", "A", "a ", "null", "\x7f\x1b[31m",
    ]  # fmt: skip
    for number, value in enumerate(strange):
        yield Case(f"id-strange-{number}", written(event(uuid=value, clock=number)))


#: every field that Celery sends, on the event that carries it
FIELDS = {
    "task-sent": ("name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires", "queue", "exchange",
                  "routing_key", "hostname", "pid", "clock", "utcoffset"),
    "task-failed": ("exception", "traceback"),
    "task-succeeded": ("result", "runtime"),
    "task-revoked": ("terminated", "signum", "expired"),
    "task-rejected": ("requeue",),
    "worker-heartbeat": ("freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"),
}  # fmt: skip
VALUES = {
    "null": None, "nul": "a\x00b", "surrogate": "a\ud800b", "nan": float("nan"), "infinite": float("inf"),
    "big": 2**70, "negative": -(2**70), "long": "x" * 100_000, "object": {"a": {"b": [1, None]}},
    "list": [[1], {}, None], "true": True,
    "empty": "", "real": 1e300, "controls": "\x1b[31m\r\n\x00\x7f\u202e", "astral": "\U0001f4a5é",
}  # fmt: skip


def _fields() -> Iterator[Case]:
    for kind, names in FIELDS.items():
        for name, (word, value) in itertools.product(names, VALUES.items()):
            document = event(type=kind, uuid=f"field-{name}-{word}", **{name: value})
            yield Case(f"field-{name}-{word}", written(document))


def _keys() -> Iterator[Case]:
    names = ["event", "as_dict", "__type__", "__class__", "__proto__", "a\x00b", "\ud800", "", "k" * 10_000, "id",
             "cluster_id", "body", "fields", "state", "at", "local_received", "redelivered"]  # fmt: skip
    for number, name in enumerate(names):
        yield Case(f"key-{number}", written(event(uuid=f"key-{number}", **{name: "x"})))
    hooked = {"__type__": "decimal", "__value__": "1"}
    yield Case("key-kombu-hook", written(event(uuid="hook", args=hooked, **hooked)))
    yield Case("key-many", written(event(uuid="key-many", **{f"k{number}": number for number in range(5_000)})))
    nested: Any = 1
    for _ in range(300):
        nested = [nested]
    yield Case("key-nested-300", written(event(uuid="nested", args=nested)))


def _texts() -> Iterator[Case]:
    hostile = [
        "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; DROP TABLE task;--", "{{7*7}}", "${jndi:ldap://x}",
        "=1+1", "@SUM(1)", "-2+3", "javascript:alert(1)", "\r\nSet-Cookie: a=b", "%s%s%s%n", "\\", "\\u0000", "`id`",
    ]  # fmt: skip
    for number, text in enumerate(hostile):
        document = event(uuid=f"text-{number}", name=text, args=text, kwargs=text, queue=text, hostname=text)
        yield Case(f"text-{number}", written(document))


def _content_types(marker: str) -> Iterator[Case]:
    bomb, other, third = (pickle.dumps((number, Bomb(marker))) for number in range(3))
    good = written(event(uuid="content-type"))
    for name, content_type, body in [
        ("pickle", "application/x-python-serialize", bomb),
        ("pickle-as-data", "application/data", other),
        ("data", "application/data", good),
        ("text", "text/plain", good),
        ("none", "", good + b" "),
        ("yaml", "application/x-yaml", b"!!python/object/apply:os.system ['touch %s']" % marker.encode()),
        ("msgpack", "application/x-msgpack", b"\x81\xa4type\xa9task-sent"),
        ("with-charset", "application/json; charset=utf-8", good + b"  "),
        ("capitals", "Application/JSON", good + b"   "),
        ("nonsense", "\x00<script>", good + b"    "),
        ("long", "a/" + "b" * 200, good + b"     "),
    ]:
        yield Case(f"content-type-{name}", body, ("content-type",), content_type)
    yield Case("content-type-pickle-as-json", third, ("not-json",))
    yield Case("content-type-x-json", written(event(uuid="x-json")), content_type="application/x-json")


def _encodings() -> Iterator[Case]:
    for name in ["no-such", "zlib_codec", "rot13", "undefined", "a\x00b", "hex", "../../etc/passwd", "x" * 200]:
        body = written(event(uuid=f"encoding-{name}"))
        yield Case(f"encoding-bad-{name[:20]}", body, ("not-json",), encoding=name)
    for name in ["", "binary", "ascii", "UTF-8", "latin-1", "cp1252", "utf-7"]:
        yield Case(f"encoding-{name}", written(event(uuid=f"encoding-{name}")), encoding=name)
    for name in ["utf-16", "utf-32", "cp500"]:
        body = json.dumps(event(uuid=f"encoding-{name}")).encode(name)
        yield Case(f"encoding-{name}", body, encoding=name)


def _compressed() -> Iterator[Case]:
    good = written(event(uuid="compressed"))
    bomb = zlib.compress(b"[" + b" " * 200_000_000 + b"]", 9)
    bodies = {
        "application/x-gzip": zlib.compress(good), "application/gzip": gzip.compress(good, mtime=0),
        "application/x-bz2": bz2.compress(good), "application/x-lzma": lzma.compress(good),
        "application/zstd": b"\x28\xb5\x2f\xfd", "no-such": good, "zlib": bomb,
    }  # fmt: skip
    for name, body in bodies.items():
        yield Case(f"compressed-{name}", body, ("compressed",), compression=name)
    yield Case("compressed-without-saying-so", zlib.compress(good * 2), ("not-json",))


def _sizes() -> Iterator[Case]:
    yield Case("size-1-MB", written(event(uuid="size-1", args="x" * 1_000_000, result="\x00" * 1000)))
    yield Case("size-too-large", written(event(uuid="size-9", args="x" * 9_000_000)), ("too-large",))
    yield Case("size-large-and-bad", b"[" + b"x" * 1_000_000, ("not-json",))


#: data published on Redis' channel -> the reason of its quarantine
ENVELOPES: dict[bytes, str] = {
    b"": "bad-envelope",
    b"{": "bad-envelope",
    b"not json": "bad-envelope",
    b"\x00\xff\xfe": "bad-envelope",
    b"\x80\x04\x95.": "bad-envelope",
    b"[" * 100_000: "bad-envelope",
    b"7": "bad-envelope",
    b"null": "bad-envelope",
    b'"text"': "bad-envelope",
    b"[1, 2]": "bad-envelope",
    b'{"x": 1}': "bad-envelope",
    b'{"body": "e30="}': "bad-envelope",
    b'{"body": "e30=", "properties": null}': "bad-envelope",
    b'{"body": "e30=", "properties": 7}': "bad-envelope",
    b'{"body": "e30=", "properties": {"body_encoding": "no-such"}}': "bad-envelope",
    b'{"body": "e30=", "properties": {"body_encoding": ["base64"]}}': "bad-envelope",
    b'{"body": "not base64!", "properties": {"body_encoding": "base64"}}': "bad-envelope",
    b'{"body": "\xc3\xa9AAAA", "properties": {"body_encoding": "base64"}}': "content-type",
    b'{"body": 7, "properties": {"body_encoding": "base64"}}': "bad-envelope",
    b'{"body": null, "properties": {}}': "bad-envelope",
    b'{"body": {"__type__": "decimal", "__value__": "x"}, "properties": {}}': "bad-envelope",
    b'{"body": "\\ud800", "properties": {"body_encoding": "base64"}}': "bad-envelope",
    b'{"body": "e30=", "properties": {"body_encoding": "base64"}, "content-type": ["x"]}': "content-type",
    b'{"body": "W10=", "properties": {"body_encoding": "base64"}, "headers": [1]}': "content-type",
    b'{"body": "eA==", "properties": {"body_encoding": "base64"}, "content-type": "application/json"}': "not-json",
}

"""The decoder gets mutations of the hostile corpus: whatever it raises, or changes on the way, is a find."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.campaigns import stage
from taskledger.events import Event, Malformed, decode
from taskledger.recorder.batch import read
from taskledger.recorder.decoding import Decoding
from taskledger.recorder.raw import published
from taskledger.recorder.source import Delivery
from taskledger.recorder.waiting import Heard
from taskledger.unpacking import WORDS

import hostile_corpus  # isort: skip - stage knows the way to the tests

__all__ = ["main", "run", "stage"]

ACCEPT = frozenset(WORDS.values())
#: bytes; larger cases of the corpus say nothing more here, and cost time
LARGEST = 20_000
#: seconds that one message may take: a regular expression that takes its time stops everybody's events
SLOW_S = 1.0
#: how many finds are told in full
TOLD = 5
#: bytes that mean something to one parser or another
MEANT = [
    b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000", b"\\ud800", b",", b":", b"NaN", b"-Infinity", b"1e999", b"null",
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"9" * 25, b"'", b"&a ", b"*a", b"!!python/name:", b"\xc1", b"\xdf",
    b"\x81\xa4", b"password=", b"Bearer ", b"://a:b@", b" " * 500, b"((", b"=" * 100, b"eyJ", b"4111111111111111",
]  # fmt: skip


FIELDS = sorted({name for names in hostile_corpus.FIELDS.values() for name in names} | {"type", "timestamp", "uuid"})
ODD: list[Any] = [
    *hostile_corpus.VALUES.values(), *(word.decode("latin-1") for word in MEANT), *hostile_corpus.FIELDS, 0, -1, 1, 2**31,
    2**32, 2**63 - 1, 2**63, 2**64, 10**19, 1e16, 1e-7, -0.0, 5e-324, 253402300800, 1790000000.5, "1790000000",
    "{'password': 'x'}", "(" * 300, "postgres://u:p@h/d", "2026-11-22T03:00:00+00:00", "task", "task-", "\u2028", "x" * 300,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many messages were tried, what became of their events, and what must not have happened."""

    tried: int
    words: Counter[str]
    finds: list[str]

    def __str__(self) -> str:
        words = ", ".join(f"{word} {number:,}" for word, number in sorted(self.words.items()))
        return f"{self.tried:,} messages, {len(self.finds)} finds; {words}"


def run(seconds: float, seed: int) -> Outcome:
    """Try for so long; the same seed tries the same messages in the same order."""
    chance = random.Random(seed)
    seeds = _seeds()
    words: Counter[str] = Counter()
    finds: list[str] = []
    tried, until_s = 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        body, content_type, encoding = chance.choice(seeds)
        # Most bytes that are changed at random are no JSON any more; so every other one is changed as a document.
        body = _rewritten(body, chance) if chance.random() < 0.5 else _mutated(body, chance, seeds)
        if chance.random() < 0.1:
            content_type = chance.choice(list(WORDS))
        tried += 1
        find = _try(body, content_type, encoding, words)
        if find is not None:
            finds.append(f"{find}: {content_type!r} {encoding!r} {body[:2000]!r}")
    return Outcome(tried, words, finds)


def _seeds() -> list[tuple[bytes, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        found = hostile_corpus.cases(str(Path(folder) / "executed"))
    seeds = [(case.body, case.content_type, case.encoding) for case in found if len(case.body) <= LARGEST]
    return seeds + [(data, "", "envelope") for data in hostile_corpus.ENVELOPES if len(data) <= LARGEST]


def _mutated(body: bytes, chance: random.Random, seeds: list[tuple[bytes, str, str]]) -> bytes:
    changes: list[Callable[[bytearray], None]] = [
        lambda data: data.__setitem__(slice(*_place(data, chance, 1)), bytes([chance.randrange(256)])),
        lambda data: data.__setitem__(slice(*_place(data, chance, 0)), chance.choice(MEANT)),
        lambda data: data.__setitem__(slice(*_place(data, chance, 8)), chance.choice(MEANT)),
        lambda data: data.__delitem__(slice(*_place(data, chance, 20))),
        lambda data: data.extend(data[slice(*_place(data, chance, 200))]),
        lambda data: data.__setitem__(slice(*_place(data, chance, 50)), chance.choice(seeds)[0][:300]),
        lambda data: data.__setitem__(slice(*_place(data, chance, 2)), _number(chance)),
    ]
    data = bytearray(body)
    for _ in range(chance.randrange(1, 6)):
        chance.choice(changes)(data)
    return bytes(data[: 2 * LARGEST])


def _rewritten(body: bytes, chance: random.Random) -> bytes:
    """With other fields, or fields of other kinds; as it is, when it is no JSON."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    items = document if isinstance(document, list) else [document]
    for item in items[:50]:
        for _ in range(chance.randrange(1, 5) if isinstance(item, dict) else 0):
            _change(item, chance)
    if chance.random() < 0.3:
        chance.shuffle(items)
        document = [*items, chance.choice(ODD), *items[:3]]
    return json.dumps(document, ensure_ascii=chance.random() < 0.8).encode("utf-8", "surrogatepass")


def _change(item: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice([*item, *FIELDS])
    if chance.random() < 0.2:
        item.pop(name, None)
    elif chance.random() < 0.3:
        item[name] = [item.get(name), {name: chance.choice(ODD)}]
    else:
        item[name] = chance.choice(ODD) if chance.random() < 0.7 else str(item.get(name)) + str(chance.choice(ODD))


def _place(data: bytearray, chance: random.Random, most: int) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, start + chance.randint(0, most)


def _number(chance: random.Random) -> bytes:
    value = chance.choice([0, -1, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0, 253402300800, chance.random()])
    return json.dumps(value).encode()


def _try(body: bytes, content_type: str, encoding: str, words: Counter[str]) -> str | None:
    """What is wrong, if anything is."""
    from_s = time.monotonic()
    try:
        items = _decoded(body, content_type, encoding)
        words.update("stored" if isinstance(item, Event) else item.reason for item in items)
        wrong = next((found for found in map(_wrong, items) if found), None)
    except Exception as error:  # noqa: BLE001 - that nothing is raised is what is tried
        return f"{type(error).__name__}: {error}"
    took_s = time.monotonic() - from_s
    return wrong or (f"took {took_s:.1f} s" if took_s > SLOW_S else None)


def _decoded(body: bytes, content_type: str, encoding: str) -> list[Event | Malformed]:
    """Through all that happens to a message before it is written: envelope, decoding, redaction."""
    if encoding == "envelope":
        message = published(body)
        said = message.body, message.content_type, message.content_encoding
        delivery = Delivery(*said, None, 1, message.refused, ACCEPT)
    else:
        delivery = Delivery(body, content_type, encoding, None, 1, None, ACCEPT)
    decoding = Decoding()
    decoding.decode(Heard("fuzz", (delivery,)))
    return read(delivery)


def _wrong(item: Event | Malformed) -> str | None:
    """An event is what its own content says: read again, it has the same identity and the same fields."""
    if isinstance(item, Malformed):
        return None if item.reason and item.size >= len(item.body) else "quarantined without a reason"
    again = decode(item.body)
    if len(again) != 1 or not isinstance(again[0], Event):
        return "an event that cannot be read again"
    return None if again[0].id == item.id and again[0].body == item.body else "read again, it is another event"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long; as many messages as that takes")
    parser.add_argument("--seed", type=int, default=1, help="the same one tries the same messages")
    chosen = parser.parse_args(argv)
    outcome = run(chosen.seconds, chosen.seed)
    for find in outcome.finds[:TOLD]:
        print(find, file=sys.stderr)
    print(f"fuzz {chosen.seconds:.0f} s, seed {chosen.seed}: {outcome}")
    return int(bool(outcome.finds))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Train the zstd dictionary that event bodies are compressed with, and print what it saves.

    python benchmarks/train_dictionary.py [FILE]

With a FILE the dictionary is written there. The one in the package is codec 1 of every ledger: it must never change; a
better one is another codec (taskledger/bodies.py).
"""

import random
import re
import sys
import time
from pathlib import Path

import corpus
import orjson
import zstandard

#: bytes; four times as much saves nothing more
SIZE = 16_384
SAMPLES = 6_000
#: words of the corpus that belong to its made-up shop; in training each is another in every sample
OWN = re.compile(
    r"\b(shop|billing|mail|search|stock|reports|webhooks|charge_card|reindex_product|sync_inventory|prod)\b"
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def samples(seed: int) -> list[bytes]:
    """Event bodies as the ledger stores them, of many made-up projects, with worker events among them."""
    rng = random.Random(seed)
    made = corpus.events(SAMPLES // 4, seed)
    made += [_heartbeat(rng, event) for event in rng.sample(made, SAMPLES // 20)]
    return [OWN.sub(lambda _: _word(rng), _spelled(event)).encode() for event in made]


def _spelled(event: dict) -> str:
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS).decode()


def _heartbeat(rng: random.Random, event: dict) -> dict:
    base = {key: event[key] for key in ("hostname", "utcoffset", "pid", "clock", "timestamp")}
    software = {"sw_ident": "py-celery", "sw_ver": rng.choice(("5.4.0", "5.5.3", "5.6.3", "5.7.0")), "sw_sys": "Linux"}
    load = [round(rng.uniform(0, 4), 2) for _ in range(3)]
    counts = {"active": rng.randint(0, 16), "processed": rng.randint(1, 10**6), "loadavg": load, "freq": 2.0}
    return base | software | counts | {"type": "worker-heartbeat"}


def _word(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(3, 10)))


def compressed_bytes(bodies: list[bytes], dictionary: zstandard.ZstdCompressionDict) -> int:
    """The size of all bodies, each compressed on its own."""
    plain = {"write_content_size": False, "write_checksum": False, "write_dict_id": False}
    compressor = zstandard.ZstdCompressor(level=3, dict_data=dictionary, **plain)
    return sum(len(compressor.compress(body)) for body in bodies)


def main() -> None:
    dictionary = zstandard.train_dictionary(SIZE, samples(seed=7))
    tasks = 2_000
    bodies = [_spelled(event).encode() for event in corpus.events(tasks, seed=1)]
    begun = time.perf_counter()
    size = compressed_bytes(bodies, dictionary)
    cost_us = (time.perf_counter() - begun) / len(bodies) * 1e6
    print(
        f"{sum(map(len, bodies)) / tasks:.0f} bytes a task as JSON, {size / tasks:.0f} compressed, {cost_us:.1f} us an event"
    )
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_bytes(dictionary.as_bytes())


if __name__ == "__main__":
    main()

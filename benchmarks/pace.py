"""Events at a steady pace: how long each takes until it is committed, and whether any is lost when they come too fast.

    python benchmarks/pace.py [--rate 2000] [--seconds 20] [--only redis-sqlite,rabbitmq-postgresql,…]

At 2,000 events a second the time from sending to the commit is what counts; at twice the rate that `throughput.py`
found, for a minute, it is that nothing is lost: what the recorder cannot write at once waits in its memory, its spool,
or at the broker. No window keeps the publisher back here.
"""

import argparse
import contextlib
import json
import sys
import time

import corpus
import throughput

#: events published at once, about
HANDFUL = 20
#: seconds without a new event after which what is missing counts as lost
PATIENCE_S = 30.0


def run_once(name: str, rate: int, seconds: float, seed: int) -> dict[str, float]:
    """One broker and store: percentiles in seconds, events sent and lost, seconds until the last was there."""
    broker, _, store = name.partition("-")
    url = throughput.REDIS_URL if broker == "redis" else throughput.RABBITMQ_URL
    publisher = throughput.RedisPublisher() if broker == "redis" else throughput.RabbitPublisher()
    encoded = publisher.encode(_messages(round(rate * seconds / 4), seed))
    publisher.remove_queue()
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(
            throughput.fresh_sqlite() if store == "sqlite" else throughput.fresh_postgresql()
        )
        contender = stack.enter_context(throughput.taskledger(url, database))
        sent, seen, last_s = _pace(contender, publisher, encoded, rate)
        waits = sorted(_waits(sent, seen))
        found = {
            "sent": sent[-1][1],
            "lost": sent[-1][1] - seen[-1][1],
            "p50": waits[len(waits) // 2],
            "p99": waits[len(waits) * 99 // 100],
            "behind": last_s,
            "MB": contender.peak_mb(),
        }
    publisher.remove_queue()
    return found


def _messages(tasks: int, seed: int) -> list[tuple[str, bytes, int]]:
    return [
        (key, json.dumps(items if key == "task.multi" else items[0]).encode(), len(items))
        for key, items in corpus.messages(corpus.events(tasks, seed), seed)
    ]


#: (moment, how many by then)
Marks = list[tuple[float, int]]


def _pace(
    contender: throughput.Contender, publisher, encoded: throughput.Encoded, rate: int
) -> tuple[Marks, Marks, float]:
    """What was sent by when, what was committed by when, and how long after the last was sent all was there."""
    sent, seen, position, number = [], [(0.0, 0)], 0, 0
    begun_s = time.monotonic()
    while position < len(encoded):
        due = (time.monotonic() - begun_s) * rate
        while number < due and position < len(encoded):
            chunk = encoded[position : position + HANDFUL]
            publisher.publish(chunk)
            position, number = position + len(chunk), number + sum(events for _, events in chunk)
            sent.append((time.monotonic(), number))
        _look(contender, seen)
    end_s = time.monotonic()
    while seen[-1][1] < number and time.monotonic() - seen[-1][0] < PATIENCE_S:
        _look(contender, seen)
    return sent, seen, seen[-1][0] - end_s


def _look(contender: throughput.Contender, seen: Marks) -> None:
    number = contender.count()
    if number > seen[-1][1]:
        seen.append((time.monotonic(), number))
    else:
        time.sleep(0.005)


def _waits(sent: Marks, seen: Marks) -> list[float]:
    """For each handful that was sent, the seconds until so many were committed; a look too late counts against us."""
    waits, looks = [], iter(seen)
    look = next(looks)
    for at_s, number in sent:
        while look[1] < number:
            found = next(looks, None)
            if found is None:
                return waits
            look = found
        waits.append(look[0] - at_s)
    return waits


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rate", type=int, default=2_000)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", default="redis-sqlite,redis-postgresql,rabbitmq-sqlite,rabbitmq-postgresql")
    chosen = arguments.parse_args()
    print(f"{chosen.rate:,} events/s for {chosen.seconds:.0f} s", file=sys.stderr)
    print(f"{'broker, store':<22}{'sent':>10}{'lost':>6}{'p50 s':>8}{'p99 s':>8}{'behind s':>10}{'peak MB':>9}")
    lost = 0
    for name in chosen.only.split(","):
        one = run_once(name, chosen.rate, chosen.seconds, chosen.seed)
        lost += round(one["lost"])
        figures = f"{one['sent']:>10,}{one['lost']:>6,}{one['p50']:>8.2f}{one['p99']:>8.2f}{one['behind']:>10.1f}{one['MB']:>9.0f}"
        print(f"{name.replace('-', ', '):<22}{figures}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())

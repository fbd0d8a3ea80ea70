"""What the probe costs beat: 500 entries that are due together, sent with it and without it, in turns, on a real Redis.

    python -m benchmarks.beat_probe [--broker redis://…/9] [--runs 15] [--entries 500]

Prints the medians, the ratio of each turn's two runs, and how far two runs without the probe are from one another,
which is the noise. Ends with 1 when the median ratio is outside of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from itertools import pairwise

#: one beat in a process of its own: the loop of Celery's Service.start, without its sleeps, until all was sent
PROGRAM = """
import json, sys, time
from datetime import timedelta
from celery import Celery, signals
from celery.beat import Scheduler, Service
import taskledger.integrations.beat as probe

url, number, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
app = Celery("bench", broker=url)
app.conf.update(event_exchange=name, task_default_queue=name + "-tasks", task_ignore_result=True)
app.conf.beat_schedule = {
    f"entry {each}": {"task": "bench.none", "schedule": 3600, "args": (each,)} for each in range(number)
}
app.set_current()
service = Service(app, scheduler_cls=Scheduler)
scheduler = service.scheduler
for entry in scheduler.schedule.values():
    entry.last_run_at -= timedelta(hours=2)
signals.beat_init.send(sender=service)
began_s, began_cpu_s = time.perf_counter(), time.process_time()
while not scheduler.tick():
    pass
sent_s, sent_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
wire = getattr(getattr(scheduler, "taskledger_probe", None), "_wire", None)
while wire is not None and wire._queue.qsize():
    time.sleep(0.01)
scheduler.close()
print(json.dumps({
    "sent": sum(entry.total_run_count for entry in scheduler.schedule.values()),
    "told": wire._taken if wire else 0,
    "sent_s": sent_s,
    "sent_cpu_s": sent_cpu_s,
    "whole_cpu_s": time.process_time() - began_cpu_s,
}))
with app.connection_for_write() as connection:
    connection.default_channel.queue_delete(name + "-tasks")
"""


def measured(broker: str, entries: int, *, is_told: bool) -> dict[str, float]:
    """One beat's seconds for sending all; SystemExit when it did not send or tell what it should."""
    environ = os.environ | {"TASKLEDGER_BEAT": "01"[is_told]}
    command = [sys.executable, "-c", PROGRAM, broker, str(entries), f"taskledger-bench-{os.getpid()}"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    if found["sent"] != entries or (found["told"] > entries) != is_told:
        raise SystemExit(f"{found['sent']} of {entries} were sent, {found['told']} told")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--broker", default="redis://127.0.0.1:6379/9", help="a Redis database [%(default)s]")
    parser.add_argument("--runs", type=int, default=15, help="with the probe, and as many without [%(default)s]")
    parser.add_argument("--entries", type=int, default=500, help="that are due together [%(default)s]")
    given = parser.parse_args()
    told: list[dict[str, float]] = []
    untold: list[dict[str, float]] = []
    measured(given.broker, 10, is_told=True)
    for turn in range(given.runs):
        for is_told in sorted((False, True), reverse=bool(turn % 2)):
            (told if is_told else untold).append(measured(given.broker, given.entries, is_told=is_told))
    return report(told, untold, given.entries)


def report(told: list[dict[str, float]], untold: list[dict[str, float]], entries: int) -> int:
    """Print what was found; whether it is outside the noise."""
    print(
        f"{entries} entries due together, {len(told)} runs with the probe and {len(untold)} without, in turns; medians:"
    )
    for key, what in (("sent_s", "until all were sent, s"), ("sent_cpu_s", "processor until then, s")):
        with_it, without = (statistics.median(run[key] for run in runs) for runs in (told, untold))
        print(f"  {what:26} without {without:6.3f}  with {with_it:6.3f}  ratio {with_it / without:5.3f}")
    whole = statistics.median(run["whole_cpu_s"] - run["sent_cpu_s"] for run in told)
    print(f"  processor afterwards, for telling, while beat rests: {whole:.3f} s")
    ratios = [one["sent_s"] / other["sent_s"] for one, other in zip(told, untold, strict=True)]
    noise = [
        max(one["sent_s"], other["sent_s"]) / min(one["sent_s"], other["sent_s"]) for one, other in pairwise(untold)
    ]
    ratio, spread = statistics.median(ratios), statistics.median(noise)
    is_noise = 1 / spread <= ratio <= spread
    print(f"  ratio of the two runs of a turn: median {ratio:.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"  two runs without the probe differ by a factor of {spread:.3f} (median), up to {max(noise):.3f}")
    print(f"the probe is {'within' if is_noise else 'outside of'} the noise")
    return int(not is_noise)


if __name__ == "__main__":
    raise SystemExit(main())

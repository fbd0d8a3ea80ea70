"""What taskledger adds to each start of `celery`: medians of interleaved imports, with and without its entry point.

Prints milliseconds; ends with 1 when the difference is above the budget.
"""

import statistics
import subprocess
import sys

#: milliseconds that every other celery command may be slower by
BUDGET_MS = 15.0
RUNS = 31
#: imports Celery's command line and prints the processor time that took, which other programs disturb less than the
#: clock's; the argument decides whether our plug-in is seen
PROGRAM = """
import importlib.metadata, sys, time
original = importlib.metadata.entry_points
if sys.argv[1] == "without":
    def entry_points(**wanted):
        return [each for each in original(**wanted) if each.name != "taskledger"]
    importlib.metadata.entry_points = entry_points
began = time.process_time()
import celery.bin.celery as command_line
whole = time.process_time() - began
is_there = "taskledger.cli" in sys.modules
began = time.process_time()
import taskledger.cli
print(whole * 1000, (time.process_time() - began) * 1000, is_there)
"""


def measured(which: str) -> tuple[float, float]:
    """Milliseconds for Celery's command line, and for ours after it (nothing, when it was loaded with it)."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, which], capture_output=True, text=True, check=True)
    whole, own, is_there = done.stdout.split()
    if (is_there == "True") != (which == "with"):
        raise SystemExit(f"{which}: the plug-in was loaded: {is_there}; is taskledger installed?")
    return float(whole), float(own)


def main() -> int:
    for which in ("with", "without"):
        measured(which)  # The first import writes byte code.
    times: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for turn in range(RUNS):
        for which in sorted(times, reverse=bool(turn % 2)):
            times[which].append(measured(which))
    with_it, without = (statistics.median(whole for whole, _ in times[which]) for which in ("with", "without"))
    own = statistics.median(own for _, own in times["without"])
    print(f"celery's command line, imported {RUNS} times each, in turns; medians of processor time:")
    print(f"  without taskledger  {without:7.1f} ms")
    print(f"  with taskledger     {with_it:7.1f} ms  (difference {with_it - without:+.1f} ms)")
    print(f"  taskledger alone    {own:7.1f} ms  (budget {BUDGET_MS:.0f} ms)")
    return int(own > BUDGET_MS)


if __name__ == "__main__":
    raise SystemExit(main())

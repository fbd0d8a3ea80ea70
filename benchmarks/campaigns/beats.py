"""Did beat's jobs fire? What the ledger says of real beats is held against their own logs.

For each scheduler and each kind of evidence a crew (beat, worker, recorder, a broker behind a proxy) plays the scenes
one after the other: nothing special, an entry whose arguments do not fit its task, entries edited and switched off,
beat killed across due times, two beats at once, the broker away from beat for ten seconds, the recorder stopped.

right: the log says the same. unknown: the ledger says that it cannot know, and why. coarse, without the probe only: no
task was sent when it was due, as was said; that beat tried in vain then, and counted from there, nobody told.
wrong: the log says otherwise; there must be none.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.campaigns import stage
from benchmarks.campaigns._beat_compare import MARGIN_S, Play, Tally, compared
from benchmarks.campaigns._beat_crew import Crew, Script
from benchmarks.campaigns._beat_findings import missing_findings
from benchmarks.campaigns._beat_scenes import BRIEF, BRIEF_SCENES, ENTRIES, SCENES, play
from taskledger.crontabs import SECOND
from taskledger.ledger.answers import ScheduleRow

SCHEDULERS = ("persistent", "django", "redbeat", "sqlalchemy", "embedded")
EVIDENCE = ("probe", "task-sent", "worker")
#: seconds until what was due last may be final, and until it surely is
SETTLED_S, SURELY_S = 15.0, 150.0
#: crews that play at once, if nothing else is said: more of them would only wait for one another
AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one crew's verdicts came to, by scene; `complaints` are about anything else."""

    scheduler: str
    evidence: str
    tallies: Mapping[str, Tally]
    complaints: Sequence[str]
    took_s: float

    @property
    def is_well(self) -> bool:
        rights = sum(tally.counts["right"] for tally in self.tallies.values())
        return rights > 0 and not self.complaints and not any(tally.wrong for tally in self.tallies.values())

    def __str__(self) -> str:
        lines = []
        for scene, tally in self.tallies.items():
            counts = "  ".join(f"{kind} {tally.counts[kind]:3}" for kind in ("right", "unknown", "coarse"))
            said = ", ".join(f"{number} {word}" for word, number in tally.said.most_common())
            lines.append(
                f"beats {self.scheduler:10} {self.evidence:9} {scene:9}  {counts}  wrong {len(tally.wrong):3}  ({said})"
            )
            lines += [f"  wrong: {what}" for what in tally.wrong]
        lines += [f"  complaint: {what}" for what in self.complaints]
        return "\n".join([*lines, f"  took {self.took_s:.0f} s"])


def run(script: Script, scenes: Sequence[str] = tuple(SCENES), *, is_brief: bool = False) -> Outcome:
    """One crew plays the scenes; `is_brief`: two entries, a shorter time without beat, no crontab, nothing final."""
    began_s = time.monotonic()
    with Crew(script) as crew:
        crew.begin({name: told for name, told in ENTRIES.items() if not is_brief or name in BRIEF})
        from_s = time.time()
        for name in ("quiet", *(scene for scene in scenes if scene != "quiet")):
            play(crew, name, BRIEF_SCENES.get(name, SCENES[name]) if is_brief else SCENES[name])
        to_s = time.time()
        rows = _settled(crew, to_s, 0.0 if is_brief else SURELY_S)
        played = Play(
            script, crew.spans, crew.rules, crew.unheard, crew.downs, crew.found, rows, crew.attempts(), from_s,
            to_s - MARGIN_S, is_brief,
        )  # fmt: skip
        tallies = compared(played)
        complaints = [*(f"a final verdict changed: {flip}" for flip in crew.flips), *missing_findings(played)]
    return Outcome(script.scheduler, script.evidence, tallies, complaints, time.monotonic() - began_s)


def _settled(crew: Crew, to_s: float, surely_s: float) -> dict[str, ScheduleRow]:
    """What the ledger says as soon as all that was due is final, or should be."""
    last_at = round((to_s - MARGIN_S) * SECOND)
    crew.rest(SETTLED_S)
    while True:
        rows = crew.look()
        is_open = any(not tick.is_final and tick.due_at < last_at for row in rows.values() for tick in row.ticks)
        if not is_open or time.time() > to_s + surely_s:
            return rows
        crew.rest(2)


def _run_all(plays: Sequence[tuple[str, str]], scenes: Sequence[str], at_once: int, keep: Path | None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory() as name,
        stage.RedisServer(Path(name)) as server,
        ThreadPoolExecutor(at_once) as pool,
    ):
        scripts = [
            Script(scheduler, evidence, (keep or Path(name)) / f"{scheduler}-{evidence}", f"{server.url[:-1]}{place}")
            for place, (scheduler, evidence) in enumerate(plays)
        ]
        for script in scripts:
            script.folder.mkdir(parents=True)
        for outcome in pool.map(lambda script: run(script, scenes), scripts):
            outcomes.append(outcome)
            print(outcome, flush=True)
    return outcomes


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaigns beats",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scheduler", choices=SCHEDULERS, action="append", help="may be given again; else all")
    parser.add_argument("--evidence", choices=EVIDENCE, action="append", help="may be given again; else all")
    parser.add_argument("--scene", choices=list(SCENES), action="append", help="may be given again; else all")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="crews that play at once (default %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave ledgers and logs there")
    chosen = parser.parse_args(argv)
    began_s = time.monotonic()
    plays = [
        (scheduler, evidence)
        for evidence in chosen.evidence or EVIDENCE
        for scheduler in chosen.scheduler or SCHEDULERS
    ]
    outcomes = _run_all(plays, chosen.scene or list(SCENES), chosen.at_once, chosen.keep)
    wrong = sum(len(tally.wrong) for outcome in outcomes for tally in outcome.tallies.values())
    told = sum(tally.counts.total() for outcome in outcomes for tally in outcome.tallies.values())
    took_s = time.monotonic() - began_s
    print(f"beats: {told} verdicts on {len(outcomes)} crews in {took_s / 60:.0f} minutes; wrong: {wrong}")
    return int(not all(outcome.is_well for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

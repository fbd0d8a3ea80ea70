"""Random crontabs around changes of the clock: what Celery's own beat sends, held against the due times we reckon."""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.campaigns._beat_clock import MOST_FIRES
from taskledger import crontabs
from taskledger.crontabs import DAY, FIELDS, HOUR, SECOND, Crontab
from taskledger.defects import crontab_defect
from taskledger.ticks import Facts, Fire, Scope, Version
from taskledger.verdicts import Judgement, judge

BEAT = Path(__file__).with_name("_beat_clock.py")
ZONES = (
    "Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "America/Havana", "America/Santiago",
    "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Chatham", "Africa/Cairo", "Asia/Beirut",
)  # fmt: skip
#: the years whose changes of the clock are tried
YEARS = (2024, 2029)
#: beat is started up to so long before the clock changes or soon after, and watched for so long after it
BEFORE, SOON, AFTER = 26 * HOUR, 2 * HOUR, 30 * HOUR
MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Case:
    """A crontab, and the time in which beat ran it."""

    crontab: Crontab
    from_at: int
    to_at: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        fields = {name: getattr(self.crontab, name) for name in FIELDS}
        span = {"from_s": self.from_at / SECOND, "to_s": self.to_at / SECOND}
        return {"fields": fields, "tz": self.crontab.tz, "seed": self.seed} | span


@dataclass(slots=True)
class Outcome:
    """How beat's fires and our due times agree; `defects` are Celery's own by name, `finds` must not be."""

    celery: str
    cases: int = 0
    fires: int = 0
    matched: int = 0
    due: int = 0
    skipped: int = 0
    defects: Counter[str] = field(default_factory=Counter)
    affected: Counter[str] = field(default_factory=Counter)
    finds: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = (
            f"Celery {self.celery}: {self.cases:,} crontabs, {self.fires:,} fires, {self.matched:,} on time at a due time; "
            f"{self.due:,} due times, {self.skipped:,} of them rightly left out where the clock changes; "
            f"{len(self.finds)} not explained"
        )
        named = [
            f"  {name}: {number:,} in {self.affected[name]} crontabs" for name, number in self.defects.most_common()
        ]
        return "\n".join([said, *named])


def cases(number: int, seed: int) -> list[Case]:
    """So many cases, spread over the zones; the same seed makes the same ones."""
    chance = random.Random(seed)
    changes = {zone: list(_changes(zone)) for zone in ZONES}
    return [_case(ZONES[place % len(ZONES)], changes, chance) for place in range(number)]


def run(tried: Sequence[Case], pythons: Iterable[str]) -> list[Outcome]:
    """Let the beat of each Python's Celery run the cases, and judge what it did."""
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda python: _beat(python, tried), pythons))
    return [compared(tried, one["celery"], one["fires"]) for one in told]


def _beat(python: str, tried: Sequence[Case]) -> Any:
    text = json.dumps([case.as_json() for case in tried])
    return json.loads(subprocess.run([python, BEAT], input=text, text=True, check=True, stdout=subprocess.PIPE).stdout)


def compared(tried: Sequence[Case], celery: str, fires: Sequence[Sequence[float]]) -> Outcome:
    """What one Celery's fires (seconds, by case) come to."""
    outcome = Outcome(celery)
    for case, times in zip(tried, fires, strict=True):
        sent = [round(at * SECOND) for at in times]
        outcome.cases += 1
        outcome.fires += len(sent)
        _compare(outcome, case, sent)
    return outcome


def _compare(outcome: Outcome, case: Case, sent: Sequence[int]) -> None:
    judgement = judged(case, sent)
    outcome.due += len(judgement.verdicts)
    outcome.matched += sum(verdict.fire == "on_time" for verdict in judgement.verdicts)
    outcome.skipped += sum(verdict.fire == "dst_skipped" for verdict in judgement.verdicts)
    named: Counter[str] = Counter()
    for kind, at in deviations(judgement, sent):
        defect = crontab_defect(case.crontab, kind, at, started_at=case.from_at, version=outcome.celery)
        if defect is None:
            moment = datetime.fromtimestamp(at / SECOND, UTC)
            outcome.finds.append(f"{kind} at {moment:%Y-%m-%d %H:%M:%S} {case}")
        else:
            named[f"{kind}, {defect.name} ({defect.source})"] += 1
    outcome.defects += named
    outcome.affected.update(named.keys())


def judged(case: Case, sent: Sequence[int]) -> Judgement:
    """What the judge says of these fires of beat."""
    fires = [Fire(at, str(number), "probe", "beat") for number, at in enumerate(sent)]
    version = Version(case.from_at, None, case.crontab)
    # A case that was cut short tells nothing of what came after its last fire.
    to_at = case.to_at if len(sent) < MOST_FIRES else sent[-1]
    return judge(Facts([version], fires, [(0, to_at + DAY)]), Scope(case.from_at, to_at, to_at))


def deviations(judgement: Judgement, sent: Sequence[int]) -> Iterator[tuple[str, int]]:
    """What is not as promised, and when: "missed", "late", "duplicate" (each copy), "off_schedule"."""
    known = {verdict.fired_at for verdict in judgement.verdicts} | {extra.at for extra in judgement.extras}
    copies = {int(number) for verdict in judgement.verdicts for number in verdict.duplicates}
    # What was sent before anything was due belongs to no window: it is no less off schedule.
    yield from (("off_schedule", at) for number, at in enumerate(sent) if at not in known and number not in copies)
    for verdict in judgement.verdicts:
        if verdict.fire in ("missed", "overdue", "late"):
            yield "late" if verdict.fire == "late" else "missed", verdict.due_at
        yield from (("duplicate", verdict.due_at) for _ in verdict.duplicates)
    yield from (("off_schedule", extra.at) for extra in judgement.extras)


def _case(zone: str, changes: dict[str, list[int]], chance: random.Random) -> Case:
    change_at = chance.choice(changes[zone])
    from_at = change_at + round(chance.uniform(-BEFORE, SOON))
    local = crontabs.wall_at(change_at, crontabs.zone_of(zone))
    while True:
        line = Crontab(*_fields(chance, local), tz=zone)
        try:
            crontabs.check(line)
        except ValueError:
            continue
        return Case(line, from_at, change_at + AFTER, chance.randrange(2**31))


def _fields(chance: random.Random, local: datetime) -> Iterator[str]:
    """The five fields; those of the day are mostly open or name a day near the change, for nothing is due otherwise."""
    yield _text(chance, 0, 59, chance.randint(0, 59), 0.02)
    yield _text(chance, 0, 23, max(0, min(23, local.hour + chance.randint(-2, 2))), 0.4)
    yield _text(chance, 1, 31, local.day, 0.7)
    yield _text(chance, 1, 12, local.month, 0.85)
    yield _text(chance, 0, 6, (local.isoweekday() + chance.randint(-1, 1)) % 7, 0.7)


def _text(chance: random.Random, least: int, greatest: int, near: int, openness: float) -> str:
    if chance.random() < openness:
        return "*"
    other = chance.randint(least, greatest)
    kinds = [
        f"{near}",
        f"{near},{other}",
        f"{near}-{other}",
        f"*/{chance.randint(2, max(2, greatest // 2))}",
        f"{near}-{other}/{chance.randint(1, 9)}",
        f"{other},{near}-{min(greatest, near + 3)}",
    ]
    return chance.choice(kinds)


def _changes(zone_name: str) -> Iterator[int]:
    """When the zone's clock changes, to the minute."""
    zone = crontabs.zone_of(zone_name)
    first, last = (round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * SECOND for year in YEARS)
    yield from (change.at for change in crontabs.changes(zone, first, last))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns crontabs", description=__doc__)
    parser.add_argument("--number", type=int, default=1000, help="how many crontabs (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed tries the same ones (default %(default)s)")
    parser.add_argument("--python", action="append", help="a Python whose Celery is tried; may be given again")
    options = parser.parse_args(arguments)
    outcomes = run(cases(options.number, options.seed), options.python or [sys.executable])
    for outcome in outcomes:
        print(outcome)
        for find in outcome.finds[:MOST_TOLD]:
            print(f"  {find}")
    return 1 if any(outcome.finds for outcome in outcomes) else 0

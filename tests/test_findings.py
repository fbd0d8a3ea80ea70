"""Findings: one sentence for one incident, with its evidence and what to do, and none where nothing is proven."""

from dataclasses import replace
from datetime import datetime

import pytest

from taskledger import findings
from taskledger.crontabs import DAY, HOUR, SECOND, Crontab
from taskledger.findings import Process
from taskledger.schedules import Interval
from taskledger.ticks import Facts, Fire, Scope, Version
from taskledger.verdicts import Verdict, judge

MINUTE = 60 * SECOND
T0 = round(datetime.fromisoformat("2026-10-25T00:00:00Z").timestamp()) * SECOND
NOW = T0 + DAY
BEAT = Process("b1", "web-1 pid 7", T0, T0 + 10 * HOUR, T0 + 10 * HOUR + 5 * MINUTE, version="5.7.0")
WHOLE = [(T0 - DAY, NOW)]


def sent(at: int, number: int = 0, beat_id: str = "b1") -> Fire:
    return Fire(at, f"{at}-{number}-{beat_id}", "probe", beat_id)


def verdicts_of(definition: Crontab | Interval, fires: list[Fire]) -> list[Verdict]:
    facts = Facts([Version(T0, None, definition, last_run_at=T0)], fires, WHOLE)
    return list(judge(facts, Scope(T0, NOW, NOW)).verdicts)


def test_many_fires_in_a_short_time_are_one_storm() -> None:
    """A beat that was started in the repeated hour: one finding with the number, the cause and what to do."""
    definition = Crontab("30", "2", tz="Europe/Berlin")
    fires = [sent(T0 + 30 * MINUTE), *(sent(T0 + 65 * MINUTE + number * 3_000) for number in range(929))]
    beat = replace(BEAT, online_at=T0 + 64 * MINUTE)

    (storm,) = findings.refire_storms("nightly", definition, verdicts_of(definition, fires), fires, [beat])

    assert (storm.kind, storm.number, storm.entry, storm.severity) == ("refire_storm", 929, "nightly", "critical")
    assert storm.from_at == T0 + 65 * MINUTE
    assert "'nightly' was sent 929 times more than it was due between 2026-10-25 01:05:00 UTC" in storm.sentence
    assert "celery#10608" in storm.sentence
    assert 'timezone = "UTC"' in storm.sentence


def test_a_storm_within_the_grace_of_its_due_time_is_a_storm_too() -> None:
    """There they are duplicates of a due time, and no less a storm; without a known defect it says where to look."""
    fires = [sent(T0 + HOUR + number * 100_000) for number in range(50)]

    (storm,) = findings.refire_storms("hourly", Crontab("0"), verdicts_of(Crontab("0"), fires), fires)

    assert storm.number == 49
    assert "celery#9715" in storm.sentence
    assert "celery#10608" not in storm.sentence


@pytest.mark.parametrize("often", [1, 2])
def test_a_second_beat_and_a_manual_run_are_no_storm(often: int) -> None:
    """One more for each due time, however many due times."""
    fires = [
        sent(T0 + hour * MINUTE + copy * SECOND, beat_id=f"b{copy}") for hour in range(60) for copy in range(often)
    ]
    fires.append(sent(T0 + 5 * MINUTE + 30 * SECOND))
    definition = Crontab()

    assert findings.refire_storms("each minute", definition, verdicts_of(definition, fires), fires) == []


def test_two_beats_are_one_finding_with_both_names() -> None:
    """Whatever entries they send: how often, which, when, and by whom."""
    fires = [sent(T0 + hour * HOUR + copy * SECOND, beat_id=f"b{copy}") for hour in range(1, 4) for copy in (1, 2)]
    judged = [("hourly", verdicts_of(Crontab("0"), fires), fires)]

    finding = findings.two_beats(judged, {"b1": "web-1 pid 7"})

    assert finding is not None
    assert (finding.kind, finding.number, finding.entry) == ("two_beats", 3, None)
    assert "3 due times of hourly were sent more than once" in finding.sentence
    assert "by b2, web-1 pid 7" in finding.sentence
    single = [fire for fire in fires if fire.beat_id == "b1"]
    assert findings.two_beats([("hourly", verdicts_of(Crontab("0"), single), single)]) is None


def test_a_beat_whose_promise_is_broken_is_dead() -> None:
    """Nobody else sends: critical, and it says when it was last heard."""
    (dead,) = findings.broken_promises([BEAT], NOW, WHOLE)

    assert (dead.kind, dead.from_at, dead.to_at, dead.severity) == ("beat_dead", BEAT.promised_at, None, "critical")
    assert "beat web-1 pid 7 promised to wake by 2026-10-25 10:05:00 UTC and did not" in dead.sentence


def test_a_dead_beat_with_an_heir_is_over() -> None:
    """It was killed, and another runs since: a warning that ends where that one began."""
    heir = Process("b2", "web-2 pid 7", T0 + 11 * HOUR, NOW, NOW + MINUTE)

    (dead,) = findings.broken_promises([BEAT, heir], NOW, WHOLE)

    assert (dead.kind, dead.to_at, dead.severity) == ("beat_dead", heir.online_at, "warning")
    assert "Another beat has run since 2026-10-25 11:00:00 UTC" in dead.sentence


def test_a_beat_that_gives_news_but_no_tick_is_wedged() -> None:
    """The probe's own thread lives, beat's loop does not."""
    (wedged,) = findings.broken_promises([replace(BEAT, last_seen_at=NOW - MINUTE)], NOW, WHOLE)

    assert wedged.kind == "beat_wedged"
    assert "its loop stands still" in wedged.sentence


@pytest.mark.parametrize(
    ("process", "now_at", "coverage"),
    [
        (replace(BEAT, offline_at=T0 + 10 * HOUR, reason="stopped"), NOW, WHOLE),
        (BEAT, T0 + 10 * HOUR + 5 * MINUTE + 20 * SECOND, WHOLE),
        (BEAT, NOW, [(T0, T0 + 10 * HOUR + MINUTE), (T0 + 12 * HOUR, NOW)]),
        (replace(BEAT, promised_at=None), NOW, WHOLE),
    ],
    ids=["it said goodbye", "the promise may still be kept", "nobody listened then", "nothing was promised"],
)
def test_no_beat_is_called_dead_without_proof(process: Process, now_at: int, coverage: list[tuple[int, int]]) -> None:
    """A goodbye, a promise that still holds, a gap in what was heard, none given."""
    assert findings.broken_promises([process], now_at, coverage) == []


def test_a_beat_that_is_awake_and_sends_nothing_is_wedged() -> None:
    """Its promises hold, what is due is not sent: an entry blocks the others."""
    beat = replace(BEAT, last_seen_at=NOW - SECOND, promised_at=NOW + MINUTE)
    unsent = [("a", T0 + 3 * HOUR), ("b", T0 + 4 * HOUR), ("a", T0 + HOUR)]

    (wedged,) = findings.stuck([beat], unsent, T0 + 2 * HOUR, NOW)

    assert (wedged.kind, wedged.from_at, wedged.number) == ("beat_wedged", T0 + 3 * HOUR, 2)
    assert "celery#7649" in wedged.sentence
    assert findings.stuck([beat], unsent, T0 + 5 * HOUR, NOW) == []
    assert findings.stuck([BEAT], unsent, T0 + 2 * HOUR, NOW) == []


def test_lost_locks_are_one_finding() -> None:
    """430 restarts in 14 days are one story: how often, when last, and the reason that beat gave."""
    reason = "LockNotOwnedError: Cannot extend a lock that's no longer owned"
    lost = [replace(BEAT, beat_id=f"b{n}", offline_at=T0 + n * HOUR, reason=reason) for n in range(3)]

    finding = findings.locks_lost([*lost, replace(BEAT, offline_at=NOW, reason="stopped"), BEAT])

    assert finding is not None
    assert (finding.kind, finding.number, finding.from_at, finding.to_at) == ("lock_lost", 3, T0, T0 + 2 * HOUR)
    assert "3 times, last at 2026-10-25 02:00:00 UTC" in finding.sentence
    assert reason in finding.sentence
    assert findings.locks_lost([BEAT]) is None


def test_an_entry_that_never_fired_is_found() -> None:
    """Due so often, never sent: since when; and with the error where beat tried."""
    verdicts = verdicts_of(Crontab("0"), [])
    error = "cleanup() takes 0 positional arguments but 1 was given"
    failed = [replace(verdict, fire="failed_to_send", error=error) for verdict in verdicts]

    finding, tried = (findings.never_fired("hourly", T0, told) for told in (verdicts, failed))

    assert finding is not None
    assert tried is not None
    assert (finding.kind, finding.number) == ("never_fired", 24)
    assert "'hourly' has never been sent since 2026-10-25 00:00:00 UTC, though it was due 24 times" in finding.sentence
    assert error in tried.sentence


def test_an_entry_that_may_have_fired_is_not_called_never_fired() -> None:
    """One due time that nobody can tell about is enough, unless beat's counter says that it never ran."""
    verdicts = verdicts_of(Crontab("0"), [])
    vague = [replace(verdicts[0], fire="unknown"), *verdicts[1:]]
    fired = [replace(verdicts[0], fire="late"), *verdicts[1:]]

    assert findings.never_fired("hourly", T0, vague) is None
    assert findings.never_fired("hourly", T0, vague, has_run=False) is not None
    assert findings.never_fired("hourly", T0, verdicts, has_run=True) is None
    assert findings.never_fired("hourly", T0, fired) is None
    assert findings.never_fired("hourly", T0, []) is None


def test_a_timer_that_each_restart_resets_is_found() -> None:
    """Every six hours, but beat is started every two: the timer never runs out."""
    starts = [replace(BEAT, beat_id=f"b{n}", online_at=T0 + 2 * n * HOUR) for n in range(12)]

    finding = findings.timer_reset("cleanup", Interval(6 * 3600), starts, None, NOW)

    assert finding is not None
    assert (finding.kind, finding.number, finding.from_at) == ("timer_reset_by_restart", 12, T0)
    assert "beat was started 12 times since 2026-10-25 00:00:00 UTC and never ran longer than 2 h" in finding.sentence
    assert findings.timer_reset("often", Interval(3600), starts, None, NOW) is None
    assert findings.timer_reset("cleanup", Interval(6 * 3600), starts, NOW - MINUTE, NOW) is None
    assert findings.timer_reset("cleanup", Interval(6 * 3600), starts[:2], None, NOW) is None

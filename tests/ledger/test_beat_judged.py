"""Schedules of which the probe tells: only what beat says counts; what it could not send is told with its reason."""

from typing import Any

import pytest
from beat_stories import QUARTERS, SECOND, Beat, entry, write
from sqlalchemy import event as database_event
from sqlalchemy import select

from taskledger.ledger import Ledger, presence, query, schedule_settings, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.beat_answers import EntrySettings
from taskledger.ledger.record import Position
from taskledger.ledger.schedule_store import judge_due, keep_counts, keep_definitions, schedule, schedules
from taskledger.schedules import Crontab, Entry

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
#: 2026-11-22 10:00:00 UTC
TEN_AT = 1_795_341_600 * SECOND
CLUSTER = "default"


def at(minutes: float) -> int:
    return TEN_AT + round(minutes * MINUTE)


def listen(ledger: Ledger, from_at: int, until_at: int) -> None:
    recorder = presence.begin(ledger, "here", "1", from_at)
    coverage_id = presence.listen(ledger, recorder, CLUSTER, "pub/sub", from_at)
    presence.end(ledger, Position(coverage_id, until_at), "stopped")


def fires(ledger: Ledger, name: str, now_at: int) -> list[tuple[float, str]]:
    """Minutes after ten and verdict of each due time up to now."""
    row = schedule(ledger, name, now_at)
    assert row is not None
    return [((tick.due_at - TEN_AT) / MINUTE, tick.fire) for tick in row.ticks if tick.due_at <= now_at]


def tick(ledger: Ledger, name: str, minutes: float, now_at: int) -> Any:
    row = schedule(ledger, name, now_at)
    assert row is not None
    return next(one for one in row.ticks if one.due_at == at(minutes))


def begun(ledger: Ledger, *entries: dict[str, Any], until: float = 60, beat: Beat | None = None) -> Beat:
    """A beat with the probe, listened to from a minute before ten on."""
    beat = beat or Beat()
    listen(ledger, at(-1), at(until))
    write(ledger, beat.online(at(-0.5)), *beat.schedule(at(-0.4), *entries))
    return beat


def test_what_beat_tells_is_judged(ledger: Ledger) -> None:
    """On time, failed with its message, missed while beat went on; each with the probe as evidence."""
    beat = begun(ledger, entry("a"), entry("b"))
    write(ledger, beat.sent(at(0) + SECOND, "a", due=at(0) / SECOND, run_count=1), beat.sent(at(0), "b"))
    write(ledger, beat.failed(at(15), "a", "cannot reach the broker", due=at(15) / SECOND), beat.sent(at(15), "b"))
    write(ledger, beat.sent(at(30), "b"), beat.sent(at(45), "a"), beat.sent(at(45), "b"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(59)) == [(0, "on_time"), (15, "failed_to_send"), (30, "missed"), (45, "on_time")]
    failed = tick(ledger, "a", 15, at(59))
    assert (failed.error, failed.note) == (
        "SchedulingError: cannot reach the broker",
        "beat could not send it: SchedulingError: cannot reach the broker",
    )
    row = schedule(ledger, "a", at(59))
    assert row is not None
    assert (row.evidence, row.source, {one.evidence for one in row.ticks[:2]}) == ("probe", "probe", {"probe"})


def test_what_only_looks_like_a_send_is_none_under_the_probe(ledger: Ledger) -> None:
    """A task of the same name and arguments that somebody else sent does not make a missed due time on time."""
    from stories import decoded, task_event  # noqa: PLC0415

    beat = begun(ledger, entry("a"))
    about = {"name": "proj.add", "args": "()", "kwargs": "{}", "root_id": "x", "parent_id": None}
    write(ledger, *decoded(task_event("sent", (at(15) + SECOND) / SECOND, "x", **about)))
    write(ledger, beat.sent(at(0), "a"), beat.sent(at(30), "a"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(44)) == [(0, "on_time"), (15, "missed"), (30, "on_time")]


def test_the_probe_names_the_entry(ledger: Ledger) -> None:
    """Two entries that send the same task with the same arguments are told apart."""
    beat = begun(ledger, entry("a"), entry("b"))
    write(ledger, beat.sent(at(0), "a"), beat.sent(at(15), "b"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(29)) == [(0, "on_time"), (15, "missed")]
    assert fires(ledger, "b", at(29)) == [(0, "missed"), (15, "on_time")]


def test_where_nobody_listened_the_next_send_proves_it(ledger: Ledger) -> None:
    """Unknown at first, and for good if nothing more were heard; the run before the next send makes it known."""
    beat = Beat()
    listen(ledger, at(-1), at(10))
    listen(ledger, at(20), at(40))
    write(ledger, beat.online(at(-0.5)), *beat.schedule(at(-0.4), entry("a")), beat.sent(at(0), "a", run_count=1))
    beat.sent(at(15), "a")
    write(ledger, beat.tick(at(29.9), 10.0))
    judge_due(ledger, at(30))
    before = fires(ledger, "a", at(29))
    prev_run = (at(15) + SECOND) / SECOND
    write(ledger, beat.sent(at(30), "a", prev_run=prev_run, run_count=3), beat.tick(at(39.9), 10.0))
    judge_due(ledger, at(40))
    judge_due(ledger, at(47))
    proven = tick(ledger, "a", 15, at(39))

    assert before == [(0, "on_time"), (15, "unknown")]
    assert (proven.fire, proven.flags, proven.evidence, proven.is_final) == ("on_time", ("inferred",), "prev_run", True)
    assert proven.fired_at == at(15) + SECOND
    with ledger.read() as connection:
        counted = connection.execute(select(schema.tick_count.c.fire, schema.tick_count.c.number)).all()
    assert {row.fire: row.number for row in counted if row.number}.get("unknown", 0) == 0


@pytest.mark.parametrize("is_polled", [False, True])
def test_lost_news_is_no_proof_of_a_miss(ledger: Ledger, is_polled: bool) -> None:
    """While events of the probe are missing, what was not told of is unknown, whoever else knows the schedule."""
    if is_polled:
        keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [Entry("a", "proj.add", Crontab("*/20"))], at(-30))
    beat = begun(ledger, entry("a"))
    write(ledger, beat.sent(at(0), "a"), beat.tick(at(14), 60.0))
    beat.sent(at(15), "a")
    write(ledger, beat.tick(at(16), 840.0), beat.sent(at(30), "a"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(44)) == [(0, "on_time"), (15, "unknown"), (30, "on_time")]
    row = schedule(ledger, "a", at(61))
    assert row is not None
    assert (row.source, row.next_due_at) == ("probe", at(75))


def test_nothing_is_missed_while_beat_may_yet_tell(ledger: Ledger) -> None:
    """A beat that was not heard of since keeps its promise first; once that is broken, what was due is missed."""
    beat = begun(ledger, entry("a"))
    write(ledger, beat.sent(at(0), "a"), beat.tick(at(0.1), 1860.0))
    assert judge_due(ledger, at(31)) == 1
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(29)) == [(0, "on_time"), (15, "missed")]


def test_the_app_is_believed_where_beat_is_silent(ledger: Ledger) -> None:
    """What was polled is in force before the probe speaks, and again ten minutes after the last beat with it went."""
    source = "proj (beat_schedule)"
    keep_definitions(ledger, CLUSTER, source, [Entry("a", "proj.add", Crontab("*/20"))], at(-30))
    beat = begun(ledger, entry("a"), until=120)
    write(ledger, beat.sent(at(15), "a"), beat.offline(at(20)))
    history = query.schedule_history(ledger, "a")

    assert [((one.valid_from_at - TEN_AT) / MINUTE, one.source, one.expression) for one in history] == [
        (30, source, "*/20 * * * *"),
        (-0.4, "probe", "*/15 * * * *"),
        (-30, source, "*/20 * * * *"),
    ]
    assert [(one.field, one.before, one.after) for one in history[1].changes] == [
        ("schedule", "every 20 minutes (*/20 * * * *)", "every 15 minutes (*/15 * * * *)")
    ]


def test_beats_database_comes_before_the_app(ledger: Ledger) -> None:
    """An app's settings neither change nor close what a database of beat's says, until that was not read for long."""
    one = Entry("a", "proj.add", Crontab("*/20"))
    keep_definitions(ledger, CLUSTER, "django-celery-beat", [one], at(0))

    assert keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [Entry("a", "proj.add", Crontab())], at(1)) == 0
    assert keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [], at(2)) == 0
    assert keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [Entry("a", "proj.add", Crontab())], at(11)) == 1


def test_counters_are_kept_when_they_change(ledger: Ledger) -> None:
    """The same reading again is no row; an entry nobody knows is left out."""
    keep_definitions(ledger, CLUSTER, "django-celery-beat", [Entry("a", "proj.add", Crontab())], at(0))

    assert keep_counts(ledger, CLUSTER, [("a", at(0), 5), ("b", at(0), 1)], at(1)) == 1
    assert keep_counts(ledger, CLUSTER, [("a", at(0), 5)], at(2)) == 0
    assert keep_counts(ledger, CLUSTER, [("a", at(3), 6)], at(3)) == 1


@pytest.mark.parametrize("grace_s", [None, 300.0])
def test_an_entry_has_its_own_grace(ledger: Ledger, grace_s: float | None) -> None:
    """Three minutes are late by default, and on time for an entry that may be five late."""
    beat = begun(ledger, entry("a"))
    schedule_settings.keep(ledger, "a", EntrySettings(grace_s=grace_s), at(0))
    write(ledger, beat.sent(at(3), "a"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(30))

    assert fires(ledger, "a", at(10)) == [(0, "late" if grace_s is None else "on_time")]
    found = schedule(ledger, "a", at(30))
    assert found is not None
    assert found.settings == EntrySettings(grace_s=grace_s)


def test_ticks_are_counted_by_day(ledger: Ledger) -> None:
    """The adherence is what the counts of the days say."""
    beat = begun(ledger, entry("a"))
    write(ledger, *(beat.sent(at(minutes), "a") for minutes in (0, 15, 31.5)), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))
    row = schedule(ledger, "a", at(60))

    assert row is not None
    assert row.adherence is not None
    assert (row.adherence.on_time, row.adherence.late, row.adherence.missed) == (2, 1, 0)
    assert row.adherence.percent == pytest.approx(66.67, abs=0.01)


def test_extras_are_kept_and_a_storm_is_found(ledger: Ledger) -> None:
    """Forty sends within a minute at a time when nothing is due are kept, and told as one finding."""
    hourly = QUARTERS | {"minute": "0"}
    beat = begun(ledger, entry("a", hourly), until=180)
    write(ledger, beat.sent(at(0), "a"))
    write(ledger, *(beat.sent(at(20) + number * SECOND, "a") for number in range(40)), beat.sent(at(60), "a"))
    write(ledger, beat.sent(at(120), "a"), beat.tick(at(170), 600.0))
    judge_due(ledger, at(180))
    storms = [one for one in query.findings(ledger, at(175)) if one.kind == "refire_storm"]

    with ledger.read() as connection:
        assert len(connection.execute(select(schema.extra_fire)).all()) == 40
    assert [(one.entry, one.number, one.severity) for one in storms] == [("a", 40, "alarm")]


def test_two_beats_are_found_and_named(ledger: Ledger) -> None:
    """Two processes that send the same entry at the same time: a duplicate, and a finding with both names."""
    one, two = Beat("b1", "gen7@left"), Beat("b2", "gen8@right")
    begun(ledger, entry("a"), beat=one)
    write(ledger, two.online(at(-0.3)), *two.schedule(at(-0.2), entry("a")))
    write(ledger, one.sent(at(0), "a"), two.sent(at(0) + SECOND, "a"))
    write(ledger, one.tick(at(14), 840.0), two.tick(at(14), 840.0), one.sent(at(15), "a"))
    judge_due(ledger, at(30))

    assert set(tick(ledger, "a", 0, at(14)).flags) == {"duplicate", "two_beats"}
    found = [finding for finding in query.findings(ledger, at(16)) if finding.kind == "two_beats"]
    assert len(found) == 1
    assert "left (pid 7)" in found[0].sentence
    assert "right (pid 7)" in found[0].sentence


def test_a_beat_that_broke_its_promise_is_dead(ledger: Ledger) -> None:
    """It is silent once its promise is over; where nobody listened then, that is not known."""
    beat = begun(ledger, entry("a"))
    write(ledger, beat.sent(at(0), "a", due=at(0) / SECOND), beat.tick(at(0.1), 300.0))

    assert [row.state for row in query.beats(ledger, at(5))] == ["online"]
    assert [(row.state, row.lag_p95_s, row.lost) for row in query.beats(ledger, at(10))] == [("silent", 0.0, 0)]
    assert [one.kind for one in query.findings(ledger, at(10))] == ["beat_dead"]
    verdict = query.beat_verdict(ledger, Span(at(-1), at(10)), at(10))
    assert verdict is not None
    assert verdict.state == "not_well"


@pytest.mark.parametrize(("sent", "state"), [((0, 15, 30), "well"), ((0, 30), "not_well"), ((0, 15, 33), "not_well")])
def test_whether_all_is_well(ledger: Ledger, sent: tuple[int, ...], state: str) -> None:
    """Well when all was sent on time; not if one was missed or late, which is said."""
    beat = begun(ledger, entry("a"))
    write(ledger, *(beat.sent(at(minutes), "a") for minutes in sent), beat.tick(at(44), 600.0))
    judge_due(ledger, at(46))
    verdict = query.beat_verdict(ledger, Span(at(-1), at(44)), at(44), entry="a")

    assert verdict is not None
    assert verdict.state == state
    assert bool(verdict.problems) == (state == "not_well")
    assert query.beat_verdict(ledger, Span(at(0), at(1)), at(44), entry="none") is None


def test_what_nobody_heard_cannot_be_told(ledger: Ledger) -> None:
    """Unknown due times are neither well nor not well; no schedule at all is no answer either."""
    empty = query.beat_verdict(ledger, Span(at(0), at(1)), at(2))
    assert empty is not None
    assert empty.state == "cannot_tell"
    keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [Entry("a", "proj.add", Crontab("*/15"))], at(-5))
    listen(ledger, at(-4), at(-3))
    listen(ledger, at(40), at(60))
    judge_due(ledger, at(60))
    verdict = query.beat_verdict(ledger, Span(at(-1), at(30)), at(50))

    assert verdict is not None
    assert (verdict.state, verdict.counts.unknown) == ("cannot_tell", 2)
    assert "nobody was listening" in verdict.unknown[0]


def test_a_schedule_that_only_beat_knows_is_judged_by_what_it_announced(ledger: Ledger) -> None:
    """Of a solar schedule the announced due times are held against its sends."""
    sunset = {"type": "solar", "text": "sunset", "tz": "UTC"}
    beat = begun(ledger, entry("sun", sunset, next_due=at(5) / SECOND))
    write(ledger, beat.sent(at(5), "sun", next_due=at(20) / SECOND), beat.tick(at(6), 840.0), beat.tick(at(21), 840.0))
    write(ledger, beat.tick(at(59.9), 600.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "sun", at(30)) == [(5, "on_time"), (20, "overdue")]


@pytest.mark.parametrize("entries", [3, 40])
def test_the_number_of_questions_does_not_grow(ledger: Ledger, entries: int) -> None:
    """However many entries there are, the list of schedules and the verdicts take the same number of statements."""
    beat = begun(ledger, *(entry(f"e{number:03}", args=f"[{number}]") for number in range(entries)))
    for minutes in (0, 15):
        write(ledger, *(beat.sent(at(minutes), f"e{number:03}") for number in range(entries)))
    write(ledger, beat.tick(at(31), 600.0))
    asked: list[str] = []
    database_event.listen(ledger.engine, "after_cursor_execute", lambda *told: asked.append(told[2]))
    judge_due(ledger, at(32))
    judged = len(asked)
    schedules(ledger, at(32))
    listed = len(asked) - judged
    query.findings(ledger, at(32))

    assert 10 <= judged <= 40
    assert 5 <= listed <= 20
    assert len(asked) - judged - listed <= 30


def test_judging_again_and_by_two_changes_nothing(ledger: Ledger) -> None:
    """A second judgement of the same finds nothing new, and the counts stay."""
    beat = begun(ledger, entry("a"))
    write(ledger, *(beat.sent(at(minutes), "a") for minutes in (0, 15, 30)), beat.tick(at(59.9), 60.0))

    assert judge_due(ledger, at(60)) == 3
    assert judge_due(ledger, at(60)) == 0
    with ledger.read() as connection:
        assert connection.execute(select(schema.tick_count.c.number)).scalars().all() == [3]


def test_how_its_tasks_ran_is_flagged(ledger: Ledger) -> None:
    """A run into the next due time, one that took longer than was set for the entry, one that was delivered twice."""
    from stories import decoded, succeeded, task_event  # noqa: PLC0415

    beat = begun(ledger, entry("a"))
    sends = [beat.sent(at(minutes), "a") for minutes in (0, 15, 30)]
    ids = [send.task_id or "" for send in sends]
    long = succeeded(at(0) / SECOND, ids[0])[:-1]
    twice = task_event("received", at(31) / SECOND, ids[2], name="proj.add", retries=0, hostname="w2@vm")
    write(ledger, *sends, *decoded(*long, task_event("succeeded", at(16) / SECOND, ids[0], runtime=960.0)))
    write(ledger, *decoded(*succeeded(at(15) / SECOND, ids[1]), *succeeded(at(30) / SECOND, ids[2]), twice))
    write(ledger, beat.tick(at(44), 60.0))

    unset = [tick(ledger, "a", minutes, at(44)).flags for minutes in (0, 15, 30)]
    schedule_settings.keep(ledger, "a", EntrySettings(max_runtime_s=600.0), at(44))

    assert unset == [("overran",), (), ("redelivered",)]
    assert tick(ledger, "a", 0, at(44)).flags == ("overran", "too_long")
    assert tick(ledger, "a", 30, at(44)).remark == "delivered more than once"


def test_what_the_probe_told_of_one_is_no_send_of_another(ledger: Ledger) -> None:
    """Where news was lost, a look-alike's send, which the probe told of, is not taken for one of the entry's own."""
    beat = begun(ledger, entry("a"), entry("b"))
    write(ledger, beat.sent(at(0), "a"), beat.sent(at(0), "b"), beat.tick(at(14), 60.0))
    beat.sent(at(15), "a")
    write(ledger, beat.sent(at(15), "b"), beat.tick(at(16), 840.0), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(16)) == [(0, "on_time"), (15, "unknown")]
    assert fires(ledger, "b", at(16)) == [(0, "on_time"), (15, "on_time")]


def test_a_change_of_redbeat_was_made_some_time_before(ledger: Ledger) -> None:
    """Its probe only looks for changes now and then: what was due since the look before is not missed."""
    beat, rarely = Beat(), entry("a", QUARTERS | {"minute": "*/20"})
    listen(ledger, at(-1), at(60))
    write(ledger, beat.online(at(-0.5), scheduler="redbeat.schedulers.RedBeatScheduler"))
    write(ledger, *beat.schedule(at(-0.4), entry("a")), beat.sent(at(0), "a"), beat.tick(at(15.2), 840.0))
    write(ledger, *beat.schedule(at(15.4), rarely), beat.sent(at(20), "a"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(21)) == [(0, "on_time"), (15, "unknown"), (20, "on_time")]


def test_beats_counters_do_not_weaken_what_its_probe_says(ledger: Ledger) -> None:
    """A counter that was not read since makes nothing unknown where the probe would have told of a send."""
    beat = begun(ledger, entry("a"))
    keep_counts(ledger, CLUSTER, [("a", at(0), 1)], at(1))
    write(ledger, beat.sent(at(0), "a"), beat.sent(at(30), "a"), beat.tick(at(59.9), 60.0))
    judge_due(ledger, at(60))

    assert fires(ledger, "a", at(31)) == [(0, "on_time"), (15, "missed"), (30, "on_time")]


def test_the_probe_is_in_force_while_its_beat_lives(ledger: Ledger) -> None:
    """What is polled beside it will count when the probe is silent for long, and not before."""
    beat = begun(ledger, entry("a"))
    keep_definitions(ledger, CLUSTER, "proj (beat_schedule)", [Entry("a", "proj.add", Crontab("*/15"))], at(-0.9))
    write(ledger, beat.sent(at(0), "a"), beat.tick(at(1), 840.0))

    now, later = schedule(ledger, "a", at(2)), schedule(ledger, "a", at(40))
    assert now is not None
    assert later is not None
    assert (now.source, later.source) == ("probe", "proj (beat_schedule)")
    assert query.schedule_history(ledger, "a", at(2))[0].source == "probe"

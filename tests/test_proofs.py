"""Proofs: what beat remembers tells of runs that nobody heard, and no more than that."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskledger.crontabs import DAY, HOUR, SECOND, Crontab
from taskledger.schedules import Clocked, Definition, Interval, Unverifiable
from taskledger.states import State
from taskledger.ticks import Anchor, Count, Facts, Fire, Scope, Version
from taskledger.verdicts import Delivery, Judgement, Verdict, judge, outcome, run_flags

MINUTE = 60 * SECOND
T0 = round(datetime.fromisoformat("2026-06-10T00:00:00Z").timestamp()) * SECOND
HOURLY = Crontab("0")
#: nobody listened from 01:30 to 03:30
GAP = [(T0 - DAY, T0 + 90 * MINUTE), (T0 + 210 * MINUTE, T0 + DAY)]
WHOLE = [(T0 - DAY, T0 + 2 * DAY)]


def fire(at: int, run_count: int | None = None, prev_run_at: int | None = None, beat_id: str = "b1") -> Fire:
    return Fire(at, f"task-{at}", "probe", beat_id, run_count=run_count, prev_run_at=prev_run_at)


def heard(at: int) -> Fire:
    return Fire(at, f"task-{at}", "task-sent", "gen1@host")


def facts(fires: list[Fire], **known: object) -> Facts:
    return replace(Facts([Version(T0, None, HOURLY)], fires, WHOLE), **known)  # type: ignore[arg-type]


def verdicts_of(known: Facts, *, to_at: int = T0 + 6 * HOUR, now_at: int = T0 + 6 * HOUR) -> list[Verdict]:
    return list(judge(known, Scope(T0, to_at, now_at)).verdicts)


def said(known: Facts, **times: int) -> list[tuple[str, tuple[str, ...]]]:
    return [(verdict.fire, verdict.flags) for verdict in verdicts_of(known, **times)]


ON_TIME = ("on_time", ())
UNKNOWN = ("unknown", ())
MISSED = ("missed", ())


def test_a_later_fire_proves_the_run_before_it() -> None:
    """What was unknown becomes on time by the memory of the next fire; the one before that stays unknown."""
    fires = [fire(T0, 0), fire(T0 + HOUR, 1, T0), fire(T0 + 4 * HOUR, 4, T0 + 3 * HOUR + SECOND)]

    known = verdicts_of(facts(fires, coverage=GAP), to_at=T0 + 5 * HOUR)

    assert [verdict.fire for verdict in known] == ["on_time", "on_time", "unknown", "on_time", "on_time"]
    assert known[3].flags == ("inferred",)
    assert (known[3].fired_at, known[3].task_id, known[3].source) == (T0 + 3 * HOUR + SECOND, None, "prev_run")


def test_a_run_long_after_its_due_time_is_proven_late() -> None:
    """Lateness is reckoned from the moment that beat remembers."""
    fires = [fire(T0 + HOUR, 1, T0), fire(T0 + 4 * HOUR, 3, T0 + 2 * HOUR + 20 * MINUTE)]

    known = verdicts_of(facts(fires, coverage=GAP), to_at=T0 + 5 * HOUR)

    assert (known[2].fire, known[2].lateness_s, known[2].flags) == ("late", 1200.0, ("inferred",))


@pytest.mark.parametrize(
    ("run_count", "beat_id"),
    [(0, "b2"), (None, "b2"), (2, "b1")],
    ids=["a beat without a memory takes its start for a run", "no count", "no run since the fire before"],
)
def test_what_beat_remembers_is_no_run_unless_it_counted_one(run_count: int | None, beat_id: str) -> None:
    """The moment at which beat started, or loaded an entry anew, is not taken for a run."""
    fires = [fire(T0 + HOUR, 1, T0), fire(T0 + 4 * HOUR, run_count, T0 + 3 * HOUR + SECOND, beat_id)]

    assert said(facts(fires, coverage=GAP), to_at=T0 + 5 * HOUR)[3] == UNKNOWN


def test_a_counter_alone_proves_no_send() -> None:
    """Beat counts what it cannot send as well: in a gap nobody knows which it was, and its source says why."""
    counts = [Count(T0 + 70 * MINUTE, T0 + HOUR, 8), Count(T0 + 4 * HOUR - MINUTE, T0 + 3 * HOUR, 10)]

    known = facts([heard(T0), heard(T0 + HOUR), heard(T0 + 4 * HOUR)], coverage=GAP, counts=counts)

    assert said(known)[:5] == [ON_TIME, ON_TIME, UNKNOWN, UNKNOWN, ON_TIME]
    assert [verdict.source for verdict in verdicts_of(known)][2:4] == [None, "counter"]


def test_a_counter_that_went_on_without_a_message_is_a_send_that_failed() -> None:
    """Beat counts a run before it sends it: where a send would have been heard, silence means that it failed."""
    counts = [Count(T0 + MINUTE, T0, 8), Count(T0 + HOUR + MINUTE, T0 + HOUR + SECOND, 9)]

    known = verdicts_of(facts([heard(T0)], counts=counts), to_at=T0 + 2 * HOUR, now_at=T0 + 3 * HOUR)

    assert (known[1].fire, known[1].flags, known[1].source) == ("failed_to_send", ("inferred",), "counter")
    assert known[1].fired_at == T0 + HOUR + SECOND


@pytest.mark.parametrize("known", [{"hears_sends": False}, {"coverage": GAP}])
def test_silence_proves_nothing_where_a_send_would_not_be_heard(known: dict[str, object]) -> None:
    """Where only workers tell of tasks, or nobody listens, the run is known, and not whether it failed."""
    counts = [Count(T0 + MINUTE, T0, 8), Count(T0 + 2 * HOUR + MINUTE, T0 + 2 * HOUR, 10)]

    told = said(facts([heard(T0), heard(T0 + HOUR)], counts=counts, **known))

    assert told[2] == UNKNOWN


def test_a_counter_that_went_on_by_several_tells_of_all_or_of_its_last() -> None:
    """As many runs as silent due times: all failed. Fewer: only of the last is that known; none was sent either way."""
    several = [Count(T0 + MINUTE, T0, 8), Count(T0 + 4 * HOUR, T0 + 3 * HOUR + SECOND, 11)]
    fewer = [several[0], replace(several[1], run_count=10)]
    failed = ("failed_to_send", ("inferred",))

    assert said(facts([heard(T0)], counts=several))[:4] == [ON_TIME, failed, failed, failed]
    assert said(facts([heard(T0)], counts=fewer))[:4] == [ON_TIME, MISSED, MISSED, failed]


def test_due_times_that_are_judged_already_count_among_the_silent() -> None:
    """Two runs for four due times prove no failure of any, whichever of them are asked about."""
    known = facts([heard(T0)], counts=[Count(T0 + MINUTE, T0, 8), Count(T0 + 5 * HOUR, T0 + 4 * HOUR + SECOND, 10)])

    middle = judge(known, Scope(T0 + 2 * HOUR, T0 + 4 * HOUR, T0 + 6 * HOUR)).verdicts

    assert [verdict.fire for verdict in middle] == ["missed", "missed"]


def test_runs_that_were_heard_are_not_counted_twice() -> None:
    """Three runs and three messages: the due time without one was missed."""
    counts = [Count(T0 + MINUTE, T0, 8), Count(T0 + 5 * HOUR, T0 + 4 * HOUR, 11)]
    fires = [heard(T0), heard(T0 + HOUR), heard(T0 + 3 * HOUR), heard(T0 + 4 * HOUR)]

    assert said(facts(fires, counts=counts))[:5] == [ON_TIME, ON_TIME, MISSED, ON_TIME, ON_TIME]


def test_two_beats_that_overwrite_each_others_counts_prove_no_number() -> None:
    """What several beats counted together says nothing of a due time that neither sent."""
    counts = [Count(T0 + MINUTE, T0, 8), Count(T0 + 5 * HOUR, T0 + 4 * HOUR, 18)]
    fires = [heard(T0), replace(heard(T0 + HOUR), beat_id="gen2@host"), heard(T0 + 3 * HOUR), heard(T0 + 4 * HOUR)]

    assert said(facts(fires, counts=counts))[2] == MISSED


def test_a_counter_that_began_anew_proves_its_last_run_only() -> None:
    """A one-off entry's counter goes back to 0; a time that changed while the count did not is no run."""
    anew = [Count(T0 + MINUTE, T0, 8), Count(T0 + 4 * HOUR, T0 + 3 * HOUR, 1)]
    moved = [Count(T0 + MINUTE, T0, 8), Count(T0 + 4 * HOUR, T0 + 3 * HOUR, 8)]

    assert said(facts([heard(T0)], counts=anew))[1:4] == [MISSED, MISSED, ("failed_to_send", ("inferred",))]
    assert said(facts([heard(T0)], counts=moved))[1:4] == [MISSED, MISSED, MISSED]


def test_nothing_is_missed_before_the_counter_has_spoken() -> None:
    """Django's is written every three minutes: until then, what was not heard is unknown."""
    known = facts([heard(T0)], counts=[Count(T0 + MINUTE, T0, 8)], counted_until_at=T0 + 3 * HOUR)

    assert said(known)[1:4] == [MISSED, MISSED, UNKNOWN]


def test_the_probe_tells_of_failures_itself() -> None:
    """Where it was heard before, a run that it did not tell of is lost news, and not a failed send."""
    counts = [Count(T0 + MINUTE, T0, 8), Count(T0 + HOUR + MINUTE, T0 + HOUR, 9)]

    assert said(facts([fire(T0, 7)], counts=counts))[1] == UNKNOWN


def test_an_interval_is_counted_from_a_proven_run() -> None:
    """After a gap the due times hang on what beat remembers, not on what was reckoned without it."""
    version = Version(T0, None, Interval(3600), last_run_at=T0 - HOUR)
    fires = [fire(T0, 5, T0 - HOUR), fire(T0 + HOUR, 6, T0), fire(T0 + 230 * MINUTE, 8, T0 + 170 * MINUTE)]

    known = verdicts_of(Facts([version], fires, GAP), to_at=T0 + 5 * HOUR)

    assert [(verdict.due_at - T0) // MINUTE for verdict in known] == [0, 60, 120, 230, 290]
    assert (known[2].fire, known[2].lateness_s, known[2].flags) == ("late", 3000.0, ("inferred",))
    assert (known[3].fire, known[3].lateness_s) == ("on_time", 0.0)


def test_what_is_due_once_or_as_announced_is_judged() -> None:
    """A clocked entry has one due time; a custom schedule those that beat announced, however often."""
    clocked = Facts([Version(T0, None, Clocked(T0 + HOUR))], [heard(T0 + HOUR)], WHOLE)
    dues = [T0 + HOUR, T0 + HOUR + 300, T0 + 3 * HOUR]
    sunset = Facts([Version(T0, None, Unverifiable("solar", "sunset"))], [heard(T0 + HOUR)], WHOLE, dues)

    assert said(clocked) == [ON_TIME]
    assert said(replace(clocked, fires=[])) == [("overdue", ())]
    assert said(sunset) == [ON_TIME, ("overdue", ())]
    assert said(replace(sunset, explicit_dues=())) == []


def test_nothing_is_due_before_an_entry_starts_or_once_it_has_expired() -> None:
    """Its start and its expiry bound what is due."""
    version = Version(T0, None, HOURLY, starts_at=T0 + 2 * HOUR, expires_at=T0 + 4 * HOUR)

    known = verdicts_of(Facts([version], [], WHOLE))

    assert [verdict.due_at for verdict in known] == [T0 + 2 * HOUR, T0 + 3 * HOUR]


@pytest.mark.parametrize("definition", [HOURLY, Interval(3600)])
def test_a_one_off_entry_is_due_until_it_has_run(definition: Definition) -> None:
    """After its first fire, a failed one too, nothing is due; after one that nobody could hear, nobody knows."""
    version = Version(T0, None, definition, one_off=True, last_run_at=T0 - HOUR)
    failed = replace(heard(T0 + HOUR), error="no broker")

    assert said(Facts([version], [failed], WHOLE)) == [MISSED, ("failed_to_send", ())]
    later = said(Facts([version], [], [(T0 + 90 * MINUTE, T0 + 9 * HOUR)]))
    assert set(later) == {UNKNOWN}
    assert verdicts_of(Facts([version], [heard(T0 - SECOND // 2)], WHOLE))[0].fire == "on_time"


def test_a_one_off_entry_that_ran_before_is_not_due() -> None:
    """Whether that is told by a fire or by what the ledger kept of it."""
    version = Version(T0 - DAY, None, HOURLY, one_off=True)
    known = Facts([version], [], WHOLE)

    assert verdicts_of(replace(known, fires=[heard(T0 - 2 * HOUR)])) == []
    scope = Scope(T0, T0 + 3 * HOUR, T0 + 6 * HOUR, anchor=Anchor(T0 - HOUR, is_fire=True))
    assert judge(known, scope).verdicts == ()


def test_an_edit_of_what_is_sent_does_not_cut_a_window() -> None:
    """Daily, beat was down, the arguments were edited meanwhile: the catch-up fire is that day's, and late."""
    daily = Crontab("0", "3")
    versions = [Version(T0, T0 + 8 * HOUR, daily), Version(T0 + 8 * HOUR, None, daily)]

    judgement = judge(Facts(versions, [heard(T0 + 9 * HOUR)], WHOLE), Scope(T0, T0 + DAY, T0 + 20 * HOUR))

    assert [(verdict.fire, verdict.lateness_s) for verdict in judgement.verdicts] == [("late", 21600.0)]
    assert judgement.extras == ()


@pytest.mark.parametrize(
    ("deliveries", "flags"),
    [
        ([Delivery(0, T0, T0 + MINUTE)], ()),
        ([Delivery(0, T0, T0 + MINUTE), Delivery(1, T0 + 2 * MINUTE, T0 + 3 * MINUTE)], ()),
        ([Delivery(0, T0, None), Delivery(0, T0 + 2 * MINUTE, T0 + 3 * MINUTE)], ("redelivered", "too_long")),
        ([Delivery(0, T0, T0 + HOUR)], ("too_long",)),
        ([Delivery(0, T0, T0 + HOUR + SECOND)], ("overran", "too_long")),
        ([Delivery(0, T0 + HOUR + SECOND, T0 + HOUR + MINUTE)], ()),
        ([Delivery(0, None, None)], ()),
    ],
)
def test_how_a_task_ran_is_flagged(deliveries: list[Delivery], flags: tuple[str, ...]) -> None:
    """Delivered twice (a retry is not), still running at the next due time, longer than it may."""
    assert run_flags(deliveries, T0 + HOUR, T0 + 50 * MINUTE, 1800.0) == flags


def test_how_long_a_worker_has_to_receive_it_can_be_set() -> None:
    """Nobody received it for a minute: waiting by default, not received where 30 s were allowed."""
    known = (State.PENDING, None, T0, T0 + MINUTE, WHOLE)

    assert (outcome(*known), outcome(*known, receive_within_s=30.0)) == ("waiting", "not_received")


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    """Fires of one or two beats on and off an hourly schedule, with what they remember, in a coverage with holes."""
    count, last_at, fires, counts = draw(st.integers(0, 3)), None, [], []
    for hour in range(8):
        at = T0 + hour * HOUR + draw(st.sampled_from([0, 0, 20, 300, 1800])) * SECOND
        if draw(st.integers(0, 4)) == 0:
            continue
        is_heard = draw(st.integers(0, 3)) > 0
        beat_id = draw(st.sampled_from(["b1", "b1", "b2"]))
        error = draw(st.sampled_from([None, None, None, "no broker"]))
        if is_heard:
            fires.append(replace(fire(at, count, last_at, beat_id), error=error))
        count, last_at = count + 1, at
        if draw(st.booleans()):
            counts.append(Count(at + 5 * MINUTE, last_at, count))
    spans = draw(st.sampled_from([WHOLE, GAP, [(T0 - DAY, T0 + 100 * MINUTE)], [(T0 + 3 * HOUR, T0 + DAY)]]))
    source = draw(st.sampled_from(["probe", "task-sent"]))
    if source == "task-sent":
        fires = [replace(one, source=source, prev_run_at=None, run_count=None) for one in fires]
    return facts(fires, coverage=spans, counts=counts if source == "task-sent" else [])


def judged(known: Facts, now_at: int = T0 + DAY) -> Judgement:
    return judge(known, Scope(T0, T0 + 8 * HOUR, now_at))


@settings(max_examples=200, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_facts_and_their_repetition_change_nothing(known: Facts, chance: object) -> None:
    """Shuffled, and told twice: the same verdicts and extras."""
    fires, counts = [*known.fires, *known.fires], [*known.counts, *known.counts]
    chance.shuffle(fires)  # type: ignore[attr-defined]
    chance.shuffle(counts)  # type: ignore[attr-defined]

    assert judged(replace(known, fires=fires, counts=counts)) == judged(known)


@settings(max_examples=300, deadline=None)
@given(worlds(), st.integers(1, 8 * 60))
def test_a_final_verdict_stays(known: Facts, minutes: int) -> None:
    """What was judged when its window had closed is never judged otherwise by what is learned later.

    But what was unknown may be proven, and what a counter had not told of yet may turn out missed.
    """
    now_at = T0 + minutes * MINUTE
    before = replace(
        known,
        fires=[one for one in known.fires if one.at <= now_at],
        counts=[one for one in known.counts if one.at <= now_at],
        # A counter that was read after a run, and stood still, is none of these worlds.
        counted_until_at=max([T0, *(one.at for one in known.counts if one.at <= now_at)]) if known.counts else None,
    )
    later = {verdict.due_at: verdict for verdict in judged(known).verdicts}
    for verdict in judged(before, now_at).verdicts:
        if verdict.closes_at > now_at:
            continue
        now = later[verdict.due_at]
        was_counted = before.counted_until_at is None or verdict.closes_at <= before.counted_until_at
        may_be = "inferred" in now.flags or (now.fire == "missed" and not was_counted)
        assert now == verdict or (verdict.fire == "unknown" and may_be)


def test_after_an_edit_an_interval_is_counted_from_the_last_run() -> None:
    """What was missed by the old rule does not count: by the new one it is due at once, and then from that send on."""
    versions = [Version(T0, T0 + 20 * MINUTE, Interval(240.0)), Version(T0 + 20 * MINUTE, None, Interval(360.0))]
    fires = [heard(T0 + minutes * MINUTE) for minutes in (4, 20, 26)]

    found = verdicts_of(facts(fires, versions=versions), to_at=T0 + 27 * MINUTE, now_at=T0 + HOUR)

    said = [((verdict.due_at - T0) // MINUTE, verdict.fire) for verdict in found]
    assert said == [(4, "on_time"), (8, "missed"), (12, "missed"), (16, "missed"), (20, "on_time"), (26, "on_time")]

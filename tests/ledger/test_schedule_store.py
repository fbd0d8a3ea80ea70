"""The schedule in the ledger: definitions with their history, fires found among the tasks, verdicts that stay."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from taskledger.events import Event, canonical, decode
from taskledger.ledger import Ledger, presence, schema
from taskledger.ledger.record import Batch, Position, record
from taskledger.ledger.schedule_store import judge_due, keep_definitions, schedule, schedules
from taskledger.schedules import Crontab, Definition, Entry, Interval, Unverifiable

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
#: 2026-11-22 10:00:00 UTC
TEN_AT = 1_795_341_600 * SECOND
CLUSTER = "default"
SOURCE = "proj (beat_schedule)"


class Stage:
    """A ledger in which somebody listens, a schedule is known, and beat sends."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recorder = presence.begin(ledger, "here", "1", TEN_AT - HOUR)
        self._sent = 0

    def listen(self, from_at: int, until_at: int, cluster: str = CLUSTER) -> None:
        coverage_id = presence.listen(self.ledger, self.recorder, cluster, "pub/sub", from_at)
        presence.end(self.ledger, Position(coverage_id, until_at), "stopped")

    def keep(self, *entries: Entry, at: int = TEN_AT) -> int:
        return keep_definitions(self.ledger, CLUSTER, SOURCE, entries, at)

    def send(
        self, at: int, name: str = "proj.add", *, types: tuple[str, ...] = ("sent", "received"), **more: Any
    ) -> str:
        """What beat sends at that moment, as events; the task's id."""
        self._sent += 1
        task_id = str(UUID(int=self._sent))
        fields = {"uuid": task_id, "name": name, "args": "()", "kwargs": "{}", "root_id": task_id, "parent_id": None}
        for number, kind in enumerate(types):
            host = "gen1@beat" if kind == "sent" else "w1@host"
            about = fields | more if kind in ("sent", "received") else {"uuid": task_id}
            self.event(f"task-{kind}", at + number * SECOND // 10, {"hostname": host} | about)
        return task_id

    def hear_beat(self, **more: Any) -> None:
        """Beat sends before anything is judged: its task-sent events are on."""
        self.send(TEN_AT - 30 * SECOND, **more)

    def event(self, kind: str, at: int, fields: dict[str, Any]) -> None:
        item = decode(canonical({"type": kind, "timestamp": at / SECOND, **fields}))[0]
        assert isinstance(item, Event)
        record(self.ledger, Batch(CLUSTER, [item], received_at=at))

    def ticks(self, name: str, now_at: int) -> list[tuple[float, str, str | None]]:
        """Minutes after ten, fire and outcome of each due time up to now."""
        row = schedule(self.ledger, name, now_at)
        assert row is not None
        return [
            ((tick.due_at - TEN_AT) / MINUTE, tick.fire, tick.outcome) for tick in row.ticks if tick.due_at <= now_at
        ]


@pytest.fixture
def stage(ledger: Ledger) -> Stage:
    return Stage(ledger)


QUARTERS = Crontab("*/15")


def entry(name: str = "often", schedule: Definition = QUARTERS, **more: Any) -> Entry:
    return Entry(name=name, task="proj.add", schedule=schedule, **more)


def versions(ledger: Ledger) -> list[tuple[int, int | None]]:
    table = schema.schedule_version.c
    with ledger.read() as connection:
        rows = connection.execute(
            select(table.valid_from_at, table.valid_to_at).order_by(table.valid_from_at, table.id)
        )
        return [(row.valid_from_at, row.valid_to_at) for row in rows]


def test_a_definition_that_stays_the_same_stays_one_version(stage: Stage) -> None:
    """Reading an unchanged schedule again only moves the time it was read."""
    assert stage.keep(entry()) == 1
    assert stage.keep(entry(), at=TEN_AT + HOUR) == 0

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert (row.read_at, row.source, row.words) == (TEN_AT + HOUR, SOURCE, "every 15 minutes")
    assert versions(stage.ledger) == [(TEN_AT, None)]


def test_an_edit_closes_one_version_and_opens_the_next(stage: Stage) -> None:
    """A changed definition ends the version before at the moment the change was read."""
    stage.keep(entry())
    stage.keep(entry(schedule=Crontab("*/20")), at=TEN_AT + HOUR)

    assert versions(stage.ledger) == [(TEN_AT, TEN_AT + HOUR), (TEN_AT + HOUR, None)]


def test_an_entry_that_disappears_is_closed_and_may_come_back(stage: Stage) -> None:
    """What a source no longer has is no longer listed; its history stays; what comes back is a new version."""
    stage.keep(entry(), entry("other"))
    stage.keep(entry("other"), at=TEN_AT + MINUTE)
    listed = [row.name for row in schedules(stage.ledger, TEN_AT + MINUTE)]
    gone = schedule(stage.ledger, "often", TEN_AT + MINUTE)
    stage.keep(entry("other"), entry(), at=TEN_AT + 2 * MINUTE)

    assert listed == ["other"]
    assert gone is not None
    assert not gone.enabled
    assert [row.name for row in schedules(stage.ledger, TEN_AT + 2 * MINUTE)] == ["often", "other"]


def test_entries_of_another_source_or_cluster_are_left_alone(stage: Stage) -> None:
    """Only the entries of the source that was read can disappear."""
    stage.keep(entry())
    keep_definitions(stage.ledger, CLUSTER, "redbeat", [entry("theirs")], TEN_AT)
    keep_definitions(stage.ledger, "other", SOURCE, [entry("far")], TEN_AT)

    assert keep_definitions(stage.ledger, CLUSTER, SOURCE, [entry()], TEN_AT + MINUTE) == 0
    assert [row.name for row in schedules(stage.ledger, TEN_AT + MINUTE)] == ["far", "often", "theirs"]


def test_verdicts_are_kept_and_judging_again_changes_nothing(stage: Stage) -> None:
    """On time, missed and on time again; a second judgement finds nothing new."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    stage.send(TEN_AT + SECOND, types=("sent", "received", "started", "succeeded"))
    stage.send(TEN_AT + 32 * MINUTE, types=("sent", "received", "failed"))

    now_at = TEN_AT + HOUR
    assert judge_due(stage.ledger, now_at) == 3
    assert judge_due(stage.ledger, now_at) == 0
    assert stage.ticks("often", now_at) == [
        (0, "on_time", "ok"),
        (15, "missed", None),
        (30, "late", "failed"),
        (45, "missed", None),
        (60, "pending", None),
    ]
    assert count(stage.ledger, schema.tick) == 3
    assert count(stage.ledger, schema.fire) == 2


def test_judging_step_by_step_gives_what_judging_at_once_gives(stage: Stage) -> None:
    """It goes on from the last final verdict, whatever time has passed since."""
    stage.keep(entry("cron"), entry("timer", Interval(600.0), args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 3 * HOUR)
    for minutes in (15, 30, 61, 90, 120):
        stage.send(TEN_AT + minutes * MINUTE + SECOND)
    for minutes in (3, 13, 24, 34, 64, 74, 75):
        stage.send(TEN_AT + minutes * MINUTE, args="[1]")
    now_at = TEN_AT + 3 * HOUR
    before_any = [stage.ticks(name, now_at) for name in ("cron", "timer")]
    for minutes in range(0, 180, 7):
        judge_due(stage.ledger, TEN_AT + minutes * MINUTE)
    judge_due(stage.ledger, now_at)

    assert [stage.ticks(name, now_at) for name in ("cron", "timer")] == before_any
    assert before_any[1][:4] == [
        (3, "on_time", "waiting"),
        (13, "on_time", "waiting"),
        (23, "on_time", "waiting"),
        (34, "on_time", "waiting"),
    ]


def test_where_nobody_listened_nothing_was_missed(stage: Stage) -> None:
    """No fire in a window that is not wholly covered is unknown, and the note says when nobody was listening."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + 20 * MINUTE)
    stage.listen(TEN_AT + 22 * MINUTE, TEN_AT + HOUR)
    stage.hear_beat()

    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert [tick.fire for tick in row.ticks[:3]] == ["missed", "unknown", "missed"]
    assert row.ticks[1].note == "nobody was listening from 2026-11-22 10:20:00 to 10:22:00 UTC"


def test_nothing_is_final_before_a_recorder_has_heard_past_it(stage: Stage) -> None:
    """While the recorder is behind, or stopped, a window that closed is not judged for good."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + 20 * MINUTE)

    assert judge_due(stage.ledger, TEN_AT + 2 * HOUR) == 1
    assert {fire for _, fire, _ in stage.ticks("often", TEN_AT + 2 * HOUR)[1:]} == {"unknown", "pending"}
    stage.send(TEN_AT + 30 * MINUTE)
    stage.listen(TEN_AT + 20 * MINUTE, TEN_AT + 2 * HOUR)
    judge_due(stage.ledger, TEN_AT + 2 * HOUR)
    assert stage.ticks("often", TEN_AT + 2 * HOUR)[2] == (30, "on_time", "waiting")


def test_times_before_the_definition_was_known_are_not_judged(stage: Stage) -> None:
    """The ledger says nothing about what a schedule was before anybody read it."""
    stage.listen(TEN_AT - HOUR, TEN_AT + HOUR)
    stage.keep(entry(), at=TEN_AT + 5 * MINUTE)
    judge_due(stage.ledger, TEN_AT + HOUR)

    assert stage.ticks("often", TEN_AT + HOUR)[0][0] == 15


def test_only_what_beat_would_send_counts(stage: Stage) -> None:
    """Other arguments, a tuple instead of a list, another queue and a parent are no fires of the entry."""
    stage.keep(entry(args="[1, 2]", queue="fast"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    right = {"args": "[1, 2]", "queue": "fast"}
    stage.hear_beat(**right)
    for wrong in ({"args": "(1, 2)"}, {"kwargs": "{'a': 1}"}, {"queue": "slow"}, {"parent_id": "p", "root_id": "r"}):
        stage.send(TEN_AT + SECOND, **right | wrong)
    stage.send(TEN_AT + SECOND, "proj.other", **right)
    task_id = stage.send(TEN_AT + 15 * MINUTE, **right)
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert [(tick.fire, tick.task_id) for tick in row.ticks[:2]] == [("missed", None), ("on_time", task_id)]


def test_a_worker_alone_tells_the_time_it_received(stage: Stage) -> None:
    """Without task-sent the evidence is the worker's, and the note says that the wait is included."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    stage.send(TEN_AT + 4 * SECOND, types=("received",))
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert (row.evidence, row.ticks[0].lateness_s, row.median_lateness_s) == ("worker only", 4.0, 4.0)
    assert "wait in the queue" in (row.ticks[0].note or "")


def test_what_workers_received_together_is_neither_late_nor_twice(stage: Stage) -> None:
    """A backlog after an outage of the workers shows when it was received, not when it was sent."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    for second in range(3):
        stage.send(TEN_AT + 15 * MINUTE + second * SECOND, types=("received",))
    stage.send(TEN_AT + 40 * MINUTE, types=("received", "failed"))
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    worker = "measured at the worker: the time is when it was received, the wait in the queue included"
    assert [(tick.fire, tick.outcome, tick.lateness_s, tick.note) for tick in row.ticks[1:3]] == [
        ("on_time", "waiting", 0.0, f"received together; when they were sent is not known; {worker}"),
        ("unknown", "failed", 600.0, worker),
    ]
    with stage.ledger.read() as connection:
        assert set(connection.scalars(select(schema.tick.c.flags))) == {None, "time_from_worker"}


def test_sends_that_beat_itself_told_are_counted(stage: Stage) -> None:
    """Two task-sent events for one due time are two sends."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    stage.send(TEN_AT)
    stage.send(TEN_AT + SECOND)
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert (row.ticks[0].fire, row.ticks[0].note) == ("on_time", "sent 2 times")


def test_silence_proves_nothing_where_only_workers_tell(stage: Stage) -> None:
    """Without task-sent events a send that no worker has received is not missed, neither now nor for good."""
    stage.keep(entry(), entry("well", args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 70 * MINUTE)
    stage.send(TEN_AT + 1 * SECOND, types=("received",))
    stage.send(TEN_AT + 1 * SECOND, types=("received",), args="[1]")
    judge_due(stage.ledger, TEN_AT + 70 * MINUTE)

    row = schedule(stage.ledger, "often", TEN_AT + 70 * MINUTE)
    assert row is not None
    past = row.ticks[:5]
    assert [tick.fire for tick in past] == ["on_time", "unknown", "unknown", "unknown", "unknown"]
    assert [tick.is_final for tick in past] == [True, True, True, True, False]
    note = (
        "only workers tell of this schedule: set task_send_sent_event = True where beat runs, and restart beat; "
        "a send that no worker has received leaves no trace"
    )
    assert {tick.note for tick in past[1:]} == {note}


def test_silence_is_judged_by_the_newest_send_before_it(stage: Stage) -> None:
    """From the first task-sent of any entry on, what is not sent is missed; nothing is heard before the first send."""
    stage.keep(entry(), entry("well", args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 70 * MINUTE)
    stage.send(TEN_AT + 20 * MINUTE, types=("received",), args="[1]")
    stage.send(TEN_AT + 35 * MINUTE, args="[1]")
    judge_due(stage.ledger, TEN_AT + 70 * MINUTE)

    row = schedule(stage.ledger, "often", TEN_AT + 70 * MINUTE)
    assert row is not None
    assert [tick.fire for tick in row.ticks[:5]] == ["unknown", "unknown", "missed", "missed", "overdue"]
    assert [(tick.note or "").partition(":")[0] for tick in row.ticks[:2]] == [
        "no send of beat was heard yet",
        "only workers tell of this schedule",
    ]


@pytest.mark.parametrize("others", [True, False])
def test_a_missed_note_says_whether_beat_was_running(stage: Stage, others: bool) -> None:
    """Other entries that were sent in the window show that beat was running; what beat cannot send is said."""
    stage.keep(entry("bad", problem="add() takes 0 positional arguments but 1 was given"), entry("well", args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    stage.hear_beat(args="[1]")
    if others:
        stage.send(TEN_AT + SECOND, args="[1]")
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "bad", TEN_AT + HOUR)
    assert row is not None
    assert (
        row.ticks[0].note
        == "no send seen; "
        + (
            "beat was running: other entries were sent"
            if others
            else "no entry of any kind was sent: beat may not have been running"
        )
        + "; beat cannot send it: add() takes 0 positional arguments but 1 was given"
    )


def test_what_is_overdue_is_told_with_what_was_sent_just_now(stage: Stage) -> None:
    """Before the jobs have looked, a question already sees that other entries were sent; nothing is final then."""
    stage.keep(entry("late"), entry("well", args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 2 * MINUTE)
    stage.hear_beat(args="[1]")
    before = schedule(stage.ledger, "late", TEN_AT + 2 * MINUTE)
    stage.send(TEN_AT + SECOND, args="[1]")
    after = schedule(stage.ledger, "late", TEN_AT + 2 * MINUTE)

    assert before is not None
    assert after is not None
    assert [(row.ticks[0].fire, row.ticks[0].note, row.ticks[0].is_final) for row in (before, after)] == [
        ("overdue", "no send seen yet", False),
        ("overdue", "no send seen; beat was running: other entries were sent", False),
    ]


def test_of_two_entries_that_send_the_same_neither_is_guessed(stage: Stage) -> None:
    """One send for two entries is either's; two sends are enough for both; no send at all is missed by both."""
    stage.keep(entry("a"), entry("b"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    stage.send(TEN_AT + SECOND)
    stage.send(TEN_AT + 15 * MINUTE)
    stage.send(TEN_AT + 15 * MINUTE + SECOND)
    judge_due(stage.ledger, TEN_AT + HOUR)

    for name, rival in (("a", "b"), ("b", "a")):
        row = schedule(stage.ledger, name, TEN_AT + HOUR)
        assert row is not None
        assert [tick.fire for tick in row.ticks[:3]] == ["unknown", "on_time", "missed"]
        assert f"either by this entry or by {rival}" in (row.ticks[0].note or "")


def test_an_interval_that_never_fired_is_missed(stage: Stage) -> None:
    """It was due one interval after it was first read; what comes next is told too."""
    stage.keep(entry(schedule=Interval(20.0)), entry("well", args="[1]"))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 5 * MINUTE)
    stage.hear_beat(args="[1]")

    assert judge_due(stage.ledger, TEN_AT + MINUTE) == 0  # The definition may have been changed since it was read.
    stage.keep(entry(schedule=Interval(20.0)), entry("well", args="[1]"), at=TEN_AT + MINUTE)
    assert judge_due(stage.ledger, TEN_AT + MINUTE) == 1
    row = schedule(stage.ledger, "often", TEN_AT + MINUTE)
    assert row is not None
    assert (row.ticks[0].due_at, row.ticks[0].fire, row.ticks[0].is_final) == (TEN_AT + 20 * SECOND, "missed", True)
    assert (row.next_due_at, row.evidence) == (TEN_AT + MINUTE, "none yet")
    assert [tick.fire for tick in row.ticks[-3:]] == ["pending"] * 3


def test_a_schedule_of_unknown_kind_is_listed_and_not_judged(stage: Stage) -> None:
    """Solar and custom schedules have no due times that anybody could hold them to."""
    stage.keep(entry(schedule=Unverifiable("solar", "sunset")))
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)

    assert judge_due(stage.ledger, TEN_AT + HOUR) == 0
    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert (row.ticks, row.next_due_at, row.words) == ((), None, "sunset (due times not known)")


def test_a_disabled_entry_is_off(stage: Stage) -> None:
    """Its due times are not judged and none are to come."""
    stage.keep(entry(enabled=False))
    stage.listen(TEN_AT - MINUTE, TEN_AT + HOUR)
    judge_due(stage.ledger, TEN_AT + HOUR)

    row = schedule(stage.ledger, "often", TEN_AT + HOUR)
    assert row is not None
    assert {tick.fire for tick in row.ticks} == {"disabled"}
    assert (row.enabled, row.next_due_at) == (False, None)


def test_one_call_does_a_bounded_amount_of_work(stage: Stage) -> None:
    """A short interval over many hours is caught up with in several calls, each going on from the last."""
    stage.keep(entry(schedule=Interval(1.0)))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 4 * HOUR)

    made = [judge_due(stage.ledger, TEN_AT + 4 * HOUR) for _ in range(4)]

    assert made[:2] == [5000, 5000]
    assert 4300 < made[2] < 4400
    assert made[3] == 0


def test_a_ledger_without_recorder_or_schedule_answers_all_the_same(stage: Stage) -> None:
    """No schedule, or nobody who ever listened, is an answer and no fault."""
    assert (
        schedules(stage.ledger, TEN_AT),
        schedule(stage.ledger, "none", TEN_AT),
        judge_due(stage.ledger, TEN_AT),
    ) == ((), None, 0)
    stage.keep(entry())
    assert judge_due(stage.ledger, TEN_AT + HOUR) == 0
    assert {fire for _, fire, _ in stage.ticks("often", TEN_AT + HOUR)} <= {"unknown", "pending"}


def count(ledger: Ledger, table: Any) -> int:
    with ledger.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_what_was_due_while_the_definition_changed_is_not_missed(stage: Stage) -> None:
    """Between the last reading and the one that found the change nobody knows which of both was in force."""
    stage.listen(TEN_AT - MINUTE, TEN_AT + 2 * HOUR)
    stage.hear_beat()
    stage.keep(entry())
    stage.keep(entry(), at=TEN_AT + 40 * MINUTE)
    stage.keep(entry(schedule=Crontab("*/20")), at=TEN_AT + 50 * MINUTE)
    judge_due(stage.ledger, TEN_AT + 70 * MINUTE)

    row = schedule(stage.ledger, "often", TEN_AT + 59 * MINUTE)
    assert row is not None
    said = [(tick.due_at - TEN_AT, tick.fire) for tick in row.ticks if tick.due_at < TEN_AT + HOUR]
    assert said == [(0, "missed"), (15 * MINUTE, "missed"), (30 * MINUTE, "missed"), (45 * MINUTE, "unknown")]
    assert "its definition was changed around then" in (row.ticks[3].note or "")


def test_a_change_is_no_older_than_the_reading_before(stage: Stage) -> None:
    """What the ledger was not told of each reading, the reader knows: nothing before its last one is in doubt."""
    stage.listen(TEN_AT - MINUTE, TEN_AT + 2 * HOUR)
    stage.hear_beat()
    stage.keep(entry())
    changed = [entry(schedule=Crontab("*/20"))]
    keep_definitions(stage.ledger, CLUSTER, SOURCE, changed, TEN_AT + 50 * MINUTE, TEN_AT + 48 * MINUTE)
    judge_due(stage.ledger, TEN_AT + 70 * MINUTE)

    assert stage.ticks("often", TEN_AT + 46 * MINUTE)[3] == (45, "missed", None)


def test_nothing_is_missed_before_the_definition_was_read_again(stage: Stage) -> None:
    """What was due since the last reading may have been changed; the next one settles it, and so does time."""
    stage.keep(entry())
    stage.listen(TEN_AT - MINUTE, TEN_AT + 2 * HOUR)
    stage.hear_beat()

    assert judge_due(stage.ledger, TEN_AT + 30 * MINUTE + 20 * SECOND) == 2
    assert judge_due(stage.ledger, TEN_AT + 45 * MINUTE + 20 * SECOND) == 1


def test_twins_that_fell_silent_are_not_counted_on(stage: Stage) -> None:
    """After a silence nobody knows from whose send an interval is counted: neither missed nor on time can be said."""
    stage.keep(*(entry(name, schedule=Interval(600.0)) for name in ("a", "b")))
    stage.listen(TEN_AT - MINUTE, TEN_AT + 2 * HOUR)
    for minutes in (1.0, 1.1, 11.0, 11.1, 31.0, 31.1, 41.0, 41.1):
        stage.send(TEN_AT + round(minutes * MINUTE))
    judge_due(stage.ledger, TEN_AT + HOUR)

    said = [fire for _, fire, _ in stage.ticks("a", TEN_AT + 45 * MINUTE)]
    assert said == ["on_time", "on_time", "unknown", "unknown", "on_time"]

"""The parts of beat's probe by themselves: when it is wanted, how it reads schedules, what it keeps and throws away."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import services
from beats import Listener
from celery import Celery
from celery.beat import BeatLazyFunc, ScheduleEntry, Scheduler
from celery.schedules import BaseSchedule, crontab, schedule
from django_celery_beat.tzcrontab import TzAwareCrontab
from redbeat.schedules import rrule

from taskledger.integrations import beat, beat_dues, beat_wire
from taskledger.integrations.beat_entries import Snapshot, rows_of

ROOT = Path(__file__).parents[2]
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


class Whenever(BaseSchedule):
    """A schedule by a rule that only it knows."""


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("app", broker="memory://", set_as_current=False)
    made.conf.timezone = "Europe/Berlin"
    yield made
    made.close()


class TestWanted:
    @pytest.mark.parametrize(
        ("variable", "has_line", "has_setting", "wanted"),
        [
            (None, False, False, False),
            ("", False, False, False),
            (None, True, False, True),
            (None, False, True, True),
            ("1", False, False, True),
            (" On ", False, False, True),
            ("0", True, True, False),
            ("no", True, True, False),
            ("2", True, True, False),
        ],
    )
    def test_who_decides(
        self, variable: str | None, has_line: bool, has_setting: bool, wanted: bool, app: Celery, monkeypatch: Any
    ) -> None:
        """The variable has the last word; without it the line or the setting is enough; a slip of the pen is no yes."""
        monkeypatch.delenv(beat.VARIABLE, raising=False)
        if variable is not None:
            monkeypatch.setenv(beat.VARIABLE, variable)
        if has_line:
            beat.install(app)
        app.conf.taskledger_beat = has_setting

        assert beat.is_wanted(app) == wanted

    def test_slip_is_told(self, app: Celery, monkeypatch: Any, caplog: Any) -> None:
        """A variable that says neither 0 nor 1 is told with what it may say."""
        monkeypatch.setenv(beat.VARIABLE, "maybe")
        beat.is_wanted(app)

        assert caplog.messages == ["TASKLEDGER_BEAT must be 0 or 1, not 'maybe': beat is not told of"]

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("import taskledger.integrations.beat", ["taskledger.integrations.beat"]),
            ("import celery.bin.celery, taskledger.cli", ["taskledger.cli", "taskledger.integrations.beat"]),
            ("import taskledger.cli", ["taskledger.cli"]),
        ],
    )
    def test_light(self, code: str, expected: list[str]) -> None:
        """Who imports it gets nothing else; Celery's command line gets it, and nobody else who imports ours."""
        code += "\nimport sys; print([name for name in sorted(sys.modules) if name.startswith('taskledger.')"
        code += " and name not in ('taskledger.integrations', 'taskledger.errors')])"
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)

        assert done.stdout.strip() == str(expected)


class TestShapes:
    @pytest.mark.parametrize(
        ("made", "kind", "tz"),
        [
            (crontab(minute="*/5", nowfun=lambda: datetime.now(NEW_YORK)), "crontab", None),
            (TzAwareCrontab("30", "4", tz=NEW_YORK), "crontab", "America/New_York"),
            (schedule(timedelta(minutes=90), relative=True), "interval", "Europe/Berlin"),
            (schedule(3, nowfun=lambda: datetime.now(NEW_YORK)), "interval", "Europe/Berlin"),
            (rrule("HOURLY", dtstart=datetime(2026, 1, 1, tzinfo=UTC)), "rrule", None),
            (Whenever(), "custom", "Europe/Berlin"),
        ],
    )
    def test_kinds(self, made: Any, kind: str, tz: str | None, app: Celery) -> None:
        """Each schedule says its kind and its zone: an interval's is that of the app, a crontab's may be its own."""
        made.app = app
        shape = beat_dues.shape_of(made, app)

        assert shape["type"] == kind
        assert shape["class"] == f"{type(made).__module__}.{type(made).__qualname__}"
        # Which zone a crontab with a clock of its own reckons in, Celery 5.7 has changed.
        assert tz is None or shape["tz"] == tz

    def test_fields(self, app: Celery) -> None:
        """A crontab's fields stand as they were written; numbers and sets as numbers."""
        shape = beat_dues.shape_of(crontab(minute={30, 0}, hour=7, day_of_week="mon-fri", app=app), app)
        fields = [shape[name] for name in beat_dues.FIELDS]

        assert fields == ["0,30", "7", "*", "*", "mon-fri"]

    def test_words_without_address(self, app: Celery) -> None:
        """Where an object is in memory makes no other definition."""
        one, other = (Whenever(app=app) for _ in range(2))

        assert beat_dues.shape_of(one, app) == beat_dues.shape_of(other, app)

    @pytest.mark.parametrize("hours", [1, 30, 24 * 200])
    def test_due(self, hours: int, app: Celery) -> None:
        """What is due is due whatever the clock says now, also beyond the end of summer time."""
        last = datetime(2026, 6, 10, 12, 0, tzinfo=BERLIN) + timedelta(hours=hours)
        expected = last.replace(hour=4, minute=30) + timedelta(days=1 if last.hour >= 5 else 0)

        assert beat_dues.due_after(crontab("30", "4", app=app), last) == expected.timestamp()
        assert beat_dues.due_after(schedule(60, app=app), last) == pytest.approx(last.timestamp() + 60, abs=0.001)

    def test_never_again(self, app: Celery) -> None:
        """A rule that has come to its end is not due any more."""
        rule = rrule("HOURLY", dtstart=datetime(2026, 1, 1, tzinfo=UTC), count=1, app=app)

        assert beat_dues.due_after(rule, datetime(2026, 1, 2, tzinfo=UTC)) is None


def entry(app: Celery, name: str = "one", **fields: Any) -> ScheduleEntry:
    return ScheduleEntry(**{"name": name, "task": "a", "schedule": 60, "app": app} | fields)


class TestRows:
    def test_given(self, app: Celery) -> None:
        """Arguments read as they do in task events; what is computed when it is sent is not known before."""
        lazy = BeatLazyFunc(time.time)
        made = [
            entry(app, "a"),
            entry(app, "b", args=(1, "two"), kwargs={"y": 3}, options={"expires": timedelta(minutes=1)}),
            entry(app, "c", args=(lazy,), kwargs={"y": lazy}),
            entry(
                app, "d", options={"argsrepr": "(…)", "kwargsrepr": "{…}", "shadow": "s", "expires": datetime.now(UTC)}
            ),
        ]
        rows = rows_of(Snapshot(app, each, None) for each in made)

        assert [(row["args"], row["kwargs"]) for row in rows] == [
            ("()", "{}"), ("[1, 'two']", "{'y': 3}"), (None, None), ("(…)", "{…}")
        ]  # fmt: skip
        assert [row["options"]["expires"] for row in rows] == [None, 60.0, None, None]
        assert rows[3]["options"]["shadow"] == "s"

    def test_one_hides_no_other(self, app: Celery) -> None:
        """An entry that cannot be read is left out, and the others are there."""
        rows = rows_of([Snapshot(app, SimpleNamespace(name="bad"), None), Snapshot(app, entry(app), None)])

        assert [row["entry"] for row in rows] == ["one"]

    def test_hash(self, app: Celery) -> None:
        """A run makes no other definition; another queue does."""
        before, after, other = (
            beat_wire.hash_of(rows_of([Snapshot(app, each, None)]))
            for each in (entry(app), entry(app, total_run_count=3), entry(app, options={"queue": "q"}))
        )

        assert before == after != other

    def test_parts(self) -> None:
        """A long schedule is told in parts that are small enough, with every row once; an empty one in one part."""
        rows = [{"entry": str(number), "text": "x" * 500} for number in range(1000)]
        parts = list(beat_wire.in_parts(rows))

        assert [row for part in parts for row in part] == rows
        assert max(len(json.dumps(part)) for part in parts) < beat_wire.PART_BYTES * 1.1
        assert len(parts) > 1
        assert list(beat_wire.in_parts([])) == [[]]


def test_bounded(redis_url: str, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is thrown away, counted, and leaves a hole in the numbers that is just as large."""
    monkeypatch.setattr(beat_wire, "MOST_WAITING", 5)
    app.conf.update(broker_url=redis_url, event_exchange=services.unique("celeryev"))
    wire = beat_wire.Wire(app, None, 30.0)
    wire.is_resting = True
    with Listener(redis_url, app.conf.event_exchange) as listener:
        for number in range(8):
            wire.put("beat-tick", {"next_in": number})
        wire.start()
        while len(listener.heard) < 5:
            time.sleep(0.02)
        wire.put("beat-tick", {"next_in": 8})
        wire.stop(10.0)
        while len(listener.heard) < 6:
            time.sleep(0.02)

    assert [event["seq"] for event in listener.heard] == [1, 2, 3, 4, 5, 9]
    assert [event["dropped"] for event in listener.heard] == [0] * 5 + [3]


class TestBeatGoesOn:
    """A scheduler whose every property but those that beat itself uses is missing or broken."""

    class SpeechlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    class Failing(Scheduler):
        def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
            if entry is None:
                raise TestBeatGoesOn.SpeechlessError
            return entry

        def tick(self) -> Any:  # type: ignore[override]
            return "soon"

    def test_results_and_errors(self, app: Celery) -> None:
        """What its methods return and raise stays what it was, also where the probe can make nothing of it."""
        scheduler = self.Failing(app, lazy=True)
        beat.attach(scheduler)
        scheduler.max_interval = "for ever"  # type: ignore[assignment]
        strange = object()

        assert scheduler.apply_async(strange) is strange
        with pytest.raises(self.SpeechlessError):
            scheduler.apply_async(None)
        assert scheduler.tick() == "soon"
        scheduler.close()

    def test_once(self, app: Celery) -> None:
        """However many of Celery's signals arrive, the methods are wrapped once."""
        app.conf.taskledger_beat = True
        scheduler = self.Failing(app, lazy=True)
        service = SimpleNamespace(app=app, scheduler=scheduler)
        beat._on_beat_init(service)
        wrapped = scheduler.tick
        beat._on_beat_init(service)

        assert scheduler.tick is wrapped
        assert "tick" in vars(scheduler)

    def test_no_scheduler(self, app: Celery, caplog: Any) -> None:
        """Where the probe cannot even begin, that is logged, and nothing is raised."""
        app.conf.taskledger_beat = True
        beat._on_beat_init(SimpleNamespace(app=app))

        assert "beat goes on without taskledger's probe" in caplog.messages


class TestWhenChangesCount:
    """When beat's definitions are told, and since when they hold."""

    @staticmethod
    def told(app: Celery, looks: list[beat_wire.Look], *, has_heap: bool) -> list[float]:
        """The times of the beat-schedule events after looks, of which each but the last finds another schedule."""
        found = iter([{"entry": str(min(number, len(looks) - 2))} for number in range(len(looks))])
        wire = beat_wire.Wire(app, lambda: [next(found)], 30.0)
        wire.has_heap = has_heap
        events: list[dict[str, Any]] = []
        wire._deliver = events.append  # type: ignore[method-assign]
        for look in looks:
            wire._tell(look)
        return [event["timestamp"] for event in events]

    def test_since_beat_goes_by_them(self, app: Celery) -> None:
        """What only stands in tables is not told before beat goes by it, with the time since which it does."""
        looks = [
            beat_wire.Look(1.0, None, is_in_force=True),
            beat_wire.Look(2.0, None, is_in_force=False),
            beat_wire.Look(3.0, None, is_in_force=True),
        ]

        assert self.told(app, looks, has_heap=True) == [1.0, 3.0]

    def test_what_stays_is_told(self, app: Celery) -> None:
        """A change that beat gives no sign of is told by the second look that finds it; without a heap by the first."""
        looks = [beat_wire.Look(1.0, None, is_in_force=True)]
        looks += [beat_wire.Look(at, None, is_in_force=False) for at in (2.0, 3.0)]

        assert self.told(app, looks, has_heap=True) == [1.0, 3.0]
        assert self.told(app, looks, has_heap=False) == [1.0, 2.0]

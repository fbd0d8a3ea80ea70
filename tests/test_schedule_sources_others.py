"""Beat's schedule as sqlalchemy-celery-beat and RedBeat keep it, made by their classes and sent by their beat."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import beat_projects as projects
import pytest
import redis
import services

from taskledger import databases, schedules
from taskledger.errors import ScheduleAway, ScheduleUnreadable
from taskledger.schedule_sources import Reading, redbeat
from taskledger.schedule_sources.rows import Reckoning
from taskledger.schedule_sources.tables import Place, ScheduleTables
from taskledger.schedules import Crontab, Interval, Sent, Unverifiable

BERLIN = "Europe/Berlin"

SQL_BEGINS = """
import sys
from datetime import datetime, timedelta, timezone
from sqlalchemy_celery_beat.models import *
from sqlalchemy_celery_beat.session import SessionManager
manager = SessionManager()
url, schema = sys.argv[1], (sys.argv[2:] or [None])[0]
engine, Session = manager.create_session(url, schema=schema)
manager.prepare_models(engine, schema=schema)
session = Session()
def keep(*models):
    session.add_all(models); session.commit()
"""
SQL_ENTRIES = """
every = IntervalSchedule(every=90, period=Period.MINUTES)
line = CrontabSchedule(minute="*/15", hour="3,4", day_of_week="mon-fri", timezone="Asia/Tokyo")
sunset = SolarSchedule(event=SolarEvent.SUNSET, latitude=52.520008, longitude=13.404954)
once = ClockedSchedule(clocked_time=datetime(2027, 3, 1, 12, 30, tzinfo=timezone.utc))
keep(every, line, sunset, once)
keep(PeriodicTask(schedule_model=every, name="interval", task="t.a", args='[1, "two"]', queue="fast"),
     PeriodicTask(schedule_model=line, name="crontab", task="t.a", expire_seconds=30),
     PeriodicTask(schedule_model=sunset, name="solar", task="t.a"),
     PeriodicTask(schedule_model=once, name="clocked", task="t.a", one_off=True),
     PeriodicTask(schedule_model=every, name="disabled", task="t.a", enabled=False))
"""
REDBEAT_BEGINS = """
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
from celery.schedules import crontab, schedule
from redbeat import RedBeatSchedulerEntry
from redbeat.schedules import rrule
from beatproj import app
def entry(name, schedule, task="t.a", **more):
    return RedBeatSchedulerEntry(name, task, schedule, app=app, **more).save()
"""
REDBEAT_ENTRIES = """
entry("interval", schedule(5400), args=[1, "two"], kwargs={"y": None}, options={"queue": "fast", "expires": 30})
entry("relative", schedule(3600, relative=True))
entry("crontab", crontab(minute="*/15", hour=[3, 4], day_of_week="mon-fri"))
entry("rrule", rrule("DAILY", dtstart=datetime(2026, 11, 1, 9, tzinfo=timezone.utc), byhour=9))
entry("disabled", schedule(60), enabled=False)
entry("moment", schedule(60), args=[datetime(2026, 11, 1, 8, tzinfo=ZoneInfo("Europe/Berlin"))])
"""


def in_sqlalchemy(url: str, code: str, *schema: str) -> None:
    projects.run(SQL_BEGINS + code, "-", url, *schema)


def in_redbeat(url: str, code: str, prefix: str = "redbeat:") -> str:
    return projects.run(REDBEAT_BEGINS + code, "-", BEAT_REDIS=url, BEAT_PREFIX=prefix)


def tables(url: str) -> Reading:
    store = ScheduleTables(Place(databases.address(url), Reckoning(BERLIN)), None)
    try:
        [reading] = store.read(0)
    finally:
        store.close()
    return reading


@pytest.fixture
def keys(redis_url: str) -> Iterator[redbeat.RedBeatKeys]:
    store = redbeat.RedBeatKeys(redbeat.Place(redis_url, zone=BERLIN), None)
    yield store
    store.close()


def read(store: redbeat.RedBeatKeys) -> Reading:
    [reading] = store.read(0)
    return reading


@pytest.mark.parametrize("where", ["sqlite", "mariadb", "postgresql", "postgresql schema"])
def test_sqlalchemys_tables_are_read(where: str, tmp_path: Path) -> None:
    """The same entries as Django's, in tables of other names, also in the schema that the package itself proposes."""
    engine, _, schema = where.partition(" ")
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path}/schedule.db"
        in_sqlalchemy(url, SQL_ENTRIES)
        reading = tables(url)
    else:
        with services.database(engine) as url:
            in_sqlalchemy(url, SQL_ENTRIES, *(["celery_schema"] if schema else []))
            reading = tables(url)

    found = {entry.name: entry for entry in reading.entries}
    assert reading.source == "sqlalchemy-celery-beat"
    assert set(found) == {"interval", "crontab", "solar", "clocked", "disabled"}
    assert found["interval"].schedule == Interval(5400.0, BERLIN)
    assert (found["interval"].args, found["interval"].queue) == ("[1, 'two']", "fast")
    assert found["crontab"].schedule == Crontab("*/15", "3,4", day_of_week="mon-fri", tz="Asia/Tokyo")
    assert found["crontab"].expires_s == 30.0
    assert found["solar"].schedule == Unverifiable("solar", "sunset at 52.520008, 13.404954", BERLIN)
    at_s = datetime(2027, 3, 1, 12, 30, tzinfo=UTC).timestamp()
    assert found["clocked"].schedule == schedules.parse({"type": "clocked", "at": at_s, "tz": BERLIN})
    assert [found[name].enabled for name in ("clocked", "disabled")] == [True, False]
    assert {entry.problem for entry in reading.entries} == {None}


def test_sqlalchemys_beat_sends_what_the_tables_foretell(redis_url: str, tmp_path: Path) -> None:
    """A real beat of sqlalchemy-celery-beat sends each entry as it is recognised: reprs and queue."""
    url = f"sqlite:///{tmp_path}/schedule.db"
    in_sqlalchemy(
        url,
        """
every = IntervalSchedule(every=1, period=Period.SECONDS); keep(every)
keep(PeriodicTask(schedule_model=every, name="none", task="t.none"),
     PeriodicTask(schedule_model=every, name="some", task="t.some", args='[1, {"a": [null]}]', kwargs='{"k": "v"}'),
     PeriodicTask(schedule_model=every, name="routed", task="t.routed", queue="fast"))
""",
    )
    with projects.beat("beatproj", "sqlalchemy", tmp_path, BEAT_DBURI=url, BEAT_BROKER=redis_url):
        sent = projects.messages(redis_url, {"celery": 2, "fast": 1}, tmp_path / "beat.log")

    reading = tables(url)
    foretold(reading, sent, {"t.none", "t.some", "t.routed"})
    assert all(count.total_run_count >= 1 for count in reading.counts)


def test_redbeats_entries_are_read(redis_url: str, keys: redbeat.RedBeatKeys) -> None:
    """Intervals, crontabs in the app's zone, rrules, disabled ones, arguments with times in them."""
    in_redbeat(redis_url, REDBEAT_ENTRIES)

    reading = read(keys)
    found = {entry.name: entry for entry in reading.entries}
    assert reading.source == "redbeat"
    assert found["interval"].schedule == Interval(5400.0, BERLIN)
    assert (found["interval"].args, found["interval"].kwargs) == ("[1, 'two']", "{'y': None}")
    assert (found["interval"].queue, found["interval"].expires_s) == ("fast", 30.0)
    assert found["relative"].schedule == Interval(3600.0, BERLIN, relative=True)
    assert found["crontab"].schedule == Crontab("*/15", "3,4", day_of_week="mon-fri", tz=BERLIN)
    assert isinstance(found["rrule"].schedule, Unverifiable)
    assert found["rrule"].schedule.text.startswith("rrule: daily, interval 1")
    assert "dtstart 2026-11-01T09:00:00+00:00" in found["rrule"].schedule.text
    assert [found[name].enabled for name in ("disabled", "crontab")] == [False, True]
    assert (
        found["moment"].args == "[datetime.datetime(2026, 11, 1, 8, 0, tzinfo=zoneinfo.ZoneInfo(key='Europe/Berlin'))]"
    )
    assert {count[1:] for count in reading.counts} == {(None, 0)}


def test_redbeats_entries_change_and_go(redis_url: str, keys: redbeat.RedBeatKeys) -> None:
    """What was saved anew is read anew, what was deleted is gone; a key that holds nonsense hides no other."""
    in_redbeat(redis_url, REDBEAT_ENTRIES)
    before = {entry.name: entry for entry in read(keys).entries}
    in_redbeat(
        redis_url,
        """
entry("interval", schedule(10), args=[1, "two"], kwargs={"y": None}, options={"queue": "fast", "expires": 30})
RedBeatSchedulerEntry.from_key("redbeat:relative", app=app).delete()
""",
    )
    with redis.Redis.from_url(redis_url) as client:
        client.hset("redbeat:nonsense", "definition", "{}")
        client.zadd("redbeat::schedule", {"redbeat:nonsense": 1, "redbeat:gone": 1})

    after = {entry.name: entry for entry in read(keys).entries}
    assert {name for name in after if after[name] != before[name]} == {"interval"}
    assert set(before) - set(after) == {"relative"}
    assert after["interval"].schedule == Interval(10.0, BERLIN)


def test_redbeats_keys_may_have_another_prefix(redis_url: str) -> None:
    """Two schedules in one Redis are told apart by what their keys begin with."""
    in_redbeat(redis_url, "entry('mine', schedule(60))", "mine:")
    in_redbeat(redis_url, "entry('other', schedule(60))", "other:")
    store = redbeat.RedBeatKeys(redbeat.Place(redis_url, "mine:"), None)

    assert [entry.name for entry in read(store).entries] == ["mine"]
    store.close()


def test_redbeats_beat_sends_what_the_keys_foretell(redis_url: str, keys: redbeat.RedBeatKeys, tmp_path: Path) -> None:
    """A real RedBeat sends each entry with the reprs and to the queue by which it is recognised, and counts it."""
    in_redbeat(
        redis_url,
        """
entry("none", schedule(1), "t.none")
entry("some", schedule(1), "t.some", args=[1, {"a": [None]}], kwargs={"k": "v"})
entry("moment", schedule(1), "t.moment", args=[datetime(2026, 11, 1, 8, tzinfo=timezone.utc)])
entry("routed", schedule(1), "t.routed", args=(1,), options={"queue": "fast"})
""",
    )
    scheduler = "redbeat.RedBeatScheduler"
    with projects.beat("beatproj", scheduler, tmp_path, BEAT_REDIS=redis_url, BEAT_BROKER=redis_url):
        sent = projects.messages(redis_url, {"celery": 3, "fast": 1}, tmp_path / "beat.log")

    reading = read(keys)
    foretold(reading, sent, {"t.none", "t.some", "t.moment", "t.routed"})
    assert all(count.total_run_count >= 1 and count.last_run_at is not None for count in reading.counts)


@pytest.mark.parametrize(
    ("url", "error", "why"),
    [
        ("redis://:hunter2@127.0.0.1:1/0", ScheduleAway, "cannot be read now"),
        ("redis://:hunter2@h:port/0", ScheduleUnreadable, "cannot be read"),
        ("redis-cluster://:hunter2@h", ScheduleUnreadable, "it is a Redis cluster"),
    ],
)
def test_a_redis_that_cannot_be_read_says_why(url: str, error: type[Exception], why: str) -> None:
    """In one line, without its password."""
    store = redbeat.RedBeatKeys(redbeat.Place(url), None)
    with pytest.raises(error, match=why) as told:
        store.read(0)

    assert "hunter2" not in str(told.value) + store.shown


def foretold(reading: Reading, sent: list[projects.Message], tasks: set[str]) -> None:
    entries = {entry.task: entry for entry in reading.entries}
    assert {message.task for message in sent} == set(entries) == tasks
    for message in sent:
        entry = entries[message.task]
        assert (entry.args, entry.kwargs) == (message.args, message.kwargs)
        assert entry.is_sent_as(Sent(message.task, message.args, message.kwargs, message.queue, has_parent=False))
    assert entries["t.routed"].queue == "fast"

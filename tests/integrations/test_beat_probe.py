"""What beat's probe tells, of real beats with each scheduler, to a plain consumer."""

import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis
from beats import Beat, Event, beat
from proxy import Proxy

BERLIN = "Europe/Berlin"
NIGHTLY = {
    "type": "crontab",
    "minute": "30",
    "hour": "4",
    "day_of_month": "*",
    "month_of_year": "*",
    "day_of_week": "*",
    "tz": BERLIN,
}
MISFIT = "nothing() takes 0 positional arguments but 1 was given"
#: what makes django-celery-beat's rows; printed is when the clocked one is due
DJANGO = """
import datetime, django; django.setup()
from django.core.management import call_command; call_command("migrate", verbosity=0)
from django_celery_beat.models import *
moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
every = {number: IntervalSchedule.objects.create(every=number, period="seconds") for number in (1, 2, 3)}
cron = CrontabSchedule.objects.create(minute="30", hour="4", timezone="America/New_York")
once = ClockedSchedule.objects.create(clocked_time=moment)
for name, more in {
    "often": dict(args="[1]", kwargs='{"by": 2}', interval=every[1]),
    "wrong": dict(args="[1]", interval=every[2], task="beatproj.nothing"),
    "nightly": dict(args="[2]", crontab=cron, queue="night", expire_seconds=60, priority=3),
    "once": dict(args="[5]", clocked=once, one_off=True),
    "off": dict(interval=every[3], enabled=False),
    "broken": dict(interval=every[3], enabled=False, args="[no JSON"),
}.items():
    PeriodicTask.objects.create(name=name, **{"task": "beatproj.double"} | more)
print(moment.timestamp())
"""
EDIT = """
import django; django.setup()
from django_celery_beat.models import *
task = PeriodicTask.objects.get(name="often"); task.interval = IntervalSchedule.objects.get(every=3); task.save()
"""
DISABLED = """
from beatproj import app
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
RedBeatSchedulerEntry("off", "beatproj.double", schedule(5), enabled=False, app=app).save()
"""
SWITCHED_OFF = """
from beatproj import app
from sqlalchemy_celery_beat.models import PeriodicTask
from sqlalchemy_celery_beat.session import SessionManager
with SessionManager().session_factory(app.conf.beat_dburi) as session:
    session.query(PeriodicTask).filter_by(name="often").one().enabled = False
    session.commit()
"""
#: what a row of a disabled and broken entry is, but for its own doing
ROW = """
import django; django.setup()
from django_celery_beat.models import *
print(PeriodicTask.objects.filter(name="broken").values_list())
"""


def holes(told: list[Event]) -> list[int]:
    """Numbers that are missing, or out of order."""
    return [number for number, event in enumerate(told, 1) if event["seq"] != number]


def is_sent(run: Beat, entry: str, number: int) -> bool:
    return len(run.of("beat-sent", entry)) >= number


def check_life(run: Beat, scheduler: str) -> None:
    """What must hold of each beat that was started, ran a while, and was stopped."""
    told = run.told()
    (online,), (offline,) = run.of("beat-online"), run.of("beat-offline")
    assert holes(told) == []
    assert {(event["beat_id"], event["hostname"], event["pid"], event["dropped"]) for event in told} == {
        (online["beat_id"], f"gen{online['pid']}@{online['hostname'].partition('@')[2]}", online["pid"], 0)
    }
    assert told[0] is online
    assert told[-1] is offline
    assert offline["reason"] == "stopped"
    assert (online["scheduler"], online["timezone"], online["enable_utc"]) == (scheduler, BERLIN, True)
    assert online["beat_cron_starting_deadline"] is None
    assert run.of("beat-tick")


def check_sends(run: Beat, entry: str, every_s: float) -> None:
    """What must hold of the sends of an interval: one after the other, due when the one before says it."""
    sent = run.of("beat-sent", entry)
    published = {event["uuid"]: event for event in run.of("task-sent")}
    for event in sent:
        task = published[event["uuid"]]
        assert (task["name"], task["args"], task["kwargs"]) == (event["task"], "[1]", "{'by': 2}")
        assert event["at"] <= task["timestamp"] <= event["timestamp"]
        assert event["publish_ms"] > 0
    for before, after in pairwise(sent):
        assert after["run_count"] == before["run_count"] + 1
        assert after["due"] == pytest.approx(after["prev_run"] + every_s, abs=0.001)
        assert before["due"] <= after["prev_run"] <= after["due"] <= after["at"]
        assert before["next_due"] == pytest.approx(before["at"] + every_s, abs=0.001)


def check_failure(event: Event, task: str) -> None:
    assert (event["exception"], event["task"]) == ("SchedulingError", task)
    assert event["message"] == f"Couldn't apply scheduled task wrong: {MISFIT}"
    assert event["cause"] == f"TypeError: {MISFIT}"
    assert event["due"] <= event["at"] <= event["timestamp"]


def next_nightly(zone: str = BERLIN) -> float:
    """The next half past four there."""
    now = datetime.now(ZoneInfo(zone))
    today = now.replace(hour=4, minute=30, second=0, microsecond=0)
    return (today if now < today else today + timedelta(days=1)).timestamp()


def test_persistent(redis_url: str, tmp_path: Path) -> None:
    """Celery's own scheduler: its life, entries, sends and failures; a schedule that cannot be asked harms nothing."""
    with beat(redis_url, tmp_path, "persistent", TASKLEDGER_BEAT="1") as run:
        run.until(lambda: is_sent(run, "often", 3) and is_sent(run, "moody", 2), "sends")
        run.until(lambda: run.of("beat-failed"), "a failure")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "celery.beat.PersistentScheduler")
    check_sends(run, "often", 1)
    check_failure(run.of("beat-failed", "wrong")[0], "beatproj.nothing")
    assert {event["due"] for event in run.of("beat-sent", "moody")} == {None}
    entries = run.entries()
    assert set(entries) == {"often", "wrong", "nightly", "moody", "odd", "celery.backend_cleanup"}
    assert (entries["often"]["args"], entries["often"]["kwargs"]) == ("[1]", "{'by': 2}")
    assert entries["often"]["schedule"].items() >= {"type": "interval", "every": 1.0, "relative": False}.items()
    assert entries["nightly"]["options"] == {"queue": "night", "expires": 60.0, "priority": 3, "shadow": None}
    assert entries["nightly"]["schedule"].items() >= NIGHTLY.items()
    assert entries["nightly"]["next_due"] == next_nightly()
    assert (entries["celery.backend_cleanup"]["args"], entries["nightly"]["last_run"]) == ("()", None)
    assert entries["odd"]["schedule"]["type"] == "custom"
    assert entries["odd"]["next_due"] > time.time()


def test_django(redis_url: str, tmp_path: Path) -> None:
    """django-celery-beat: what is disabled, what runs once, a crontab's zone, and an edit, told before it is used."""
    made = Beat(redis_url, tmp_path, "django")
    moment = float(made.run(DJANGO))
    before = made.run(ROW)
    with made as run:
        run.start("beat")
        try:
            run.until(lambda: is_sent(run, "often", 3) and run.of("beat-failed"), "sends")
            assert run.entries()["often"]["schedule"]["every"] == 1.0
            run.run(EDIT)
            run.until(lambda: run.entries()["often"]["schedule"]["every"] == 3.0, "the edit")
            edited = run.of("beat-schedule")[-1]
            run.until(lambda: run.of("beat-sent", "often")[-1]["at"] > edited["timestamp"], "a send after the edit")
            run.until(lambda: run.of("beat-sent", "once"), "what runs once")
            used = next(event for event in run.of("beat-sent", "often") if event["next_due"] - event["at"] > 2)
            assert edited["seq"] < used["seq"]
        finally:
            run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "django_celery_beat.schedulers.DatabaseScheduler")
    check_failure(run.of("beat-failed", "wrong")[0], "beatproj.nothing")
    entries = run.entries("first")
    assert {name: entry["enabled"] for name, entry in entries.items()} == {
        "often": True, "wrong": True, "nightly": True, "celery.backend_cleanup": True, "once": True,
        "off": False, "broken": False,
    }  # fmt: skip
    assert (entries["off"]["next_due"], entries["broken"]["args"]) == (None, None)
    assert entries["nightly"]["schedule"].items() >= (NIGHTLY | {"tz": "America/New_York"}).items()
    assert entries["nightly"]["options"] == {"queue": "night", "expires": 60.0, "priority": 3, "shadow": None}
    assert entries["nightly"]["next_due"] == next_nightly("America/New_York")
    assert entries["once"]["schedule"].items() >= {"type": "clocked", "at": moment}.items()
    (once,) = run.of("beat-sent", "once")
    assert (once["due"], once["next_due"], entries["once"]["one_off"]) == (moment, None, True)
    assert run.of("beat-sent", "often")[0]["prev_run"] is None
    assert made.run(ROW) == before


def test_redbeat(redis_url: str, tmp_path: Path) -> None:
    """RedBeat: entries from its keys, sends and failures; a second one tells nothing before it gets the lock."""
    with beat(redis_url, tmp_path, "redbeat") as run:
        run.until(lambda: is_sent(run, "often", 2) and run.of("beat-failed"), "sends")
        run.run(DISABLED)
        with beat(redis_url, tmp_path, "redbeat", **run.environ) as waiting:
            run.until(lambda: run.log.read_text().count("beat: Starting...") == 2, "the second one waits")
            first = run.of("beat-online")
            with redis.Redis.from_url(redis_url) as client:
                client.delete(f"{run.environ['PROJ_EXCHANGE']}::lock")
            run.until(lambda: run.of("beat-offline"), "the first one is gone")
            run.until(lambda: "off" in run.entries(), "the second one's entries")
            waiting.stop()
        run.until(lambda: len(run.of("beat-offline")) == 2, "the end")
    second = run.of("beat-online")[1]

    lost, stopped = run.of("beat-offline")
    assert first == [run.of("beat-online")[0]]
    assert lost["reason"] == "LockNotOwnedError: Cannot extend a lock that's no longer owned"
    assert (lost["beat_id"], stopped["beat_id"]) == (first[0]["beat_id"], second["beat_id"])
    for each in (lost, stopped):
        assert holes([event for event in run.told() if event["beat_id"] == each["beat_id"]]) == []
    check_failure(run.of("beat-failed", "wrong")[0], "beatproj.nothing")
    entries = run.entries()
    assert (entries["off"]["enabled"], entries["off"]["next_due"]) == (False, None)
    assert entries["nightly"]["schedule"].items() >= NIGHTLY.items()
    assert entries["often"]["run_count"] >= 2
    assert entries["often"]["last_run"] is not None


def test_sqlalchemy(redis_url: str, tmp_path: Path) -> None:
    """sqlalchemy-celery-beat: entries from its tables, sends, failures and an edit."""
    with beat(redis_url, tmp_path, "sqlalchemy") as run:
        run.until(lambda: is_sent(run, "often", 2) and run.of("beat-failed"), "sends")
        run.run(SWITCHED_OFF)
        run.until(lambda: not run.entries()["often"]["enabled"], "the edit")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "sqlalchemy_celery_beat.schedulers.DatabaseScheduler")
    check_sends(run, "often", 1)
    check_failure(run.of("beat-failed", "wrong")[0], "beatproj.nothing")
    entries = run.entries()
    assert set(entries) == {"often", "wrong", "nightly", "celery.backend_cleanup"}
    assert entries["often"]["schedule"].items() >= {"type": "interval", "every": 1.0, "tz": BERLIN}.items()
    assert entries["nightly"]["schedule"].items() >= NIGHTLY.items()
    assert entries["nightly"]["next_due"] == next_nightly()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_in_a_worker(pool: str, redis_url: str, tmp_path: Path) -> None:
    """A beat inside a worker tells the same, from a process of its own, and its end as well."""
    options = ("worker", "-B", "-s", str(tmp_path / "schedule"), "-P", pool, "-c", "1")
    with beat(redis_url, tmp_path, "persistent", *options, TASKLEDGER_BEAT="1") as run:
        run.until(lambda: is_sent(run, "often", 2) and run.of("beat-failed"), "sends")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "celery.beat.PersistentScheduler")
    check_sends(run, "often", 1)
    check_failure(run.of("beat-failed", "wrong")[0], "beatproj.nothing")
    assert run.of("beat-online")[0]["pid"] != run.process.pid


def test_outage(redis_url: str, tmp_path: Path) -> None:
    """What happened while the broker was away is told afterwards: all of it, in order, with the times it had."""
    with (
        Proxy(redis_url, 6379) as proxy,
        beat(redis_url, tmp_path, "persistent", at_url=proxy.url, TASKLEDGER_BEAT="1") as run,
    ):
        run.until(lambda: is_sent(run, "often", 2), "sends")
        began = time.time()
        proxy.refuse(True)
        time.sleep(10)
        proxy.refuse(False)
        ended = time.time()
        run.until(lambda: any(event["at"] > ended for event in run.of("beat-sent", "often")), "sends afterwards")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "celery.beat.PersistentScheduler")
    meanwhile = [event for event in run.told() if began < event["timestamp"] < ended]
    failed = [event for event in meanwhile if event["type"] == "beat-failed" and event["entry"] == "often"]
    assert failed
    assert all(event["cause"].startswith("OperationalError") for event in failed)
    assert [event["timestamp"] for event in run.told()] == sorted(event["timestamp"] for event in run.told())


def test_no_broker_at_the_end(redis_url: str, tmp_path: Path) -> None:
    """A beat that is stopped while its broker is away ends all the same."""
    with (
        Proxy(redis_url, 6379) as proxy,
        beat(redis_url, tmp_path, "persistent", at_url=proxy.url, TASKLEDGER_BEAT="1") as run,
    ):
        run.until(lambda: is_sent(run, "often", 1), "sends")
        proxy.refuse(True)
        run.stop()

        assert run.process.returncode == 0


def test_rabbitmq(rabbitmq_url: str, tmp_path: Path) -> None:
    """On RabbitMQ nothing is lost either when the connection breaks without a word."""
    with (
        Proxy(rabbitmq_url, 5672) as proxy,
        beat(rabbitmq_url, tmp_path, "persistent", at_url=proxy.url, TASKLEDGER_BEAT="1") as run,
    ):
        run.until(lambda: is_sent(run, "often", 1), "sends")
        proxy.cut()
        run.until(lambda: is_sent(run, "often", 4), "sends afterwards")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "celery.beat.PersistentScheduler")


def test_confirmation_lost(rabbitmq_url: str, tmp_path: Path) -> None:
    """An event that RabbitMQ has, and could not say so, comes once more, just as it was."""
    with (
        Proxy(rabbitmq_url, 5672) as proxy,
        beat(rabbitmq_url, tmp_path, "persistent", at_url=proxy.url, TASKLEDGER_BEAT="1") as run,
    ):
        run.until(lambda: is_sent(run, "often", 1), "sends")
        proxy.silence(True)
        run.until(lambda: "is told later" in run.log.read_text(), "an event that is not confirmed")
        proxy.silence(False)
        run.until(lambda: is_sent(run, "often", 4), "sends afterwards")
        run.stop()
        run.until(lambda: run.of("beat-offline"), "the end")

    check_life(run, "celery.beat.PersistentScheduler")
    heard = [event for event in run.heard if event["type"].startswith("beat-")]
    assert len(heard) == len(run.told()) + 1


@pytest.mark.parametrize("variable", ["0", ""])
def test_off(variable: str, redis_url: str, tmp_path: Path) -> None:
    """Nothing is told where nobody asked for it, or where the variable forbids what the setting asks for."""
    kind = "redbeat" if variable == "0" else "persistent"
    with beat(redis_url, tmp_path, kind, TASKLEDGER_BEAT=variable) as run:
        run.until(lambda: len(run.of("task-sent")) >= 2, "sends")
        run.stop()

    assert run.told() == []

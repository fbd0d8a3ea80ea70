"""Reading beat's schedule from round to round: which source is asked, which counts, and what if one is away."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import beat_projects as projects
import pytest
import redis
from celery import Celery
from celery.beat import Scheduler
from sqlalchemy import select

from taskledger import schedule_reading
from taskledger.config import Settings
from taskledger.errors import SettingsError
from taskledger.ledger import Ledger, schema
from taskledger.ledger.query import schedules
from taskledger.schedule_reading import ScheduleReading
from taskledger.schedule_sources import finding

SECOND = 1_000_000
AT = 1_795_000_000 * SECOND

#: what a recorder of the Django project knows after it has read the schedule once: name -> source and zone
READ_ONCE = """
import json, sys, time
from taskledger import config, jobs
from taskledger.ledger import migrate, open_ledger
from taskledger.ledger.query import schedules
settings = config.load({"app": "djproj", "database_url": sys.argv[1]}, {})
migrate.upgrade(settings.database_url)
with open_ledger(settings.database_url) as ledger:
    jobs.read_schedule(settings, ledger, time.time_ns() // 1000)
    print(json.dumps({row.name: f"{row.source} {row.timezone}" for row in schedules(ledger, time.time_ns() // 1000)}))
"""


class Odd(Scheduler):
    """A scheduler that keeps its schedule nobody knows where."""


@pytest.fixture
def app() -> Celery:
    made = Celery("shop", broker="memory://", set_as_current=False)
    made.conf.result_expires = None
    made.conf.beat_schedule = {"of-the-code": {"task": "shop.tick", "schedule": 60.0}}
    return made


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of django-celery-beat with two entries, one of which ran a moment ago."""
    path = tmp_path_factory.mktemp("django") / "django.sqlite3"
    projects.in_django(
        f"sqlite:///{path}",
        """
every = IntervalSchedule.objects.create(every=90, period="minutes")
nightly = CrontabSchedule.objects.create(hour=3, minute=0, timezone="Asia/Tokyo")
PeriodicTask.objects.create(name="one", task="djproj.add", interval=every)
PeriodicTask.objects.create(name="two", task="djproj.add", crontab=nightly)
PeriodicTask.objects.filter(name="one").update(last_run_at=datetime.now(timezone.utc), total_run_count=3)
""",
        migrate=True,
    )
    return path


@pytest.fixture
def django_url(migrated: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copyfile(migrated, tmp_path / 'django.sqlite3')}"


@pytest.fixture
def reading() -> Iterator[Callable[..., ScheduleReading]]:
    """Makes readings of settings, and closes them."""
    made = []

    def make(**values: object) -> ScheduleReading:
        made.append(ScheduleReading(Settings(**{"broker_url": "memory://", **values})))
        return made[-1]

    yield make
    for each in made:
        each.close()


def sources(ledger: Ledger) -> dict[str, str]:
    return {row.name: row.source for row in schedules(ledger, AT)}


def in_force(ledger: Ledger) -> set[str]:
    entry, version = schema.schedule_entry, schema.schedule_version
    with ledger.read() as connection:
        joined = select(entry.c.name).join(version, version.c.entry_id == entry.c.id)
        return set(connection.scalars(joined.where(version.c.valid_to_at.is_(None))))


def read_in_django(django_url: str, folder: Path, **variables: str) -> dict[str, str]:
    ledger = f"sqlite:///{folder}/ledger.sqlite3"
    return json.loads(projects.run(READ_ONCE, "-", ledger, DJ_DATABASE=projects.djangos(django_url), **variables))


def test_the_tables_are_read_without_any_app(
    django_url: str, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """An address is enough: no Django, no project."""
    assert reading(schedule_url=django_url).read(sqlite_ledger, AT) > 0

    assert sources(sqlite_ledger) == {"one": "django-celery-beat", "two": "django-celery-beat"}


def test_a_django_project_gives_its_tables_away(django_url: str, tmp_path: Path) -> None:
    """When beat_scheduler names DatabaseScheduler, Django's database is read, and the code's entries do not count."""
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"

    found = read_in_django(django_url, tmp_path, DJ_SCHEDULER=scheduler)
    assert found == {"one": "django-celery-beat Europe/Berlin", "two": "django-celery-beat Asia/Tokyo"}


def test_djangos_settings_say_how_beat_reckons(django_url: str, tmp_path: Path) -> None:
    """With DJANGO_CELERY_BEAT_TZ_AWARE off a crontab's own zone does not count for beat, and so not for us."""
    found = read_in_django(django_url, tmp_path, DJ_TZ_AWARE="no")

    assert found["two"] == "django-celery-beat Europe/Berlin"


def test_tables_that_beat_uses_are_found_by_its_traces(django_url: str, tmp_path: Path) -> None:
    """With `-S django` the configuration does not name the scheduler: that an entry ran lately does."""
    assert set(read_in_django(django_url, tmp_path)) == {"one", "two"}


def test_tables_that_nobody_uses_do_not_count(django_url: str, tmp_path: Path) -> None:
    """Without a run of the last days the tables may be left from long ago: the app's configuration counts."""
    projects.in_django(django_url, "PeriodicTask.objects.update(last_run_at=None)")

    assert read_in_django(django_url, tmp_path) == {"of-the-code": "djproj (beat_schedule) Europe/Berlin"}


def test_redbeat_is_found_in_the_apps_configuration(
    app: Celery, redis_url: str, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """redbeat_redis_url is enough, with the prefix and the zone that the app has; disabled:// looks nowhere."""
    define(redis_url, "kept", "mine:")
    app.conf.update(redbeat_redis_url=redis_url, redbeat_key_prefix="mine:", timezone="Asia/Tokyo")

    assert reading(celery_app=app).read(sqlite_ledger, AT) > 0
    [row] = schedules(sqlite_ledger, AT)
    assert (row.name, row.source, row.timezone) == ("kept", "redbeat", "Asia/Tokyo")

    assert reading(celery_app=app, schedule_url="disabled://").read(sqlite_ledger, AT + SECOND) > 0
    assert sources(sqlite_ledger)["of-the-code"] == "shop (beat_schedule)"


def test_what_is_only_in_the_code_ends_when_beat_keeps_its_schedule_elsewhere(
    app: Celery, redis_url: str, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """Such a scheduler sends what is in its store and nothing else: nothing more is claimed to be due."""
    reading(celery_app=app).read(sqlite_ledger, AT)
    assert in_force(sqlite_ledger) == {"of-the-code"}
    define(redis_url, "kept")

    reading(celery_app=app, schedule_url=redis_url).read(sqlite_ledger, AT + 60 * SECOND)
    assert in_force(sqlite_ledger) == {"kept"}


def test_a_source_that_is_away_is_told_once_and_stops_no_other(
    app: Celery, redis_url: str, tmp_path: Path, django_url: str, sqlite_ledger: Ledger,
    reading: Callable[..., ScheduleReading], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """RedBeat is read while the database is away; that is one warning however often it is tried."""
    define(redis_url, "kept")
    path = tmp_path / "later.sqlite3"
    both = reading(
        celery_app=app, broker_url="a=memory://,b=memory://2", schedule_url=f"a=sqlite:///{path},b={redis_url}"
    )
    with caplog.at_level(logging.INFO):
        for number in range(3):
            both.read(sqlite_ledger, AT + number * 10 * SECOND)
        assert sources(sqlite_ledger) == {"kept": "redbeat"}
        shutil.copyfile(django_url.removeprefix("sqlite:///"), path)
        both.read(sqlite_ledger, AT + 30 * SECOND)

    assert set(sources(sqlite_ledger)) == {"kept", "one", "two"}
    told = [record.getMessage() for record in caplog.records if record.name == schedule_reading.__name__]
    assert [message for message in told if "later.sqlite3" in message] == [told[0]]
    assert "cannot be read now" in told[0]
    assert "the schedule database can be read again" in told


def test_while_beats_own_place_is_away_the_code_is_not_held_against_it(
    app: Celery, tmp_path: Path, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """Entries may have been edited there: until it can be read nothing is claimed."""
    reading(celery_app=app, schedule_url=f"sqlite:///{tmp_path}/gone").read(sqlite_ledger, AT)

    assert sources(sqlite_ledger) == {}


def test_an_unchanged_schedule_is_written_once_a_minute(
    redis_url: str, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """It is read every few seconds; a change is kept at once, and otherwise only when it was last read."""
    define(redis_url, "kept")
    one = reading(schedule_url=redis_url)

    def read_at(second: int) -> tuple[int, int]:
        changed = one.read(sqlite_ledger, AT + second * SECOND)
        return changed, (schedules(sqlite_ledger, AT)[0].read_at - AT) // SECOND

    assert [read_at(0), read_at(10), read_at(59), read_at(60)] == [(1, 0), (0, 0), (0, 0), (0, 60)]
    define(redis_url, "kept", every=5)
    assert read_at(70) == (1, 70)


def test_an_address_says_what_no_app_does(
    redis_url: str, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading]
) -> None:
    """The prefix of RedBeat's keys, the zone that beat reckons in, and the cluster that it sends to."""
    define(redis_url, "other")
    define(redis_url, "mine", "mine:")
    url = f"us={redis_url}?redbeat_key_prefix=mine:&beat_timezone=Asia/Tokyo"

    reading(broker_url="eu=memory://,us=redis://h", schedule_url=url).read(sqlite_ledger, AT)
    [row] = schedules(sqlite_ledger, AT)
    assert (row.name, row.cluster, row.timezone) == ("mine", "us", "Asia/Tokyo")


def test_a_schedule_of_a_cluster_that_nobody_records_is_refused(reading: Callable[..., ScheduleReading]) -> None:
    """A slip in a cluster's name is told at once, not when something is missed."""
    with pytest.raises(SettingsError, match="for the cluster uss, which --broker does not name"):
        reading(broker_url="eu=memory://,us=redis://h", schedule_url="uss=redis://h")


@pytest.mark.parametrize(
    ("scheduler", "found"),
    [
        ("celery.beat:PersistentScheduler", None),
        ("celery.beat.Scheduler", None),
        ("django", "django-celery-beat"),
        ("django_celery_beat.schedulers:DatabaseScheduler", "django-celery-beat"),
        ("sqlalchemy", "sqlalchemy-celery-beat"),
        ("redbeat.RedBeatScheduler", "redbeat"),
        ("redbeat.schedulers:RedBeatScheduler", "redbeat"),
        ("nowhere.to:Be", "nowhere.to:Be"),
        (Odd, "Odd"),
    ],
)
def test_beats_scheduler_is_recognised(app: Celery, scheduler: object, found: str | None) -> None:
    """By alias, by path, by class, and by name when its package is not installed here."""
    app.conf.beat_scheduler = scheduler

    assert finding.scheduler_of(app) == found


@pytest.mark.parametrize(
    ("scheduler", "more", "told"),
    [
        (Odd, {}, "beat of shop runs the schedule of Odd, which nobody can read from outside"),
        ("django", {"schedule_url": "disabled://"}, "django-celery-beat, which the settings say not to read"),
        ("celery.beat:PersistentScheduler", {}, ""),
    ],
)
def test_another_schedule_than_the_codes_is_told(
    app: Celery, sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading], caplog: pytest.LogCaptureFixture,
    scheduler: object, more: dict[str, str], told: str,
) -> None:  # fmt: skip
    """When beat runs a schedule that cannot be read, the code's is shown, with a warning that it may differ."""
    app.conf.beat_scheduler = scheduler
    with caplog.at_level(logging.WARNING):
        reading(celery_app=app, **more).read(sqlite_ledger, AT)

    assert sources(sqlite_ledger) == {"of-the-code": "shop (beat_schedule)"}
    assert told in caplog.text
    assert bool(told) is bool(caplog.records)


def test_without_any_source_the_reason_is_told(
    sqlite_ledger: Ledger, reading: Callable[..., ScheduleReading], caplog: pytest.LogCaptureFixture
) -> None:
    """How to name one, and why beat's own file is not read."""
    with caplog.at_level(logging.INFO):
        assert reading().read(sqlite_ledger, AT) == 0

    assert "celerybeat-schedule) is not read, because it is a pickle" in caplog.text


def define(url: str, name: str, prefix: str = "redbeat:", every: float = 60.0) -> None:
    """An entry as RedBeat writes it."""
    schedule = {"__type__": "interval", "every": every, "relative": False}
    definition = {"name": name, "task": "t.a", "args": [], "kwargs": {}, "options": {}, "enabled": True}
    with redis.Redis.from_url(url) as client:
        client.hset(f"{prefix}{name}", "definition", json.dumps(definition | {"schedule": schedule}))
        client.zadd(f"{prefix}:schedule", {f"{prefix}{name}": time.time()})

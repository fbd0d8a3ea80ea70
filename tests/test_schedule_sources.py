"""Beat's schedule in other people's tables: read from what django-celery-beat itself made and filled."""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import beat_projects as projects
import pytest
import services
from celery import Celery

from taskledger import databases, schedules
from taskledger.errors import ScheduleAway, ScheduleUnreadable
from taskledger.schedule_sources import Reading
from taskledger.schedule_sources.rows import Reckoning
from taskledger.schedule_sources.tables import Place, ScheduleTables
from taskledger.schedules import Crontab, Entry, Interval, Sent, Unverifiable

BERLIN = Reckoning("Europe/Berlin")

#: one entry of each kind, made as people make them
ENTRIES = """
hourly = IntervalSchedule.objects.create(every=90, period="minutes")
line = CrontabSchedule.objects.create(minute="*/15", hour="3,4", day_of_week="mon-fri", timezone="Asia/Tokyo")
sunset = SolarSchedule.objects.create(event="dusk_civil", latitude=52.520008, longitude=13.404954)
once = ClockedSchedule.objects.create(clocked_time=datetime(2027, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))))
make = PeriodicTask.objects.create
make(name="interval", task="djproj.add", interval=hourly, args='[1, "two"]', kwargs='{"y": null}', queue="fast")
make(name="crontab", task="djproj.add", crontab=line, expire_seconds=30)
make(name="solar", task="djproj.add", solar=sunset)
make(name="clocked", task="djproj.add", clocked=once, one_off=True)
make(name="disabled", task="djproj.add", interval=hourly, enabled=False)
make(name="bounded", task="djproj.add", interval=hourly, start_time=datetime(2027, 1, 1, tzinfo=timezone.utc),
     expires=datetime(2027, 2, 1, tzinfo=timezone.utc))
make(name="has-run", task="djproj.add", interval=hourly, one_off=True)
PeriodicTask.objects.filter(name="has-run").update(
    total_run_count=1, last_run_at=datetime(2026, 11, 1, 8, tzinfo=timezone.utc))
"""


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables of django-celery-beat, made by its own migrations."""
    path = tmp_path_factory.mktemp("django") / "django.sqlite3"
    projects.in_django(f"sqlite:///{path}", "", migrate=True)
    return path


@pytest.fixture
def django_url(migrated: Path, tmp_path: Path) -> str:
    """The same, a copy for one test."""
    return f"sqlite:///{shutil.copyfile(migrated, tmp_path / 'django.sqlite3')}"


@pytest.fixture
def tables(django_url: str) -> Iterator[ScheduleTables]:
    yield from opened(django_url)


def opened(url: str, place: Place | None = None) -> Iterator[ScheduleTables]:
    store = ScheduleTables(place or Place(databases.address(url), BERLIN), None)
    yield store
    store.close()


def read(store: ScheduleTables) -> Reading:
    [reading] = store.read(0)
    return reading


def by_name(store: ScheduleTables) -> dict[str, Entry]:
    return {entry.name: entry for entry in read(store).entries}


def micros(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


def holds_each_kind(found: dict[str, Entry]) -> None:
    """What ENTRIES says."""
    assert found["interval"].schedule == Interval(5400.0, "Europe/Berlin")
    assert (found["interval"].args, found["interval"].kwargs) == ("[1, 'two']", "{'y': None}")
    assert found["interval"].queue == "fast"
    assert found["crontab"].schedule == Crontab("*/15", "3,4", day_of_week="mon-fri", tz="Asia/Tokyo")
    assert (found["crontab"].args, found["crontab"].kwargs) == ("()", "{}")
    assert found["crontab"].expires_s == 30.0
    assert found["solar"].schedule == Unverifiable("solar", "dusk civil at 52.520008, 13.404954", "Europe/Berlin")
    at_s = micros(2027, 3, 1, 10, 30) / 1_000_000
    assert found["clocked"].schedule == schedules.parse({"type": "clocked", "at": at_s, "tz": "Europe/Berlin"})
    assert (found["clocked"].one_off, found["clocked"].enabled) == (True, True)
    assert (found["disabled"].enabled, found["disabled"].schedule) == (False, Interval(5400.0, "Europe/Berlin"))
    assert (found["bounded"].starts_at, found["bounded"].expires_at) == (micros(2027, 1, 1), micros(2027, 2, 1))
    assert (found["has-run"].one_off, found["has-run"].enabled) == (True, False)
    assert {entry.problem for entry in found.values()} == {None}


def test_each_kind_of_entry_is_read(django_url: str, tables: ScheduleTables) -> None:
    """Interval, crontab with its zone, solar, clocked; disabled, bounded and one-off ones; the arguments."""
    projects.in_django(django_url, ENTRIES)

    reading = read(tables)
    assert reading.source == "django-celery-beat"
    holds_each_kind({entry.name: entry for entry in reading.entries})
    counts = {count.name: count for count in reading.counts}
    assert counts["has-run"] == ("has-run", micros(2026, 11, 1, 8), 1)
    assert counts["interval"] == ("interval", None, 0)


def test_postgresql_tells_the_same() -> None:
    """Times with a zone, booleans and decimals of another database mean the same."""
    with services.database("postgresql") as url:
        projects.in_django(url, ENTRIES, migrate=True)
        for store in opened(url):
            reading = read(store)

    holds_each_kind({entry.name: entry for entry in reading.entries})
    assert {count.last_run_at for count in reading.counts} == {None, micros(2026, 11, 1, 8)}


def test_an_edit_a_disabling_and_a_deletion_are_seen(django_url: str, tables: ScheduleTables) -> None:
    """The next reading has what the tables have now, whatever date_changed says."""
    projects.in_django(django_url, ENTRIES)
    before = by_name(tables)
    projects.in_django(
        django_url,
        """
crontab = PeriodicTask.objects.get(name="crontab")
PeriodicTask.objects.filter(name="interval").update(interval=None, crontab=crontab.crontab)
CrontabSchedule.objects.update(minute="7")
solar = PeriodicTask.objects.get(name="solar"); solar.enabled = False; solar.save()
PeriodicTask.objects.get(name="clocked").delete()
PeriodicTask.objects.filter(name="bounded").update(date_changed=datetime(2030, 1, 1, tzinfo=timezone.utc))
""",
    )

    after = by_name(tables)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"interval", "crontab", "solar"}
    assert after["interval"].schedule == Crontab("7", "3,4", day_of_week="mon-fri", tz="Asia/Tokyo")
    assert "clocked" not in after


def test_what_beat_cannot_send_says_why(django_url: str, tables: ScheduleTables) -> None:
    """A crontab that beat cannot read, arguments that are no JSON, or no list: each entry has its reason."""
    projects.in_django(
        django_url,
        """
every = IntervalSchedule.objects.create(every=1, period="days")
seven = CrontabSchedule.objects.create(day_of_week="7")
make = PeriodicTask.objects.create
make(name="seven", task="t", crontab=seven)
make(name="no json", task="t", interval=every, args="[1,")
make(name="number", task="t", interval=every, args="5")
make(name="list", task="t", interval=every, kwargs="[1]")
make(name="good", task="t", interval=every)
""",
    )

    found = by_name(tables)
    assert found["seven"].problem == "its crontab cannot be read by beat: Invalid end range: 7 > 6."
    assert found["no json"].problem.startswith("its arguments are not the JSON that beat reads")
    assert found["number"].problem == "args must be a list or tuple, not 5"
    assert found["list"].problem == "kwargs must be a dict, not [1]"
    assert found["good"].problem is None
    assert not any(found["good"].is_like(found[name]) for name in ("no json", "number", "list"))


def test_arguments_that_do_not_fit_are_foreseen(django_url: str) -> None:
    """With the app the tasks' signatures are known: beat refuses such an entry each time and only logs it."""
    misfit = """
PeriodicTask.objects.filter(name="solar").update(args="[1, 2, 3]")
PeriodicTask.objects.filter(name="crontab").update(args="[1]", kwargs='{"y": 2}')
"""
    projects.in_django(django_url, ENTRIES + misfit)
    app = Celery("proj", broker="memory://", set_as_current=False)

    @app.task(name="djproj.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    store = ScheduleTables(Place(databases.address(django_url), BERLIN), app)

    assert by_name(store)["solar"].problem == "add() takes from 1 to 2 positional arguments but 3 were given"
    assert by_name(store)["crontab"].problem is None
    store.close()


def test_older_tables_are_read_as_far_as_they_go(django_url: str, tables: ScheduleTables) -> None:
    """Without clocked schedules, zones and one-off entries, as versions before 1.5 have it, the rest is read."""
    projects.in_django(
        django_url,
        ENTRIES
        + """
PeriodicTask.objects.filter(name__in=["clocked"]).delete()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("PRAGMA foreign_keys=off")
    cursor.execute("DROP TABLE django_celery_beat_clockedschedule")
    cursor.execute("ALTER TABLE django_celery_beat_crontabschedule DROP COLUMN timezone")
    cursor.execute("ALTER TABLE django_celery_beat_periodictask DROP COLUMN one_off")
""",
    )

    found = by_name(tables)
    assert found["crontab"].schedule == Crontab("*/15", "3,4", day_of_week="mon-fri", tz="Europe/Berlin")
    assert (found["has-run"].one_off, found["has-run"].enabled) == (False, True)


def test_a_guess_counts_only_while_beat_uses_it(django_url: str) -> None:
    """Tables that nobody named say nothing until a run of the last two days is in them."""
    projects.in_django(django_url, ENTRIES)
    place = Place(databases.address(django_url), BERLIN, is_guess=True)
    ran_at = micros(2026, 11, 1, 8)

    for store in opened(django_url, place):
        assert store.read(ran_at + 3 * 86_400_000_000) == []
        assert len(store.read(ran_at + 3_600_000_000)) == 1


def test_a_database_without_a_schedule_says_so(tmp_path: Path) -> None:
    """It is named, with the tables that it lacks; a file that is not there is not made."""
    empty = tmp_path / "empty.sqlite3"
    empty.touch()
    for store in opened(f"sqlite:///{empty}"):
        with pytest.raises(ScheduleUnreadable, match="neither django_celery_beat_periodictask nor celery_periodictask"):
            store.read(0)
    for store in opened(f"sqlite:///{tmp_path}/gone.sqlite3"):
        with pytest.raises(ScheduleAway, match=r"gone\.sqlite3 cannot be read now"):
            store.read(0)
    assert not (tmp_path / "gone.sqlite3").exists()


def test_a_database_that_is_away_is_told_without_its_password() -> None:
    """What cannot be reached is told in one line, and nothing secret with it."""
    for store in opened("postgresql://joe:hunter2@127.0.0.1:1/x"):
        with pytest.raises(ScheduleAway, match="cannot be read now") as told:
            store.read(0)

    assert "hunter2" not in str(told.value) + store.shown
    assert "\n" not in str(told.value)


def test_beat_sends_what_the_tables_foretell(
    django_url: str, tables: ScheduleTables, redis_url: str, tmp_path: Path
) -> None:
    """A real beat with DatabaseScheduler sends each entry with the reprs and to the queue by which it is recognised."""
    projects.in_django(
        django_url,
        """
every = IntervalSchedule.objects.create(every=1, period="seconds")
make = PeriodicTask.objects.create
make(name="none", task="t.none", interval=every)
make(name="some", task="t.some", interval=every, args='[1, "zwölf", {"a": [1.5, null, true]}]', kwargs='{"k": "v"}')
make(name="long", task="t.long", interval=every, args='["' + "x" * 3000 + '"]')
make(name="deep", task="t.deep", interval=every, args='[[[[[1]]]]]', kwargs='{"a": {"b": {"c": {"d": 1}}}}')
make(name="typed", task="t.typed", interval=every,
     args='[{"__type__": "datetime", "__value__": "2026-11-01T08:00:00+00:00"}]')
make(name="routed", task="t.routed", interval=every, args="[1]", queue="fast")
""",
    )
    with projects.beat("djproj", "django", tmp_path, DJ_DATABASE=projects.djangos(django_url), DJ_BROKER=redis_url):
        sent = projects.messages(redis_url, {"celery": 5, "fast": 1}, tmp_path / "beat.log")

    entries = {entry.task: entry for entry in by_name(tables).values()}
    assert {message.task for message in sent} == set(entries) - {"djproj.add"}
    for message in sent:
        entry = entries[message.task]
        assert (entry.args, entry.kwargs) == (message.args, message.kwargs)
        assert entry.is_sent_as(Sent(message.task, message.args, message.kwargs, message.queue, has_parent=False))
    assert entries["t.routed"].queue == "fast"


def test_beats_own_counters_are_read(django_url: str, tables: ScheduleTables, redis_url: str, tmp_path: Path) -> None:
    """When a real beat stops it has counted its sends in the table, and a one-off entry that ran is out of force."""
    projects.in_django(
        django_url,
        """
every = IntervalSchedule.objects.create(every=1, period="seconds")
past = ClockedSchedule.objects.create(clocked_time=datetime.now(timezone.utc))
PeriodicTask.objects.create(name="often", task="t.often", interval=every)
PeriodicTask.objects.create(name="once", task="t.once", clocked=past, one_off=True)
""",
    )
    before_at = time.time_ns() // 1000
    with projects.beat("djproj", "django", tmp_path, DJ_DATABASE=projects.djangos(django_url), DJ_BROKER=redis_url):
        projects.messages(redis_url, {"celery": 2}, tmp_path / "beat.log")

    reading = read(tables)
    often, once = ({each.name: each for each in reading.counts}[name] for name in ("often", "once"))
    assert often.total_run_count >= 1
    assert often.last_run_at is not None
    assert often.last_run_at >= before_at
    assert once.total_run_count == 1
    assert not by_name(tables)["once"].enabled

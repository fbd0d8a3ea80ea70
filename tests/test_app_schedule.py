"""The schedule of an app: the entries, arguments and zones with which its beat would send."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import celery
import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, PersistentScheduler
from celery.schedules import crontab, schedule

from taskledger import app_schedule
from taskledger.errors import AppError
from taskledger.schedules import Crontab, Entry, Interval, Unverifiable


class Odd(schedule):
    """A schedule with a mind of its own."""

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        return False, 60.0


@pytest.fixture
def app() -> Celery:
    made = Celery("proj", broker="memory://", set_as_current=False)
    made.conf.timezone = "Europe/Berlin"

    @made.task(name="proj.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    return made


def read(app: Celery, **entries: object) -> dict[str, Entry]:
    app.conf.beat_schedule = entries
    return {entry.name: entry for entry in app_schedule.entries_of(app)}


def test_schedules_are_read_in_every_spelling(app: Celery) -> None:
    """Numbers, timedeltas, crontabs of text, numbers and sets, relative ones; a custom class is not verifiable."""
    found = read(
        app,
        number={"task": "proj.add", "schedule": 10},
        delta={"task": "proj.add", "schedule": timedelta(minutes=90), "relative": True},
        line={"task": "proj.add", "schedule": crontab(minute="*/15", day_of_week="mon-fri")},
        sets={"task": "proj.add", "schedule": crontab(minute={30, 0}, hour=7)},
        odd={"task": "proj.add", "schedule": Odd(3)},
    )

    zone = "Europe/Berlin"
    assert found["number"].schedule == Interval(10.0, zone)
    assert found["delta"].schedule == Interval(5400.0, zone, relative=True)
    assert found["line"].schedule == Crontab("*/15", day_of_week="mon-fri", tz=zone)
    assert found["sets"].schedule == Crontab("0,30", "7", tz=zone)
    assert found["odd"].schedule == Unverifiable("Odd", "<freq: 3.00 seconds>", zone)


def test_arguments_are_those_that_beat_sends(app: Celery) -> None:
    """A list if there are any, else an empty tuple; computed ones are not known beforehand."""
    found = read(
        app,
        none={"task": "proj.add", "schedule": 1},
        some={"task": "proj.add", "schedule": 1, "args": (1, "two"), "kwargs": {"y": 3}},
        lazy={"task": "proj.add", "schedule": 1, "args": (BeatLazyFunc(int),)},
        routed={"task": "proj.add", "schedule": 1, "options": {"queue": "fast", "shadow": "s", "expires": 5}},
    )

    assert (found["none"].args, found["none"].kwargs) == ("()", "{}")
    assert (found["some"].args, found["some"].kwargs) == ("[1, 'two']", "{'y': 3}")
    assert (found["lazy"].args, found["lazy"].problem) == (None, None)
    assert (found["routed"].queue, found["routed"].shadow, found["routed"].expires_s) == ("fast", "s", 5.0)


def test_one_bad_entry_hides_no_other(app: Celery) -> None:
    """What beat fails to send each time is kept with the reason; what keeps beat from starting is left out."""
    found = read(
        app,
        args={"task": "proj.add", "schedule": 1, "args": 5},
        kwargs={"task": "proj.add", "schedule": 1, "kwargs": [1]},
        options={"task": "proj.add", "schedule": 1, "options": "fast"},
        unreadable={"task": "proj.add", "schedule": "daily"},
        good={"task": "proj.add", "schedule": 1, "args": (1,)},
    )

    assert {name: found[name].problem for name in ("args", "kwargs", "options", "good")} == {
        "args": "args must be a list or tuple, not 5",
        "kwargs": "kwargs must be a dict, not [1]",
        "options": "options must be a dict, not 'fast'",
        "good": None,
    }
    assert "unreadable" not in found
    assert not found["args"].is_like(found["good"])


def test_arguments_that_do_not_fit_are_foreseen(app: Celery) -> None:
    """Beat refuses such an entry each time and only logs it; a task that is not registered here may be fine."""
    found = read(
        app,
        bad={"task": "proj.add", "schedule": 1, "args": (1, 2, 3)},
        good={"task": "proj.add", "schedule": 1, "args": (1,)},
        elsewhere={"task": "other.task", "schedule": 1, "args": (1, 2, 3)},
    )

    assert found["bad"].problem == "add() takes from 1 to 2 positional arguments but 3 were given"
    assert (found["good"].problem, found["elsewhere"].problem) == (None, None)


def test_periodic_tasks_added_in_code_are_there(app: Celery) -> None:
    """add_periodic_task runs when the app is finalised, which reading does."""

    @app.on_after_finalize.connect
    def _add(sender: Celery, **_: object) -> None:
        sender.add_periodic_task(10.0, sender.signature("proj.add", (1, 2)), name="added")

    assert read(app)["added"].args == "[1, 2]"


def test_periodic_tasks_added_while_the_app_is_configured_are_there(app: Celery) -> None:
    """on_after_configure, as Celery's guide has it, is sent when the configuration is read."""

    @app.on_after_configure.connect
    def _add(sender: Celery, **_: object) -> None:
        sender.add_periodic_task(crontab(minute=5), sender.signature("proj.add", (1,), {"y": 2}), name="early")
        sender.add_periodic_task(10.0, sender.signature("proj.add", (3,)), expires=5)

    found = {entry.name: entry for entry in app_schedule.entries_of(app)}
    assert (found["early"].args, found["early"].kwargs) == ("[1]", "{'y': 2}")
    assert found["proj.add(3)"].expires_s == 5.0


@pytest.mark.parametrize("options", [{}, {"result_expires": None}, {"result_backend": "redis://localhost"}])
def test_the_entries_are_those_of_a_real_beat(app: Celery, tmp_path: Path, options: dict[str, object]) -> None:
    """Celery's own scheduler has the same entries, celery.backend_cleanup where it adds it included."""
    app.conf.update(options)
    mine = read(app, one={"task": "proj.add", "schedule": 10})
    beat = PersistentScheduler(app, schedule_filename=str(tmp_path / "schedule"))
    theirs = set(beat.schedule)
    beat.close()

    assert set(mine) == theirs
    assert ("celery.backend_cleanup" in mine) is (not options)


def test_an_entry_that_beat_could_not_read_is_left_out(app: Celery) -> None:
    """A slip of the pen in one entry does not hide the others."""
    found = read(app, slip={"taks": "proj.add", "schedule": 1}, well={"task": "proj.add", "schedule": 1})

    assert "slip" not in found
    assert "well" in found


@pytest.mark.skipif(celery.VERSION[:2] < (5, 7), reason="before Celery 5.7 nowfun decides the zone")
def test_the_zone_is_the_one_celery_reckons_in(app: Celery) -> None:
    """From Celery 5.7 on a crontab goes by the app's zone, whatever zone its nowfun tells."""
    zone = ZoneInfo("Asia/Tokyo")
    line = crontab(hour=3, minute=0, nowfun=lambda: datetime.now(zone))

    assert read(app, one={"task": "proj.add", "schedule": line})["one"].schedule.tz == "Europe/Berlin"


def test_tasks_that_cannot_be_imported_are_told_in_a_sentence(app: Celery) -> None:
    """The project's own trouble has the name of the project and of what is missing."""
    app.conf.imports = ["no_such_module_of_tasks"]

    with pytest.raises(AppError, match=r"proj cannot be imported: .*no_such_module_of_tasks"):
        app_schedule.entries_of(app)


def test_the_source_names_the_app(app: Celery) -> None:
    """People see where a definition was read."""
    assert app_schedule.source_of(app) == "proj (beat_schedule)"


def test_a_question_without_an_app_does_not_import_celerys_schedules() -> None:
    """Reading the timetable module is cheap: Celery's beat is only imported when there is an app."""
    code = "import sys, taskledger.jobs; print('celery.beat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"

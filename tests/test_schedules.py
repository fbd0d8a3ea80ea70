"""Schedules: what fields, intervals and entries mean, and that due times are those of Celery itself."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab, crontab_parser, schedule
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskledger import crontabs, schedules
from taskledger.crontabs import FIELDS, Crontab
from taskledger.schedule_words import expression, words
from taskledger.schedules import Clocked, Entry, Interval, Sent, Unverifiable

SECOND = 1_000_000
HOUR = 3600 * SECOND
ZONES = ("UTC", "Europe/Berlin", "America/New_York")
SIZES = {"minute": (60, 0), "hour": (24, 0), "day_of_month": (31, 1), "month_of_year": (12, 1), "day_of_week": (7, 0)}
NAMES = {"month_of_year": ("jan", "March", "SEP"), "day_of_week": ("sun", "Monday", "fri")}


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


def iso(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%m-%d %H:%M")


def due_times(line: Crontab, from_text: str, to_text: str) -> list[tuple[str, str, bool]]:
    """Due, opens (both UTC) and whether it is optional."""
    found = crontabs.dues(line, micros(from_text), micros(to_text))
    return [(iso(due.at), iso(due.opens_at), due.is_optional) for due in found]


@st.composite
def field_texts(draw: st.DrawFn, name: str) -> str:
    """A field as people write it: stars, steps, ranges that may wrap, names, lists of these."""
    least, greatest = FIELDS[name]
    number = st.integers(least, greatest).map(str)
    if name in NAMES:
        number |= st.sampled_from(NAMES[name])
    step = st.integers(1, greatest).map(lambda size: f"/{size}") | st.just("")
    part = number | st.builds("{}-{}{}".format, number, number, step) | st.builds("*{}".format, step)
    return ",".join(draw(st.lists(part, min_size=1, max_size=3)))


@st.composite
def crontab_fields(draw: st.DrawFn) -> dict[str, str]:
    return {name: draw(st.just("*") | field_texts(name)) for name in FIELDS}


@given(st.sampled_from(list(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), field_texts(name))))
def test_a_field_stands_for_the_numbers_that_celery_reads(case: tuple[str, str]) -> None:
    """Stars, steps, wrapping ranges, names and lists are read as celery.schedules.crontab_parser reads them."""
    name, text = case

    assert crontabs.field_values(name, text) == crontab_parser(*SIZES[name]).parse(text)


@pytest.mark.parametrize(
    "text", ["", "60", "-1", "5/10", "*/0", "1,,2", "noday", "1-", "1-99", "*-5", "sun/2", "1.5", " 1"]
)
def test_a_field_that_says_nothing_is_refused_in_a_sentence(text: str) -> None:
    """What is no number, range, name or step names the field and the part."""
    with pytest.raises(ValueError, match="minute: "):
        crontabs.field_values("minute", text)


@settings(max_examples=300, deadline=None)
@given(
    crontab_fields(),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
)
def test_the_next_due_time_is_celerys(fields: dict[str, str], zone_name: str, wall: datetime) -> None:
    """The first due time after any moment is the one Celery computes, where the clock does not change."""
    zone, line = ZoneInfo(zone_name), Crontab(**fields, tz=zone_name)
    last = wall.replace(microsecond=0, tzinfo=zone)
    try:
        crontabs.check(line)
        theirs = crontab(**fields, nowfun=lambda: last, app=app_in(zone_name))
        due = last.astimezone(UTC) + theirs.remaining_estimate(last)
    except (ValueError, RuntimeError):
        # 30 February: both refuse it, or Celery gives up on a day that comes once in decades.
        assume(False)
    assume(due.astimezone(zone).utcoffset() == last.utcoffset())

    mine = next(crontabs.dues_from(line, round(last.timestamp()) * SECOND + 1))

    assert datetime.fromtimestamp(mine.at / SECOND, UTC) == due


@cache
def app_in(zone_name: str) -> Celery:
    app = Celery("proj", broker="memory://", set_as_current=False)
    app.conf.timezone = zone_name
    return app


def test_all_five_fields_must_hold() -> None:
    """Day of month and weekday are both required: the first Saturdays of the months, not all Saturdays."""
    line = Crontab("0", "22", day_of_month="1-7", day_of_week="saturday")

    found = due_times(line, "2026-06-01T00:00:00Z", "2026-08-15T00:00:00Z")

    assert [due for due, _, _ in found] == ["06-06 22:00", "07-04 22:00", "08-01 22:00"]


def test_a_skipped_time_is_due_as_if_it_existed_and_opens_where_the_gap_ends() -> None:
    """02:30 on the day the clock goes forward: the first of a gap is required, the others may be left out."""
    once = due_times(Crontab("30", "2", tz="Europe/Berlin"), "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z")
    often = due_times(Crontab("*/30", "2", tz="Europe/Berlin"), "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z")

    assert once == [("03-29 01:30", "03-29 01:00", False)]
    assert often == [("03-29 01:00", "03-29 01:00", False), ("03-29 01:30", "03-29 01:30", True)]


def test_a_skipped_time_is_served_by_one_that_exists_at_its_instant() -> None:
    """Every minute but :35, in a half-hour gap: 02:00 is served by 02:30, and no more of the gap is required."""
    found = due_times(Crontab("36-34", "2", tz="Australia/Lord_Howe"), "2026-10-03T15:30:00Z", "2026-10-03T15:40:00Z")

    assert [due for due, _, is_optional in found if is_optional] == ["10-03 15:35"]
    assert len(found) == 10


def test_a_repeated_time_is_due_on_its_first_pass() -> None:
    """02:30 on the day the clock goes back: the second pass is optional."""
    found = due_times(Crontab("30", "2", tz="Europe/Berlin"), "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z")

    assert found == [("10-25 00:30", "10-25 00:30", False), ("10-25 01:30", "10-25 01:30", True)]


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("Australia/Lord_Howe", "2026-04-05T00:00:00Z"),  # half an hour
        ("America/St_Johns", "2006-10-29T00:00:00Z"),  # back across midnight
        ("America/Havana", "2026-03-08T00:00:00Z"),  # midnight does not exist
        ("Pacific/Apia", "2011-12-30T00:00:00Z"),  # a whole day does not exist
        ("Africa/Casablanca", "2026-03-22T00:00:00Z"),
        ("Asia/Kolkata", "2026-03-22T00:00:00Z"),
    ],
)
def test_a_crontab_for_each_minute_is_due_each_minute_in_every_zone(zone: str, around: str) -> None:
    """Whatever the clock does, every real minute is due once, in order, and pages of any size show the same."""
    line, from_at = Crontab(tz=zone), micros(around) - 24 * HOUR
    found = crontabs.dues(line, from_at, from_at + 48 * HOUR)
    halves = [
        *crontabs.dues(line, from_at, from_at + 25 * HOUR),
        *crontabs.dues(line, from_at + 25 * HOUR, from_at + 48 * HOUR),
    ]

    assert [due.at for due in found] == list(range(from_at, from_at + 48 * HOUR, 60 * SECOND))
    assert halves == found == list(itertools.islice(crontabs.dues_from(line, from_at), len(found)))


@settings(max_examples=60)
@given(
    minute=st.sampled_from(["*", "0", "30", "*/7", "59"]),
    hour=st.sampled_from(["*", "2", "*/6", "23"]),
    day_of_week=st.sampled_from(["*", "sun"]),
    zone=st.sampled_from(ZONES),
    from_at=st.integers(micros("2026-03-01T00:00+00:00"), micros("2026-12-01T00:00+00:00")),
    number=st.integers(1, 12),
)
def test_the_next_due_times_are_those_that_follow(
    minute: str, hour: str, day_of_week: str, zone: str, from_at: int, number: int
) -> None:
    """So many are the first of all that follow from the crontab, over changes of clocks as well."""
    crontab = Crontab(minute=minute, hour=hour, day_of_week=day_of_week, tz=zone)
    follows = (due.at for due in crontabs.dues_from(crontab, from_at) if due.flag != "dst_repeat")

    assert crontabs.next_dues(crontab, from_at, number) == list(itertools.islice(follows, number))


def test_a_day_that_comes_once_in_decades_is_found() -> None:
    """29 February on a Monday, and never where it is impossible."""
    line = Crontab("0", "0", day_of_month="29", month_of_year="2", day_of_week="1")

    assert next(crontabs.dues_from(line, micros("2026-01-01T00:00:00Z"))).at == micros("2044-02-29T00:00:00Z")
    with pytest.raises(ValueError, match="day 30 never occurs in month feb"):
        crontabs.check(Crontab(day_of_month="30", month_of_year="feb"))


def test_an_interval_is_due_after_the_fire_before() -> None:
    """In UTC real time and wall clock are one."""
    due = schedules.step(Interval(600), micros("2026-10-25T00:55:00Z"))

    assert due.real_at == due.wall_at == micros("2026-10-25T01:05:00Z")
    assert due.flag(due.wall_at) is None


@pytest.mark.parametrize(
    ("every_s", "last", "real", "wall", "flag"),
    [
        (600, "2026-10-25T00:55:00Z", "2026-10-25T01:05:00Z", "2026-10-25T02:05:00Z", "dst_stretched"),
        (86_400, "2026-03-28T02:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T01:00:00Z", "dst_shrunk"),
    ],
)
def test_where_the_clock_changes_real_time_and_wall_clock_are_both_right(
    every_s: float, last: str, real: str, wall: str, flag: str
) -> None:
    """Celery up to 5.6 goes by the wall clock, later ones by real time; a due time by the wall clock is marked."""
    due = schedules.step(Interval(every_s, tz="Europe/Berlin"), micros(last))

    assert (due.real_at, due.wall_at) == (micros(real), micros(wall))
    assert (due.flag(due.wall_at), due.flag(due.real_at)) == (flag, None)


def test_a_repeated_hour_never_leads_back() -> None:
    """Ten minutes after the second pass of 02:05 is not the first pass of 02:15."""
    last_at = micros("2026-10-25T01:05:00Z")
    due = schedules.step(Interval(600, tz="Europe/Berlin"), last_at)

    assert due.real_at == due.wall_at == last_at + 600 * SECOND


@given(st.floats(0.01, 1e7), st.sampled_from(ZONES), st.booleans(), st.integers(0, 4 * 10**15))
def test_every_interval_leads_forward(every_s: float, tz: str, relative: bool, last_at: int) -> None:
    """Whatever the interval, the zone and the moment: the next due time is later than the fire."""
    due = schedules.step(Interval(every_s, tz, relative), last_at)

    assert due.first_at > last_at or every_s < 1e-6


@given(st.integers(1, 10_000_000), st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_a_relative_interval_is_cut_as_celery_cuts_it(every_s: int, wall: datetime) -> None:
    """To the whole day, hour or minute, as celery.schedules.schedule computes it in UTC."""
    last = wall.replace(tzinfo=UTC)
    theirs = schedule(timedelta(seconds=every_s), relative=True, nowfun=lambda: last, app=app_in("UTC"))
    due_at = round(
        (last + theirs.remaining_estimate(last) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    )
    last_at = (last - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assume(due_at > last_at)

    assert schedules.step(Interval(every_s, relative=True), last_at).real_at == due_at


DEFINITIONS = [
    Crontab("0", "3"),
    Crontab("*/15", day_of_week="mon-fri", tz="Asia/Kolkata"),
    Interval(10.0),
    Interval(5400.0, "Europe/Berlin", relative=True),
    Clocked(1_795_323_570_330_000, "America/New_York"),
    Unverifiable("solar", "sunset at 50, 8"),
]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_an_entry_can_be_written_and_read_back(definition: schedules.Definition) -> None:
    """What a version keeps gives the same entry again, and its hash changes with anything in it."""
    entry = Entry("nightly", "proj.add", definition, "[1, 2]", None, "fast", "shadow", 5.0, enabled=False, problem="no")
    text = schedules.entry_text(entry)

    assert schedules.entry_from("nightly", text) == entry
    assert schedules.definition_hash(text) != schedules.definition_hash(
        schedules.entry_text(Entry("nightly", "x", definition))
    )


def test_fields_that_are_rarely_used_do_not_change_the_text() -> None:
    """An entry that was kept before these fields were known is no other now; one that uses them can be read back."""
    plain = Entry("nightly", "proj.add", Interval(10.0))
    rare = replace(plain, one_off=True, starts_at=1, expires_at=2)

    assert schedules.entry_text(plain) == (
        '{"args":"()","enabled":true,"expires_s":null,"kwargs":"{}","problem":null,"queue":null,'
        '"schedule":{"every":10.0,"type":"interval","tz":"UTC"},"shadow":null,"task":"proj.add"}'
    )
    assert schedules.entry_from("nightly", schedules.entry_text(rare)) == rare


def test_unknown_kinds_and_impossible_intervals_are_not_verifiable() -> None:
    """They are kept and shown; due times are not made up for them."""
    assert schedules.parse({"type": "rrule", "text": "FREQ=DAILY"}).kind == "rrule"
    assert schedules.parse({"type": "interval", "every": 0}) == Unverifiable("interval", "every 0 s")


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "crontab", "hour": "25"},
        {"type": "crontab", "tz": "Nowhere/Land"},
        {"type": "interval", "every": 5, "tz": "../etc/passwd"},
    ],
)
def test_a_definition_that_cannot_be_is_refused(shape: dict[str, object]) -> None:
    """An hour or a zone that does not exist is a ValueError in a sentence."""
    with pytest.raises(ValueError, match=r"hour: '25' is not within|there is no time zone"):
        schedules.parse(shape)


SENT = Sent("proj.add", "[1, 2]", "{}", None, has_parent=False)


@pytest.mark.parametrize(
    ("entry", "sent", "is_so"),
    [
        (Entry("e", "proj.add", Interval(1), "[1, 2]"), SENT, True),
        (Entry("e", "proj.add", Interval(1), "[1, 2]", queue="fast"), SENT, True),
        (Entry("e", "other", Interval(1), "[1, 2]", shadow="proj.add"), SENT, True),
        (Entry("e", "proj.add", Interval(1), None), SENT, True),
        (Entry("e", "proj.add", Interval(1), "(1, 2)"), SENT, False),
        (Entry("e", "proj.add", Interval(1), "[1, 2]", "{'a': 1}"), SENT, False),
        (Entry("e", "proj.add", Interval(1), None), replace(SENT, args="(1, 2)"), False),
        (Entry("e", "proj.add", Interval(1), "[1, 2]"), replace(SENT, has_parent=True), False),
        (Entry("e", "proj.add", Interval(1), "[1, 2]", queue="fast"), replace(SENT, queue="slow"), False),
    ],
)
def test_a_task_is_a_fire_only_if_beat_would_have_sent_it_so(entry: Entry, sent: Sent, is_so: bool) -> None:
    """By name or shadow, the repr of a list of arguments, the queue where it is known, and no parent."""
    assert entry.is_sent_as(sent) is is_so


def test_entries_are_alike_when_their_sends_cannot_be_told_apart() -> None:
    """The same task, arguments and queue; an entry whose arguments are computed may look like any other of its task."""
    one = Entry("one", "proj.add", Interval(1), "[1]", queue="a")

    assert one.is_like(Entry("two", "proj.add", Crontab(), "[1]"))
    assert one.is_like(Entry("two", "proj.add", Crontab(), None))
    assert not one.is_like(Entry("two", "proj.add", Crontab(), "[2]"))
    assert not one.is_like(Entry("two", "proj.add", Crontab(), "[1]", queue="b"))


@pytest.mark.parametrize(
    ("definition", "short", "long"),
    [
        (Crontab("0", "3"), "0 3 * * *", "every day at 03:00"),
        (Crontab("*/15"), "*/15 * * * *", "every 15 minutes"),
        (Crontab(), "* * * * *", "every minute"),
        (Crontab("0"), "0 * * * *", "every hour"),
        (Crontab("5,35"), "5,35 * * * *", "every hour at :05 and :35"),
        (Crontab("30", "*/3"), "30 */3 * * *", "every 3 hours at :30"),
        (Crontab("0", "5", day_of_week="sun"), "0 5 * * sun", "Sundays at 05:00"),
        (Crontab("15", "8,12", day_of_week="mon-fri"), "15 8,12 * * mon-fri", "Mondays to Fridays at 08:15 and 12:15"),
        (Crontab("*/10", "9-17"), "*/10 9-17 * * *", "every 10 minutes from 09:00 to 17:59"),
        (Crontab("0", "0", "1", "1,7"), "0 0 1 1,7 *", "on day 1 of the month in January and July at 00:00"),
        (Crontab("0", "5", "1-7", "*", "sat"), "0 5 1-7 * sat", "Saturdays on days 1 to 7 of the month at 05:00"),
        (Interval(10), "every 10 s", "every 10 seconds"),
        (Interval(60), "every 1 min", "every minute"),
        (Interval(90), "every 90 s", "every 90 seconds"),
        (Interval(5400, relative=True), "every 90 min", "every 90 minutes, cut to the full hour"),
        (Interval(0.5), "every 0.5 s", "every 0.5 seconds"),
        (Unverifiable("solar", "sunset"), "sunset", "sunset (due times not known)"),
        (Clocked(micros("2026-05-02T04:59:30Z"), "Asia/Tokyo"), "2026-05-02 13:59:30",
         "once, on 2 May 2026 at 13:59:30"),
        (Clocked(micros("2026-11-22T04:00:00Z")), "2026-11-22 04:00:00", "once, on 22 November 2026 at 04:00"),
    ],
)  # fmt: skip
def test_a_definition_has_words_and_an_expression(definition: schedules.Definition, short: str, long: str) -> None:
    """As people say it, and as a crontab has it."""
    assert (expression(definition), words(definition)) == (short, long)


@given(crontab_fields())
def test_every_crontab_has_words(fields: dict[str, str]) -> None:
    """Whatever the fields, there is a sentence without a loose end."""
    said = words(Crontab(**fields))

    assert said == said.strip()
    assert "  " not in said

"""Times, durations, states and other people's text, as words on a page."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from taskledger.states import State
from taskledger_web import phrases, reprs, span, text, times, tracebacks, words

UTC = ZoneInfo("UTC")
LONDON = ZoneInfo("Europe/London")
NOW = 1_795_335_164_155_000  # 2026-11-22 08:12:44.155 UTC
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (float("nan"), ""),
        (0.0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.009, "9 ms"),
        (0.9996, "1.00 s"),
        (1.154, "1.15 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m 00 s"),
        (247, "4 m 07 s"),
        (7380, "2 h 03 m"),
        (273_600, "3 d 4 h"),
        (-0.12, "−120 ms"),
        (-0.0005, "0 ms"),
        (-0.0006, "−1 ms"),
        (-0.0004, "0 ms"),
        (1e300, "11,574,074 d 1 h"),
    ],
)
def test_durations_read_as_people_write_them(seconds: float | None, expected: str) -> None:
    """Every duration has a unit, three figures at most below a minute, and a minus when clocks disagree."""
    assert times.duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.0004, "0 ms"),
        (-0.0004, "0 ms"),
        (0.0006, "+1 ms"),
        (1.3, "+1.30 s"),
        (-2, "−2.00 s"),
    ],
)
def test_lateness_has_a_sign_from_a_millisecond_on(seconds: float | None, expected: str) -> None:
    """Late is a plus, early a minus; below a millisecond there is neither."""
    assert phrases.lateness(seconds) == expected


def test_a_time_has_its_date_unless_it_is_today() -> None:
    """The clock alone means today in the zone shown; any other day is named, any other year as well."""
    assert times.absolute(NOW, UTC, NOW) == "08:12:44"
    assert times.absolute(NOW, UTC, NOW, precise=True) == "08:12:44.155"
    assert times.absolute(NOW - 9 * HOUR, UTC, NOW) == "21 Nov 23:12:44"
    assert times.absolute(NOW - 9 * HOUR, ZoneInfo("America/New_York"), NOW) == "21 Nov 18:12:44"
    assert times.absolute(NOW - 8800 * HOUR, UTC, NOW) == "20 Nov 2025 16:12:44"


def test_a_zone_whose_letters_change_is_named_in_full() -> None:
    """GMT heads a column only where all of its times are GMT; zones without letters go by their name."""
    summer = NOW - 150 * 24 * HOUR

    assert times.zone_word(LONDON, NOW) == "GMT"
    assert times.zone_word(LONDON, NOW, summer) == "Europe/London"
    assert times.zone_word(ZoneInfo("America/Sao_Paulo"), NOW) == "America/Sao_Paulo"


def test_stretches_name_the_date_where_it_is_needed() -> None:
    """Two times of today need no date, two of another day one, two of different days two."""
    assert times.between(NOW - HOUR, NOW, UTC, NOW) == "07:12 to 08:12"
    assert times.between(NOW - 26 * HOUR, NOW - 25 * HOUR, UTC, NOW) == "21 Nov 06:12 to 07:12"
    assert times.between(NOW - 26 * HOUR, NOW, UTC, NOW) == "21 Nov 06:12 to 22 Nov 08:12"


def test_odd_times_are_held_inside_the_calendar() -> None:
    """A time before 1970 or after 2200 is shown as the edge instead of breaking the page."""
    assert times.iso(-(10**18), UTC).startswith("1970-01-01")
    assert times.iso(10**18, UTC).startswith("2200-01-01")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("now", NOW),
        ("-90m", NOW - 90 * 60_000_000),
        ("2026-11-22", NOW - (8 * 3600 + 12 * 60 + 44) * 1_000_000 - 155_000),
        ("2026-11-22T07:12:44.155", NOW - HOUR),
        ("2026-11-22T07:12:44.155Z", NOW - HOUR),
        ("2026-11-22T09:12:44.155 02:00", NOW - HOUR),
        ("9999-12-31", times.LATEST),
        ("0001-01-01", 0),
    ],
)
def test_a_moment_is_read_as_it_is_written(given: str, expected: int) -> None:
    """`now`, relative and ISO 8601 times are understood, with and without an offset, also where + became a space."""
    assert span.moment(given, NOW, UTC) == expected


@pytest.mark.parametrize("given", ["yesterday-ish", "-5", "2026-13-01", "١٢", "", "-99999999999h", "2026-11-22T25:00"])
def test_a_moment_that_cannot_be_read_is_refused(given: str) -> None:
    """What is not a time is said to be none, with examples of what is."""
    with pytest.raises(ValueError, match="is not a time: write -24h"):
        span.moment(given, NOW, UTC)


def test_a_day_without_a_time_ends_at_midnight() -> None:
    """from=2026-11-21&to=2026-11-21 is that whole day."""
    read = span.read("2026-11-21", "2026-11-21", NOW, UTC, None)

    assert read.asked.to_at - read.asked.from_at == 24 * HOUR
    assert read.problem is None


def test_a_range_that_ends_before_it_begins_falls_back_and_says_so() -> None:
    """An impossible range shows the last 24 hours and names the problem."""
    read = span.read("now", "-2h", NOW, UTC, None)

    assert read.problem == "the range ends (-2h) before it begins (now); showing the last 24 hours"
    assert read.shown.to_at - read.shown.from_at >= 24 * HOUR


@given(st.text() | st.text(alphabet="a &<>\"'\x00\x7f\u202eé\n"))
def test_text_that_no_template_put_in_is_escaped_as_by_one(value: str) -> None:
    """Whatever the text, it is in the page what a template's expression would make of it."""
    assert text.markup(value) == str(escape(text.visible(value)))


def test_unseen_characters_become_visible() -> None:
    """Bidirectional overrides, zero-width and control characters, blanks and lone surrogates show as escapes."""
    assert text.visible("a\u202eb\u200bc\x00d\ud800e\u3164f") == "a\\u202eb\\u200bc\\x00d\\ud800e\\u3164f"
    assert text.visible("é 漢\n\t") == "é 漢\n\t"
    assert text.visible(None) == ""
    assert text.visible(12) == 12


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_gets_no_formula(start: str) -> None:
    """A cell that a spreadsheet would run is led by an apostrophe, also when its first character is unseen."""
    cell = text.spreadsheet_cell(f"{start}HYPERLINK(1)")

    assert cell[0] in ("'", "\\")


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        ("Retry: Retry(...), OSError('disk, full'), 2", "OSError('disk, full')"),
        ("Retry('Retry(...)', OSError(5, 'no'), None)", "OSError(5, 'no')"),
        ("Retry: Retry(...), TimeoutError(), datetime.datetime(2026)", "TimeoutError()"),
        ("ValueError: no", "ValueError: no"),
        (None, ""),
    ],
)
def test_a_retry_is_told_by_its_cause(announced: str | None, expected: str) -> None:
    """Where Celery announces its own Retry, the error that caused it is what people want to read."""
    assert text.cause(announced) == expected


def test_long_text_is_cut_with_a_mark() -> None:
    """What was left out of a long text is counted in its place."""
    shown, left_out = text.shortened("a" * 50 + "b" * 50, 10, 10)

    assert left_out == 80
    assert shown == "aaaaaaaaaa\n[… 80 characters not shown …]\nbbbbbbbbbb"


def test_a_traceback_folds_libraries_and_opens_the_application() -> None:
    """Frames of installed packages and of Python are merged and folded; the application's and the error stay open."""
    raw = """Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 477, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/usr/lib/python3.11/functools.py", line 3, in wraps
  File "/srv/app/shop.py", line 35, in charge
    raise ValueError("no")
ValueError: no"""

    blocks = tracebacks.blocks(raw)

    assert [block.kind for block in blocks] == ["text", "library", "application", "error"]
    assert blocks[1].title == "2 frames in celery, Python"
    assert "\n".join(block.text for block in blocks) == raw


def test_a_huge_traceback_keeps_its_end() -> None:
    """Of ten million characters, some thousands are shown, and the exception is among them."""
    blocks = tracebacks.blocks("  x\n" * 2_500_000 + "ValueError: at last")

    assert sum(len(block.text) for block in blocks) < 60_000
    assert blocks[-1].text == "ValueError: at last"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ("(4187, 'GBP')", "{'note': 'x'}", [("0", "4187"), ("1", "'GBP'"), ("note", "'x'")]),
        ("[123456789012345678901234567890]", "{}", [("0", "123456789012345678901234567890")]),
        ("(<object at 0x7f>,)", "{}", []),
        ("(" * 5000, None, []),
        ("(1, 'abc...", "{}", []),
        ("f()", "{**x}", []),
    ],
)
def test_arguments_are_taken_apart_without_being_changed(
    args: str, kwargs: str | None, expected: list[tuple[str, str]]
) -> None:
    """Each argument keeps its exact repr; what is no literal is shown whole."""
    found = reprs.arguments(args, kwargs)

    assert [(item.label, item.text) for item in found.items] == expected
    assert bool(found.raw) is (not expected)


def test_cut_arguments_are_recognised() -> None:
    """Celery ends what it cut with three dots, wherever the brackets are."""
    assert reprs.is_cut("(1, 'abc...')")
    assert reprs.is_cut("{'a': [1, 2, ...")
    assert not reprs.is_cut("('wait... what',)")
    assert not reprs.is_cut(None)


def test_every_state_has_a_word_and_a_shape_of_its_own() -> None:
    """No two states share an icon, so that none is told by its colour alone."""
    assert set(words.STATES) == set(State)

    shapes = [word.icon for state, word in words.STATES.items()] + [words.SCHEDULED.icon]

    assert len(set(shapes)) == len(shapes)

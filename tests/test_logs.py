"""What is logged: one record, one line, without passwords."""

import json
import logging
import sys

import pytest

from taskledger.logs import JSONLines, TextLines, one_line


def logged(formatter, message, *args, level=logging.WARNING, **more):
    record = logging.getLogger("taskledger.test").makeRecord(
        "taskledger.test", level, __file__, 1, message, args, more.pop("exc_info", None), extra=more
    )
    record.created = 1_795_262_400.5
    return formatter.format(record)


def raise_about(text):
    raise ValueError(text)


def caught():
    try:
        raise_about("redis://:hunter2@host\nis wrong")
    except ValueError:
        return sys.exc_info()
    return None


def test_text():
    """A line for people: when, how bad, who, what."""
    line = logged(TextLines(), "recorded %d events", 7)

    assert line == "2026-11-21T12:00:00.500Z warning taskledger.test: recorded 7 events"


def test_json():
    """An object for programs: the same, and what the record brought along."""
    told = json.loads(logged(JSONLines(), "recorded %d events", 7, action="recorded", number=7))

    assert told == {
        "at": "2026-11-21T12:00:00.500Z", "level": "warning", "logger": "taskledger.test",
        "message": "recorded 7 events", "action": "recorded", "number": 7,
    }  # fmt: skip


@pytest.mark.parametrize("formatter", [TextLines(), JSONLines()])
def test_one_record_is_one_line(formatter):
    """Neither a traceback nor what a task said makes two lines of one, or steers the terminal."""
    line = logged(formatter, "task said %s", "a\nb\x1b[2J\u2028c", exc_info=caught())

    assert line.splitlines() == [line]
    assert line.isprintable()
    assert "ValueError" in line


@pytest.mark.parametrize("formatter", [TextLines(), JSONLines()])
def test_passwords_are_masked(formatter):
    """A URL loses its password, in the message and in the traceback."""
    line = logged(formatter, "connecting to %s", "amqp://user:hunter2@host//", exc_info=caught())

    assert "hunter2" not in line
    assert "amqp://user:***@host//" in line


def test_control_characters_are_written_out():
    """They can still be read."""
    assert one_line("a\tb\x00\x9b") == "a\\tb\\x00\\x9b"

"""Log records as lines on stderr, for people or for programs: one record is always one line."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from taskledger.parsing import mask_url

#: control characters, and the line ends of Unicode, that could make one record look like two or steer a terminal
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: what every record has; anything else came in by `extra` and is worth telling programs
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: these speak at "info" of every statement or job they run
_TALKATIVE = ("apscheduler", "alembic", "sqlalchemy", "amqp", "kombu", "celery", "waitress", "werkzeug")


class TextLines(logging.Formatter):
    """`2026-11-22T08:00:00.123Z info taskledger.recorder: recorded 200 events`"""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_at(record)} {record.levelname.lower()} {record.name}: {_message(record)}"
        trace = _trace(record)
        return one_line(f"{line}\n{trace}" if trace else line)


class JSONLines(logging.Formatter):
    """One JSON object a record: at, level, logger, message, what `extra` gave, and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        told = {"at": _at(record), "level": record.levelname.lower(), "logger": record.name}
        told["message"] = _message(record)
        told |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if trace := _trace(record):
            told["traceback"] = trace
        return one_line(json.dumps(told, default=str, ensure_ascii=False))


def set_up(level: str, log_format: str) -> None:
    """Everything that is logged goes to stderr, once, in this format from this level on ("info", "json")."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    if level != "debug":
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)


def one_line(text: str) -> str:
    r"""The text with its control characters written out, as \n or \x1b."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _message(record: logging.LogRecord) -> str:
    return mask_url(record.getMessage())


def _trace(record: logging.LogRecord) -> str:
    return mask_url(logging.Formatter().formatException(record.exc_info)) if record.exc_info else ""


def _at(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")

"""Settings: one frozen value, read once; one TASKLEDGER_* variable and one flag for each field."""

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from taskledger.errors import SettingsError
from taskledger.retention import Retention, parse_retention

PREFIX = "TASKLEDGER_"
#: variable and flag that name the TOML file itself, which is no setting
CONFIG_VARIABLE, CONFIG_FLAG = "TASKLEDGER_CONFIG", "--config"
FILE_NAME = "taskledger.toml"
#: name of the only cluster when the broker's URL has none in front
DEFAULT_CLUSTER = "default"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
#: a comma separates brokers only where another URL follows, because passwords hold commas too
_BETWEEN_BROKERS = re.compile(r",\s*(?=(?:[\w.-]+=)?[a-zA-Z][\w+.-]*://)")
_BROKER = re.compile(r"(?:(?P<name>[\w.-]+)=)?(?P<url>[a-zA-Z][\w+.-]*://.*)", re.DOTALL)
_SECRET_ARGUMENT = re.compile(r"([?&;](?:[^=&;]*(?:password|passwd|secret|token|key|sig))=)[^&;#\s]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Option:
    """How one field of Settings is said from outside."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    #: text -> value; ValueError("must be …") when it is not allowed
    parse: Callable[[str], Any]
    #: may hold a password: never printed unmasked
    is_secret: bool = False


def _text(text: str) -> str:
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= 60:
        raise ValueError("must be seconds, more than 0 and at most 60, such as 0.2")
    return float(text)


def _yes_or_no(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as UTC or Europe/Berlin") from None


def _url(text: str) -> str:
    if not re.match(r"[a-zA-Z][\w+.-]*://", text):
        raise ValueError("must be a URL such as sqlite:///ledger.sqlite3 or postgresql+psycopg://user@host/name")
    return text


def _prefix(text: str) -> str:
    stripped = text.strip("/")
    if not re.fullmatch(r"[\w.~/-]*", stripped, re.ASCII) or "//" in stripped:
        raise ValueError("must be a path such as /taskledger")
    return f"/{stripped}" if stripped else ""


def _broker(text: str) -> str:
    if len(parse_brokers(text)) > 1:
        raise ValueError("names several brokers, and this release reads one; start a recorder for each")
    return text


def parse_brokers(text: str) -> tuple[tuple[str, str], ...]:
    """(cluster, URL) of each broker in `name=URL,name=URL`; a single URL needs no name. ValueError otherwise."""
    matches = [_BROKER.fullmatch(part.strip()) for part in _BETWEEN_BROKERS.split(text)]
    if not all(matches):
        raise ValueError("must be a broker URL such as redis://localhost:6379/0 or amqp://user:password@host//")
    brokers = tuple((match["name"] or DEFAULT_CLUSTER, match["url"]) for match in matches if match)
    if len({name for name, _ in brokers}) < len(brokers):
        raise ValueError("must give each of its brokers a name of its own, as in eu=redis://a,us=redis://b")
    return brokers


def default_database_url() -> str:
    """The embedded ledger: an SQLite file in the user's data folder."""
    import platformdirs

    return f"sqlite:///{(platformdirs.user_data_path('taskledger') / 'taskledger.sqlite3').as_posix()}"


def _default_zone() -> ZoneInfo:
    return ZoneInfo("UTC")


def _setting(flags: str, metavar: str, help_text: str, parse: Callable[[str], Any] = _text, **more: Any) -> Any:
    """A field of Settings; `more` is what dataclasses.field takes, and `secret`."""
    is_secret = more.pop("secret", False)
    option = Option(tuple(flags.split("/")), metavar, help_text, parse, is_secret)
    return field(metadata={"option": option}, repr=not is_secret, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be said from outside. Make one with `load`; tests may make one directly."""

    broker_url: str | None = _setting("-b/--broker", "URL", "Broker to record.", _broker, default=None, secret=True)
    app: str | None = _setting("-A/--app", "APP", "Celery app; brings broker, schedule, time zone.", default=None)
    database_url: str = _setting(
        "-d/--database", "URL", "Where the ledger is.", _url, default_factory=default_database_url, secret=True
    )
    result_backend: str | None = _setting(
        "--result-backend", "URL", "Where results are, to settle what events left open.", default=None, secret=True
    )
    host: str = _setting("--host", "NAME", "Address the site listens on.", default="127.0.0.1")
    port: int = _setting("--port", "NUMBER", "Port of the site; 0: any.", _whole(0, 65535), default=5555)
    url_prefix: str = _setting("--url-prefix", "PATH", "Path of the site behind a proxy.", _prefix, default="")
    retention: Retention = _setting(
        "--retention", "AGES", "How long what is kept.", parse_retention, default_factory=Retention
    )
    timezone: ZoneInfo = _setting(
        "--timezone", "ZONE", "Zone of the times shown.", _zone, default_factory=_default_zone
    )
    log_level: str = _setting("--log-level", "WORD", "Least level logged.", _one_of(*LOG_LEVELS), default="info")
    log_format: str = _setting("--log-format", "WORD", "text or json.", _one_of(*LOG_FORMATS), default="text")
    batch_size: int = _setting(
        "--batch-size", "NUMBER", "Most events in one transaction.", _whole(1, 100_000), default=2000
    )
    batch_wait_s: float = _setting("--batch-wait", "SECONDS", "Longest a batch waits.", _seconds, default=0.2)
    recorder_name: str = _setting(
        "--recorder-name", "NAME", "Name of this recorder.", default_factory=socket.gethostname
    )
    queue_name: str = _setting("--queue-name", "NAME", "Durable queue, on RabbitMQ.", default="taskledger")
    jobs: bool = _setting("--jobs/--no-jobs", "", "Run the periodic jobs as well.", _yes_or_no, default=True)

    #: field -> "default", "file …", "environment", "flag" or "app"; for `taskledger config`
    sources: Mapping[str, str] = field(default=MappingProxyType({}), repr=False, compare=False)
    #: the Celery app itself, when one is known (see app.py for what to ask it)
    celery_app: Any = field(default=None, repr=False, compare=False)

    @property
    def brokers(self) -> tuple[tuple[str, str], ...]:
        """(cluster, URL) of each broker; empty when none is known."""
        return parse_brokers(self.broker_url) if self.broker_url else ()

    @property
    def is_embedded(self) -> bool:
        """Whether the ledger is the SQLite file that nobody had to configure: only that one is upgraded unasked."""
        return self.database_url == default_database_url()


def options() -> dict[str, Option]:
    """Each field's option, in the order they are declared."""
    return {name: option for name, _, option in _described()}


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def load(flags: Mapping[str, object], environ: Mapping[str, str], *, celery_app: Any = None) -> Settings:
    """Settings from defaults < TOML < environment < flags; what none of them says comes from the Celery app.

    `flags` has fields' names, and "config" for the file; None is "not given". `celery_app` is the app that
    `celery -A` has found already. SettingsError tells in one sentence what is wrong where.
    """
    from taskledger import sources

    found = sources.read(flags, environ)
    values = {name: _parsed(name, text, source) for name, (text, source) in found.items()}
    origins = {name: source.kind for name, (_, source) in found.items()}
    app = _celery_app(values.get("app"), origins.get("app"), celery_app)
    if app is not None:
        for name, value in _of_app(app).items():
            if value is not None and name not in values:
                values[name], origins[name] = value, "app"
    origins = {name: origins.get(name, "default") for name in options()}
    return Settings(**values, sources=MappingProxyType(origins), celery_app=app)

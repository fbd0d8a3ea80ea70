"""Settings: one frozen value, read once; one TASKLEDGER_* variable and one flag for each field."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from taskledger import origins, parsing
from taskledger.errors import SettingsError
from taskledger.origins import Said, variable
from taskledger.parsing import mask_url
from taskledger.redaction_rules import KeyChanges, Payloads, ValuePatterns, parse_keys, parse_payloads, parse_values
from taskledger.retention import Retention, Rule, parse_retention

__all__ = ["Option", "Retention", "Rule", "Settings", "load", "mask_url", "options", "unknown_variables", "variable"]

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Option:
    """How one field of Settings is said from outside."""

    #: e.g. ("-b", "--broker"); a switch has its two faces in one: ("--jobs/--no-jobs",)
    flags: tuple[str, ...]
    metavar: str
    help: str
    #: text -> value; ValueError("must be …") when it is not allowed
    parse: Callable[[str], Any]
    #: may hold a password: never printed unmasked
    is_secret: bool

    @property
    def flag(self) -> str:
        """The long flag, to name the option by."""
        return self.flags[-1]


def default_database_url() -> str:
    """The embedded ledger: an SQLite file in the user's data folder."""
    import platformdirs

    return f"sqlite:///{(platformdirs.user_data_path('taskledger') / 'taskledger.sqlite3').as_posix()}"


def default_spool_folder() -> Path:
    """Beside the embedded ledger, in the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("taskledger") / "spool"


def _option(flags: str, metavar: str, text: str, parse: Callable[[str], Any] = parsing.as_text, **default: Any) -> Any:
    """A field of Settings; `default` as dataclasses.field takes it."""
    is_secret = metavar == "URL"
    option = Option(tuple(flags.split(" ")), metavar, text, parse, is_secret)
    return field(metadata={"option": option}, repr=not is_secret, **default)


# ruff: noqa: RUF009  `_option` describes a field as dataclasses.field does, which the rule knows to be harmless.
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be said from outside. `load` makes one; tests may make one directly."""

    broker_url: str | None = _option(
        "-b --broker", "URL", "Broker to record; several as name=URL,name=URL.", parsing.broker_url, default=None
    )
    app: str | None = _option("-A --app", "APP", "Celery app; brings broker, schedule and zone.", default=None)
    database_url: str = _option(
        "-d --database", "URL", "Where the ledger is.", parsing.database_url, default_factory=default_database_url
    )
    result_backend: str | None = _option("--result-backend", "URL", "Where the results are.", default=None)
    schedule_url: str | None = _option(
        "--schedule", "URL", "Where beat keeps its schedule, if not in the app.", parsing.schedule_url, default=None
    )
    host: str = _option("--host", "NAME", "Address of the site.", default="127.0.0.1")
    port: int = _option("--port", "NUMBER", "Port of the site; 0: any.", parsing.whole_number(0, 65535), default=5555)
    url_prefix: str = _option("--url-prefix", "PATH", "Path, behind a proxy.", parsing.url_prefix, default="")
    retention: Retention = _option(
        "--retention", "AGES", "How long what is kept.", parse_retention, default_factory=Retention
    )
    timezone: ZoneInfo = _option("--timezone", "ZONE", "Zone of times shown.", parsing.zone, default=UTC)
    log_level: str = _option("--log-level", "WORD", "Least level logged.", parsing.one_of(*LOG_LEVELS), default="info")
    log_format: str = _option("--log-format", "WORD", "text or json.", parsing.one_of(*LOG_FORMATS), default="text")
    batch_size: int = _option(
        "--batch-size", "NUMBER", "Most events in one transaction.", parsing.whole_number(1, 100_000), default=3000
    )
    batch_wait_s: float = _option(
        "--batch-wait", "SECONDS", "Longest that an event waits for others.", parsing.seconds, default=0.2
    )
    recorder_name: str = _option(
        "--recorder-name", "NAME", "Name of this recorder.", default_factory=socket.gethostname
    )
    queue_name: str = _option(
        "--queue-name", "NAME", "Its durable queue on RabbitMQ, or group on a Redis stream.", default="taskledger"
    )
    queue_type: str = _option(
        "--queue-type", "WORD", "quorum, classic.", parsing.one_of("quorum", "classic"), default="quorum"
    )
    queue_bytes: int = _option("--queue-bytes", "SIZE", "Most that may wait in it.", parsing.size, default=2 * 1024**3)
    queue_days: int = _option(
        "--queue-days", "DAYS", "When it goes, unread; 0: never.", parsing.whole_number(0, 365), default=14
    )
    durable_stream: str = _option(
        "--durable-stream", "WORD", "Read the Redis stream: auto, on, off.", parsing.one_of("auto", "on", "off"),
        default="auto",
    )  # fmt: skip
    stream_name: str | None = _option("--stream-name", "NAME", "Name of that stream.", default=None)
    accept: str = _option(
        "--accept", "WORDS", "What events may be written in: json, msgpack, yaml.", parsing.serializers, default="json"
    )
    writer: str = _option(
        "--writer", "WORD", "Write in a process of its own: auto, on, off.", parsing.one_of("auto", "on", "off"),
        default="auto",
    )  # fmt: skip
    spool_folder: Path = _option(
        "--spool-folder", "PATH", "Where events wait for a database that is away.", parsing.folder,
        default_factory=default_spool_folder,
    )  # fmt: skip
    spool_bytes: int = _option(
        "--spool-bytes", "SIZE", "Most that may wait there; 0: none.", parsing.size, default=512 * 1024**2
    )
    metrics_host: str = _option("--metrics-host", "NAME", "Address of the recorder's probes.", default="127.0.0.1")
    metrics_port: int | None = _option(
        "--metrics-port", "NUMBER", "Port of its /healthz, /readyz, /metrics; 0: any.", parsing.whole_number(0, 65535),
        default=None,
    )  # fmt: skip
    redact_keys: KeyChanges = _option(
        "--redact-keys", "KEYS", "More keys of secrets; -KEY: one less.", parse_keys, default_factory=KeyChanges
    )
    redact_values: ValuePatterns = _option(
        "--redact-values", "NAME=REGEX", "Looks of more secrets.", parse_values, default_factory=ValuePatterns
    )
    payloads: Payloads = _option(
        "--payloads", "TASK=WORD", "Keep of which task what: full, redacted, none.", parse_payloads,
        default_factory=Payloads,
    )  # fmt: skip
    jobs: bool = _option("--jobs/--no-jobs", "", "Run the periodic jobs as well.", parsing.yes_or_no, default=True)

    #: field -> "default", "file PATH", "environment", "flag" or "app"
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)
    #: the Celery app itself, when one is known; app.py has the questions to ask it
    celery_app: Any = field(default=None, repr=False, compare=False)

    @property
    def brokers(self) -> tuple[tuple[str, str], ...]:
        """(cluster, URL) of each broker; empty when none is known."""
        return parsing.brokers(self.broker_url) if self.broker_url else ()

    @property
    def is_embedded(self) -> bool:
        """Whether the ledger is the SQLite file that nobody had to configure: only that one is upgraded unasked."""
        return self.database_url == default_database_url()


@cache
def options() -> Mapping[str, Option]:
    """Each field's option, in the order of declaration."""
    described = ((each.name, each.metadata.get("option")) for each in fields(Settings))
    return MappingProxyType({name: option for name, option in described if option is not None})


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each TASKLEDGER_* variable that is no setting: probably a slip of the pen."""
    return origins.unknown_variables(environ, options())


def load(flags: Mapping[str, object], environ: Mapping[str, str], *, celery_app: Any = None) -> Settings:
    """Settings from defaults < TOML < environment < flags; what nobody said comes from the Celery app.

    `flags` has the fields' names, and "config" for the TOML file; None is "not given". `celery_app` is the app that
    `celery -A` has found already. SettingsError tells in one sentence what is wrong, and where it was said.
    """
    said = origins.read(flags, environ, {name: option.flag for name, option in options().items()})
    values = {name: _parsed(name, what) for name, what in said.items()}
    came_from = dict.fromkeys(options(), "default") | {name: what.origin for name, what in said.items()}
    app = _app(said.get("app"), celery_app)
    if app is not None:
        brought = {name: value for name, value in _of_app(app).items() if name not in values and value is not None}
        values |= brought
        came_from |= dict.fromkeys(brought, "app")
    return Settings(**values, origins=MappingProxyType(came_from), celery_app=app)


def _parsed(name: str, said: Said) -> Any:
    option = options()[name]
    try:
        return option.parse(said.text)
    except ValueError as error:
        shown = mask_url(said.text) if option.is_secret else said.text
        raise SettingsError(f"{said.place}: {shown!r} {error}.") from None


def _app(said: Said | None, given: Any) -> Any:
    """The app of --app, else the one `celery -A` found, else the one of a variable or file; None without any."""
    from taskledger import app

    by_flag = said is not None and said.origin == "flag"
    if given is not None and not by_flag and (said is None or not app.is_nameless_default(given)):
        return given
    return app.find(said.text) if said is not None else None


def _of_app(celery_app: Any) -> dict[str, Any]:
    """What the app says of settings; None where it says nothing."""
    from taskledger import app

    return {
        "app": app.name_of(celery_app),
        "broker_url": app.broker_url_of(celery_app),
        "result_backend": app.result_backend_of(celery_app),
        "timezone": app.timezone_of(celery_app),
    }

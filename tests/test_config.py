"""Settings: where they are said, which one wins, what is refused and how it is told."""

import sys
from pathlib import Path

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from taskledger.config import Retention, Rule, Settings, load, mask_url, options, unknown_variables, variable
from taskledger.errors import AppError, SettingsError
from taskledger.retention import STATES, UNITS, parse_retention

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, gone from the import path afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def refusal(flags=None, environ=None, **more):
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ or {}, **more)
    return str(caught.value)


def test_nothing_said():
    """Without a word said, every setting is its default and says so."""
    settings = load({}, {})

    assert settings == Settings()
    assert set(settings.origins) == set(options())
    assert set(settings.origins.values()) == {"default"}


def test_order(here):
    """Flag before environment before file before default."""
    (here / "taskledger.toml").write_text('host = "file"\nport = 1\nqueue_name = "file"\n')
    environ = {"TASKLEDGER_PORT": "2", "TASKLEDGER_QUEUE_NAME": "environment"}

    settings = load({"queue_name": "flag", "port": None}, environ)

    assert (settings.host, settings.port, settings.queue_name) == ("file", 2, "flag")
    assert settings.origins["host"] == "file taskledger.toml"
    assert settings.origins["port"] == "environment"
    assert settings.origins["queue_name"] == "flag"
    assert settings.origins["log_level"] == "default"


@pytest.mark.parametrize("name", list(options()))
def test_each_setting_has_its_variable_and_key(here, name):
    """Each field can be said by its variable and by its key in the TOML file, with one meaning."""
    samples = {
        "broker_url": "redis://h:1/0", "app": "proj", "database_url": "sqlite:///x.db", "result_backend": "redis://h/1",
        "port": "1234", "url_prefix": "/tl", "retention": "7d", "timezone": "Europe/Berlin", "log_level": "debug",
        "log_format": "json", "batch_size": "10", "batch_wait_s": "0.5", "jobs": "false",
        "spool_bytes": "2GB", "queue_type": "classic", "queue_bytes": "1GB", "queue_days": "3", "durable_stream": "on",
        "writer": "off", "schedule_url": "eu=postgresql://h/x,us=redis://h/1",
        "accept": "msgpack", "metrics_port": "9540",
        "redact_values": "number=N[0-9]+", "payloads": "billing.*=none",
    }  # fmt: skip
    text = samples.get(name, "some-word")
    (here / "proj.py").write_text("from celery import Celery\napp = Celery('proj')\n")
    (here / "other.toml").write_text(f"{name} = {text if text.isdecimal() or text == 'false' else repr(text)}\n")

    by_variable = load({}, {variable(name): text})
    by_key = load({}, {"TASKLEDGER_CONFIG": "other.toml"})

    assert getattr(by_variable, name) == getattr(by_key, name)
    assert getattr(by_variable, name) != getattr(Settings(), name)
    assert (by_variable.origins[name], by_key.origins[name]) == ("environment", "file other.toml")


def test_toml_of_the_user(here, monkeypatch):
    """Without a file here, the one in the user's configuration folder counts."""
    folder = here / "config" / "taskledger"
    folder.mkdir(parents=True)
    (folder / "taskledger.toml").write_text("port = 77\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))

    assert load({}, {}).port == 77


def test_unknown_key(here):
    """A key that is no setting is refused with the one that was meant."""
    (here / "taskledger.toml").write_text("databse_url = 'sqlite:///x'\n")

    assert refusal() == "taskledger.toml: databse_url is no setting; did you mean database_url?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port = ", "The settings file taskledger.toml cannot be read: Invalid value"),
        ("port = [1]", "port must be a text, a number, true or false"),
        ("port = true", "port in taskledger.toml: 'true' must be a whole number"),
        (b"\xff", "The settings file taskledger.toml cannot be read"),
    ],
)
def test_bad_toml(here, text, told):
    """A file that cannot be read as settings is refused by name."""
    (here / "taskledger.toml").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert told in refusal()


def test_named_file_is_missing():
    """A file that was named and is not there is an error, never a silent default."""
    assert (
        refusal({"config": "nowhere.toml"})
        == "The settings file nowhere.toml cannot be read: No such file or directory."
    )


def test_secret_from_file(here):
    """TASKLEDGER_X_FILE reads the value of TASKLEDGER_X from a file, without its line end."""
    (here / "secret").write_text("redis://:pw@h/0\n")

    assert load({}, {"TASKLEDGER_BROKER_URL_FILE": "secret"}).broker_url == "redis://:pw@h/0"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"TASKLEDGER_BROKER_URL_FILE": "nowhere"}, "TASKLEDGER_BROKER_URL_FILE: nowhere cannot be read: No such file"),
        ({"TASKLEDGER_BROKER_URL_FILE": "empty"}, "TASKLEDGER_BROKER_URL_FILE: empty is empty."),
        ({"TASKLEDGER_APP": "a", "TASKLEDGER_APP_FILE": "empty"}, "are both set; keep one of them."),
    ],
)
def test_bad_secret_file(here, environ, told):
    """A secret that cannot be had is told by its variable and its file."""
    (here / "empty").write_text(" \n")

    assert told in refusal(environ=environ)


def test_empty_variable_is_not_set():
    """An empty variable counts as not set."""
    assert load({}, {"TASKLEDGER_PORT": ""}).port == 5555


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("port", "x", "TASKLEDGER_PORT: 'x' must be a whole number from 0 to 65535."),
        ("port", "65536", "must be a whole number from 0 to 65535."),
        ("port", "٣", "must be a whole number from 0 to 65535."),
        ("batch_size", "0", "must be a whole number from 1 to 100000."),
        ("batch_wait_s", "nan", "must be seconds, more than 0 and at most 60, such as 0.2."),
        ("jobs", "maybe", "must be true or false."),
        ("log_level", "loud", "must be debug, info, warning or error."),
        ("log_format", "xml", "must be text or json."),
        ("timezone", "Mars/Olympus", "must be a time zone such as UTC or Europe/Berlin."),
        ("timezone", "../etc/passwd", "must be a time zone such as UTC or Europe/Berlin."),
        ("url_prefix", "a b", "must be a path such as /taskledger."),
        ("database_url", "ledger.db", "must be a URL such as sqlite:///ledger.sqlite3"),
        ("broker_url", "localhost:6379", "must be a broker URL such as redis://localhost:6379/0"),
        ("broker_url", "redis://a,redis://b", "must give each broker a name of its own"),
        ("spool_bytes", "lots", "must be a size such as 512MB"),
        ("spool_bytes", "-1", "must be a size"),
        ("spool_folder", " ", "must be a folder"),
    ],
)
def test_refused(name, text, told):
    """A value that is not allowed is told with its variable, itself and what is allowed."""
    said = refusal(environ={variable(name): text})

    assert said.startswith(f"{variable(name)}: {text!r} ")
    assert told in said


def test_refused_flag_is_named():
    """What a flag said wrongly is told by the flag."""
    assert refusal({"port": "x"}).startswith("--port: 'x' must be")


def test_refused_secret_is_masked():
    """A password in a refused URL is not printed."""
    said = refusal(environ={"TASKLEDGER_BROKER_URL": "user:hunter2@host"})

    assert "hunter2" not in said
    assert "user:***@host" in said


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1000", 1000), ("512MB", 512 << 20), ("2 g", 2 << 30), ("1KB", 1024), ("7B", 7)]
)
def test_sizes(text, size):
    """A size is a number of bytes, with or without a unit."""
    assert load({"spool_bytes": text}, {}).spool_bytes == size


def test_prefix_is_normal():
    """However its slashes are written, a prefix begins with one and does not end with one; the root is empty."""
    texts = ["tl", "/tl/", "tl/", "/"]

    assert [load({"url_prefix": text}, {}).url_prefix for text in texts] == ["/tl", "/tl", "/tl", ""]


@pytest.mark.parametrize(
    ("text", "brokers"),
    [
        ("redis://h/0", (("default", "redis://h/0"),)),
        ("eu=amqp://u:p,w=1@h//", (("eu", "amqp://u:p,w=1@h//"),)),
        ("sentinel://a:1;sentinel://b:1", (("default", "sentinel://a:1;sentinel://b:1"),)),
        ("memory://", (("default", "memory://"),)),
        ("eu=redis://:a,b@h/0, us=amqp://h//", (("eu", "redis://:a,b@h/0"), ("us", "amqp://h//"))),
    ],
)
def test_brokers(text, brokers):
    """A broker may have a cluster's name in front; commas and equal signs in passwords are not taken for more."""
    assert brokers == load({"broker_url": text}, {}).brokers


def test_embedded_ledger(monkeypatch, tmp_path):
    """Only the SQLite file in the user's data folder counts as embedded."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert load({}, {}).is_embedded
    assert f"sqlite:///{tmp_path}/taskledger/taskledger.sqlite3" == load({}, {}).database_url
    assert not load({"database_url": "sqlite:///other.sqlite3"}, {}).is_embedded


def test_repr_has_no_secret():
    """The repr of settings, which lands in logs and traces, holds no URL with a password."""
    settings = load({"broker_url": "redis://:hunter2@h", "database_url": "postgresql://u:hunter2@h/d"}, {})

    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:pw@h:1/0", "redis://:***@h:1/0"),
        ("amqp://u:p/w@h//,redis://:x@h", "amqp://u:***@h//,redis://:***@h"),
        ("mysql+pymysql://u@h/d?ssl_key=k&password=pw", "mysql+pymysql://u@h/d?ssl_key=***&password=***"),
        ("sentinel://:a@h1:1;sentinel://:b@h2:1/0", "sentinel://:***@h1:1;sentinel://:***@h2:1/0"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("recorded 200 events at 3:00", "recorded 200 events at 3:00"),
    ],
)
def test_mask(text, masked):
    """Passwords of URLs become ***; the rest stays."""
    assert masked == mask_url(text)


@given(st.text(min_size=1).filter(lambda text: not text.isspace() and " " not in text))
def test_mask_hides_any_password(password):
    """Whatever characters a password has, it does not come through."""
    marked = "".join(f"{character}§" for character in password if not character.isspace()) or "§"

    assert marked not in mask_url(f"redis://user:{marked}@host:1/0")


def test_unknown_variables():
    """A TASKLEDGER_ variable that is no setting is told with the one that was meant; the tests' own are not."""
    environ = {"TASKLEDGER_BROKER": "x", "TASKLEDGER_CONFIG": "x", "TASKLEDGER_TEST_REDIS_URL": "x", "PATH": "x"}

    assert unknown_variables(environ) == ["TASKLEDGER_BROKER is no setting; did you mean TASKLEDGER_BROKER_URL?"]


def test_retention():
    """An age and rules are read, states in the words of Celery or of the site, and written again as they were."""
    text = "14d,state:failed=90d,task:billing.*=1y,queue:mail=12h,worker-heartbeat=2d"

    retention = parse_retention(text)

    assert (
        Retention(
            14 * DAY_S,
            (
                Rule("state", "FAILURE", 90 * DAY_S),
                Rule("task", "billing.*", 365 * DAY_S),
                Rule("queue", "mail", DAY_S / 2),
                Rule("type", "worker-heartbeat", 2 * DAY_S),
            ),
        )
        == retention
    )
    assert text.replace("failed", "failure") == str(retention)
    assert Retention() == parse_retention("")
    assert parse_retention("state:failure=90d").default_s == 30 * DAY_S


def test_first_rule_decides():
    """Of the rules that match a task, the first decides; without one, the default age."""
    retention = parse_retention("10d,state:failure=90d,task:billing.*=1y")

    def keep(state, task, queue=None):
        return retention.task_keep_s(state=state, task=task, queue=queue) / DAY_S

    assert [
        keep("FAILURE", "billing.run"), keep("SUCCESS", "billing.run"), keep("SUCCESS", "mail"), keep("SUCCESS", None)
    ] == [90, 365, 10, 10]  # fmt: skip


def test_events_of_no_task():
    """A rule for an event type decides for such events, and rules about tasks do not."""
    retention = parse_retention("10d,task:*=1y,worker-heartbeat=2d")

    assert retention.event_keep_s("worker-heartbeat") == 2 * DAY_S
    assert retention.event_keep_s("worker-online") == 10 * DAY_S


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("30", "needs an age such as 12h, 30d or 1y"),
        ("0d", "needs an age from 1s to 1000y"),
        ("1001y", "needs an age from 1s to 1000y"),
        ("30d,7d", "has two default ages"),
        ("state:gone=1d", "does not know the state 'gone'; states are pending, sent,"),
        ("colour:red=1d", "does not know 'colour:red'; a rule is state:…, task:…, queue:… or an event type"),
        ("state:=1d", "does not know 'state:'"),
        ("task:a=forever", "needs an age such as 12h, 30d or 1y"),
    ],
)
def test_bad_retention(text, told):
    """A retention that cannot be read is refused with what is wrong in it."""
    assert told in refusal(environ={"TASKLEDGER_RETENTION": text})


@given(
    st.integers(1, 999),
    st.lists(
        st.one_of(
            st.tuples(st.just("state:"), st.sampled_from(sorted(STATES))),
            st.tuples(st.sampled_from(["task:", "queue:"]), st.from_regex(r"[a-z*?._-]{1,9}", fullmatch=True)),
            st.tuples(st.just(""), st.sampled_from(["worker-heartbeat", "task-sent"])),
        ).flatmap(lambda rule: st.tuples(st.just("".join(rule)), st.integers(1, 999), st.sampled_from(sorted(UNITS)))),
        max_size=5,
    ),
)
def test_retention_is_read_as_it_is_written(age, rules):
    """What a retention writes of itself is read as the same retention."""
    retention = parse_retention(",".join([f"{age}d", *(f"{target}={number}{unit}" for target, number, unit in rules)]))

    assert retention == parse_retention(str(retention))


APP = """
from celery import Celery
app = Celery("proj", broker="redis://of-the-app/3", backend="redis://of-the-app/4")
app.conf.timezone = "Europe/Berlin"
"""


def test_app_brings_what_nobody_said(here):
    """Broker, result backend and time zone come from the app, unless they were said."""
    (here / "proj_a.py").write_text(APP)

    settings = load({"app": "proj_a"}, {"TASKLEDGER_TIMEZONE": "UTC"})

    assert (settings.broker_url, settings.result_backend) == ("redis://of-the-app/3", "redis://of-the-app/4")
    assert tuple(settings.origins[name] for name in ("broker_url", "result_backend", "timezone")) == (
        "app",
        "app",
        "environment",
    )
    assert settings.timezone.key == "UTC"
    assert settings.celery_app.main == "proj"


def test_app_of_celery(here):
    """The app that `celery -A` has found is used as it is; a flag is stronger, a variable is not."""
    (here / "proj_b.py").write_text(APP.replace("of-the-app", "of-the-flag"))
    given_app = Celery("given", broker="redis://given", set_as_current=False)

    assert load({}, {"TASKLEDGER_APP": "nowhere"}, celery_app=given_app).broker_url == "redis://given"
    assert load({"app": "proj_b"}, {}, celery_app=given_app).broker_url == "redis://of-the-flag/3"


def test_app_without_a_broker(here):
    """An app that names no broker means Celery's default, as its workers do; its zone is UTC."""
    (here / "proj_c.py").write_text("from celery import Celery\nthe_app = Celery('bare')\n")

    settings = load({"app": "proj_c:the_app"}, {})

    assert settings.broker_url == "amqp://guest:guest@localhost:5672//"
    assert settings.timezone.key == "UTC"
    assert settings.result_backend is None


def test_app_of_a_package(here):
    """The name of a package finds the app in its celery module, as Django projects have it."""
    (here / "mysite").mkdir()
    (here / "mysite" / "__init__.py").touch()
    (here / "mysite" / "celery.py").write_text(APP)

    assert load({"app": "mysite"}, {}).broker_url == "redis://of-the-app/3"


@pytest.mark.parametrize(
    ("source", "name", "told"),
    [
        (None, "nowhere_at_all", "there is no module nowhere_at_all here"),
        (None, "nowhere_at_all:app", "there is no module nowhere_at_all here"),
        (
            "import not_installed_x",
            "proj_d",
            "--app proj_d cannot be imported: it raised ModuleNotFoundError: No module",
        ),
        ("1 / 0", "proj_e", "--app proj_e cannot be imported: it raised ZeroDivisionError: division by zero"),
        ("raise SystemExit(4)", "proj_f", "--app proj_f cannot be imported: it raised SystemExit: 4"),
        ("def f(:", "proj_g", "--app proj_g cannot be imported: it raised SyntaxError: invalid syntax"),
        ("x = 1", "proj_h", "--app proj_h: its module has no Celery app; name it as module:variable."),
        ("x = 1", "proj_i:app", "--app proj_i:app: module proj_i has no app."),
        ("x = 1", "proj_j:x", "--app proj_j:x names int, not a Celery app; try proj_j:app."),
        (
            "import json\njson.nothing_x",
            "proj_k",
            "it raised AttributeError: module 'json' has no attribute 'nothing_x'",
        ),
    ],
)
def test_app_that_cannot_be_had(here, source, name, told):
    """What keeps an app from being found is told in one sentence."""
    if source is not None:
        (here / f"{name.partition(':')[0]}.py").write_text(source)

    with pytest.raises(AppError) as caught:
        load({"app": name}, {})

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_configuration_of_the_app_that_cannot_be_read(here):
    """An app whose settings module is missing is told as such."""
    (here / "proj_l.py").write_text(
        "from celery import Celery\napp = Celery('proj_l')\napp.config_from_object('gone_settings_x')\n"
    )

    assert "The configuration of proj_l cannot be read" in refusal({"app": "proj_l"})

"""Result backends: what they keep is read by our own means from real ones, redacted, and never executed."""

import json
import pickle
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import redis
import services
from celery import Celery, states
from sqlalchemy import LargeBinary, bindparam, create_engine, text

from taskledger import redaction
from taskledger.backends import Reading, open_backend
from taskledger.backends.meta import MAX_BYTES
from taskledger.databases import djangos_address
from taskledger.errors import BackendAway, BackendUnreadable
from taskledger.redaction_rules import parse_payloads

# Celery's Redis backend uses what redis-py will give up one day.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

UTC = ZoneInfo("UTC")


class Bomb:
    """What, unpickled, leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Request:
    """As much of a worker's request as Celery's backends look at with result_extended."""

    def __init__(self, **more):
        self.id, self.task, self.hostname, self.retries, self.group, self.parent_id = (
            "t",
            "shop.pay",
            "w1@vm",
            1,
            None,
            None,
        )
        self.args, self.kwargs, self.children, self.delivery_info = (1, "a"), {"password": "hunter2"}, [], {}
        self.stamps, self.stamped_headers, self.root_id, self.chord = None, None, None, None
        self.delivery_info = {"routing_key": "billing"}
        self.__dict__ |= more


def reading(payloads: str = "", zone: ZoneInfo = UTC) -> Reading:
    return Reading(redaction.compiled(payloads=parse_payloads(payloads) if payloads else None), zone)


def read(url, *ids, app=None, how=None):
    backend = open_backend(url, app, how or reading())
    try:
        return backend.read(dict.fromkeys(ids))
    finally:
        backend.close()


@pytest.fixture(params=["redis", "sqlite", "postgresql", "mariadb"])
def backend_url(request, tmp_path):
    """A result backend as Celery names it, with nothing in it, of each kind that can be read."""
    if request.param == "redis":
        yield request.getfixturevalue("redis_url")
    elif request.param == "sqlite":
        yield f"db+sqlite:///{tmp_path}/results.sqlite3"
    else:
        with services.database(request.param) as url:
            yield f"db+{url}"


@pytest.fixture
def app(backend_url):
    made = Celery("shop", broker="memory://", backend=backend_url, set_as_current=False)
    made.conf.update(result_extended=True, result_backend_always_retry=False)
    yield made
    if hasattr(made.backend, "client"):
        made.backend.client.close()


def test_what_celery_stores_is_read(app, backend_url):
    """A success and a failure that Celery itself has stored come with result, error, name, arguments and time."""
    app.backend.store_result("good", {"total": 7}, states.SUCCESS, request=Request())
    error = app.backend.prepare_exception(ValueError("no such card"), "json")
    app.backend.store_result("bad", error, states.FAILURE, traceback="ValueError: no such card", request=Request())
    found = read(backend_url, "good", "bad", "never", app=app)

    assert set(found) == {"good", "bad"}
    good, bad = found["good"], found["bad"]
    assert (good.status, good.result, good.exception, good.worker, good.retries) == (
        "SUCCESS", "{'total': 7}", None, "w1@vm", 1
    )  # fmt: skip
    assert (good.name, good.args) == ("shop.pay", "(1, 'a')")
    assert (bad.status, bad.result, bad.exception) == ("FAILURE", None, "ValueError('no such card')")
    assert bad.traceback == "ValueError: no such card"
    assert good.done_at is not None
    assert abs(bad.done_at - good.done_at) < 60_000_000


def test_secrets_are_taken_out_before_anything_is_kept(app, backend_url):
    """Raw arguments and results lose their secrets, and are not kept at all where a rule says so."""
    result = {"token": "s3cr3t-value", "note": "postgresql://joe:hunter2@db/shop"}
    app.backend.store_result("t", result, states.SUCCESS, request=Request())
    found = read(backend_url, "t", app=app)["t"]
    none = read(backend_url, "t", app=app, how=reading("shop.*=none"))["t"]

    assert not [secret for secret in ("s3cr3t", "hunter2") if secret in repr(found)]
    assert "password" in found.kwargs
    assert {none.args, none.kwargs, none.result} == {"[redacted: payloads none]"}


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "UTC"])
def test_a_time_is_read_in_the_zone_of_the_app(app, backend_url, zone):
    """Whatever zone the app keeps its times in, the moment is right."""
    app.conf.timezone = zone
    app.backend.store_result("t", 1, states.SUCCESS, request=Request())
    found = read(backend_url, "t", app=app, how=reading(zone=ZoneInfo(zone)))["t"]

    assert abs(found.done_at - time.time() * 1e6) < 60_000_000


TABLE = """CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155), status VARCHAR(50),
 result {blob}, date_done {time}, traceback TEXT)"""


@pytest.fixture
def old_table(database_engine, tmp_path):
    """A database with the table of Celery up to 5.6, without result_extended; its URL and what inserts into it."""
    if database_engine == "sqlite":
        yield from _old_table(f"sqlite:///{tmp_path}/old.sqlite3", "BLOB", "DATETIME")
        return
    with services.database(database_engine) as url:
        yield from _old_table(
            url, *(("BYTEA", "TIMESTAMP") if database_engine == "postgresql" else ("BLOB", "DATETIME"))
        )


def _old_table(url, blob, time):
    engine = create_engine(url)

    def insert(number, task_id, status, result):
        row = {"n": number, "t": task_id, "s": status, "r": result}
        statement = text("INSERT INTO celery_taskmeta VALUES (:n, :t, :s, :r, '2026-11-21 12:00:00', 'E: no')")
        with engine.begin() as connection:
            connection.execute(statement.bindparams(bindparam("r", type_=LargeBinary)), row)

    with engine.begin() as connection:
        connection.execute(text(TABLE.format(blob=blob, time=time)))
    yield url, insert
    engine.dispose()


def test_a_pickle_is_shown_as_one_and_never_executed(old_table, tmp_path):
    """A bomb in the table that Celery up to 5.6 pickles into does not go off; that it is an end is known."""
    url, insert = old_table
    trap = tmp_path / "executed"
    insert(1, "bomb", "SUCCESS", pickle.dumps(Bomb(trap)))
    insert(2, "old", "FAILURE", pickle.dumps(ValueError("x")))
    insert(3, "text", "SUCCESS", b'{"total": 7}')
    insert(4, "zero", "SUCCESS", pickle.dumps(Bomb(trap), protocol=0))
    how = reading()
    found = read(f"db+{url}", "bomb", "old", "text", "zero", how=how)

    assert not trap.exists()
    assert [found[key].result for key in ("bomb", "old", "text", "zero")] == [
        "[pickled, not read]", None, "{'total': 7}", "[not JSON, not read]"
    ]  # fmt: skip
    assert (found["old"].status, found["old"].exception, found["old"].traceback) == ("FAILURE", None, "E: no")
    assert {one.done_at for one in found.values()} == {1_795_262_400_000_000}
    assert how.unread["pickled"] == 2


def test_a_pickle_in_redis_is_refused(redis_url, tmp_path, caplog):
    """With result_serializer=pickle nothing is read, once told why, counted, and nothing goes off."""
    trap = tmp_path / "executed"
    how = reading()
    with redis.Redis.from_url(redis_url) as client:
        client.set("celery-task-meta-a", pickle.dumps({"status": "SUCCESS", "result": Bomb(trap)}))
        client.set("celery-task-meta-b", pickle.dumps({"status": "SUCCESS"}))
        client.set("celery-task-meta-c", pickle.dumps({"status": "SUCCESS"}, protocol=0))
        client.set("celery-task-meta-d", b"[" * 100_000)
        client.set("celery-task-meta-e", b'"x"')
        client.set("celery-task-meta-f", json.dumps({"status": "SUCCESS", "result": "x" * MAX_BYTES}))
        client.lpush("celery-task-meta-g", "a list")

    assert read(redis_url, *"abcdefg", how=how) == {}
    assert not trap.exists()
    assert sorted(how.unread.values()) == [1, 2, 2]
    assert [record.message.partition(":")[0] for record in caplog.records] == ["a result was not read"] * 3


@pytest.mark.parametrize(("prefix", "key"), [("shop", "shop_"), ("shop:", "shop:"), (None, "")])
def test_the_prefix_of_keys_in_redis(redis_url, prefix, key):
    """`global_keyprefix` is taken from the app or from the URL, as Celery spells it."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix} if prefix else {}
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{key}celery-task-meta-t", json.dumps({"status": "SUCCESS", "result": None}))

    assert read(redis_url, "t", app=app)["t"].result == "None"
    if prefix:
        assert read(f"{redis_url}?global_keyprefix={prefix}", "t")["t"].status == "SUCCESS"
        assert read(redis_url, "t") == {}


DJANGO = """CREATE TABLE django_celery_results_taskresult (id INTEGER PRIMARY KEY, task_id VARCHAR(255), task_name
 VARCHAR(255), task_args TEXT, task_kwargs TEXT, status VARCHAR(50), worker VARCHAR(100), content_type VARCHAR(128),
 content_encoding VARCHAR(64), result TEXT, date_done DATETIME, traceback TEXT, meta TEXT)"""


def test_djangos_table(tmp_path):
    """The table of django-celery-results has its own columns; what is pickled there, as base64, is not read."""
    url = f"sqlite:///{tmp_path}/django.sqlite3"
    engine = create_engine(url)
    row = (
        "INSERT INTO django_celery_results_taskresult VALUES ({n}, '{t}', 'shop.pay', {args}, {kwargs}, '{s}', 'w1@vm',"
    )
    row += " '{content}', 'utf-8', {result}, '2026-11-21 12:00:00', NULL, '{{}}')"
    args, kwargs = "'\"(4187,)\"'", "'\"{{''n'': 1}}\"'".replace("{{", "{").replace("}}", "}")
    with engine.begin() as connection:
        connection.exec_driver_sql(DJANGO)
        more = {"args": args, "kwargs": kwargs}
        for n, (task_id, state, content, result) in enumerate([
            ("good", "SUCCESS", "application/json", "'{\"total\": 7}'"),
            ("bad", "FAILURE", "application/json", "'{\"exc_type\": \"KeyError\", \"exc_message\": [\"a\"]}'"),
            ("pickled", "SUCCESS", "application/x-python-serialize", "'gASVBQAAAAAAAABLB4Wd'"),
        ]):  # fmt: skip
            said = row.format(n=n, t=task_id, s=state, content=content, result=result, **more)
            connection.exec_driver_sql(said)
    engine.dispose()
    found = read(f"django-db+{url}", "good", "bad", "pickled")

    assert (found["good"].result, found["good"].name, found["good"].args) == ("{'total': 7}", "shop.pay", "(4187,)")
    assert (found["good"].kwargs, found["good"].worker, found["good"].done_at) == (
        "{'n': 1}", "w1@vm", 1_795_262_400_000_000
    )  # fmt: skip
    assert found["bad"].exception == "KeyError('a')"
    assert found["pickled"].result == "[pickled, not read]"


def test_where_djangos_database_is():
    """An entry of DATABASES as a URL; an engine that is not known is told."""
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "joe",
        "PASSWORD": "p@ss",
        "PORT": "5433",
    }

    assert djangos_address(database | {"HOST": "db"}).render_as_string(hide_password=False) == (
        "postgresql+psycopg://joe:p%40ss@db:5433/shop"
    )
    assert djangos_address(database | {"OPTIONS": {"sslmode": "require", "pool": True}}).query == {"sslmode": "require"}
    assert djangos_address({"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/a"}).database == "/srv/a"
    with pytest.raises(ValueError, match="oracle is not supported"):
        djangos_address({"ENGINE": "django.db.backends.oracle"})


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rpc://", "messages for whoever sent the task"),
        ("cache+memcached://h/", "redis://, db"),
        ("sentinel://h:26379", "Sentinel"),
        ("django-db", "Django's settings are not known"),
        ("db+nothing://x", "its driver is not installed"),
        ("redis://:hunter2@h:port/0", r"redis://:\*\*\*@h:port/0 is no address"),
    ],
)
def test_a_backend_that_cannot_be_read_says_why(url, why):
    """Results as messages, and backends of other kinds, are refused with the reason."""
    with pytest.raises(BackendUnreadable, match=why):
        open_backend(url, None, reading())


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:1/0",
        "db+postgresql://joe:hunter2@127.0.0.1:1/x",
        "db+mysql://joe:hunter2@127.0.0.1:1/x",
        "db+sqlite:////no/such/folder/x.sqlite3",
    ],
)
def test_a_backend_that_is_away_says_so_without_its_password(url):
    """What cannot be reached is told in one sentence, and nothing secret with it."""
    with pytest.raises(BackendAway, match="cannot be read now") as told:
        read(url, "t")

    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_table_that_is_not_there_yet_holds_nothing(database_url):
    """Before the first result Celery has made no table: no answer, and no table afterwards either."""
    assert read(f"db+{database_url}", "t") == {}

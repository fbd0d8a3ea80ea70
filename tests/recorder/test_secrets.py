"""Secrets on their whole way: real workers' events, a real recorder, an outage; and then a look at everything."""

import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import redis
from celery import Celery
from flask.testing import FlaskClient
from recording import Read, until
from secrets_corpus import BROKEN, PLANTED
from sqlalchemy import select
from stories import succeeded

from taskledger import bodies
from taskledger.config import Settings
from taskledger.ledger import open_ledger, schema
from taskledger_web import create_app

SECRETS = sorted({secret for each in (*PLANTED, *BROKEN) for secret in each.secrets})
#: fields that Celery's events of tasks have
OF_TASKS = ("args", "kwargs", "result", "exception", "traceback")
#: the site is a graph without end, as every filter is a link
MAX_PAGES = 300


@contextmanager
def recorder(folder: Path, broker_url: str, database_url: str) -> Iterator[int]:
    """`taskledger record`, as talkative as it can be, with its log in a file; the port of its probes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "taskledger", "record", "-b", broker_url, "-d", database_url, "--log-level", "debug",
        "--log-format", "json", "--spool-folder", str(folder / "spool"), "--batch-wait", "0.05",
        "--metrics-port", str(port),
    ]  # fmt: skip
    with (folder / "record.log").open("ab") as log, subprocess.Popen(command, stderr=log, stdout=log) as running:
        try:
            yield port
        finally:
            running.terminate()
            code = running.wait(20)

    assert code == 0


def send_all(url: str, half: int) -> None:
    """Half of the corpus, by Celery's own dispatcher; and what is broken, as it is."""
    app = Celery("worker", broker=url, set_as_current=False)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        for number, planted in list(enumerate(PLANTED))[half::2]:
            name = f"shop.task{number % 7}"
            kind = "task-failed" if planted.field in ("exception", "traceback") else "task-succeeded"
            dispatcher.send("task-received", uuid=f"t{number}", name=name, **of(planted, "args", "kwargs"))
            dispatcher.send(kind, uuid=f"t{number}", **of(planted, "result", "exception", "traceback"))
            dispatcher.send("shop-event", **{planted.field: planted.value})
    app.close()
    with redis.Redis.from_url(url) as client:
        for broken in BROKEN[half::2]:
            client.publish(f"/{url.rpartition('/')[2]}.celeryev/task.sent", broken.body)


def probed(port: int) -> bytes:
    """All that the recorder tells about itself."""
    told = b""
    for address in ("metrics", "readyz", "healthz"):
        try:
            with urlopen(f"http://127.0.0.1:{port}/{address}", timeout=30) as response:
                told += response.read()
        except HTTPError as error:  # 503 has its reasons, and they count
            told += error.read()
    return told


def of(planted: Any, *fields: str) -> dict[str, Any]:
    return {planted.field: planted.value} if planted.field in fields else {}


def leaks(content: bytes) -> list[str]:
    """Which of the secrets a file or page holds."""
    return [secret for secret in SECRETS if any(form in content for form in forms(secret))]


def forms(secret: str) -> set[bytes]:
    """How it may be written."""
    html = secret.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&#34;").replace("<", "&lt;")
    return {form.encode() for form in (secret, html, quote(secret), secret.replace('"', '\\"').replace("\n", "\\n"))}


def crawled(client: FlaskClient) -> dict[str, bytes]:
    """The pages of the site: all that links lead to, tasks first."""
    waiting = ["/ledger", "/tasks.csv?from=all", "/failures?from=all", "/workers", "/schedules", "/", "/tasks?from=all"]
    waiting[:0] = [f"/tasks/t{number}" for number in range(len(PLANTED))]
    pages: dict[str, bytes] = {}
    while waiting and len(pages) < 2 * len(PLANTED) + MAX_PAGES:
        address = waiting.pop(0)
        response = client.get(address)
        pages[address] = response.data
        for link in re.findall(r'href="(/[^"#]*)', response.text if "html" in response.content_type else ""):
            found = link.replace("&amp;", "&")
            if found not in pages and found not in waiting and not found.startswith("/static"):
                waiting.append(found)
    return pages


@pytest.mark.timeout(300)
def test_no_secret_anywhere(redis_url: str, sqlite_url: str, tmp_path: Path) -> None:
    """After an outage no secret is in any byte of database, spool, log or metrics, nor on any page or in the CSV."""
    read, file = Read(sqlite_url), Path(sqlite_url.removeprefix("sqlite:///"))
    spooled = b""
    with recorder(tmp_path, redis_url, sqlite_url) as port:
        until(read.is_listening, "coverage")
        send_all(redis_url, 0)
        until(lambda: len(read.reasons()) >= len(BROKEN[::2]), "the first half")
        with closing(sqlite3.connect(file, isolation_level=None)) as locking:
            locking.execute("BEGIN EXCLUSIVE")
            send_all(redis_url, 1)
            until(lambda: contents(tmp_path / "spool"), "something in the spool", 60)
            time.sleep(1)
            spooled = contents(tmp_path / "spool")
            told = probed(port)
        until(lambda: read.events() == 3 * len(PLANTED), "all events", 60)
        # Before it is closed, SQLite has written much into its log only.
        recorded = contents(file.parent, file.name)
        told += probed(port)
    with create_app(Settings(database_url=sqlite_url)).test_client() as client:
        pages = crawled(client)

    assert len(SECRETS) > 100
    assert b"task-received" in spooled
    assert leaks(spooled) == []
    assert b"taskledger_recorder_" in told
    assert leaks(told) == []
    assert leaks(recorded + contents(file.parent, file.name)) == []
    assert leaks(bodies_of(sqlite_url)) == []
    assert leaks((tmp_path / "record.log").read_bytes()) == []
    assert {address: found for address, page in pages.items() if (found := leaks(page))} == {}
    shown = [f"/tasks/t{number}" for number, planted in enumerate(PLANTED) if planted.field in OF_TASKS]
    assert len(shown) > 100
    assert [address for address in shown if b"[redacted: rule" not in pages[address]] == []
    assert b"[redacted: rule" in pages["/tasks.csv?from=all"]


def bodies_of(url: str) -> bytes:
    """The bodies of all events, which lie compressed in the file."""
    with open_ledger(url) as ledger, ledger.read() as connection:
        rows = connection.execute(select(schema.event.c.codec, schema.event.c.body)).all()
    return b"\n".join(bodies.unpack(row.codec, bytes(row.body)) for row in rows)


def contents(folder: Path, prefix: str = "") -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob(f"{prefix}*") if path.is_file())


def test_the_search_finds_what_is_there() -> None:
    """A secret in a file or on a page would be found, in whatever way it is written."""
    assert leaks(str(succeeded(kwargs="{'password': 'kw-Hunter2-01'}")).encode()) == ["kw-Hunter2-01"]
    assert leaks(b"<p>a&#39;b&#34;kw-03x") == ["kw-03x"]
    assert forms("a'b&c/d") == {b"a'b&c/d", b"a&#39;b&amp;c/d", b"a%27b%26c/d"}
    assert all(len(secret) > 3 for secret in SECRETS), "too short: it could be there by chance"

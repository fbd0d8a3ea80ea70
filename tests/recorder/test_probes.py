"""The recorder's probes and metrics, and what it tells systemd: a real recorder, asked while things go wrong."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import Celery
from proxy import Proxy
from recording import until

from taskledger.config import Settings
from taskledger.errors import SettingsError
from taskledger.ledger import open_ledger
from taskledger.ledger.record import Recorded
from taskledger.recorder import health, metrics, probes
from taskledger.recorder.batch import Gathered
from taskledger.recorder.systemd import notify, watchdog_s
from taskledger.recorder.vitals import ClusterVitals, Link, Tally, Vitals

#: figures that a recorder has only after its first batch
FIRST_KNOWN_LATER = {"taskledger_recorder_last_commit_timestamp_seconds", "taskledger_recorder_lag_seconds"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


class Answer(NamedTuple):
    status: int
    text: str
    content_type: str


class Running(NamedTuple):
    """A recorder in a process of its own; `ask` one of its addresses."""

    process: subprocess.Popen[str]
    log: Path
    notified: socket.socket

    def ask(self, path: str, **headers: str) -> Answer:
        (address,) = re.findall(r"probes and metrics at (http://\S+)/metrics", self.log.read_text())
        request = urllib.request.Request(address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return Answer(response.status, response.read().decode(), response.headers["Content-Type"])
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(), error.headers["Content-Type"])

    def is_ready(self) -> bool:
        return "probes and metrics" in self.log.read_text() and self.ask("/readyz").status == 200

    def reasons(self) -> str:
        return "; ".join(json.loads(self.ask("/readyz").text)["reasons"])

    def figure(self, name: str, **labels: str) -> float:
        """One sample of /metrics."""
        shown = ",".join(f'{label}="{value}"' for label, value in labels.items())
        line = f"taskledger_recorder_{name}{{{shown}}} " if labels else f"taskledger_recorder_{name} "
        return next(
            float(each.rpartition(" ")[2]) for each in self.ask("/metrics").text.splitlines() if each.startswith(line)
        )

    def told(self) -> list[str]:
        """The next message to systemd."""
        return self.notified.recv(4096).decode().splitlines()


@contextmanager
def running(folder: Path, broker_url: str, database_url: str, *more: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "taskledger", "record", "--no-jobs", "--metrics-port", "0", "--batch-wait", "0.05"]
    command += ["-b", broker_url, "-d", database_url, "--spool-folder", str(folder / "spool"), *more]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, (folder / "log").open("w") as lines:
        notified.bind(str(folder / "notify"))
        notified.settimeout(20)
        environ = os.environ | {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
        with subprocess.Popen(command, stderr=lines, text=True, env=environ) as process:
            try:
                yield Running(process, folder / "log", notified)
            finally:
                process.kill()


def send(url: str, *ids: str) -> None:
    app = Celery("worker", broker=url, set_as_current=False)
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        for task_id in ids:
            dispatcher.send("task-received", uuid=task_id, name=f"task-{task_id}")
    app.close()


def series(text: str) -> set[str]:
    """What is exposed, without the figures."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def cluster(name: str = "default", **more: Any) -> ClusterVitals:
    values: dict[str, Any] = {
        "promise": "counted loss", "trouble": None, "still_s": 0.1, "connections": 3, "listened_s": 60.0,
        "received": 7, "stored": 5, "duplicate": 1, "stale": 2, "quarantined": {"not-json": 4},
        "dropped": {"memory full": 0, "spool full": 6}, "lost": 9, "backlog": 11,
    }  # fmt: skip
    return ClusterVitals(name, **values | more)


def vitals(*clusters: ClusterVitals, **more: Any) -> Vitals:
    values: dict[str, Any] = {
        "still_s": {"writer": 0.1, "gatherer": 0.1}, "trouble": None, "unanswered_s": 0.0, "failures": 1, "lag_s": 0.5,
        "committed_s": 1.5e9, "waiting_messages": 12, "waiting_bytes": 13, "spool_bytes": 14, "spool_max_bytes": 15,
        "spool_damaged": 16,
    }  # fmt: skip
    return Vitals(clusters=clusters or (cluster(),), **values | more)


def exposed(of: Vitals | None, accept: str = "") -> str:
    return metrics.exposition(metrics.registry(lambda: of, health.not_ready), accept)[0].decode()


class TestMetrics:
    def test_documented(self) -> None:
        """The document has every metric that is exposed, and no other."""
        families = re.findall(r"^# TYPE (\S+)", exposed(vitals()), re.MULTILINE)

        assert sorted(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)) == sorted(families)

    def test_figures(self) -> None:
        """Each figure is told with its cluster, and its reason where there is one."""
        lines = set(exposed(vitals(cluster("eu"), cluster("us", trouble="gone", backlog=None))).splitlines())

        assert lines >= {
            'taskledger_recorder_events_stored_total{cluster="eu"} 5.0',
            'taskledger_recorder_events_quarantined_total{cluster="eu",reason="not-json"} 4.0',
            'taskledger_recorder_events_dropped_total{cluster="us",reason="spool full"} 6.0',
            'taskledger_recorder_listening{cluster="eu"} 1.0',
            'taskledger_recorder_listening{cluster="us"} 0.0',
            'taskledger_recorder_broker_messages{cluster="eu"} 11.0',
            'taskledger_recorder_reconnects_total{cluster="eu"} 2.0',
            "taskledger_recorder_lag_seconds 0.5",
            "taskledger_recorder_ready 0.0",
            "taskledger_recorder_spool_limit_bytes 15.0",
        }
        assert not [line for line in lines if line.startswith('taskledger_recorder_broker_messages{cluster="us"}')]

    @pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain; version=x"])
    def test_formats(self, accept: str) -> None:
        """Prometheus gets text, or OpenMetrics if it asks; whatever it asks, it gets an answer."""
        text = exposed(vitals(), accept)

        assert "taskledger_recorder_lag_seconds 0.5" in text
        assert text.endswith("# EOF\n") == ("openmetrics" in accept)

    def test_tally(self) -> None:
        """A batch counts for its cluster; what the database refused is counted as set aside."""
        tally = Tally()
        events: Any = (None,) * 10
        tally.committed(Gathered("eu", events, (), None, 0, 0, 0), Recorded(new=6, duplicate=2, stale=1), 0.3)

        assert (tally.stored["eu"], tally.duplicate["eu"], tally.stale["eu"]) == (6, 2, 1)
        assert tally.quarantined["eu"] == {"refused by the database": 1}
        assert tally.batch_events.cumulative()[1:4] == [0, 1, 1]
        assert (tally.batch_s.sum, tally.batch_s.cumulative()[-1]) == (0.3, 1)

    def test_link(self) -> None:
        """Time counts as listened to while the connection is open, and only then."""
        link = Link()
        link.lost("no route")
        before_s = link.listened_s
        link.opened()
        is_open = link.trouble is None
        link.lost("reset")
        after_s = link.listened_s

        assert (before_s, is_open, link.trouble, link.connections) == (0.0, True, "reset", 1)
        assert after_s == link.listened_s > 0


class TestVerdicts:
    def test_well(self) -> None:
        """A recorder whose loops move, that listens everywhere and keeps up, is alive and ready."""
        assert (health.not_alive(vitals()), health.not_ready(vitals())) == ([], [])

    @pytest.mark.parametrize(
        ("of", "reason"),
        [
            (vitals(still_s={"writer": 75.0}), "the writer has not moved for 75 s"),
            (vitals(cluster("eu", still_s=61.0)), "the reader of eu has not moved for 61 s"),
        ],
    )
    def test_stuck(self, of: Vitals, reason: str) -> None:
        """A loop that stands still for a minute is named, by both probes."""
        assert (health.not_alive(of), health.not_ready(of)) == ([reason], [reason])

    @pytest.mark.parametrize(
        ("of", "reason"),
        [
            (vitals(cluster(), cluster("us", trouble="broker lost")), "us is not listened to: broker lost"),
            (vitals(trouble="connection refused", unanswered_s=9.0), "the database is away: connection refused"),
            (vitals(unanswered_s=9.0), "the database has not answered for 9 s"),
            (vitals(lag_s=31.0), "the ledger is 31 s behind"),
        ],
    )
    def test_unready(self, of: Vitals, reason: str) -> None:
        """What is in the way of recording is told in words, and no reason to end the process."""
        assert (health.not_alive(of), health.not_ready(of)) == ([], [reason])

    def test_starting(self) -> None:
        """Before there is anything to look at it is alive, and not ready."""
        assert ask("/healthz", None) == ("200 OK", b"OK\n")
        status, body = ask("/readyz", None)

        assert (status, json.loads(body)["reasons"]) == ("503 Service Unavailable", ["the recorder is starting"])
        assert ask("/metrics", None)[0] == "200 OK"

    def test_not_alive(self) -> None:
        """/healthz says which loop stands still."""
        still = vitals(still_s={"writer": 75.0})

        assert ask("/healthz", still) == ("503 Service Unavailable", b"the writer has not moved for 75 s\n")

    def test_other_requests(self) -> None:
        """Other addresses and methods are refused; HEAD has no body."""
        assert ask("/", vitals())[0] == "404 Not Found"
        assert ask("/metrics", vitals(), "POST")[0] == "405 Method Not Allowed"
        assert ask("/healthz", vitals(), "HEAD") == ("200 OK", b"")


def ask(path: str, of: Vitals | None, method: str = "GET") -> tuple[str, bytes]:
    watch, statuses = probes.Watch(), []
    if of is not None:
        watch.follow(lambda: of)
    parts = probes.application(watch)(
        {"REQUEST_METHOD": method, "PATH_INFO": path}, lambda status, _headers: statuses.append(status)
    )
    return statuses[0], b"".join(parts)


class TestProcess:
    def test_scrape_and_cut_broker(self, tmp_path: Path, redis_url: str, sqlite_url: str) -> None:
        """Events make figures, not series; without its broker it is not ready and says why, until it is back."""
        with Proxy(redis_url, 6379) as proxy, running(tmp_path, proxy.url, sqlite_url) as recorder:
            until(recorder.is_ready, "readiness")
            before, text_before = (
                recorder.figure("events_stored_total", cluster="default"),
                recorder.ask("/metrics").text,
            )
            send(redis_url, *map(str, range(300)))
            until(lambda: recorder.figure("events_stored_total", cluster="default") == 300, "300 events")
            text = recorder.ask("/metrics").text
            proxy.refuse(refusing=True)
            until(lambda: not recorder.is_ready(), "the loss to be noticed")
            reasons, listening = recorder.reasons(), recorder.figure("listening", cluster="default")
            alive = recorder.ask("/healthz")
            proxy.refuse(refusing=False)
            until(recorder.is_ready, "readiness again")
            reconnects = recorder.figure("reconnects_total", cluster="default")

        assert before == 0
        assert series(text) - series(text_before) <= FIRST_KNOWN_LATER
        assert reasons.startswith("default is not listened to: ")
        assert (listening, alive.status, alive.text, reconnects) == (0, 200, "OK\n", 1)

    def test_locked_database(self, tmp_path: Path, redis_url: str, sqlite_url: str) -> None:
        """While the database is locked it is alive and not ready; afterwards it is ready."""
        with running(tmp_path, redis_url, sqlite_url) as recorder:
            until(recorder.is_ready, "readiness")
            with open_ledger(sqlite_url) as other, other.write():
                send(redis_url, "a")
                until(lambda: not recorder.is_ready(), "the lock to be noticed")
                reasons, alive = recorder.reasons(), recorder.ask("/healthz")
                waiting = recorder.figure("waiting_messages") + recorder.figure("spool_bytes")
            until(recorder.is_ready, "readiness again")

        assert re.fullmatch(r"the database has not answered for \d s", reasons)
        assert (alive.status, waiting > 0) == (200, True)

    @pytest.mark.parametrize("database_engine", ["postgresql"])
    def test_database_away(self, tmp_path: Path, redis_url: str, database_url: str) -> None:
        """With the database away the reason is what the driver says, without its password."""
        with Proxy(database_url, 5432) as proxy, running(tmp_path, redis_url, proxy.url) as recorder:
            until(recorder.is_ready, "readiness")
            proxy.refuse(refusing=True)
            until(lambda: not recorder.is_ready(), "the loss to be noticed")
            reasons, is_up = recorder.reasons(), recorder.figure("database_up")
            proxy.refuse(refusing=False)
            until(recorder.is_ready, "readiness again")

        assert reasons.startswith("the database is away: ")
        assert is_up == 0

    def test_systemd(self, tmp_path: Path, redis_url: str, sqlite_url: str) -> None:
        """Systemd hears of the start when the broker is listened to, of life all along, and of the end."""
        with Proxy(redis_url, 6379) as proxy:
            proxy.refuse(refusing=True)
            with running(tmp_path, proxy.url, sqlite_url) as recorder:
                early = recorder.told()
                proxy.refuse(refusing=False)
                messages = [recorder.told()]
                while "WATCHDOG=1" not in messages[-1] or "READY=1" in messages[-1]:
                    messages.append(recorder.told())
                recorder.process.send_signal(signal.SIGTERM)
                while "STOPPING=1" not in messages[-1]:
                    messages.append(recorder.told())
                code = recorder.process.wait(10)
        said = [line for message in messages for line in message]

        assert early[0] == "EXTEND_TIMEOUT_USEC=60000000"
        assert early[1].startswith("STATUS=not recording everything: default is not listened to: ")
        assert said.count("READY=1") == 1
        assert any(line.startswith("STATUS=recording default; 0 events stored") for line in said)
        assert code == 0

    def test_port_in_use(self, tmp_path: Path, redis_url: str, sqlite_url: str) -> None:
        """A port that is in use ends it with 2 and one sentence, before it records anything."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            command = [sys.executable, "-m", "taskledger", "record", "-b", redis_url, "-d", sqlite_url]
            done = subprocess.run(
                [*command, "--metrics-port", str(port)], capture_output=True, text=True, check=False, timeout=30
            )

        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == (
            f"taskledger: cannot listen on 127.0.0.1:{port}: address already in use."
            " Stop what uses it, or choose another with --metrics-port (or --metrics-host)."
        )


class TestWatching:
    def test_off(self) -> None:
        """Without a port nobody can ask."""
        before = threading.active_count()
        with probes.watching(Settings(), threading.Event()) as watch:
            during = threading.active_count()

        assert (watch.look(), during) == (None, before)

    def test_wrong_host(self) -> None:
        """An address that is none of this machine is a wrong setting."""
        chosen = Settings(metrics_host="192.0.2.1", metrics_port=0)
        with (
            pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:0: "),
            probes.watching(chosen, threading.Event()),
        ):
            pass


class TestNotify:
    @pytest.mark.parametrize("kind", ["path", "abstract"])
    def test_sent(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lines arrive as one message, at a socket in the file system or an abstract one."""
        name = str(tmp_path / "notify") if kind == "path" else f"\0taskledger-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(name)
            listener.settimeout(5)
            monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
            is_sent = notify("READY=1", "STATUS=here")

            assert (is_sent, listener.recv(100)) == (True, b"READY=1\nSTATUS=here")

    @pytest.mark.parametrize("address", ["", "nowhere"])
    def test_nobody_listens(self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without systemd, or with one that is gone, nothing happens."""
        monkeypatch.setenv("NOTIFY_SOCKET", address and str(tmp_path / address))

        assert notify("READY=1") is False

    @pytest.mark.parametrize(
        ("usec", "pid", "seconds"),
        [
            ("30000000", "", 30.0),
            ("30000000", "own", 30.0),
            ("30000000", "1", None),
            ("", "", None),
            ("x", "", None),
        ],
    )
    def test_watchdog(self, usec: str, pid: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """The watchdog counts only where systemd wants it of this very process."""
        monkeypatch.setenv("WATCHDOG_USEC", usec)
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)

        assert watchdog_s() == seconds

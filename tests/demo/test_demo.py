"""`taskledger demo` as people start it: what its pages show, how it ends, and what it leaves behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

#: a row of a list of tasks; a verdict in the table of due times (the words alone are in the key below it, always)
TASK = r"<tr data-key="
VERDICT = r'<td><span class="state[^>]*>(?:<svg.*?</svg>)?(?:{})</span>'
#: (page, what it must match at some time)
SIGHTS = {
    "a task that succeeded": ("tasks?q=state:succeeded", TASK),
    "a task that failed": ("tasks?q=state:failed", TASK),
    "a task that was retried": ("tasks?q=retries:%3E0+state:succeeded", TASK),
    "a task that gave up after retries": ("tasks?q=retries:3+state:failed", TASK),
    "a task that is running": ("tasks?q=state:running", TASK),
    "a task that was revoked": ("tasks?q=state:revoked", TASK),
    "a declined card": ("failures", r"CardDeclined: card of customer"),
    "a sold-out day": ("failures", r"ZeroDivisionError: division by zero"),
    "an old order": ("failures", r"KeyError: "),
    "the application's own frame": ("failures", r"shop\.py:\d+ in _check_funds"),
    "an entry on time": ("schedules/ops-heartbeat", VERDICT.format("On time")),
    "an entry beat cannot send": ("schedules/daily-cleanup", VERDICT.format("Missed|Not sent: error")),
    "why beat cannot send it": ("schedules/daily-cleanup", r"takes 0 positional arguments but 1 was given"),
    "an entry beat never loaded": ("schedules/refresh-search-index", VERDICT.format("Missed|Not sent: error")),
    "the worker": ("workers", r"worker@demo"),
}
SEEN_WITHIN_S = 60
ENDS_WITHIN_S = 10


class Demo:
    """A running demo; `address` is where its site is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.told: list[str] = []
        self.address = self._address()

    def page(self, path: str) -> str:
        with urlopen(self.address + path, timeout=10) as answer:
            return str(answer.read().decode())

    def end(self, number: int) -> tuple[int, str]:
        """Its exit code and what it said on stderr, after that signal."""
        self.process.send_signal(number)
        rest, errors = self.process.communicate(timeout=ENDS_WITHIN_S)
        self.told += rest.splitlines()
        return self.process.returncode, errors

    def _address(self) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told.append(line.rstrip())
            if found := re.search(r"site +(http://\S+)", line):
                return found[1]
        pytest.fail(f"the demo did not start: {self.told} {self.process.communicate()[1]}")


@contextmanager
def demo(*flags: str, **environ: str) -> Iterator[Demo]:
    """`taskledger demo` on a free port."""
    command = [sys.executable, "-m", "taskledger", "demo", "--no-browser", "--port", "0", *flags]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environ
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield Demo(process)
        finally:
            process.kill()


@pytest.mark.acceptance
def test_all_is_seen_within_a_minute_and_kept(tmp_path: Path) -> None:
    """Its pages show every fate of a task and of a schedule entry; Ctrl-C ends it well, and its history can go on."""
    with demo("--folder", str(tmp_path / "kept")) as first:
        unseen = _unseen(first)
        old_task = _task_id(first.page("tasks?q=state:succeeded"))
        assert unseen == []
        assert first.end(signal.SIGINT) == (0, "")

    with demo("--folder", str(tmp_path / "kept")) as second:
        assert "Succeeded" in second.page(f"tasks/{old_task}")
        assert second.end(signal.SIGINT) == (0, "")


@pytest.mark.acceptance
def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without a folder, all of it is gone after SIGTERM, and what it says has no colours when nobody can see them."""
    with demo(TMPDIR=str(tmp_path)) as started:
        there = list(tmp_path.iterdir())
        ended = started.end(signal.SIGTERM)

    assert len(there) == 1
    assert ended == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert "\x1b" not in "".join(started.told)


def test_port_in_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    """A port that somebody else has is a wrong setting: exit code 2, one line, nothing started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = _ended("--port", port, "--folder", str(tmp_path))

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert re.fullmatch(rf"taskledger: cannot listen on 127\.0\.0\.1:{port}: .*\n", ended.stderr)


def test_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be is a wrong setting: exit code 2 and one line."""
    (tmp_path / "file").touch()

    ended = _ended("--folder", str(tmp_path / "file" / "folder"))

    assert ended.returncode == 2
    assert re.fullmatch(r"taskledger: cannot keep the demo in .*\n", ended.stderr)


def _ended(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "taskledger", "demo", "--no-browser", *flags]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, check=False, env=env, text=True, capture_output=True, timeout=30)


def _unseen(running: Demo) -> list[str]:
    """What is not seen in time; each sight is looked for until it was seen once."""
    unseen = dict(SIGHTS)
    deadline = time.monotonic() + SEEN_WITHIN_S
    while unseen and time.monotonic() < deadline:
        unseen = {what: (path, text) for what, (path, text) in unseen.items() if not _shows(running, path, text)}
        time.sleep(0.5)
    return list(unseen)


def _shows(running: Demo, path: str, text: str) -> bool:
    try:
        return re.search(text, running.page(path)) is not None
    except OSError:
        # A page of an entry or a task that is not known yet is a 404.
        return False


def _task_id(page: str) -> str:
    found = re.search(r'href="[^"]*/tasks/([0-9a-f-]{36})', page)
    assert found
    return found[1]

"""Decoding in a process of its own: the same answers, in the same order, whatever becomes of that process."""

import io
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_corpus
import pytest
from recording import until

from taskledger.config import Settings
from taskledger.events import Event
from taskledger.recorder import decoding as module
from taskledger.recorder.decoder import receive
from taskledger.recorder.decoding import Decoding, Items
from taskledger.recorder.source import Delivery, Tag
from taskledger.recorder.waiting import Heard
from taskledger.redaction_rules import parse_keys, parse_payloads, parse_values


def message(*documents: Any, number: int = 1) -> Delivery:
    return Delivery(json.dumps(documents).encode(), "application/json", "utf-8", Tag(1, number), 1)


def event(task_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "task-received", "uuid": task_id, "timestamp": 1.7e9, "hostname": "h", **more}


@contextmanager
def decoding(mode: str, **settings: Any) -> Iterator[Decoding]:
    made = Decoding(Settings(decoder=mode, **settings))
    try:
        yield made
    finally:
        made.close()


def ask(asked: Decoding, *deliveries: Delivery, cluster: str = "default") -> Items:
    asked.send(Heard(cluster, deliveries))
    return asked.receive()[1]


def spelled(items: Items) -> str:
    """As text, since NaN is not equal to itself."""
    return repr([[repr(item) for item in made] for made in items])


class TestAnswers:
    def test_hostile(self, tmp_path: Path) -> None:
        """Whatever a message holds, the process says the same of it as we do here."""
        deliveries = [
            Delivery(case.body, case.content_type, case.encoding, None, 1, "compressed" if case.compression else None)
            for case in hostile_corpus.cases(str(tmp_path / "marker"))
        ]
        with decoding("off") as here, decoding("on") as beside:
            assert spelled(ask(beside, *deliveries)) == spelled(ask(here, *deliveries))
            assert beside.pid is not None
            assert here.pid is None

    def test_order(self) -> None:
        """Several requests at once are answered in order, each with the messages it was for."""
        with decoding("on") as asked:
            for number in range(20):
                asked.send(Heard(f"cluster-{number % 3}", (message(event(f"t{number}"), number=number),)))
            for number in range(20):
                heard, items = asked.receive()
                assert (heard.cluster, items[0][0].task_id) == (f"cluster-{number % 3}", f"t{number}")

    def test_large(self) -> None:
        """Requests and answers that no pipe holds do not wait for one another."""
        with decoding("on") as asked:
            for number in range(4):
                asked.send(
                    Heard("default", tuple(message(event(f"{number}-{n}", args="x" * 5_000)) for n in range(400)))
                )
            assert [len(asked.receive()[1]) for _ in range(4)] == [400] * 4

    def test_rules(self) -> None:
        """The process redacts by the rules of the settings, and knows a task's rule by its name."""
        rules = {
            "redact_keys": parse_keys("customer_number"),
            "redact_values": parse_values(r"customer=CUST-\d{6}"),
            "payloads": parse_payloads("billing.*=none,*=redacted"),
        }
        sent = event("t1", name="billing.charge", args="('all',)"), event("t2", name="mail", args="CUST-123456")
        ended = {"type": "task-succeeded", "uuid": "t1", "timestamp": 1.7e9, "result": "'all'"}
        with decoding("on", **rules) as asked:
            text = spelled(ask(asked, message(*sent), message(ended)))

        assert "'all'" not in text
        assert "CUST-123456" not in text
        assert "mail" in text


def test_something_else_in_the_pipe() -> None:
    """What somebody printed into the pipe is not taken for the length of an answer that is then waited for."""
    with pytest.raises(ValueError, match="not the start"):
        receive(io.BytesIO(b"Welcome to Python!\n"))
    with pytest.raises(EOFError):
        receive(io.BytesIO(b"\0\0"))


class TestLife:
    def test_killed(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the process is killed in mid-work every answer still comes, and later on there is another process."""
        monkeypatch.setattr(module, "AGAIN_AFTER_S", 0.0)
        with decoding("on") as asked:
            ask(asked, message(event("first")))
            before = asked.pid
            assert before is not None
            os.kill(before, signal.SIGSTOP)
            for number in range(3):
                asked.send(Heard("default", (message(event(f"t{number}")),)))
            os.kill(before, signal.SIGKILL)

            found = [asked.receive()[1][0][0] for _ in range(3)]
            assert [item.task_id for item in found if isinstance(item, Event)] == ["t0", "t1", "t2"]
            assert "decoding here for now" in caplog.text
            assert ask(asked, message(event("last")))[0]
            assert asked.pid not in (None, before)

    def test_cannot_be_started(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no process can be started, decoding goes on here."""
        monkeypatch.setattr(module.sys, "executable", "/nowhere/python")
        with decoding("on") as asked:
            assert ask(asked, message(event("a")))[0]
            assert asked.pid is None
        assert "decoding here for now" in caplog.text

    def test_ends_with_its_recorder(self) -> None:
        """The process ends when its recorder closes it, and it does not obey the signals that stop a recorder."""
        with decoding("on") as asked:
            ask(asked, message(event("a")))
            assert asked.pid is not None
            pid = asked.pid
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(pid, number)
            assert ask(asked, message(event("b")))[0]
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_auto(self) -> None:
        """Little work is done here; much work gets a process."""
        with decoding("auto") as asked:
            for number in range(20):
                ask(asked, message(event(f"t{number}")))
            assert asked.pid is None
            many = [message(*(event(f"{number}", args="x" * 2_000) for number in range(500))) for _ in range(20)]

            def is_helped() -> bool:
                ask(asked, *many)
                return asked.pid is not None

            until(is_helped, "a process of its own")

"""From messages to events without their secrets, by the rules of the settings."""

import json
from typing import Any

from taskledger.config import Settings
from taskledger.events import Event
from taskledger.recorder.decoding import Decoding, Items
from taskledger.recorder.source import Delivery, Tag
from taskledger.recorder.waiting import Heard
from taskledger.redaction_rules import parse_keys, parse_payloads, parse_values


def message(*documents: Any, number: int = 1) -> Delivery:
    return Delivery(json.dumps(documents).encode(), "application/json", "utf-8", Tag(1, number), 1)


def event(task_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "task-received", "uuid": task_id, "timestamp": 1.7e9, "hostname": "h", **more}


def ids(items: Items) -> list[list[Any]]:
    return [[item.task_id for item in made if isinstance(item, Event)] for made in items]


def test_each_message_has_its_events() -> None:
    """What comes back stands message by message, in the order sent."""
    heard = Heard("default", (message(event("a"), event("b")), message(event("c")), message()))

    assert ids(Decoding().decode(heard)) == [["a", "b"], ["c"], []]


def test_rules() -> None:
    """It redacts by the rules of the settings, and knows a task's rule by its name, also in a later message."""
    settings = Settings(
        redact_keys=parse_keys("customer_number"),
        redact_values=parse_values(r"customer=CUST-\d{6}"),
        payloads=parse_payloads("billing.*=none,*=redacted"),
    )
    sent = event("t1", name="billing.charge", args="('all',)"), event("t2", name="mail", args="CUST-123456")
    ended = {"type": "task-succeeded", "uuid": "t1", "timestamp": 1.7e9, "result": "'all'"}
    text = repr(Decoding(settings).decode(Heard("default", (message(*sent), message(ended)))))

    assert "'all'" not in text
    assert "CUST-123456" not in text
    assert "mail" in text


def test_clusters_do_not_know_each_others_tasks() -> None:
    """A rule that was learned of one cluster's task does not count for a task of that id elsewhere."""
    decoding = Decoding(Settings(payloads=parse_payloads("mail=full,*=none")))
    ended = {"type": "task-succeeded", "uuid": "t1", "timestamp": 1.7e9, "result": "said"}
    decoding.decode(Heard("eu", (message(event("t1", name="mail")),)))

    assert "said" in repr(decoding.decode(Heard("eu", (message(ended),))))
    assert "said" not in repr(decoding.decode(Heard("us", (message(ended),))))

"""How the recorder knows by which rule a task goes, when most of its events do not say its name."""

from typing import Any

from stories import decoded, failed, succeeded, task_event

from taskledger.events import Event
from taskledger.recorder.redacting import Redactor
from taskledger.redaction import NONE_MARK, compiled
from taskledger.redaction_rules import parse_payloads


def redactor(rules: str, **options: Any) -> Redactor:
    return Redactor(compiled(payloads=parse_payloads(rules)), **options)


def fields(redactor: Redactor, *raw: dict[str, Any]) -> list[dict[str, Any]]:
    return [item.fields for item in redactor.redact(decoded(*raw)) if isinstance(item, Event)]


def test_name_is_remembered() -> None:
    """What follows the event that says the name goes by the same rule."""
    *_, end = fields(redactor("billing.*=none"), *failed(name="billing.charge"))

    assert end["exception"] == f"ValueError({NONE_MARK!r})"


def test_others_are_kept() -> None:
    """Tasks of other names keep what they have."""
    rules = redactor("billing.*=none")
    *_, end = fields(rules, *succeeded(name="mail.send"))

    assert end["result"] == "'done'"


def test_unknown_name() -> None:
    """A task whose name was never heard goes by the strictest rule."""
    (end,) = fields(redactor("billing.*=none"), task_event("succeeded", result="'plain'"))

    assert end["result"] == NONE_MARK


def test_memory_is_bounded() -> None:
    """Beyond so many tasks the oldest is forgotten, and then goes by the strictest rule."""
    rules = redactor("billing.*=none", max_tasks=2)
    ends = [task_event("succeeded", uuid=name, result="'plain'") for name in "abc"]
    fields(rules, *(task_event("received", uuid=name, name="mail.send") for name in "abc"))

    assert [end["result"] for end in fields(rules, *ends)] == [NONE_MARK, "'plain'", "'plain'"]


def test_order_and_number_stay() -> None:
    """Every item comes out in its place."""
    items = decoded(*succeeded(), *failed(uuid="b"))

    assert [item.id for item in redactor("").redact(items)] == [item.id for item in items]

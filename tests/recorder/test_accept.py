"""Projects that set `event_serializer`: what is recorded of them, and what is never opened."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from hostile_corpus import Bomb
from recording import Read, recording, until

from taskledger.config import Settings


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> tuple[str, str]:
    """URL and queue of each kind of broker."""
    return request.getfixturevalue(f"{request.param}_url"), request.getfixturevalue("queue_name")


def send(url: str, serializer: str, **fields: Any) -> None:
    app = Celery("sender", broker=url, set_as_current=False)
    app.conf.event_serializer = serializer
    with app.connection_for_write() as connection, app.events.Dispatcher(connection) as dispatcher:
        dispatcher.send("task-sent", uuid="a", **fields)
    app.close()


def settings(broker: tuple[str, str], database_url: str, accept: str) -> Settings:
    url, queue = broker
    return Settings(broker_url=url, queue_name=queue, database_url=database_url, accept=accept, batch_wait_s=0.05)


@pytest.mark.parametrize("serializer", ["msgpack", "yaml"])
def test_accepted(broker: tuple[str, str], sqlite_url: str, serializer: str) -> None:
    """Where the settings name the serializer, its events are recorded."""
    ledger = Read(sqlite_url)
    with recording(settings(broker, sqlite_url, f"json,{serializer}")):
        until(ledger.is_listening, "coverage")
        send(broker[0], serializer, args="(1, 'é')")
        until(lambda: ledger.task_ids() == {"a"}, "the event")

    assert ledger.reasons() == []


@pytest.mark.parametrize("serializer", ["msgpack", "yaml", "pickle"])
def test_not_accepted(broker: tuple[str, str], sqlite_url: str, serializer: str, tmp_path: Path) -> None:
    """Unasked, they are set aside unopened; pickle whatever is asked for."""
    ledger, marker = Read(sqlite_url), tmp_path / "executed"
    payload = {"args": Bomb(str(marker))} if serializer == "pickle" else {}
    with recording(settings(broker, sqlite_url, "json,msgpack,yaml" if serializer == "pickle" else "json")):
        until(ledger.is_listening, "coverage")
        send(broker[0], serializer, **payload)
        until(lambda: ledger.reasons() == ["content-type"], "the event in quarantine")

    assert ledger.task_ids() == set()
    assert not marker.exists()

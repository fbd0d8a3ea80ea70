"""Starts the demo's worker, does each of its moves once, and prints what a plain kombu consumer hears, as JSON.

A process of its own, because a worker changes the app that Celery finds in every thread.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import kombu

from taskledger.demo import crew, load, project

#: All that the moves of the demo must lead to; hearing the last of it takes about nine seconds.
WANTED = {
    ("orders.validate", "task-sent"),
    ("orders.validate", "task-received"),
    ("orders.validate", "task-started"),
    ("mail.send_receipt", "task-succeeded"),
    ("billing.charge", "task-failed"),
    ("billing.charge", "task-revoked"),
    ("billing.invoice", "task-failed"),
    ("reports.returns", "task-failed"),
    ("reports.build", "task-succeeded"),
    ("mail.send", "task-retried"),
    ("mail.send", "task-succeeded"),
    ("etl.sync_inventory", "task-retried"),
    ("etl.sync_inventory", "task-failed"),
    ("pricing.quote", "task-revoked"),
    ("reports.export_year", "task-started"),
    (None, "worker-online"),
    (None, "worker-heartbeat"),
}
GOODBYE = {("reports.export_year", "task-succeeded"), (None, "worker-offline")}
DEADLINE_S = 40.0


class Ear(threading.Thread):
    """Consumes all events from a queue of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.connection = project.app.connection_for_read()
        exchange = kombu.Exchange("celeryev", type="topic", durable=True)
        self.queue = kombu.Queue("ear", exchange, routing_key="#", durable=True)(self.connection.channel())
        self.queue.declare()
        self.names: dict[str, str] = {}
        self.heard: Counter[tuple[str | None, str]] = Counter()
        self.done = threading.Event()

    def run(self) -> None:
        with kombu.Consumer(self.queue.channel, [self.queue], on_message=self.hear):
            while not self.done.is_set():
                try:
                    self.connection.drain_events(timeout=0.2)
                except TimeoutError:
                    continue

    def hear(self, message: kombu.Message) -> None:
        event = json.loads(message.body)
        if event["type"] == "task-received":
            self.names[event["uuid"]] = event["name"]
        self.heard[event.get("name") or self.names.get(event.get("uuid")), event["type"]] += 1
        message.ack()

    def number_of(self, type_: str) -> int:
        return sum(number for (_, heard), number in self.heard.items() if heard == type_)

    def wait_for(self, wanted: set[tuple[str | None, str]], deadline: float) -> None:
        while wanted - set(self.heard) and time.monotonic() < deadline:
            time.sleep(0.1)


def main(log: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    crew.declare(project.app)
    ear = Ear()
    ear.start()
    with crew.logging_to(Path(log)), crew.working(project.app):
        rng = random.Random(1)
        for move in dict.fromkeys(load.ROUND):
            move(rng)
        ear.wait_for(WANTED, deadline)
    ear.wait_for(GOODBYE, deadline)
    ear.done.set()
    ear.join()
    report = {
        "missing": sorted(f"{name} {type_}" for name, type_ in (WANTED | GOODBYE) - set(ear.heard)),
        "sent": ear.number_of("task-sent"),
        "received": ear.number_of("task-received"),
        "threads": [thread.name for thread in threading.enumerate()],
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])

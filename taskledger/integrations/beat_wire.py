"""How the probe's events get from beat to the broker: a bounded queue, a thread, a connection of its own.

Beat only ever puts something into the queue, which never waits, also not where a signal interrupts it (SimpleQueue).
The thread numbers the events, sends them while beat rests, and keeps what cannot be sent until it can be.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from celery.utils.time import utcoffset

from taskledger.integrations.beat_entries import CHANGING, Row, Snapshot, rows_of

log = logging.getLogger(__name__)

#: events that wait at most; about 1 kB each
MOST_WAITING = 10_000
#: bytes of entries in one beat-schedule, about
PART_BYTES = 48_000
#: seconds after which the definitions are told again, for recorders that came later
REPEAT_S = 600.0
#: seconds that the broker may take for one thing
TIMEOUT_S = 5.0
#: seconds between two attempts, at first and at most
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 2.0
#: seconds after an outage in which recorders may find back as well: what is published to nobody is lost
SETTLE_S = 5.0
#: seconds that beat is left alone with its work, at most, and between two looks whether it rests
PATIENCE_S, LOOK_S = 5.0, 0.05


#: what an event says, or what makes it of what was put down, when there is time
Fields = dict[str, Any] | Callable[[], dict[str, Any]]


class Item(NamedTuple):
    """An event that is to be told; `dropped` is how many had been thrown away when it happened."""

    kind: str
    at: float
    dropped: int
    fields: Fields


class Look(NamedTuple):
    """The definitions are to be looked at: those that were in memory then, or those that are kept elsewhere."""

    at: float
    snapshots: list[Snapshot] | None
    #: whether beat surely goes by them: tables may have been changed before it looks at them again
    is_in_force: bool


class Wire:
    """The queue and its thread, for one scheduler."""

    def __init__(self, app: Any, read: Callable[[], list[Row]] | None, rescan_s: float) -> None:
        self.beat_id = uuid.uuid4().hex
        #: whether beat has time: set by beat's thread, read by ours
        self.is_resting = False
        #: whether beat keeps what it goes by in memory
        self.has_heap = False
        self._app, self._read, self._rescan_s = app, read, rescan_s
        self._queue: SimpleQueue[Item | Look | None] = SimpleQueue()
        self._dropped = self._passed_over = self._taken = 0
        self._hash, self._told_s = "", float("-inf")
        #: of a schedule that was found and is not in force yet
        self._coming = ""
        self._give_up_s: float | None = None
        self._connection: Any = None
        self._dispatcher: Any = None
        self._thread = threading.Thread(target=self._run, name="taskledger-beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, kind: str, fields: Fields) -> None:
        """Never waits; where too much waits already, it is thrown away and counted."""
        if self._queue.qsize() >= MOST_WAITING:
            self._dropped += 1
        else:
            self._queue.put(Item(kind, time.time(), self._dropped, fields))

    def look(self, at: float, snapshots: list[Snapshot] | None, *, is_in_force: bool) -> None:
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put(Look(at, snapshots, is_in_force))

    def stop(self, patience_s: float) -> None:
        """Send what waits, and end; after that time whatever is left is lost."""
        self._give_up_s = time.monotonic() + patience_s
        self._queue.put(None)
        self._thread.join(patience_s)

    def _run(self) -> None:
        # Schedules that were in a file ask for the current app, which is each thread's own.
        self._app.set_current()
        try:
            while (item := self._next()) is not None:
                try:
                    self._tell(item)
                except Exception:
                    log.exception("beat goes on; of what it did, one thing is not told")
        finally:
            self._hang_up()

    def _next(self) -> Item | Look | None:
        try:
            item = self._queue.get(timeout=self._rescan_s if self._read else None)
        except Empty:
            return Look(time.time(), None, is_in_force=False)
        patient_until_s = time.monotonic() + PATIENCE_S
        while not self.is_resting and self._give_up_s is None and time.monotonic() < patient_until_s:
            time.sleep(LOOK_S)
        return item

    def _tell(self, item: Item | Look) -> None:
        if isinstance(item, Item):
            self._deliver(self._event(item))
        else:
            rows = rows_of(item.snapshots) if item.snapshots is not None else self._read() if self._read else []
            self._tell_schedule(item, rows)

    def _tell_schedule(self, look: Look, rows: list[Row]) -> None:
        """Nothing, if they are as they were, and it is not long ago that they were told."""
        found, now_s = hash_of(rows), time.monotonic()
        if found == self._hash and now_s - self._told_s < REPEAT_S:
            return
        if found != self._hash and self._is_early(look, found):
            return
        parts = list(in_parts(rows))
        for number, entries in enumerate(parts, 1):
            fields = {"hash": found, "part": number, "parts": len(parts), "entries": entries}
            self._deliver(self._event(Item("beat-schedule", look.at, self._passed_over, fields)))
        self._hash, self._told_s = found, now_s

    def _is_early(self, look: Look, found: str) -> bool:
        """Whether beat does not go by it yet; what is still there the next time is told all the same."""
        was_coming, self._coming = self._coming, found
        return self.has_heap and self._read is not None and not look.is_in_force and was_coming != found

    def _event(self, item: Item) -> dict[str, Any]:
        """Numbered in the order of sending; what was thrown away before it leaves a hole of just that size."""
        self._taken += 1
        self._passed_over = item.dropped
        return {
            "type": item.kind,
            "timestamp": item.at,
            "beat_id": self.beat_id,
            "seq": self._taken + item.dropped,
            "dropped": item.dropped,
            "utcoffset": utcoffset(),
            "clock": self._app.clock.forward(),
            **(item.fields() if callable(item.fields) else item.fields),
        }

    def _deliver(self, event: dict[str, Any]) -> None:
        """Until it is delivered, or beat has ended and its time is up."""
        wait_s, is_away = FIRST_WAIT_S, False
        while not self._is_over():
            try:
                self._connect()
                if is_away:
                    is_away = False
                    self._sleep(SETTLE_S)
                self._publish(event)
            except Exception as error:  # noqa: BLE001  Each transport has errors of its own; none of them is final.
                if wait_s == FIRST_WAIT_S:
                    log.warning("what beat does is told later, for now it cannot be: %s", error)
                is_away = True
                self._hang_up()
                self._sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                return

    def _is_over(self) -> bool:
        return self._give_up_s is not None and time.monotonic() >= self._give_up_s

    def _sleep(self, seconds: float) -> None:
        """For so long, or until beat ends."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and self._give_up_s is None:
            time.sleep(LOOK_S)
        time.sleep(LOOK_S)

    def _connect(self) -> None:
        if self._dispatcher is not None:
            return
        self._connection = connection = self._app.connection_for_write()
        _limit(connection)
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=TIMEOUT_S)
        # Asks Redis whether it is there; for others this is what opens a channel.
        connection.default_channel  # noqa: B018  It is opened when it is first asked for.
        self._dispatcher = self._app.events.Dispatcher(connection, buffer_while_offline=False)

    def _publish(self, event: dict[str, Any]) -> None:
        dispatcher = self._dispatcher
        whole = {"hostname": dispatcher.hostname, "pid": dispatcher.pid} | event
        # As it is, also when it is sent again: a recorder knows the same event by its content.
        dispatcher.publish(event["type"], {}, dispatcher.producer, blind=True, Event=lambda *_, **__: whole)

    def _hang_up(self) -> None:
        connection, self._connection, self._dispatcher = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except Exception:
                log.debug("the connection could not be closed", exc_info=True)


def _limit(connection: Any) -> None:
    """No broker may keep the thread waiting for ever, and RabbitMQ says that it has got the event."""
    kind = connection.transport.driver_type
    options = connection.transport_options
    if kind == "redis":
        names = ("socket_timeout", "socket_connect_timeout")
    elif kind == "amqp":
        names = ("read_timeout", "write_timeout")
        options.setdefault("confirm_publish", True)
    else:
        return
    for name in names:
        options.setdefault(name, TIMEOUT_S)


def hash_of(rows: Iterable[Row]) -> str:
    """The same for the same definitions, whatever ran meanwhile."""
    meant = [{key: value for key, value in row.items() if key not in CHANGING} for row in rows]
    return blake2b(json.dumps(meant, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def in_parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """All rows, a number of bytes at a time; one empty part, if there are none."""
    part: list[Row] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row, default=str))
        if part and size + length > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part or not size:
        yield part

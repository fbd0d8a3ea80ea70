"""How a batch lands in which the database refuses something: by halves, until what it refuses stands alone."""

import logging
from collections.abc import Callable

from taskledger.errors import LedgerError
from taskledger.events import Event, Malformed
from taskledger.ledger.record import Batch, Recorded

log = logging.getLogger(__name__)

#: why such an event is in quarantine
REFUSED = "refused by the database"
#: characters of what the database said
MAX_DETAIL_CHARS = 500


def land(record: Callable[[Batch], Recorded], batch: Batch) -> Recorded:
    """Record a batch; events that the database refuses go into quarantine, one by one, and the rest lands.

    `record` waits itself for a database that is away: LedgerError passes through.
    """
    try:
        return record(batch)
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001 - Whatever is wrong with one event must not hold up all others.
        if len(batch.events) + len(batch.malformed) > 1:
            first, second = _halves(batch)
            return _sum(land(record, first), land(record, second))
        return _set_aside(record, batch, error)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """The coverage goes forward with the second only: when all of it is there."""
    items: list[Event | Malformed] = [*batch.events, *batch.malformed]
    middle = len(items) // 2
    return _of(batch, items[:middle])._replace(position=None), _of(batch, items[middle:])


def _of(batch: Batch, items: list[Event | Malformed]) -> Batch:
    events = [item for item in items if isinstance(item, Event)]
    malformed = [item for item in items if isinstance(item, Malformed)]
    return batch._replace(events=events, malformed=malformed)


def _set_aside(record: Callable[[Batch], Recorded], batch: Batch, error: Exception) -> Recorded:
    """One event, or one that is malformed already; if even that is refused, only the log knows of it."""
    said = getattr(error, "orig", None) or error  # without the statement around it
    detail = f"{type(said).__name__}: {' '.join(str(said).split())}"[:MAX_DETAIL_CHARS]
    event = next(iter(batch.events), None)
    item = batch.malformed[0] if event is None else Malformed(event.id, REFUSED, detail, event.body, len(event.body))
    log.error(
        "the database refuses event %s of %s: %s",
        item.id.hex(),
        batch.cluster,
        detail,
        extra={"action": "event_refused", "cluster": batch.cluster, "event": item.id.hex()},
    )
    tries = [item] if event is not None else []
    for candidate in [*tries, item._replace(reason=REFUSED, detail="", body=b"")]:
        try:
            return record(batch._replace(events=(), malformed=(candidate,)))
        except LedgerError:
            raise
        except Exception as again:  # noqa: BLE001 - As in land.
            log.debug("refused again: %s", again)
    return record(batch._replace(events=(), malformed=())) if batch.position is not None else Recorded()


def _sum(first: Recorded, second: Recorded) -> Recorded:
    return Recorded(*(one + other for one, other in zip(first, second, strict=True)))

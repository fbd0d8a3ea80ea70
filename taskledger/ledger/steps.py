"""One step of long work on the ledger, which goes on beside everybody else."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from taskledger.errors import LedgerConflict
from taskledger.ledger.engine import Ledger

T = TypeVar("T")

#: how often a step that met another writer is tried again
TRIES = 8


def step(ledger: Ledger, work: Callable[[Connection], T], pause: Callable[[], object]) -> T:
    """One transaction, tried again when it met another writer; after each try a pause, in which others may write."""
    for attempt in range(TRIES):
        try:
            with ledger.write() as connection:
                return work(connection)
        except LedgerConflict:
            if attempt == TRIES - 1:
                raise
        finally:
            pause()
    raise AssertionError  # the last try returned or raised

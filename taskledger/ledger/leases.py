"""What only one recorder does at a time: held for a while, renewed by use, and free for others when its holder dies."""

import os
from functools import cache
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection, or_, select, update

from taskledger.ledger import dialects, schema
from taskledger.ledger.engine import Ledger

#: what tells apart the kernels, and the groups of processes, in which the same number is another process (Linux only)
_BOOT, _NUMBERING = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def holder_of(name: str) -> str:
    """This process as a holder, unlike any other: "name:pid:where it runs, and chance"."""
    return f"{name[:200]}:{os.getpid()}:{_place()}-{uuid4().hex[:8]}"


def take(ledger: Ledger, name: str, holder: str, now_at: int, hold_s: float) -> bool:
    """Whether the lease is the holder's now, for `hold_s`: it was already, nobody renewed it in time, or that one died.

    That a holder died is only known of one that ran here; of others it takes until their time is up.
    """
    table = schema.lease
    until_at = now_at + round(hold_s * 1_000_000)
    free = or_(table.c.holder == holder, table.c.until_at < now_at)
    with ledger.write() as connection:
        taken = connection.execute(
            update(table).where(table.c.name == name, free).values(holder=holder, until_at=until_at)
        )
        if taken.rowcount or _inherit(connection, name, holder, until_at):
            return True
        row = {"name": name, "holder": holder, "until_at": until_at}
        insert = dialects.insert_ignore(connection, table).values(row).execution_options(preserve_rowcount=True)
        return connection.execute(insert).rowcount == 1


def _inherit(connection: Connection, name: str, holder: str, until_at: int) -> bool:
    table = schema.lease
    before = connection.scalar(select(table.c.holder).where(table.c.name == name))
    if before is None or not _is_dead(before):
        return False
    mine = update(table).where(table.c.name == name, table.c.holder == before)
    return connection.execute(mine.values(holder=holder, until_at=until_at)).rowcount == 1


def _is_dead(holder: str) -> bool:
    """Whether it was a process of this machine that is there no more; False where that cannot be told."""
    _, pid, place = ("", "", *holder.rsplit(":", 2))[-3:]
    if not _place() or place.partition("-")[0] != _place() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _place() -> str:
    """Where process numbers mean what they mean here; empty where that is not known."""
    try:
        said = f"{_BOOT.read_text()} {_NUMBERING.readlink()}"
    except OSError:
        return ""
    return blake2b(said.encode(), digest_size=8).hexdigest()


def give_up(ledger: Ledger, name: str, holder: str) -> None:
    """Free the lease at once, if it is the holder's."""
    table = schema.lease
    with ledger.write() as connection:
        connection.execute(update(table).where(table.c.name == name, table.c.holder == holder).values(until_at=0))

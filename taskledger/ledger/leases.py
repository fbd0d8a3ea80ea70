"""What only one recorder does at a time: held for a while, renewed by use, and free for others when its holder dies."""

from sqlalchemy import or_, update

from taskledger.ledger import dialects, schema
from taskledger.ledger.engine import Ledger


def take(ledger: Ledger, name: str, holder: str, now_at: int, hold_s: float) -> bool:
    """Whether the lease is the holder's now, for `hold_s`: it was already, or nobody has renewed it in time."""
    table = schema.lease
    until_at = now_at + round(hold_s * 1_000_000)
    free = or_(table.c.holder == holder, table.c.until_at < now_at)
    with ledger.write() as connection:
        taken = connection.execute(
            update(table).where(table.c.name == name, free).values(holder=holder, until_at=until_at)
        )
        if taken.rowcount:
            return True
        row = {"name": name, "holder": holder, "until_at": until_at}
        insert = dialects.insert_ignore(connection, table).values(row).execution_options(preserve_rowcount=True)
        return connection.execute(insert).rowcount == 1


def give_up(ledger: Ledger, name: str, holder: str) -> None:
    """Free the lease at once, if it is the holder's."""
    table = schema.lease
    with ledger.write() as connection:
        connection.execute(update(table).where(table.c.name == name, table.c.holder == holder).values(until_at=0))

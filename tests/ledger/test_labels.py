"""Names as numbers: what is remembered of them is what the ledger has."""

import pytest
from sqlalchemy import text

from taskledger.errors import LedgerAway
from taskledger.ledger import Ledger, open_ledger
from taskledger.ledger.labels import Kind

#: lets every new name through, and refuses its commit
REFUSED_COMMIT = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'terminating connection' USING ERRCODE = '57P01'; END $$;
CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON label
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.mark.parametrize("database_engine", ["postgresql"])
def test_a_name_whose_commit_failed_is_not_remembered(ledger: Ledger, database_url: str) -> None:
    """When the connection breaks at the commit, the next try makes the name: no event gets a number without one."""
    with ledger.write() as connection:
        connection.execute(text(REFUSED_COMMIT))
    with pytest.raises(LedgerAway):
        ledger.labels.intern([(Kind.TYPE, "task-sent")])
    with ledger.write() as connection:
        connection.execute(text("DROP TRIGGER refused ON label"))

    number = ledger.labels.intern([(Kind.TYPE, "task-sent")])[Kind.TYPE, "task-sent"]

    with open_ledger(database_url) as another:
        assert another.labels.value(number) == "task-sent"

"""Failure groups as a rebuild expects them: each run that failed is in one, and says what it is called."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from taskledger.ledger import dialects, schema
from taskledger.ledger.rebuilding import Rebuilding
from taskledger.ledger.rows import Rows
from taskledger.tasks import Task

#: groups that are known to be right and need not be asked for again
MAX_KNOWN = 50_000
#: the line of a frame: a group is named after the line where the first of its runs failed
_LINE = re.compile(r":\d+ in ")


class Groups:
    """Gathers the groups that tasks are in, and puts right those that are not there or tell something else."""

    def __init__(self, work: Rebuilding) -> None:
        self._work, self._ledger = work, work.ledger
        self._known: set[bytes] = set()
        self._expected: dict[bytes, dict[str, Any]] = {}

    def expect(self, cluster_id: int, tasks: Iterable[Task]) -> None:
        """These tasks are what their events make of them, so the groups of their runs are to be there."""
        rows = Rows(self._ledger.labels, cluster_id)
        for one in tasks:
            for run in one.runs:
                group = rows.group(one, run)
                if group is not None and group["fingerprint"] not in self._known:
                    self._expected.setdefault(group["fingerprint"], group)

    def settle(self, writing: Connection | None = None) -> None:
        """Put right those of which that was expected since the last time, in a transaction that writes or alone."""
        if not self._expected:
            return
        if writing is not None:
            wrong = _wrong(writing, self._expected)
            _put(writing, wrong)
        else:
            with self._ledger.read() as connection:
                wrong = _wrong(connection, self._expected)
            if wrong and not self._work.dry_run:
                self._work.write(lambda connection: _put(connection, wrong))
        self._work.number["failure_groups"] += len(wrong)
        self._known |= self._expected.keys()
        self._expected.clear()
        if len(self._known) > MAX_KNOWN:
            self._known.clear()


def _wrong(connection: Connection, expected: Mapping[bytes, dict[str, Any]]) -> list[dict[str, Any]]:
    table, found = schema.failure_group, {}
    for chunk in dialects.chunks(sorted(expected)):
        for row in connection.execute(select(table).where(table.c.fingerprint.in_(chunk))).mappings():
            found[bytes(row["fingerprint"])] = dict(row)
    return [group for key, group in expected.items() if key not in found or _told(found[key]) != _told(group)]


def _told(group: Mapping[str, Any]) -> tuple[Any, ...]:
    """What all runs of a group have in common."""
    return group["rule"], group["name_id"], group["title"], _LINE.sub(" in ", group["frame"] or "")


def _put(connection: Connection, groups: Iterable[dict[str, Any]]) -> None:
    table = schema.failure_group
    for group in groups:
        connection.execute(dialects.insert_ignore(connection, table), [group])
        values = {name: value for name, value in group.items() if name != "fingerprint"}
        connection.execute(update(table).where(table.c.fingerprint == group["fingerprint"]).values(values))

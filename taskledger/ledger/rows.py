"""Tasks as rows of their tables, and those of their runs and of the failure groups that these are in."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from taskledger import failures
from taskledger.ledger import bulk
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.types import pack_task_id
from taskledger.runs import Run
from taskledger.tasks import Task


class Drawn(NamedTuple):
    """A task, and the rows that stand for it: of `task`, of `run`, and the failure groups that its runs are in."""

    task: Task
    row: bulk.Row
    runs: list[bulk.Row]
    groups: list[dict[str, Any]]


class Rows:
    """Makes the rows of tasks and runs, in the order of the columns of their tables."""

    def __init__(self, labels: Labels, cluster_id: int, ahead: Iterable[Drawn] = ()) -> None:
        """`ahead` are some that were drawn before."""
        self.cluster_id = cluster_id
        self._labels = labels
        self._ahead = {drawn.task.id: drawn for drawn in ahead}

    def drawn(self, one: Task) -> Drawn:
        """All rows of a task."""
        ahead = self._ahead.get(one.id)
        if ahead is not None and ahead.task is one:
            return ahead
        groups = [group for run in one.runs if (group := self.group(one, run))]
        return Drawn(one, self.task(one), [self.run(one, run) for run in one.runs], groups)

    def task(self, one: Task) -> bulk.Row:
        return (
            one.first_at,
            one.sent_at,
            one.received_at,
            one.started_at,
            one.ended_at,
            one.eta_at,
            one.expires_at,
            one.wait_s,
            one.runtime_s,
            self.cluster_id,
            self._number(Kind.NAME, one.name),
            self._number(Kind.HOST, one.worker),
            self._number(Kind.HOST, one.client),
            self._number(Kind.QUEUE, one.queue),
            self._number(Kind.ROUTING_KEY, one.routing_key),
            one.retries,
            one.events,
            len([run for run in one.runs if run.started_at is not None]),
            int(one.state),
            one.settled_by,
            pack_task_id(one.id),
            None if one.root_id is None else pack_task_id(one.root_id),
            None if one.parent_id is None else pack_task_id(one.parent_id),
            one.args,
            one.kwargs,
            one.result,
            one.exception,
        )

    def run(self, one: Task, run: Run) -> bulk.Row:
        return (
            run.sent_at,
            run.received_at,
            run.started_at,
            run.ended_at,
            run.runtime_s,
            self.cluster_id,
            run.number,
            self._number(Kind.HOST, run.worker),
            run.pid,
            run.retries,
            int(run.state),
            run.settled_by,
            pack_task_id(one.id),
            failures.fingerprint(one.name, run.failure) if run.failure else None,
            run.exception,
            run.traceback,
            run.note,
        )

    def group(self, one: Task, run: Run) -> dict[str, Any] | None:
        if run.failure is None:
            return None
        return {
            "fingerprint": failures.fingerprint(one.name, run.failure),
            "rule": failures.RULE,
            "name_id": self._number(Kind.NAME, one.name),
            "title": run.failure.title,
            "frame": run.failure.frame,
        }

    def _number(self, kind: Kind, value: str | None) -> int | None:
        return None if value is None else self._labels.number(kind, value)

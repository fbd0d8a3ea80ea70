"""Tasks as rows of their tables, and those of their runs and of the failure groups that these are in."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from taskledger import failures
from taskledger.ledger import bulk
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.types import pack_task_id
from taskledger.runs import Run
from taskledger.tasks import Task

#: the kinds of name, worker, client, queue and routing key
_SAID = (Kind.NAME, Kind.HOST, Kind.HOST, Kind.QUEUE, Kind.ROUTING_KEY)


class Rows:
    """Makes the rows of tasks and runs, in the order of the columns of their tables."""

    def __init__(self, labels: Labels, cluster_id: int) -> None:
        self.cluster_id = cluster_id
        self._labels = labels
        # Nearly all names are at hand, and six are asked for with each task.
        known: list[Mapping[str | None, int]] = [
            cast("Mapping[str | None, int]", labels.known(kind))
            for kind in (Kind.NAME, Kind.HOST, Kind.QUEUE, Kind.ROUTING_KEY)
        ]
        self._names, self._hosts, self._queues, self._routing_keys = known

    def task(self, one: Task) -> bulk.Row:
        said = (one.name, one.worker, one.client, one.queue, one.routing_key)
        numbers: Sequence[int | None] = (
            self._names.get(one.name),
            self._hosts.get(one.worker),
            self._hosts.get(one.client),
            self._queues.get(one.queue),
            self._routing_keys.get(one.routing_key),
        )
        if None in numbers:
            numbers = [self._number(kind, value) for kind, value in zip(_SAID, said, strict=True)]
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
            *numbers,
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
            self._hosts.get(run.worker) or self._number(Kind.HOST, run.worker),
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

"""Tasks as rows of their tables, and those of their runs and of the failure groups that these are in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from taskledger import failures
from taskledger.ledger import bulk, lasting
from taskledger.ledger.labels import Kind, Labels
from taskledger.ledger.types import pack_task_id
from taskledger.runs import Run
from taskledger.settlements import OPEN
from taskledger.tasks import Task

#: the kinds of name, worker, client, queue and routing key
_SAID = (Kind.NAME, Kind.HOST, Kind.HOST, Kind.QUEUE, Kind.ROUTING_KEY)


#: a row of `failure_group`, by the names of its columns
Group = dict[str, Any]


class Plan(NamedTuple):
    """What is to be written of a task. Plain values, which may go through a pipe.

    Made before the database was asked: see `holds`. `before` is how many of the task's events were remembered, and
    `events` how many the batch has of it, which must all be new.
    """

    key: bytes
    before: int
    events: int
    task: bulk.Row = ()
    runs: Sequence[bulk.Row] = ()
    groups: Sequence[Group] = ()
    #: when it was first heard of, and when it ended, if it has lasted
    lasted: tuple[int, int] | None = None
    #: it went on although a run of it did not end
    is_left_open: bool = False


#: of a task of which nothing is remembered that would be all of it: it holds never
NEVER = -1


class Locked(NamedTuple):
    """What a task's row says of it while it is locked."""

    events: int
    first_at: int
    is_settled: bool


def holds(plan: Plan, row: Locked | None) -> bool:
    """Whether the plan was made of all facts, given the task's row: the events that it counts, and nothing settled."""
    if row is None:
        return plan.before == 0
    # Of two stories of as many events, one of which was pruned, the begin differs.
    return plan.before == row.events and not row.is_settled and plan.task[_FIRST_AT] == row.first_at


_FIRST_AT = 0


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

    def plan(self, one: Task, key: bytes, before: int = NEVER, events: int = 0) -> Plan:
        """All that is to be written of a task; `key` is its packed id."""
        runs = one.runs
        groups = [self.group(one, run) if run.failure else None for run in runs]
        return Plan(
            key,
            before,
            events,
            self.task(one, key),
            [self.run(one, run, key, group) for run, group in zip(runs, groups, strict=True)],
            [group for group in groups if group],
            lasting.of(one),
            len(runs) > 1 and one.state.is_end and any(run.state in OPEN for run in runs),
        )

    def task(self, one: Task, key: bytes | None = None) -> bulk.Row:
        # Taken apart at once: to ask for each by its name takes half as long again, and this is done for each task.
        (
            task_id, name, state, first_at, sent_at, received_at, started_at, ended_at, eta_at, expires_at, wait_s,
            runtime_s, retries, worker, client, queue, routing_key, root_id, parent_id, args, kwargs, result, exception,
            events, runs, settled_by,
        ) = one  # fmt: skip
        numbers: Sequence[int | None] = (
            self._names.get(name),
            self._hosts.get(worker),
            self._hosts.get(client),
            self._queues.get(queue),
            self._routing_keys.get(routing_key),
        )
        if None in numbers:
            said = (name, worker, client, queue, routing_key)
            numbers = [self._number(kind, value) for kind, value in zip(_SAID, said, strict=True)]
        return (
            first_at, sent_at, received_at, started_at, ended_at, eta_at, expires_at, wait_s, runtime_s,
            self.cluster_id, *numbers, retries, events, len([run for run in runs if run.started_at is not None]),
            int(state), settled_by, key or pack_task_id(task_id), None if root_id is None else pack_task_id(root_id),
            None if parent_id is None else pack_task_id(parent_id), args, kwargs, result, exception,
        )  # fmt: skip

    def run(self, one: Task, run: Run, key: bytes | None = None, group: Group | None = None) -> bulk.Row:
        """`key` is the task's packed id, and `group` the run's, where they are known already."""
        if run.failure is not None and group is None:
            group = self.group(one, run)
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
            key or pack_task_id(one.id),
            group["fingerprint"] if group else None,
            run.exception,
            run.traceback,
            run.note,
        )

    def group(self, one: Task, run: Run) -> Group | None:
        """The row of `failure_group` in which a failed run is."""
        if run.failure is None:
            return None
        title = run.failure.title
        return {
            "fingerprint": failures.fingerprint(one.name, run.failure, title),
            "rule": failures.RULE,
            "name_id": self._number(Kind.NAME, one.name),
            "title": title,
            "frame": run.failure.frame,
        }

    def _number(self, kind: Kind, value: str | None) -> int | None:
        return None if value is None else self._labels.number(kind, value)

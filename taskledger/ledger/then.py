"""The columns of `task` and `run` as they were at a moment, for conditions and counts; and the rows of a list.

What had ended by then reads as it stands in its row; only of what was under way are the runs looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from sqlalchemy import ClauseElement, Column, ColumnElement, Connection, and_, case, func, literal, or_, select
from sqlalchemy import cast as cast_sql
from sqlalchemy.sql import visitors

from taskledger.ledger import dialects, schema
from taskledger.ledger.answers import RunRow, TaskDetail, TaskRow
from taskledger.ledger.labels import Labels
from taskledger.ledger.types import Moment
from taskledger.runs import Run, until
from taskledger.settlements import SettledBy
from taskledger.states import State
from taskledger.tasks import telling

C = TypeVar("C", bound=ClauseElement)
Value = ColumnElement[Any]

_task, _run = schema.task.c, schema.run.c
#: the runs of a task, beside those that a search asks about
_own = schema.run.alias("own_run").c
#: a run's number and its state in one number, so that the greatest tells both
_SHIFT = 100


def past(clause: C, at: int | None) -> C:
    """A condition or a column over `task` and `run`, as of a moment; as it is now for None."""
    if at is None:
        return clause
    were = _were(at)

    def replaced(element: Any, **_: Any) -> Any:
        return were.get(element) if isinstance(element, Column) else None

    return cast(C, visitors.replacement_traverse(clause, {}, replaced))


def state(at: int) -> Value:
    """The state of a task as of a moment: what `tasks.telling` makes of its runs until then."""
    sent = case((_task.sent_at <= at, literal(int(State.PENDING))), else_=literal(int(State.UNKNOWN)))
    # Of a long queue there are many that nobody had touched: not a run is looked at for them.
    unrun = and_(_task.runs == 0, _task.runtime_s.is_(None), or_(_task.ended_at.is_(None), _task.ended_at > at))
    begins_later = and_(_task.runs == 1, _task.started_at > at)
    untouched = and_(or_(_task.received_at.is_(None), _task.received_at > at), or_(unrun, begins_later))
    return case(
        (_task.ended_at <= at, _task.state), (untouched, sent), else_=func.coalesce(_of_runs(_told(at), at), sent)
    )


def started(run: Any) -> Value:
    """When a run began; where nobody heard that, its end less the time that the worker says it took."""
    begun_at: Value = run.ended_at - run.runtime_s * 1_000_000
    return func.coalesce(run.started_at, cast_sql(begun_at, Moment))


def rows_at(
    connection: Connection, labels: Labels, found: Sequence[Any], rows: Sequence[TaskRow], at: int
) -> tuple[TaskRow, ...]:
    """The lines of a list as they were; `found` are the rows of `task` that they are of."""
    runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
    under_way = [one.id for one in found if one.ended_at is None or one.ended_at > at]
    for chunk in dialects.chunks(under_way):
        mine = select(schema.run).where(_run.task_id.in_(chunk)).order_by(_run.number)
        for row in connection.execute(mine):
            runs[row.task_id, row.cluster_id].append(_run_of(labels, row))
    both = zip(rows, found, strict=True)
    return tuple(_row_at(row, runs[one.id, one.cluster_id], at) if one.id in under_way else row for row, one in both)


def detail_at(connection: Connection, labels: Labels, found: Any, detail: TaskDetail, at: int) -> TaskDetail:
    """One task as it stood; `found` is its row of `task`, its family is of then already."""
    (row,) = rows_at(connection, labels, [found], [detail.task], at)
    return replace(
        detail,
        task=row,
        runs=tuple(_runs_at(detail.runs, at)),
        events=tuple(event for event in detail.events if event.at <= at),
        # What was found out later about a time before is known of that time.
        settlements=tuple(fact for fact in detail.settlements if (fact.known_at if fact.at is None else fact.at) <= at),
    )


def _runs_at(rows: Sequence[RunRow], at: int) -> Iterable[RunRow]:
    were = {run.number: run for run in until([_run_told(row) for row in rows], at)}
    for row in rows:
        was = were.get(row.number)
        if was is not None and was.ended_at is None:
            open_run = replace(row, state=was.state, started_at=was.started_at, ended_at=None, runtime_s=None)
            yield replace(open_run, exception=None, traceback=None, fingerprint=None, note=None, settled_by=None)
        elif was is not None:
            yield row


def _run_told(row: RunRow) -> Run:
    """The run that a line tells of, as far as `until` looks at it."""
    return Run(
        row.number, row.state, row.worker, row.pid, row.retries, row.sent_at, row.received_at, row.started_at,
        row.ended_at, row.runtime_s, row.exception, row.traceback, None, row.note,
    )  # fmt: skip


def _row_at(row: TaskRow, runs: Sequence[Run], at: int) -> TaskRow:
    begun = until(runs, at)
    told = telling(begun)
    was_sent = row.sent_at is not None and row.sent_at <= at
    return replace(
        row,
        state=told.state if told else State.PENDING if was_sent else State.UNKNOWN,
        sent_at=row.sent_at if was_sent else None,
        received_at=min((run.received_at for run in begun if run.received_at is not None), default=None),
        started_at=told.started_at if told else None,
        ended_at=told.ended_at if told and told.state.is_end else None,
        wait_s=row.wait_s if any(run.started_at is not None for run in begun) else None,
        runtime_s=told.runtime_s if told else None,
        worker=told.worker if told else None,
        result=None,
        exception=next((run.exception for run in reversed(begun) if run.exception), None),
        runs=sum(run.started_at is not None for run in begun),
        retries=max((run.retries for run in begun if run.retries is not None), default=None),
        settled_by=SettledBy(told.settled_by).name.lower() if told and told.settled_by else None,
    )


def _run_of(labels: Labels, row: Any) -> Run:
    names = (
        "number",
        "pid",
        "retries",
        "settled_by",
        "sent_at",
        "received_at",
        "started_at",
        "ended_at",
        "runtime_s",
        "exception",
    )
    plain = {name: getattr(row, name) for name in (*names, "traceback", "note")}
    return Run(state=State(row.state), worker=labels.value(row.worker_id), failure=None, **plain)


def _were(at: int) -> dict[Any, Value]:
    """Column -> what it was. Names, arguments and relations are known from the beginning."""
    is_over = _task.ended_at <= at
    failed = and_(_own.ended_at <= at, _own.exception.is_not(None))
    last_failed = _of_runs(func.max(case((failed, _own.exception))), at)
    has_started = or_(is_over, _task.started_at <= at)
    return {
        _task.state: state(at),
        _task.sent_at: case((_task.sent_at <= at, _task.sent_at)),
        _task.received_at: case((_task.received_at <= at, _task.received_at)),
        _task.started_at: case((_task.started_at <= at, _task.started_at)),
        _task.ended_at: case((is_over, _task.ended_at)),
        _task.runtime_s: case((is_over, _task.runtime_s)),
        _task.wait_s: case((has_started, _task.wait_s)),
        _task.worker_id: case((has_started, _task.worker_id)),
        _task.result: case((is_over, _task.result)),
        _task.retries: case((is_over, _task.retries), else_=_of_runs(func.max(_own.retries), at)),
        _task.runs: case((is_over, _task.runs), else_=_of_runs(func.count(), at, _own.started_at <= at)),
        _task.exception: case((is_over, _task.exception), else_=last_failed),
        **{column: case((_run.ended_at <= at, column)) for column in (_run.exception, _run.traceback, _run.note)},
        **{column: case((_has_begun(_run, at), column)) for column in (_run.worker_id, _run.pid)},
    }


def _has_begun(run: Any, at: int) -> ColumnElement[bool]:
    return or_(run.received_at <= at, started(run) <= at, run.ended_at <= at)


def _told(at: int) -> Value:
    """From all runs of a task that had begun: the state of the last that did not only wait, see `tasks.telling`."""
    stood = case(
        (_own.ended_at <= at, _own.state),
        (started(_own) <= at, literal(int(State.STARTED))),
        else_=literal(int(State.RECEIVED)),
    )
    waits = stood == int(State.RECEIVED)
    last = func.max(case((~waits, _own.number * _SHIFT + stood)))
    was = last % _SHIFT
    is_over = and_(stood >= int(State.REJECTED), stood != int(State.LOST))
    ended_at = func.max(case((is_over, _own.ended_at)))
    has_succeeded = func.max(case((stood == int(State.SUCCESS), 1), else_=0)) == 1
    is_last = func.max(_own.number) == last // _SHIFT
    return case(
        (func.count() == 0, None),
        (last.is_(None), literal(int(State.RECEIVED))),
        (and_(is_last, was == int(State.LOST), has_succeeded), literal(int(State.SUCCESS))),
        (or_(is_last, was == int(State.RETRY)), was),
        (and_(was >= int(State.REJECTED), ended_at > func.max(case((waits, _own.received_at)))), was),
        # A delivery that waits is what comes next, whatever became of the one before.
        else_=literal(int(State.RECEIVED)),
    )


def _of_runs(value: Value, at: int, *where: ColumnElement[bool]) -> Value:
    """One value of all runs of a task that had begun."""
    same = and_(_own.task_id == _task.id, _own.cluster_id == _task.cluster_id, _has_begun(_own, at), *where)
    return select(value).where(same).correlate(schema.task).scalar_subquery()

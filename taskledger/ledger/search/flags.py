"""What the words of `is:` and `has:` mean, as conditions over `task` and its runs."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, literal_column, or_, select

from taskledger.ledger import schema
from taskledger.states import State

Condition = ColumnElement[bool]

_task = schema.task.c
_run = schema.run.c
#: states of a task that nobody has begun
_WAITING = (int(State.PENDING), int(State.RECEIVED))
#: how Celery writes that there are no arguments
_NO_ARGS = ("()", "[]")


def any_failed_run(test: Condition) -> Condition:
    """That any run that failed or was retried passes the test; the only ones with an exception or a traceback."""
    # Such a task keeps the exception of the last of them (tasks.py), so that most need no look at their runs.
    return and_(_task.exception.is_not(None), any_run(test))


def any_run(test: Condition) -> Condition:
    """That any run of the task passes the test."""
    same = and_(_run.task_id == _task.id, _run.cluster_id == _task.cluster_id)
    runs: Select[Any] = select(literal_column("1")).select_from(schema.run).where(same, test).correlate(schema.task)
    # OFFSET keeps PostgreSQL from testing all runs ever recorded into a hash, when only those of a span are asked for.
    return runs.offset(0).exists()


def flag(field: str, word: str, now_at: int | None) -> Condition:
    """The condition of `is:word` or `has:word`; `now_at` is set for those that depend on it."""
    if now_at is not None:
        return _TIMED[word](now_at)
    return _TIMELESS[field, word]()


def _scheduled(now_at: int) -> Condition:
    return and_(_task.state.in_(_WAITING), _task.eta_at > now_at)


def _expired(now_at: int) -> Condition:
    """A worker found it expired, or it ran out while it waited and nobody has said so yet."""
    overdue = and_(_task.state.in_(_WAITING), _task.started_at.is_(None), _task.expires_at <= now_at)
    revoked = and_(_task.state == int(State.REVOKED), any_run(_run.note.contains("expired")))
    return or_(overdue, revoked)


def _retried() -> Condition:
    """It was tried again, or waits for that."""
    return or_(_task.retries > 0, _task.state == int(State.RETRY))


def _child() -> Condition:
    return or_(_task.parent_id.is_not(None), _task.root_id.is_not(None))


_TIMED: dict[str, Callable[[int], Condition]] = {"scheduled": _scheduled, "expired": _expired}
_TIMELESS: dict[tuple[str, str], Callable[[], Condition]] = {
    ("is", "child"): _child,
    ("is", "done"): lambda: _task.state.in_([int(state) for state in State if state.is_end]),
    ("is", "retried"): _retried,
    ("is", "root"): lambda: and_(_task.parent_id.is_(None), _task.root_id.is_(None)),
    ("is", "running"): lambda: _task.state == int(State.STARTED),
    ("has", "args"): lambda: or_(_task.args.not_in(_NO_ARGS), _task.kwargs != "{}"),
    ("has", "error"): lambda: _task.exception.is_not(None),
    ("has", "eta"): lambda: _task.eta_at.is_not(None),
    ("has", "result"): lambda: _task.result != "None",
    ("has", "traceback"): lambda: any_failed_run(_run.traceback.is_not(None)),
}

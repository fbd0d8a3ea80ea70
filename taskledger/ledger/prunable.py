"""Which rows have outlived their time: a rule decides about a task, the default age about the rest."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_

from taskledger.crontabs import SECOND
from taskledger.ledger import schema
from taskledger.ledger.labels import Kind, Labels
from taskledger.retention import Retention, Rule
from taskledger.states import State

_COLUMNS = {"task": (schema.task.c.name_id, Kind.NAME), "queue": (schema.task.c.queue_id, Kind.QUEUE)}


@dataclass(frozen=True, slots=True)
class Batch:
    """Tasks that one rule, or the default, no longer keeps."""

    before_at: int
    condition: ColumnElement[bool]


def task_batches(retention: Retention, labels: Labels, now_at: int) -> Iterator[Batch]:
    """What each rule no longer keeps, and then the default: of the rules that match a task, the first one decides.

    A task's age counts from its end; of one that did not end, from the last that is known of it, its ETA included.
    """
    earlier: list[ColumnElement[bool]] = []
    for rule in (rule for rule in retention.rules if rule.field != "type"):
        matches, differs = _rule(rule, labels)
        yield _batch(now_at, rule.keep_s, [matches, *earlier])
        earlier.append(differs)
    yield _batch(now_at, retention.default_s, earlier)


def event_batches(retention: Retention, labels: Labels, now_at: int) -> dict[int, list[int]]:
    """Moment -> types of which events without a task are kept from that moment on."""
    batches: dict[int, list[int]] = defaultdict(list)
    for type_id in labels.ids(Kind.TYPE, lambda _: True):
        keep_s = retention.event_keep_s(labels.value(type_id) or "")
        batches[now_at - round(keep_s * SECOND)].append(type_id)
    return batches


def longest_s(retention: Retention) -> float:
    """Nothing is kept for longer than this."""
    return max([retention.default_s, *(rule.keep_s for rule in retention.rules)])


def shortest_task_s(retention: Retention) -> float:
    """No task goes before it is this old."""
    return min([retention.default_s, *(rule.keep_s for rule in retention.rules if rule.field != "type")])


def shortest_event_s(retention: Retention) -> float:
    """No event without a task goes before it is this old."""
    return min([retention.default_s, *(rule.keep_s for rule in retention.rules if rule.field == "type")])


def _batch(now_at: int, keep_s: float, conditions: list[ColumnElement[bool]]) -> Batch:
    task = schema.task.c
    before_at = now_at - round(keep_s * SECOND)
    last_at = func.coalesce(task.ended_at, task.started_at, task.received_at, task.first_at)
    is_old = and_(
        task.first_at < before_at,
        last_at < before_at,
        or_(task.eta_at.is_(None), task.eta_at < before_at, task.ended_at.is_not(None)),
    )
    return Batch(before_at, and_(is_old, *conditions))


def _rule(rule: Rule, labels: Labels) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The condition that a task matches the rule, and the one that it does not."""
    if rule.field == "state":
        state = schema.task.c.state
        return state == int(State[rule.pattern]), state != int(State[rule.pattern])
    column, kind = _COLUMNS[rule.field]
    ids = labels.ids(kind, rule.matches)
    return column.in_(ids), or_(column.is_(None), column.not_in(ids))

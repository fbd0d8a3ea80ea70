"""A task's family as a tree that cannot loop: Celery's retries name themselves as parent, and input may lie."""

from collections import defaultdict
from dataclasses import dataclass

from taskledger.ledger.answers import RelatedTask, TaskDetail


@dataclass(frozen=True, slots=True)
class Member:
    """One line of the tree: how deep it stands, and whether it is the task the page is about."""

    task: RelatedTask
    depth: int
    is_self: bool


#: deeper members stand at this depth, so that a long chain stays readable
DEEPEST = 12


def members(detail: TaskDetail) -> tuple[Member, ...]:
    """The tree from the top, parents before children; empty when the task is alone."""
    own = detail.task
    everyone = {own.id: RelatedTask(own.id, own.name, own.state, own.first_at, detail.parent_id)}
    everyone |= {task.id: task for task in detail.family}
    if len(everyone) == 1:
        return ()
    children: dict[str | None, list[RelatedTask]] = defaultdict(list)
    for task in sorted(everyone.values(), key=lambda task: (task.first_at, task.id)):
        has_parent = task.parent_id != task.id and task.parent_id in everyone
        children[task.parent_id if has_parent else None].append(task)
    return tuple(_walk(everyone, children, own.id))


def _walk(everyone: dict[str, RelatedTask], children: dict[str | None, list[RelatedTask]], own_id: str) -> list[Member]:
    """Depth first, without recursion; members of a cycle, which no root leads to, follow at the end."""
    found: list[Member] = []
    seen: set[str] = set()
    pending = [(task, 0) for task in reversed(children[None])]
    strays = sorted(everyone.values(), key=lambda task: (task.first_at, task.id), reverse=True)
    while pending or strays:
        task, depth = pending.pop() if pending else (strays.pop(), 0)
        if task.id in seen:
            continue
        seen.add(task.id)
        found.append(Member(task, min(depth, DEEPEST), task.id == own_id))
        pending.extend((child, depth + 1) for child in reversed(children[task.id]))
    return found

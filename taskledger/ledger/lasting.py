"""Until when tasks lasted, for those that did: where the tasks of a moment are found.

A task may have been waiting or running at a moment although it was first heard of a day before. No index finds it, and
one that could costs every task some fifty bytes. But tasks that last are few: each gets a mark under the moment it was
first heard of, with its end. Where many of a stretch last, as when a queue is full, the stretch gets one for them all.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, update

from taskledger.ledger import dialects, schema
from taskledger.tasks import Task

#: microseconds of a stretch; what is over by the end of the next one has not lasted
STEP = 300_000_000
#: tasks of one stretch that have marks of their own
MOST_OWN = 500
#: the mark from which on tasks that last have marks; of older ones nothing is known
KEPT_FROM = "lasting_from_at"
#: ranges of time that one question names
MOST_RANGES = 40
_PREFIX = "lasting:"

M = schema.mark.c


@dataclass(frozen=True, slots=True)
class Places:
    """When the ended tasks of a moment were first heard of: in these ranges (from, to), or at these very moments."""

    ranges: tuple[tuple[int, int], ...]
    moments: tuple[int, ...]


def begin(connection: Connection, now_at: int) -> None:
    """Note, once for a ledger, that tasks that end from now on are marked; what was recorded before was not."""
    if connection.scalar(select(M.value).where(M.name == KEPT_FROM)) is None:
        newest_at = connection.scalar(select(func.max(schema.task.c.first_at)))
        row = {"name": KEPT_FROM, "value": 0 if newest_at is None else min(newest_at + 1, now_at)}
        connection.execute(dialects.insert_ignore(connection, schema.mark), [row])


def keep(connection: Connection, lasted: Iterable[tuple[int, int]]) -> None:
    """Mark tasks that have lasted, as `of` tells of each. In most batches there are none, and nothing is asked."""
    stretches: dict[int, dict[int, int]] = defaultdict(dict)
    for first_at, end_at in lasted:
        mine = stretches[first_at // STEP]
        mine[first_at] = max(end_at, mine.get(first_at, 0))
    marks: dict[str, int] = {}
    for stretch in sorted(stretches):
        marks |= _marks(connection, stretch, stretches[stretch])
    if marks:
        _raise(connection, marks)


def places(connection: Connection, at: int) -> Places:
    """Where to look for tasks that ended after a moment and were first heard of before."""
    kept_from_at = connection.scalar(select(M.value).where(M.name == KEPT_FROM))
    if kept_from_at is None:
        return Places(((0, at + 1),), ())
    last = max(at, 0) // STEP
    named = select(M.name).where(M.name > _PREFIX, M.name < _name(last + 1), M.value > at)
    found = [name.removeprefix(_PREFIX).split(":") for name in connection.scalars(named)]
    whole = {int(parts[0]) for parts in found if len(parts) == 1}
    ranges = [(from_at, min(to_at, at + 1)) for from_at, to_at in _joined(sorted(whole | {max(last - 1, 0), last}))]
    if kept_from_at:
        ranges = _united([(0, min(kept_from_at, at + 1)), *ranges])
    alone = sorted(int(parts[1]) for parts in found if len(parts) == 2)
    inside = [one for one in alone if one <= at and not any(from_at <= one < to_at for from_at, to_at in ranges)]
    return Places(tuple(ranges), tuple(inside))


def before(at: int) -> tuple[str, str]:
    """The names of the marks of stretches that end before a moment: those after the first and before the second."""
    return _PREFIX, _name(max(at, 0) // STEP)


def _name(stretch: int, first_at: int | None = None) -> str:
    # Of one length, so that names sort as numbers do, and those of a stretch follow its own.
    return f"{_PREFIX}{stretch:012d}" + ("" if first_at is None else f":{first_at:018d}")


def of(one: Task) -> tuple[int, int] | None:
    """When it was first heard of, and its end, if it went on after the stretch that follows its own."""
    if one.ended_at is None or (one.ended_at - one.first_at <= STEP and len(one.runs) == 1):
        return None
    first_at = max(one.first_at, 0)
    # Of two deliveries at once, the one that is not the task's state may have gone on longer.
    end_at = max([run.ended_at for run in one.runs if run.ended_at is not None], default=one.ended_at)
    return (first_at, end_at) if end_at > (first_at // STEP + 2) * STEP else None


def _marks(connection: Connection, stretch: int, ends: Mapping[int, int]) -> dict[str, int]:
    """Marks of a stretch's tasks, or one for it all where they are many."""
    own = select(func.count()).where(M.name > _name(stretch), M.name < _name(stretch + 1))
    if (connection.scalar(own) or 0) + len(ends) <= MOST_OWN:
        return {_name(stretch, first_at): end_at for first_at, end_at in ends.items()}
    steps = 2
    while (stretch + steps) * STEP < max(ends.values()):
        # By powers of two, it changes a handful of times in all, and recorders hardly ever meet at it.
        steps *= 2
    return {_name(stretch): (stretch + steps) * STEP}


def _raise(connection: Connection, marks: Mapping[str, int]) -> None:
    """Set each mark, never back: another recorder may have set it to a later end."""
    rows = [{"name": name, "value": marks[name]} for name in sorted(marks)]
    connection.execute(dialects.insert_ignore(connection, schema.mark), rows)
    sooner = update(schema.mark).where(M.name == bindparam("mark"), M.value < bindparam("end_at"))
    later = [{"mark": row["name"], "end_at": row["value"]} for row in rows]
    connection.execute(sooner.values(value=bindparam("end_at")), later)


def _joined(stretches: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches that touch as one range; coarser ones where there would be too many."""
    width = 1
    while True:
        starts = [stretch // width * width * STEP for stretch in stretches]
        found = _united([(start, start + width * STEP) for start in starts])
        if len(found) <= MOST_RANGES:
            return found
        width *= 2


def _united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in their order, those that touch as one."""
    found: list[tuple[int, int]] = []
    for from_at, to_at in sorted(ranges):
        if found and from_at <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], to_at))
        else:
            found.append((from_at, to_at))
    return found

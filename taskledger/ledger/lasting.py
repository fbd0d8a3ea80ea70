"""Until when tasks lasted, by the stretch of time in which they were first heard of: where those of a moment are found.

A task may have been waiting or running at a moment although it was first heard of a day before. No index finds it, and
one that could costs every task some fifty bytes. But tasks that last are few: for each stretch of STEP in which one was
first heard of, a mark says until when the last of them went on, and only such stretches need be looked at.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, select, update

from taskledger.ledger import dialects, schema
from taskledger.tasks import Task

#: microseconds of first hearing that share a mark; what is over by the end of the next such stretch needs none
STEP = 300_000_000
#: the mark from which on tasks have such marks; of older ones nothing is known
KEPT_FROM = "lasting_from_at"
#: ranges of time that one question names
MOST_RANGES = 40
_PREFIX = "lasting:"

M = schema.mark.c


def begin(connection: Connection, now_at: int) -> None:
    """Note, once for a ledger, that tasks that end from now on are marked; what was recorded before was not."""
    if connection.scalar(select(M.value).where(M.name == KEPT_FROM)) is None:
        newest_at = connection.scalar(select(func.max(schema.task.c.first_at)))
        row = {"name": KEPT_FROM, "value": 0 if newest_at is None else min(newest_at + 1, now_at)}
        connection.execute(dialects.insert_ignore(connection, schema.mark), [row])


def keep(connection: Connection, made: Iterable[Task]) -> None:
    """Mark the stretches of tasks that have ended and lasted. In most batches there are none, and nothing is asked."""
    marks = _marks(made)
    if not marks:
        return
    rows = connection.execute(select(M.name, M.value).where(M.name.in_(sorted(marks)))).all()
    known = {row.name: row.value for row in rows}
    for name in sorted(name for name, until_at in marks.items() if until_at > known.get(name, 0)):
        row = {"name": name, "value": marks[name]}
        connection.execute(dialects.insert_ignore(connection, schema.mark), [row])
        # Another recorder may have written a later one meanwhile.
        connection.execute(update(schema.mark).where(M.name == name, M.value < marks[name]).values(value=marks[name]))


def ranges(connection: Connection, at: int) -> list[tuple[int, int]]:
    """From when to when (the end is not part of it) an ended task was first heard of that may not have at a moment."""
    kept_from_at = connection.scalar(select(M.value).where(M.name == KEPT_FROM))
    if kept_from_at is None:
        return [(0, at + 1)]
    last = at // STEP
    named = select(M.name).where(M.name > _PREFIX, M.name <= _name(last), M.value > at)
    marked = {int(name.removeprefix(_PREFIX)) for name in connection.scalars(named)}
    found = _joined(sorted(marked | {max(last - 1, 0), last}))
    whole = [(0, kept_from_at)] if kept_from_at else []
    return whole + [(from_at, min(to_at, at + 1)) for from_at, to_at in found]


def before(at: int) -> tuple[str, str]:
    """The names of the marks of stretches that end before a moment: those after the first and before the second."""
    return _PREFIX, _name(max(at, 0) // STEP)


def _name(stretch: int) -> str:
    # Of one length, so that names sort as numbers do.
    return f"{_PREFIX}{stretch:012d}"


def _marks(made: Iterable[Task]) -> dict[str, int]:
    """Name of a mark -> until when. Whole powers of two of STEP: a stretch gets a handful of them in all its life."""
    marks: dict[str, int] = {}
    for one in made:
        if one.ended_at is None or (one.ended_at - one.first_at <= STEP and len(one.runs) == 1):
            continue
        stretch = max(one.first_at, 0) // STEP
        steps = 2
        end_at = max([run.ended_at for run in one.runs if run.ended_at is not None], default=one.ended_at)
        while (stretch + steps) * STEP < end_at:
            steps *= 2
        if steps > 2:
            name = _name(stretch)
            marks[name] = max(marks.get(name, 0), (stretch + steps) * STEP)
    return marks


def _joined(stretches: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches that touch as one range; coarser ones where there would be too many."""
    width = 1
    while True:
        found: list[tuple[int, int]] = []
        for stretch in stretches:
            from_at = stretch // width * width * STEP
            if found and from_at <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], from_at + width * STEP))
            else:
                found.append((from_at, from_at + width * STEP))
        if len(found) <= MOST_RANGES:
            return found
        width *= 2

"""Looking back: the moment a page is about, whether anybody listened then, and what was known of the workers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import g

from taskledger.errors import TaskledgerError
from taskledger.ledger import query
from taskledger.ledger.answers import RecorderStatus, RelatedTask, WorkerRow
from taskledger.ledger.momentary import HeardAt, Running, RunningTask
from taskledger_web import links, recorded, times
from taskledger_web.asking import ask
from taskledger_web.view import View, recorder_status, view

#: steps in time that the banner offers: (microseconds, words)
STEPS = (
    (-60 * times.MICROS, "−1 min"),
    (-10 * times.MICROS, "−10 s"),
    (10 * times.MICROS, "+10 s"),
    (60 * times.MICROS, "+1 min"),
)


@dataclass(frozen=True, slots=True)
class Banner:
    """What stands above a page that is looked at as of a moment."""

    #: the moment in words
    words: str
    #: (address, words)
    steps: tuple[tuple[str, str], ...]
    #: what is not known, as sentences; empty when somebody listened
    deaf: str


def looking_back() -> Banner | None:
    """The banner of this page; None where nobody looks back."""
    seen = view()
    if seen.at is None:
        return None
    moments = [(seen.at + step, words) for step, words in STEPS]
    steps = tuple((links.here(at=nearby(at)), words) for at, words in moments if 0 < at <= seen.today_at)
    try:
        return Banner(_words(seen), steps, recorded.unheard(heard(seen.at)))
    except TaskledgerError:
        return Banner(_words(seen), steps, "")


def _words(seen: View) -> str:
    """25 Nov 03:12:40 UTC (3 h ago); its date always."""
    clock = times.clock(seen.now_at, seen.zone, precise=bool(seen.now_at % times.MICROS))
    day = times.day(seen.now_at, seen.zone, seen.today_at)
    ago = times.ago(seen.now_at, seen.today_at)
    return f"{day} {clock} {times.zone_word(seen.zone, seen.now_at)} ({ago})"


def nearby(at: int) -> str:
    """A moment as an address has it."""
    whole = at % times.MICROS == 0
    return times.utc(at, timespec="seconds" if whole else "microseconds")


def heard(at: int) -> tuple[HeardAt, ...]:
    """Of each cluster, whether anybody listened at a moment."""
    return ask(query.heard_at, at, view().today_at)


def status() -> RecorderStatus:
    """The recorder's, at the moment of the page."""
    seen = view()
    if seen.at is None:
        return recorder_status()
    clusters = heard(seen.at)
    is_heard = bool(clusters) and all(one.is_heard for one in clusters)
    return RecorderStatus("recording" if is_heard else "stopped", None, None, None)


def running() -> Running | None:
    """What was running at the moment of the page, asked once for all of it; None for the present."""
    seen = view()
    if seen.at is None:
        return None
    if "running" not in g:
        g.running = ask(query.running_at, seen.at, seen.today_at)
    found: Running = g.running
    return found


def running_on(row: WorkerRow) -> str:
    """2; 1, and 1 perhaps; 0, was at 1 when last heard of."""
    found = [certainty(task) for task in row.running]
    words = str(found.count("running"))
    words += f", and {perhaps} perhaps" if (perhaps := found.count("unknown")) else ""
    return words + (f", was at {lost} when last heard of" if (lost := found.count("lost")) else "")


def certainty(task: RelatedTask) -> str:
    """Running, unknown or lost; what is held as running now is running."""
    return task.certainty if isinstance(task, RunningTask) else "running"


def workers_seen(name: str | None = None) -> tuple[WorkerRow, ...]:
    """The workers as of the moment of the page, or the one named; the lost with what they were at."""
    seen = view()
    if seen.at is not None:
        return ask(query.workers_at, seen.at, seen.today_at, name=name).rows
    if name is None:
        return _with_lost(ask(query.workers, seen.now_at), seen.now_at)
    row = ask(query.worker, name, seen.now_at)
    return () if row is None else _with_lost((row,), seen.now_at, name)


def _with_lost(rows: tuple[WorkerRow, ...], now_at: int, name: str | None = None) -> tuple[WorkerRow, ...]:
    """Rows of the present. What a lost worker was at is settled soon after; it is told all the same."""
    if not any(_is_lost_of_late(row, now_at) for row in rows):
        return rows
    found = ask(query.running_at, now_at, now_at, worker=name)
    under_way = (*found.tasks, *found.unknown, *found.lost)
    return tuple(replace(row, running=_on(row, under_way)) if _is_lost_of_late(row, now_at) else row for row in rows)


def _is_lost_of_late(row: WorkerRow, now_at: int) -> bool:
    """Whether what it was at is told."""
    return row.status == "lost" and row.since_at is not None and row.since_at > now_at - query.LOST_TOLD


def _on(row: WorkerRow, tasks: Sequence[RunningTask]) -> tuple[RunningTask, ...]:
    return tuple(task for task in tasks if (task.worker, task.cluster) == (row.name, row.cluster))

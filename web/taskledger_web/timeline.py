"""The timeline of one task: a row for each run, with what it waited, was reserved for and ran, and what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from taskledger.ledger.answers import RunRow, Span, TaskDetail
from taskledger.states import State
from taskledger_web import times, words
from taskledger_web.charts import share
from taskledger_web.text import cause, cut, exception_class
from taskledger_web.times import MICROS

#: per cent of the width that the bars may take; the rest is for what stands beside them
_BARS = 72.0
#: letters that fit into the whole width of a lane on a small desktop screen
_LETTERS = 100
#: the thinnest bar, per cent
_THIN = 0.4
#: most rows drawn; the table below the drawing has them all
MOST_ROWS = 40
_NO_END = "was running, no end seen"
_STEPS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_LONG_STEPS = (300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)


@dataclass(frozen=True, slots=True)
class Segment:
    """One phase of a run. `edge` says which side is dashed because its event is missing: "", left or right."""

    kind: str
    x: float
    width: float
    title: str
    edge: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One run: its label, its phases and the words beside them."""

    label: str
    segments: tuple[Segment, ...]
    note: str
    #: as much of the words as fits beside the bars, and where it stands
    brief: str
    brief_x: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """All rows over one axis that counts from the first event."""

    rows: tuple[Row, ...]
    #: (x in per cent, label)
    ticks: tuple[tuple[float, str], ...]
    left_out: int


def timeline(detail: TaskDetail, now_at: int, silent_at: int | None = None) -> Timeline | None:
    """The drawing of a task's runs; None when it has none. `silent_at` is the last sign of a worker that fell silent.

    What such a worker was running is drawn until then, torn: whether it still runs is not known.
    """
    now_at = now_at if silent_at is None else silent_at
    span = _span(detail, now_at)
    if span is None or not detail.runs:
        return None
    shown = detail.runs[-MOST_ROWS:]
    following = (*shown[1:], None)
    rows = tuple(_row(detail, run, after, span, now_at) for run, after in zip(shown, following, strict=True))
    if silent_at is not None:
        rows = (*rows[:-1], _torn(rows[-1]))
    return Timeline(rows, _ticks(span), len(detail.runs) - len(shown))


def is_redelivery(detail: TaskDetail, run: RunRow) -> bool:
    """Whether the broker delivered the same attempt once more: Celery's own count did not rise."""
    before = [other for other in detail.runs if other.number < run.number]
    return bool(before) and run.retries is not None and before[-1].retries == run.retries


def label(detail: TaskDetail, run: RunRow) -> str:
    """Attempt 2, or Delivered again."""
    if is_redelivery(detail, run):
        return "Delivered again"
    return f"Attempt {run.number}"


def _span(detail: TaskDetail, now_at: int) -> Span | None:
    known = [at for run in detail.runs for at in _moments(run) if at is not None]
    known += [detail.task.sent_at] if detail.task.sent_at is not None else []
    if not known:
        return None
    if not detail.task.state.is_end:
        known.append(now_at)
    return Span(min(known), max(*known, min(known) + 1000))


def _moments(run: RunRow) -> tuple[int | None, ...]:
    return run.sent_at, run.received_at, run.started_at, run.ended_at


def _row(detail: TaskDetail, run: RunRow, after: RunRow | None, span: Span, now_at: int) -> Row:
    segments = tuple(_segments(detail, run, after, span, now_at))
    return _noted(label(detail, run), segments, _beside(run, after, now_at))


def _noted(name: str, segments: tuple[Segment, ...], note: str) -> Row:
    end = max((segment.x + segment.width for segment in segments), default=0.0)
    room = int((100 - end) / 100 * _LETTERS)
    return Row(name, segments, note, cut(note, max(room, 12)), round(end + 0.8, 2))


def _torn(row: Row) -> Row:
    """The row of a run that no one saw end, up to the last sign of its worker."""
    last = tuple(replace(segment, title=_NO_END, edge="right") for segment in row.segments[-1:])
    return _noted(row.label, (*row.segments[:-1], *last), _NO_END)


def _segments(detail: TaskDetail, run: RunRow, after: RunRow | None, span: Span, now_at: int) -> list[Segment]:
    is_open = not detail.task.state.is_end and after is None
    return [
        *_waited(detail, run, span, now_at),
        *_reserved(run, span, now_at if is_open else None),
        *_ran(run, after, span, now_at),
    ]


def _waited(detail: TaskDetail, run: RunRow, span: Span, now_at: int) -> Iterable[Segment]:
    sent_at = run.sent_at if run.sent_at is not None or run.number > 1 else detail.task.sent_at
    until_at = _first(run.received_at, run.started_at, run.ended_at, now_at)
    if sent_at is not None and until_at is not None and until_at > sent_at:
        yield _segment("wait", sent_at, until_at, span, "in the queue")


def _reserved(run: RunRow, span: Span, open_until_at: int | None) -> Iterable[Segment]:
    until_at = _first(run.started_at, run.ended_at, open_until_at)
    if run.received_at is not None and until_at is not None and until_at > run.received_at:
        yield _segment("reserved", run.received_at, until_at, span, "reserved in the worker")


def _ran(run: RunRow, after: RunRow | None, span: Span, now_at: int) -> Iterable[Segment]:
    word = words.of_run(run)
    if run.started_at is not None and run.ended_at is not None:
        edge = "left" if run.received_at is None else ""
        title = f"{word.text}; no task-received seen" if edge else word.text
        yield _segment(word.kind, run.started_at, run.ended_at, span, title, edge)
    elif run.started_at is not None:
        is_running = after is None and run.state == State.STARTED
        until_at = now_at if after is None else _first(after.received_at, after.started_at)
        title, edge = ("Running", "") if is_running else ("no end seen", "right")
        yield _segment(word.kind, run.started_at, max(run.started_at, until_at or 0), span, title, edge)
    elif run.ended_at is not None:
        yield _segment(word.kind, run.ended_at, run.ended_at, span, word.text)


def _first(*moments: int | None) -> int | None:
    return next((at for at in moments if at is not None), None)


def _segment(kind: str, from_at: int, to_at: int, span: Span, what: str, edge: str = "") -> Segment:
    x = share(from_at, span) / 100 * _BARS
    width = max(share(to_at, span) / 100 * _BARS - x, _THIN)
    title = f"{what}, {times.duration((to_at - from_at) / MICROS)}"
    return Segment(kind, round(x, 2), round(width, 2), title, edge)


def _beside(run: RunRow, after: RunRow | None, now_at: int) -> str:
    what = _what(run, now_at)
    if after is None or run.ended_at is None:
        return what
    next_at = _first(after.started_at, after.received_at)
    if next_at is None or next_at <= run.ended_at:
        return f"{what}, runs overlap" if next_at is not None else what
    return f"{what}, again after {times.duration((next_at - run.ended_at) / MICROS)}"


def _what(run: RunRow, now_at: int) -> str:
    if run.exception and run.state in (State.RETRY, State.FAILURE):
        return exception_class(cause(run.exception)) if run.state == State.RETRY else cut(run.exception, 44)
    if run.state == State.STARTED and run.started_at is not None:
        return f"running, {times.duration((now_at - run.started_at) / MICROS)}"
    length = times.duration(run.runtime_s)
    return ", ".join(part for part in (words.of_run(run).text, words.beside(run), length) if part)


def _ticks(span: Span) -> tuple[tuple[float, str], ...]:
    seconds = (span.to_at - span.from_at) / MICROS
    step = next((step for step in (*_STEPS, *_LONG_STEPS) if seconds / step <= 8), seconds)
    count = int(seconds / step * (1 / (_BARS / 100))) + 1
    places = ((number * step / seconds * _BARS, number * step) for number in range(count))
    return tuple((round(x, 2), _axis_label(value, step)) for x, value in places if x <= 90)


def _axis_label(seconds: float, step: float) -> str:
    if step < 0.001:
        return f"{seconds * 1000:.1f} ms"
    if step < 1:
        return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    return f"{seconds:.0f} s" if seconds < 60 else times.duration(seconds)

"""What templates say in words: times, durations, numbers, what was recorded; and addresses that need thought."""

from markupsafe import Markup

from taskledger.ledger.answers import Count, Coverage, TaskRow
from taskledger.states import State
from taskledger_web import links, recorded, reprs, searching, text, times
from taskledger_web.asking import opening
from taskledger_web.view import page_range, view


def when(at: int | None, *, precise: bool = False) -> Markup:
    """A time: the clock, the date when it is not today; exact, with its zone and its age, in the tooltip."""
    if at is None:
        return Markup("")
    seen = view()
    exact = times.iso(at, seen.zone)
    title = f"{exact} · {times.ago(at, seen.now_at)}"
    shown = times.absolute(at, seen.zone, seen.now_at, precise=precise)
    # A list has hundreds; all of it is our own text.
    return Markup(f'<time datetime="{exact}" title="{title}">{shown}</time>')  # noqa: S704


def when_full(at: int) -> Markup:
    """A time in a sentence: date, clock, zone, and its age in words."""
    seen = view()
    shown = f"{times.day(at, seen.zone, seen.now_at)} {times.clock(at, seen.zone, precise=True)}"
    zone = times.zone_word(seen.zone, at)
    ago = times.ago(at, seen.now_at)
    return Markup('<time class="mono" datetime="{}">{} {}</time> ({})').format(
        times.iso(at, seen.zone), shown, zone, ago
    )


def when_stamp(at: int | None) -> Markup:
    """A time to the second with its date always, for lists that span days."""
    if at is None:
        return Markup("")
    seen = view()
    shown = f"{times.day(at, seen.zone, seen.now_at)} {times.clock(at, seen.zone)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        times.iso(at, seen.zone), f"{times.iso(at, seen.zone)} · {times.ago(at, seen.now_at)}", shown
    )


def when_beside(at: int | None, beside_at: int) -> Markup:
    """A time to the millisecond in a row that begins with another: the date only when that is another day."""
    if at is None:
        return Markup("")
    seen = view()
    is_same_day = times.local(at, seen.zone).date() == times.local(beside_at, seen.zone).date()
    day = "" if is_same_day else f"{times.day(at, seen.zone, seen.now_at)} "
    exact = times.iso(at, seen.zone)
    title = f"{exact} · {times.ago(at, seen.now_at)}"
    shown = f"{day}{times.clock(at, seen.zone, precise=True)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, title, shown)


def ago(at: int) -> str:
    """2 min ago."""
    return times.ago(at, view().now_at)


def lateness(seconds: float | None) -> str:
    """+1.30 s, −2.00 s; below a millisecond 0 ms: nothing is late or early by less than clocks can tell."""
    if seconds is not None and abs(seconds) <= 0.0005:
        return "0 ms"
    words = times.duration(seconds)
    return f"+{words}" if words[:1].isdigit() else words


def sentence_case(words: str | None) -> str:
    """Somebody's clause as a sentence."""
    words = words or ""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else ""


def error_or_arguments(row: TaskRow) -> str:
    """What a list says of a task in one line: why it failed or is tried again, else what it was called with."""
    if row.exception and row.state in (State.FAILURE, State.RETRY):
        return text.cut(text.cause(row.exception), 240)
    return text.cut(reprs.one_line(row.args, row.kwargs), 240)


def count_words(count: Count, noun: str = "task") -> str:
    """1,213 tasks; "more than" where counting stopped at its cap."""
    plural = "" if count.number == 1 else "s"
    return f"{'' if count.is_exact else 'more than '}{count.number:,} {noun}{plural}"


def number(value: int | None) -> str:
    """1,213."""
    return "" if value is None else f"{value:,}"


def size(value: int | None) -> str:
    """14.2 MB."""
    if value is None:
        return ""
    amount, units = float(value), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:,.0f} {units[0]}" if units[0] == "bytes" else f"{amount:,.1f} {units[0]}"


def clause(coverage: Coverage) -> str:
    """What ends a sentence about a span."""
    return recorded.clause(coverage, view())


def range_words() -> str:
    """The range of the page: last 24 h; or from when to when."""
    asked, seen = page_range(), view()
    return asked.words or times.between(asked.shown.from_at, asked.shown.to_at, seen.zone, seen.now_at)


def sentence(coverage: Coverage) -> str:
    """What a span can vouch for, as a sentence of its own."""
    return recorded.sentence(coverage, view())


def zones() -> list[str]:
    """The zones offered: UTC, the configured one, the one in use. A script adds the browser's."""
    return list(dict.fromkeys(str(zone) for zone in ("UTC", opening().settings.timezone, view().zone)))


def around(task: TaskRow) -> str:
    """The tasks of the same worker within a minute of this one."""
    at = task.started_at or task.first_at
    edges = [times.utc(moment, timespec="seconds") for moment in (at - 60 * times.MICROS, at + 60 * times.MICROS)]
    return links.to("tasks.page", q=searching.term("worker", task.worker or ""), from_=edges[0], to=edges[1])


def history(days: float) -> str:
    """41 days; hours where there is not a day yet."""
    return f"{int(days)} days" if days >= 2 else times.duration(days * 86_400)


def frozen_from() -> str:
    """Where the range begins, as it stays."""
    return times.utc(page_range().shown.from_at)


def frozen_to() -> str:
    """Where the range ends, as it stays."""
    return times.utc(page_range().shown.to_at)


def csv_link() -> str:
    """This search as a file."""
    return links.moved(after=None, before=None, good=None, live=None).replace("/tasks", "/tasks.csv", 1)

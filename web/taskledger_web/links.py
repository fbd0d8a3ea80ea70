"""Addresses: this page with other parameters, and each thing's own page. The query string holds all state."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from flask import g, request, url_for
from werkzeug.routing import PathConverter

from taskledger.errors import QueryError
from taskledger.ledger import search
from taskledger.ledger.search.tokens import MAX_CHARS
from taskledger_web.view import zone_meant

#: what stays when going from one list to another
CARRIED = ("from", "to", "tz", "at")
#: what names a place in a list, and is void once the list is another
_PLACES = ("after", "before", "good")
#: what may be as long as a search; every other parameter is a time, a number or a word
_TEXTS = ("q", "good", "id", "name")
#: what `/schedules/…` means beside an entry's name
_PAGES_OF_SCHEDULES = ("dst", "settings", "notes")
#: characters
_LONGEST = 100
_SAFE = ":,*/@"
#: an id as Celery makes them: nothing in it has to be quoted
_PLAIN = re.compile(r"[\w-]+", re.ASCII)


class AnythingConverter(PathConverter):
    """Any text at all as the rest of a path: ids and names are whatever somebody's program chose."""

    regex = r"[\s\S]+"
    # Werkzeug matches part by part, from slash to slash, what a converter with a regex of its own does not disclaim.
    part_isolating = False


def repeated() -> dict[str, str]:
    """The parameters of this request that its links repeat: what can mean nothing is not said a hundred times."""
    if "repeated" not in g:
        g.repeated = {name: value for name, value in request.args.items() if _is_meant(name, value)}
    found: dict[str, str] = g.repeated
    return found


def here(**changes: str | int | None) -> str:
    """This page's address with parameters changed, or taken out where None; places in the list are forgotten."""
    kept = {name: value for name, value in repeated().items() if name not in _PLACES}
    return _address(request.script_root + request.path, kept | _outward(changes))


def moved(**changes: str | int | None) -> str:
    """As `here`, and it keeps everything that is not changed."""
    return _address(request.script_root + request.path, repeated() | _outward(changes))


def to(endpoint: str, **values: str | int | None) -> str:
    """Another page, with the range and the zone of this one."""
    carried = _carried()
    return _address(url_for(endpoint), carried | _outward(values))


def task(task_id: str) -> str:
    """The page of a task. Browsers and proxies tidy dots and double slashes away, so such an id is a parameter."""
    return _of_name("task.page", "task.by_parameter", task_id, "id")


def tasks() -> Callable[[str], str]:
    """`task`, for a list that has thousands of them."""
    stem, rest = _around("task.page")
    return lambda task_id: f"{stem}{task_id}{rest}" if _PLAIN.fullmatch(task_id) else task(task_id)


def schedule(name: str) -> str:
    """The page of a schedule entry. A name that is a page of its own under `/schedules` is a parameter."""
    if name in _PAGES_OF_SCHEDULES:
        return to("schedules.by_parameter", name=name)
    return _of_name("schedules.entry", "schedules.by_parameter", name, "name")


def due_list(name: str, day: str) -> str:
    """The due times of an entry on one day, 2026-11-22."""
    return _with(schedule(name), f"day={day}")


def due_time(name: str, due_at: int) -> str:
    """The page of one due time of an entry."""
    return _with(schedule(name), f"due={due_at}")


def _with(address: str, parameter: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}{parameter}"


def worker(name: str) -> str:
    """The page of a worker."""
    return _of_name("workers.node", "workers.by_parameter", name, "name")


def failure_group(fingerprint: str, **changes: str | int | None) -> str:
    """The page of a failure group; its key is hexadecimal."""
    carried = _carried()
    return _address(url_for("failures.group", name=fingerprint), carried | _outward(changes))


def _of_name(endpoint: str, fallback: str, name: str, parameter: str) -> str:
    if _PLAIN.fullmatch(name):
        stem, rest = _around(endpoint)
        return f"{stem}{name}{rest}"
    name = name.encode("utf-8", "replace").decode("utf-8")
    if any(part in ("", ".", "..") for part in name.split("/")):
        return to(fallback, **{parameter: name})
    stem, rest = _around(endpoint)
    return f"{stem}{quote(name, safe=':,*@')}{rest}"


def _around(endpoint: str) -> tuple[str, str]:
    """What stands before and after the name in each such address of this page."""
    found: dict[str, tuple[str, str]] = g.setdefault("around", {})
    if endpoint not in found:
        found[endpoint] = url_for(endpoint, name="-")[:-1], _address("", _carried())
    return found[endpoint]


def _carried() -> dict[str, str]:
    return {name: value for name, value in repeated().items() if name in CARRIED and value}


def _is_meant(name: str, value: str) -> bool:
    if name == "tz":
        return zone_meant(value) is not None
    if name in ("after", "before"):
        return _is_place(value)
    return len(value) <= (MAX_CHARS if name in _TEXTS else _LONGEST)


def _is_place(text: str) -> bool:
    try:
        search.cursor_from(text)
    except QueryError:
        return False
    return True


def _outward(changes: Mapping[str, str | int | None]) -> dict[str, str | None]:
    # `from` is a Python keyword, so callers write `from_`.
    return {name.rstrip("_"): None if value is None else str(value) for name, value in changes.items()}


def _address(path: str, parameters: Mapping[str, str | None]) -> str:
    kept = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept, quote_via=quote, safe=_SAFE, errors='replace')}" if kept else path

"""Lists of which a page shows a part: `skip` in the address says how many come before it."""

from flask import request

from taskledger_web import links


def skipped(number: int, size: int) -> int:
    """How many of so many come before this page of a size; the last page where there are not so many."""
    asked = request.args.get("skip", "")
    wanted = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 0
    return min(wanted, max(number - 1, 0)) // size * size


def beside(skipped: int, number: int, size: int) -> tuple[str | None, str | None]:
    """The addresses of the page before this one, and of the one after it; None where there is none."""
    before = links.moved(skip=skipped - size or None) if skipped else None
    return before, links.moved(skip=skipped + size) if skipped + size < number else None

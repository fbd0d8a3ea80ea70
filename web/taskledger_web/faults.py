"""Pages for what went wrong: what happened, to what, and what to do next."""

import logging

from flask import Flask, Response, render_template
from werkzeug.exceptions import HTTPException

from taskledger.errors import LedgerAway, TaskledgerError
from taskledger_web import problem

log = logging.getLogger(__name__)
#: seconds after which a page asks again for a ledger that was away
RETRY_S = 10
_WORDS = {
    400: "This request cannot be read.",
    403: "This is refused.",
    404: "There is no page at this address.",
    405: "This address does not take that kind of request.",
    413: "What was sent is too large.",
}


def init_app(app: Flask) -> None:
    """Show these pages instead of tracebacks."""
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(TaskledgerError, _cannot)
    app.register_error_handler(Exception, _broken)


def _refused(error: HTTPException) -> Response | tuple[str, int]:
    if problem.is_asked():
        return problem.of(error)
    code = error.code or 500
    default = type(error).description
    text = error.description if error.description and error.description != default else _WORDS.get(code, error.name)
    return render_template("fault.html", code=code, title=error.name, text=text), code


def _cannot(error: TaskledgerError) -> tuple[str, int, dict[str, str]]:
    log.warning("page not shown: %s", error)
    title = "The ledger cannot be reached" if isinstance(error, LedgerAway) else "The ledger cannot be shown"
    page = render_template("fault.html", code=503, title=title, text=str(error), retry_s=RETRY_S)
    return page, 503, {"Retry-After": str(RETRY_S), "Refresh": str(RETRY_S)}


def _broken(error: Exception) -> Response | tuple[str, int]:
    log.error("a page failed", exc_info=error)
    if problem.is_asked():
        return problem.of(error)
    text = "A fault in taskledger: its log has the details. Nothing that was recorded is affected."
    return render_template("fault.html", code=500, title="This page failed", text=text), 500

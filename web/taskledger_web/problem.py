"""Errors of the API, as RFC 9457 has them: a title for the kind, a detail for this case."""

from flask import Response, request
from werkzeug.exceptions import HTTPException

from taskledger.errors import LedgerAway, TaskledgerError
from taskledger.plain import as_json

PREFIX = "/api/v1"


def is_asked() -> bool:
    """Whether this request is the API's."""
    return request.path == PREFIX or request.path.startswith(f"{PREFIX}/")


def of(error: Exception) -> Response:
    """The answer to a request of the API that failed."""
    if isinstance(error, HTTPException):
        return _problem(error.code or 500, error.name, error.description or error.name)
    if isinstance(error, TaskledgerError):
        title = "The ledger cannot be reached" if isinstance(error, LedgerAway) else "The ledger cannot be asked"
        return _problem(503, title, str(error))
    return _problem(500, "Internal Server Error", "A fault in taskledger: its log has the details.")


def _problem(status: int, title: str, detail: str) -> Response:
    # "about:blank" says that the title is all there is to know of the kind (RFC 9457, 4.2.1).
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": request.path}
    return Response(as_json(said), status, content_type="application/problem+json")

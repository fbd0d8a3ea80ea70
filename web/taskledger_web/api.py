"""The questions as JSON for programs: times in ISO 8601 UTC, durations in seconds, errors as RFC 9457 problems."""

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from taskledger.errors import TaskledgerError
from taskledger.ledger import Ledger, query
from taskledger.ledger.labels import Kind
from taskledger.ledger.momentary import Running
from taskledger.plain import as_json, plain
from taskledger_web import problem, span
from taskledger_web.asking import ask
from taskledger_web.view import view

blueprint = Blueprint("api", __name__, url_prefix=problem.PREFIX)


@blueprint.get("/running")
def running() -> Response:
    """The tasks that were running at a moment (`at`, default now), on a worker or of a queue where one is named."""
    seen = view()
    at = _moment(request.args.get("at", "now"))
    worker, queue = request.args.get("worker"), request.args.get("queue")
    if worker is not None and ask(_is_unknown, Kind.HOST, worker):
        raise NotFound(f"No worker named {worker!r} was ever heard of.")
    if queue is not None and ask(_is_unknown, Kind.QUEUE, queue):
        raise NotFound(f"No queue named {queue!r} was ever heard of.")
    found: Running = ask(query.running_at, at, seen.now_at, worker=worker, queue=queue)
    return Response(as_json(plain(found)), content_type="application/json")


@blueprint.errorhandler(HTTPException)
@blueprint.errorhandler(TaskledgerError)
def _failed(error: HTTPException | TaskledgerError) -> Response:
    return problem.of(error)


def _moment(text: str) -> int:
    seen = view()
    try:
        return span.as_of(text, seen.now_at, seen.zone)
    except ValueError as error:
        raise BadRequest(f"at: {error}.") from error


def _is_unknown(ledger: Ledger, kind: Kind, name: str) -> bool:
    return ledger.labels.find(kind, name) is None

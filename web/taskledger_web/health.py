"""For probes: is the process alive, and can it show anything?"""

from flask import Blueprint, Response, jsonify

from taskledger.errors import TaskledgerError
from taskledger.ledger import Ledger, migrate, query
from taskledger.ledger.answers import RecorderStatus
from taskledger_web.asking import ask
from taskledger_web.view import now_at

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """OK whenever the site answers at all."""
    return Response("OK\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """200 when the ledger can be asked; whether it is being added to is told beside that, and changes nothing."""
    try:
        status = ask(_status)
    except TaskledgerError as error:
        return jsonify(ready=False, reasons=[str(error)], recorder=None, lag_s=None), 503
    return jsonify(ready=True, reasons=[], recorder=status.state, lag_s=status.lag_s), 200


def _status(ledger: Ledger) -> RecorderStatus:
    migrate.require(migrate.check_open(ledger), str(ledger.engine.url))
    return query.status(ledger, now_at())

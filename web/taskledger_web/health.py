"""Is the process alive: for probes, asks nothing."""

from flask import Blueprint, Response

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """OK whenever the site answers at all."""
    return Response("OK\n", content_type="text/plain; charset=utf-8")

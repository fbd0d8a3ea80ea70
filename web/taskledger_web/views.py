"""Saved views: a name for a search, kept in the ledger for everybody."""

from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger.ledger import kept
from taskledger_web import links
from taskledger_web.asking import ask
from taskledger_web.view import view

blueprint = Blueprint("views", __name__)
LONGEST_NAME, LONGEST_QUERY = 80, 4000
#: what a view may hold
_KEPT = ("q", "from", "to", "tz", "limit")


@blueprint.post("/views")
def save() -> AnyResponse:
    """Keep the search of the page it was sent from."""
    name = " ".join(request.form.get("name", "").split())[:LONGEST_NAME]
    query = _cleaned(request.form.get("query", ""))
    if name:
        ask(kept.save_view, name, query, view().now_at)
    return redirect(_tasks(query), 303)


@blueprint.post("/views/delete")
def delete() -> AnyResponse:
    """Forget a view."""
    ask(kept.delete_view, request.form.get("slug", "")[:200])
    return redirect(_tasks(_cleaned(request.form.get("query", ""))), 303)


def _cleaned(query: str) -> str:
    pairs = [(name, value) for name, value in parse_qsl(query[:LONGEST_QUERY]) if name in _KEPT]
    return urlencode(pairs)


def _tasks(query: str) -> str:
    address = links.to("tasks.page").split("?")[0]
    return f"{address}?{query}" if query else address

"""What a visitor prefers: zone, theme, shortcuts; kept in cookies, so that the server draws the page right at once."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from taskledger_web.view import KEYS_COOKIE, THEME_COOKIE, THEMES, ZONE_COOKIE, zone_meant

blueprint = Blueprint("preferences", __name__)
#: field of the form -> (its cookie, what may be in it)
_KEPT: dict[str, tuple[str, Callable[[str], bool]]] = {
    "zone": (ZONE_COOKIE, lambda zone: zone_meant(zone) is not None),
    "theme": (THEME_COOKIE, THEMES.__contains__),
    "keys": (KEYS_COOKIE, ("on", "off").__contains__),
}
#: a year
_KEPT_S = 31_536_000


@blueprint.post("/preferences")
def save() -> AnyResponse:
    """Keep what was chosen, and go back to where it was chosen."""
    response = redirect(_back(request.form.get("next", "")), 303)
    for field, (cookie, is_good) in _KEPT.items():
        value = request.form.get(field)
        if value is not None and is_good(value):
            response.set_cookie(
                cookie,
                value,
                max_age=_KEPT_S,
                path=f"{request.script_root}/",
                secure=request.is_secure,
                httponly=True,
                samesite="Lax",
            )
    return response


def _back(address: str) -> str:
    """A path of this site; its own front page for anything else. A zone in the address would overrule the choice."""
    parts = urlsplit(address) if "\\" not in address else urlsplit("")
    inside = not parts.scheme and not parts.netloc and parts.path.startswith(f"{request.script_root}/")
    if not inside or parts.path.startswith("//"):
        return f"{request.script_root}/"
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name != "tz"])
    return f"{parts.path}?{query}" if query else parts.path

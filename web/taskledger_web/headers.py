"""What every response carries: the security headers, the timings, an entity tag, and fewer bytes."""

import gzip
from time import perf_counter
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request

#: nothing from elsewhere, nothing inline, nobody's frame
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
#: bytes below which packing costs more than it saves
_WORTH_PACKING = 600


def init_app(app: Flask) -> None:
    """Put all of it around every request."""
    app.before_request(_begin)
    app.before_request(_refuse_other_sites)
    # Flask runs these last to first: pack what was tagged, then add the headers.
    app.after_request(_add_headers)
    app.after_request(_pack)
    app.after_request(_tag)


def _begin() -> None:
    g.began = perf_counter()


def _refuse_other_sites() -> None:
    """A form on another site must not change anything here: browsers say where a request comes from."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_ours = site in ("same-origin", "none") if site else origin is None or urlsplit(origin).netloc == request.host
    if not is_ours:
        abort(403, "This form was sent from another site. Open taskledger itself and send it from there.")


def _tag(response: Response) -> Response:
    if request.method in ("GET", "HEAD") and response.status_code == 200 and not response.is_streamed:
        response.add_etag(weak=True)
        response.make_conditional(request)
    return response


def _pack(response: Response) -> Response:
    response.vary.update(("Accept-Encoding", "Cookie"))
    can_pack = (
        not response.is_streamed and not response.direct_passthrough and "Content-Encoding" not in response.headers
    )
    if can_pack and response.status_code != 304 and request.accept_encodings.quality("gzip") > 0:
        body = response.get_data()
        if len(body) >= _WORTH_PACKING:
            response.set_data(gzip.compress(body, 6, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
    return response


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server-Timing"] = _timings()
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


def _timings() -> str:
    asked: list[tuple[str, float]] = g.get("timings", [])
    whole = (perf_counter() - g.began) * 1000 if "began" in g else 0.0
    named = [("total", whole), ("ledger", sum(spent for _, spent in asked)), *asked]
    return ", ".join(f"{name};dur={spent:.1f}" for name, spent in named)

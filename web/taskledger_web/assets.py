"""Stylesheet, scripts and pictures: read and packed once, addressed by their content, cached for ever."""

import gzip
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable

from flask import Blueprint, Flask, Response, abort, current_app, request, url_for

blueprint = Blueprint("assets", __name__)
_KEY = "taskledger.assets"
#: a year: the address changes when the content does
_FOR_EVER = "public, max-age=31536000, immutable"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and packed."""

    body: bytes
    packed: bytes
    mimetype: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """All files under one version, so that modules find each other by their plain names."""

    version: str
    files: Mapping[str, Asset]


def init_app(app: Flask) -> None:
    """Read the files and offer `asset(name)` to templates."""
    app.extensions[_KEY] = bundle(files("taskledger_web") / "static")
    app.register_blueprint(blueprint)
    app.add_template_global(address, "asset")


def bundle(folder: Traversable) -> Bundle:
    """The files of a folder; the version is the digest of them all."""
    bodies = {file.name: file.read_bytes() for file in sorted(folder.iterdir(), key=lambda file: file.name)}
    digest = blake2b(b"".join(name.encode() + b"\0" + body for name, body in bodies.items()), digest_size=6)
    return Bundle(digest.hexdigest(), {name: _asset(name, body) for name, body in bodies.items()})


def address(name: str) -> str:
    """Where a file is; KeyError for one that does not exist, so that a wrong name cannot hide."""
    found: Bundle = current_app.extensions[_KEY]
    found.files[name]
    return url_for("assets.file", version=found.version, name=name)


@blueprint.get("/static/<version>/<name>")
def file(version: str, name: str) -> Response:
    """One file; an old version answers with the present one, not to be kept."""
    found: Bundle = current_app.extensions[_KEY]
    asset = found.files.get(name) or abort(404)
    is_packed = request.accept_encodings.quality("gzip") > 0
    response = Response(asset.packed if is_packed else asset.body, content_type=asset.mimetype)
    response.headers["Cache-Control"] = _FOR_EVER if version == found.version else "no-store"
    if is_packed:
        response.headers["Content-Encoding"] = "gzip"
    return response


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """For browsers that ask without reading the page."""
    found: Bundle = current_app.extensions[_KEY]
    return Response(found.files["icon.svg"].body, content_type="image/svg+xml")


def _asset(name: str, body: bytes) -> Asset:
    suffix = name[name.rfind(".") :]
    mimetype = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(body, gzip.compress(body, 9, mtime=0), f"{mimetype}; charset=utf-8")

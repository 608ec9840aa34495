"""The console: a page for supervisors at `console/`, static files without a key.

The page is a client of the public API like any other; its key comes with its requests, not here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from flask import Blueprint, Response, request

from evolvex_api.core.refusals import ApiError

blueprint = Blueprint("console", __name__)

_PAGE = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# The page's relative addresses start from `<prefix>/console/`; asked for without the slash, it
# would look for them one step too high (HTML, 4.2.3: a base address is relative to the page's).
_BASE = b'<base href="./">'
_BASE_WITHOUT_SLASH = b'<base href="console/">'
_HEADERS = {
    # Nothing from elsewhere, no inline script or style, in nobody's frame.
    "Content-Security-Policy": "default-src 'self'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Asked for again each time, and answered by 304: an upgrade is never half seen.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    body: bytes
    content_type: str

    @functools.cached_property
    def etag(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:32]


@blueprint.get("/console")
def page() -> Response:
    """The page, with or without the slash at the end; never a redirect."""
    file = _files()[_PAGE]
    if not request.path.endswith("/"):
        file = _File(file.body.replace(_BASE, _BASE_WITHOUT_SLASH), file.content_type)
    return _answer(file)


@blueprint.get("/console/<name>")
def static_file(name: str) -> Response:
    """One of the page's files. Raises ApiError(404, unknown_method) for any other name."""
    file = _files().get(name)
    if file is None:
        raise ApiError(404, "unknown_method", "The console has no such file.")
    return _answer(file)


@functools.cache
def _files() -> Mapping[str, _File]:
    """Every file of the console by its name, read when the first is asked for."""
    folder = resources.files("evolvex_api").joinpath("console")
    kinds = {entry.name: entry.name.rpartition(".")[2] for entry in folder.iterdir()}
    return {
        name: _File(folder.joinpath(name).read_bytes(), _TYPES[kind])
        for name, kind in kinds.items()
        if kind in _TYPES
    }


def _answer(file: _File) -> Response:
    response = Response(file.body, content_type=file.content_type)
    response.headers.update(_HEADERS)
    response.set_etag(file.etag)
    response.make_conditional(request)
    return response

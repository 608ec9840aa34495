"""Answers to browser pages of other origins: `[server] cors_origins` (Fetch standard, "CORS").

An allowed origin is named as it is, never `*`, and credentials such as cookies are never allowed:
the key comes in a header that the page sets itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from evolvex_api.journal import StartResponse, WsgiApp

_METHODS = "GET, HEAD, POST"
_REQUEST_HEADERS = "Authorization, X-API-Key, Content-Type, Last-Event-ID, Range, X-Request-ID"
_ANSWER_HEADERS = (
    "X-Request-ID, Retry-After, Content-Disposition, Content-Range, Accept-Ranges, ETag, Allow"
)
_PREFLIGHT_SECONDS = "600"


class Cors:
    """WSGI middleware that answers preflights and lets the allowed origins read answers."""

    def __init__(self, app: WsgiApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN", "")
        allowed = origin in self._origins
        preflight = (
            environ["REQUEST_METHOD"] == "OPTIONS"
            and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        )
        if allowed and preflight:
            start_response("204 No Content", [*_origin(origin), *_PREFLIGHT])
            return ()

        def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
            if allowed:
                headers += [*_origin(origin), ("Access-Control-Expose-Headers", _ANSWER_HEADERS)]
            else:
                headers.append(("Vary", "Origin"))
            return start_response(status, headers, *args)

        return self._app(environ, start)


_PREFLIGHT = (
    ("Access-Control-Allow-Methods", _METHODS),
    ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
    ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
    # RFC 9110, 8.6: a 204 has no Content-Length, and no body.
)


def _origin(origin: str) -> tuple[tuple[str, str], ...]:
    # An answer for one origin must not be given to another one by a cache.
    return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))

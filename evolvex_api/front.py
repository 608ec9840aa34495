"""WSGI middleware in front of everything: who the client is, and one shape of the path.

X-Forwarded-For and the like are believed only on a unix socket: it has the host's own web server as
its only user. That is decided for each accepted connection, as systemd may pass other sockets than
`bind` names.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any

from evolvex_api.journal import StartResponse, WsgiApp

_WEB_SERVER = "evolvex_api.behind_web_server"
_SLASHES = re.compile("//+")


class Front:
    """Sets REMOTE_ADDR to the client's address and makes several slashes in the path one."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        sock = environ.get("gunicorn.socket")
        behind = isinstance(sock, socket.socket) and sock.family == socket.AF_UNIX
        environ[_WEB_SERVER] = behind
        if behind:
            # The last address is what the web server itself has seen.
            told = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
            environ["REMOTE_ADDR"] = told if _is_address(told) else ""
        path = environ.get("PATH_INFO", "")
        if "//" in path:
            # In place: a redirect would carry the query string, and a key may be in it.
            environ["PATH_INFO"] = _SLASHES.sub("/", path)
        return self._app(environ, start_response)


def behind_web_server(environ: dict[str, Any]) -> bool:
    """True when the request came from the host's own web server."""
    return bool(environ.get(_WEB_SERVER))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

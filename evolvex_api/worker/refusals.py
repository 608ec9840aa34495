"""Answers to what never becomes a request of the application, in the API's own shape."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from http import HTTPStatus

from evolvex_api.core.refusals import ApiError
from evolvex_api.errors import problem

log = logging.getLogger(__name__)

TOO_SLOW = ApiError(
    408,
    "request_timeout",
    "The request did not arrive in time: 20 seconds for all of it, a file at 20 kB/s at least.",
)
_NOT_STORED = ApiError(503, "storage_unavailable", "The body of the request can't be stored.")


def refuse(sock: socket.socket, error: ApiError | OSError) -> None:
    """Send the problem of an error on a connection that gets no other answer."""
    if not isinstance(error, ApiError):
        log.warning("a request's body can't be stored: %s", error.strerror)
        error = _NOT_STORED
    answer = problem(error)
    answer.headers["Connection"] = "close"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["X-Request-ID"] = request_id = secrets.token_hex(8)
    log.info("%s %d %s refused before it was a request", request_id, error.status, error.code)
    head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    reason = HTTPStatus(error.status).phrase
    send(sock, f"HTTP/1.1 {error.status} {reason}\r\n{head}\r\n".encode() + answer.get_data())


def send(sock: socket.socket, data: bytes) -> None:
    """Send a little, or nothing when the client is gone or reads nothing; never waits."""
    with contextlib.suppress(OSError):
        # Not sock.send(), which waits as long as the socket's timeout allows.
        os.write(sock.fileno(), data)

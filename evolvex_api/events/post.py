"""One POST to a webhook's receiver, bounded in time and bytes, on a connection that is kept.

http.client of the standard library does all that is needed: no redirect is followed, no proxy of
the environment is used, no cookie is kept. What it lacks is a limit of the whole exchange: its
timeout starts anew with each byte, so that a receiver could hold a thread for ever. `_Bounded`
gives each operation only what is left of the time.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.parse import urlsplit

# A receiver's answer is thrown away; a longer one costs it its connection.
_MOST_ANSWER = 64 * 1024
_LONGEST_RETRY_AFTER = 86400.0
_LONGEST_CONNECT = 5.0


class DeliveryError(Exception):
    """A receiver that was not reached, or did not answer in time; the text says why."""


@dataclass(frozen=True)
class Reply:
    """A receiver's answer: its status, and the seconds that Retry-After asks for, if it does."""

    status: int
    retry_after: float | None


class Receiver:
    """The receiver at a URL. For one thread at a time."""

    def __init__(self, url: str, timeout: float, trusted: ssl.SSLContext | None = None) -> None:
        """Given an http or https URL, the seconds that one exchange may take, and whom to trust
        (the system's certification authorities when left out)."""
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._bounded: _Bounded
        self._connection: http.client.HTTPConnection
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            trusted = trusted or ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, port, context=trusted)
        else:
            self._connection = http.client.HTTPConnection(host, port)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body and return the answer. Raises DeliveryError."""
        deadline = time.monotonic() + self._timeout
        kept = self._connection.sock is not None
        try:
            try:
                return self._exchange(body, headers, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                if not kept:
                    raise
                # It had closed the kept connection meanwhile: once more, on a new one.
                self.close()
                return self._exchange(body, headers, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise DeliveryError(_reason(error)) from error

    def close(self) -> None:
        """Close the connection; the next post opens it again."""
        self._connection.close()

    def _exchange(self, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        connection = self._connection
        if connection.sock is None:
            connection.timeout = min(_LONGEST_CONNECT, _left(deadline))
            connection.connect()
            self._bounded = _Bounded(cast("socket.socket", connection.sock))
            # It has what http.client uses of a socket.
            connection.sock = cast("socket.socket", self._bounded)
        self._bounded.deadline = deadline
        connection.request("POST", self._target, body, dict(headers))
        with connection.getresponse() as answer:
            reply = Reply(answer.status, _retry_after(answer.getheader("Retry-After")))
            answer.read(_MOST_ANSWER)
            if not answer.isclosed():
                self.close()
        return reply


class _Bounded:
    """A connected socket whose reads and writes end at `deadline` (monotonic seconds)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._readers = 0
        self._closed = False
        self.deadline = 0.0

    def sendall(self, data: bytes) -> None:
        """Send all of it, or raise TimeoutError."""
        self._sock.settimeout(_left(self.deadline))
        self._sock.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        """Read some bytes; 0 at the end."""
        self._sock.settimeout(_left(self.deadline))
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a reader, over whose life the socket stays open."""
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def released(self) -> None:
        """Close the socket if it was to be closed while a reader used it."""
        self._readers -= 1
        if self._closed and not self._readers:
            self._sock.close()

    def close(self) -> None:
        """Close the socket as soon as nobody reads from it."""
        self._closed = True
        if not self._readers:
            self._sock.close()


class _Reader(io.RawIOBase):
    """What http.client reads an answer from."""

    def __init__(self, bounded: _Bounded) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        """True, always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader's own
        """Read some bytes into the buffer; called by BufferedReader."""
        return self._bounded.receive_into(buffer)

    def close(self) -> None:
        """Give the socket back."""
        if not self.closed:
            self._bounded.released()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _retry_after(value: str | None) -> float | None:
    """The seconds in a Retry-After header, a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            seconds = float(value.strip()[:9])
        else:
            at = parsedate_to_datetime(value)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _reason(error: Exception) -> str:
    """Why a receiver was not reached, in words that repeat nothing it sent."""
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or 'protocol error'}"
    return getattr(error, "strerror", None) or type(error).__name__


_REASONS: dict[type[Exception], str] = {
    TimeoutError: "no answer in time",
    socket.gaierror: "its name can't be resolved",
    http.client.RemoteDisconnected: "it closed the connection without an answer",
    http.client.HTTPException: "its answer is not HTTP",
}

"""One client's connection: the request that arrives on it, and how long it may take."""

from __future__ import annotations

import socket
from enum import IntEnum
from typing import Any

from evolvex_api.worker import head as heads
from evolvex_api.worker.body import SMALL, Body
from evolvex_api.worker.head import Head

# A request without a file has this many seconds as a whole, a file is sent at this rate at least.
REQUEST_SECONDS = 20.0
FILE_BYTES_PER_SECOND = 20_000
# Over nginx's own keepalive_timeout of 60 s, so that nginx is the one that closes.
KEEPALIVE_SECONDS = 75.0
# What is sent on after an early answer is read and thrown away: so many bytes, and so many seconds
# beyond those that a file of that size may take. A slow client would hold a thread of Apache.
DRAIN_BYTES = 256 * 1024 * 1024
DRAIN_SECONDS = 3.0
# Seconds that one piece of an answer may take; a client that reads nothing is left then.
_SEND_SECONDS = 300.0


class State(IntEnum):
    """What a connection does; the smaller, the earlier it is closed when there are too many."""

    DRAINING = 0
    IDLE = 1
    RECEIVING = 2
    # The application has accepted the request and waits for its file.
    RECEIVING_FILE = 3
    ANSWERING = 4
    CLOSED = 5


class Connection:
    """A connection with at most one request at a time.

    `sock`, `client` and `server` are what gunicorn's handle_request reads of a connection. While
    it is ANSWERING a thread has it, else the worker's loop.
    """

    def __init__(self, sock: socket.socket, client: Any, server: Any, now: float) -> None:
        # Reads and writes of the loop return at once; those of a thread wait, within bounds.
        sock.settimeout(_SEND_SECONDS)
        self.sock = sock
        self.client = client
        self.server = server
        self.fd = sock.fileno()
        self.state = State.IDLE
        self.since = now
        self.deadline = now + REQUEST_SECONDS
        self.charged = 0
        self.head: Head | None = None
        self.body = Body(0)
        self._drained = 0
        self._invited = False
        self._received = bytearray()

    @property
    def memory(self) -> int:
        """Bytes of the request that are kept in memory."""
        return len(self._received) + self.body.in_memory

    @property
    def path(self) -> bytes:
        """The request's path."""
        return self.head.path if self.head else b""

    def request_text(self) -> bytes:
        """The request's head for gunicorn; without the whole body it is the last one here."""
        return self.head.text(self.body.length, not self.body.complete) if self.head else b""

    def must_invite(self) -> bool:
        """True, once, when the client waits for 100 Continue before it sends its body."""
        expected = self.head is not None and self.head.expects and not self._invited
        self._invited = self._invited or expected
        return expected

    @property
    def leftover(self) -> bool:
        """True when bytes behind the request have arrived."""
        return bool(self._received)

    def feed(self, data: bytes, now: float) -> bool:
        """Take bytes; True when the application can be asked.

        Raises ApiError for what is no request, OSError when the body can't be stored.
        """
        if self.state is State.IDLE:
            self.state, self.since, self.deadline = State.RECEIVING, now, now + REQUEST_SECONDS
        if self.head is None:
            self._received += data
            if not self._take_head():
                return False
        else:
            self._received += self.body.feed(data)
        if self.state is State.RECEIVING_FILE:
            self.deadline = (
                self.since + REQUEST_SECONDS + self.body.received / FILE_BYTES_PER_SECOND
            )
        return self.body.ready

    def _take_head(self) -> bool:
        while self._received.startswith(b"\r\n"):  # RFC 9112, 2.2: before a request line
            del self._received[:2]
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            heads.check_size(self._received)
            return False
        self.head = heads.parse(bytes(self._received[:end]))
        rest = bytes(self._received[end + 4 :])
        self.body = Body(self.head.length)
        self._received = bytearray(self.body.feed(rest))
        return True

    def await_body(self, size: int, now: float) -> bool:
        """Go on receiving up to that many bytes of the body; True when they are here already.

        Raises OSError when the body can't be stored.
        """
        self.body.want(size)
        self.body.resume()
        self.state = State.RECEIVING_FILE if size > SMALL else State.RECEIVING
        self.since, self.deadline = now, now + REQUEST_SECONDS
        return self.body.ready

    def next_request(self, now: float) -> bool:
        """Be ready for a further request; True when it has arrived already. Raises ApiError."""
        self.body.close()
        self.head, self.body, self._invited = None, Body(0), False
        self.state, self.since, self.deadline = State.IDLE, now, now + KEEPALIVE_SECONDS
        return bool(self._received) and self.feed(b"", now)

    def drain(self, now: float) -> None:
        """Say that nothing more will be sent; what arrives is thrown away from now on."""
        self.body.close()
        self._received = bytearray()
        self.state, self.since, self.deadline = State.DRAINING, now, now + DRAIN_SECONDS
        self.sock.shutdown(socket.SHUT_WR)

    def throw_away(self, size: int) -> bool:
        """Note bytes that were thrown away; False when they are more than is worth it."""
        self._drained += size
        self.deadline = self.since + DRAIN_SECONDS + self._drained / FILE_BYTES_PER_SECOND
        return self._drained <= DRAIN_BYTES

    def close(self) -> None:
        """Close the connection and give back what it holds."""
        self.state = State.CLOSED
        self.body.close()
        self._received = bytearray()
        self.sock.close()

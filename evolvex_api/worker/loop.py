"""The loop of a worker: it accepts, receives whole requests, and closes; threads answer.

A thread gets a request only when all of it has arrived, so a client that sends slowly holds a few
kilobytes and no thread. How it works on every gunicorn from 20 on:

- The loop alone reads from connections. A request is given to a lane (a pool of threads) when its
  head and its body are there.
- A body above 64 KiB is not received before the application has seen the head: it then refuses the
  request, or raises AwaitBody, and is asked again when the body is there.
- After a refusal in the middle of a body the rest is read and thrown away, so that the client
  gets to see the answer.
- There is a most of connections and of memory for what has not arrived whole. Beyond it the oldest
  ones are closed, so that new clients always find room.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from evolvex_api.core.refusals import ApiError
from evolvex_api.worker import refusals
from evolvex_api.worker.awaiting import AwaitBody
from evolvex_api.worker.body import SMALL
from evolvex_api.worker.connection import Connection, State

log = logging.getLogger(__name__)

_PIECE = 64 * 1024
# Bytes of one connection before another one gets its turn.
_TURN = 256 * 1024
# Per worker: connections, bytes in memory of requests under way, files being received.
_MOST_CONNECTIONS = 2000
_MOST_MEMORY = 8 * 1024 * 1024
_MOST_FILES = 16
# So many are closed at once when there are too many.
_BATCH = 64
_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
# A connection that has sent nothing when the worker ends is waited for so many seconds.
_LAST_SECONDS = 2.0

KEEP, CLOSE, BREAK = "keep", "close", "break"
Outcome = str | AwaitBody


class Loop:
    """Connections of one worker. `answer` runs in a thread and returns what becomes of one.

    `lane` chooses the pool of threads by the request's path.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        answer: Callable[[Connection], Outcome],
        lane: Callable[[bytes], ThreadPoolExecutor],
    ) -> None:
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._answer = answer
        self._lane = lane
        self._connections: dict[int, Connection] = {}
        self._held = 0
        self._turns: deque[Connection] = deque()
        self._answered: deque[tuple[Connection, Outcome]] = deque()
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, select.EPOLLIN)
        self._checked = time.monotonic()
        for listener in listeners:
            listener.setblocking(False)
            self._poll.register(listener, select.EPOLLIN)

    @property
    def empty(self) -> bool:
        """True when no connection is left."""
        return not self._connections

    def wake_on(self, descriptor: int) -> None:
        """Return from `step` at once when there is something to read (a signal's pipe)."""
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def stop_accepting(self) -> None:
        """Accept no more; idle connections get a moment for a request that is on its way."""
        for listener in self._listeners.values():
            self._poll.unregister(listener)
        self._listeners.clear()
        soon = time.monotonic() + _LAST_SECONDS
        for connection in self._connections.values():
            if connection.state in (State.IDLE, State.DRAINING):
                connection.deadline = min(connection.deadline, soon)

    def step(self, timeout: float) -> None:
        """Wait for what happens next, at most `timeout` seconds, and act on it."""
        for descriptor, _ in self._poll.poll(0 if self._turns else timeout):
            if descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif descriptor in self._connections:
                self._turns.append(self._connections[descriptor])
        while self._answered:
            self._after(*self._answered.popleft())
        for _ in range(len(self._turns)):
            self._receive(self._turns.popleft())
        now = time.monotonic()
        if now - self._checked >= 1:
            self._checked = now
            self._expire(now)

    def close(self) -> None:
        """Close all that is left."""
        for connection in [*self._connections.values()]:
            self._close(connection)
        self._poll.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # Another worker took it, or the client left.
        except OSError as error:  # no descriptor is left
            log.warning("a connection can't be accepted: %s", error.strerror)
            self._make_room()
            return
        connection = Connection(sock, client, listener.getsockname(), time.monotonic())
        self._connections[connection.fd] = connection
        self._poll.register(connection.fd, _READABLE)
        if len(self._connections) > _MOST_CONNECTIONS:
            self._make_room()
        self._turns.append(connection)
        # Another worker may have the processor now, and so the next connection. Without this one
        # worker, being awake, often took all that came at once, and kept them.
        os.sched_yield()

    def _receive(self, connection: Connection) -> None:
        """Read what there is, within a turn, and act on it."""
        if connection.state in (State.ANSWERING, State.CLOSED):
            return
        taken = 0
        while taken < _TURN:
            try:
                data = os.read(connection.fd, _PIECE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(connection)
                return
            taken += len(data)
            if connection.state is State.DRAINING:
                if not connection.throw_away(len(data)):
                    self._close(connection)
                    return
            elif self._take(connection, data):
                return
        self._turns.append(connection)

    def _take(self, connection: Connection, data: bytes) -> bool:
        """Give bytes to the request; True when it was dispatched or refused."""
        try:
            ready = connection.feed(data, time.monotonic())
        except (ApiError, OSError) as error:
            self._refuse(connection, error)
            return True
        self._account(connection)
        if ready:
            self._dispatch(connection)
        else:
            self._invite(connection)
        if self._held > _MOST_MEMORY:
            self._make_room()
        return ready

    def _invite(self, connection: Connection) -> None:
        """Send 100 Continue, once, as the body is wanted now (RFC 9110, 10.1.1)."""
        if connection.must_invite():
            refusals.send(connection.sock, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _dispatch(self, connection: Connection) -> None:
        connection.state = State.ANSWERING
        self._lane(connection.path).submit(self._in_thread, connection)

    def _in_thread(self, connection: Connection) -> None:
        outcome: Outcome = BREAK
        try:
            if connection.state is State.ANSWERING:
                outcome = self._answer(connection)
        finally:
            self._answered.append((connection, outcome))
            os.eventfd_write(self._bell, 1)

    def _after(self, connection: Connection, outcome: Outcome) -> None:
        """Act on what a thread has made of a request."""
        if connection.state is State.CLOSED or connection.sock.fileno() < 0 or outcome is BREAK:
            self._close(connection)
            return
        try:
            if isinstance(outcome, AwaitBody):
                self._collect(connection, outcome.size)
            elif outcome is KEEP and connection.body.complete:
                if connection.next_request(time.monotonic()):
                    self._dispatch(connection)
                else:
                    self._turns.append(connection)
            elif connection.body.complete and not connection.leftover:
                self._close(connection)
            else:
                self._drain(connection)
        except (ApiError, OSError) as error:
            self._refuse(connection, error)
        self._account(connection)

    def _collect(self, connection: Connection, size: int) -> None:
        """Receive more of a body that the application wants."""
        files = sum(c.state is State.RECEIVING_FILE for c in self._connections.values())
        if size > SMALL and files >= _MOST_FILES:
            raise ApiError(
                503, "storage_unavailable", "Too many files are being received; try again soon."
            )
        if connection.await_body(size, time.monotonic()):
            self._dispatch(connection)
            return
        self._invite(connection)
        self._turns.append(connection)

    def _refuse(self, connection: Connection, error: ApiError | OSError) -> None:
        refusals.refuse(connection.sock, error)
        self._drain(connection)

    def _drain(self, connection: Connection) -> None:
        try:
            connection.drain(time.monotonic())
        except OSError:  # the client is gone
            self._close(connection)
            return
        self._account(connection)
        self._turns.append(connection)

    def _expire(self, now: float) -> None:
        """Close what has taken too long; a request half sent is answered with 408."""
        for connection in [*self._connections.values()]:
            if connection.state is State.ANSWERING or now < connection.deadline:
                continue
            if connection.state in (State.RECEIVING, State.RECEIVING_FILE):
                self._refuse(connection, refusals.TOO_SLOW)
                connection.deadline = now + _LAST_SECONDS
            else:
                self._close(connection)

    def _make_room(self) -> None:
        """Close the oldest connections that have no whole request."""
        closable = [c for c in self._connections.values() if c.state is not State.ANSWERING]
        closable.sort(key=lambda c: (c.state, c.since))
        for connection in closable[:_BATCH]:
            self._close(connection)

    def _account(self, connection: Connection) -> None:
        memory = 0 if connection.state is State.CLOSED else connection.memory
        self._held += memory - connection.charged
        connection.charged = memory

    def _close(self, connection: Connection) -> None:
        # Its number may be another connection's by now, when a thread has closed it.
        if self._connections.get(connection.fd) is connection:
            del self._connections[connection.fd]
        connection.close()
        self._account(connection)

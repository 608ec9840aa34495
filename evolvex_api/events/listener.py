"""The AMI session of live calls: a thread that reads events and waits for nothing else.

Asterisk drops a session whose reader is slow (manager.conf, writetimeout), so what is read goes
into a queue at once. After each connection: events on, then Status, so that no change is missed.
Source: Asterisk's documentation of the manager actions Login, Events, Status and Getvar.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evolvex_api import config
from evolvex_api.backends.ami import messages
from evolvex_api.backends.ami.messages import Framer, Headers

log = logging.getLogger(__name__)

_RECEIVE = 256 * 1024
_LARGEST_MESSAGE = 64 << 20
_EVENTS = "call,agent"
# A silent session is asked for a sign of life, and given up when none comes.
_SILENCE = 5.0
_DEAD = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0

# (time of arrival in seconds since the epoch, [(ActionID or "", message), …])
Arrival = tuple[float, Sequence[tuple[str, bytes]]]


class ListenerError(Exception):
    """A session that was not made, or is over; the text says why."""


class Session:
    """One connection, logged in. `ask` may be called by any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writing = threading.Lock()
        self._expected: set[str] = set()
        self.framer = Framer(self._expected)
        # The ActionID of the Status that brings the calls in line.
        self.status_id = ""

    def ask(self, headers: Headers) -> str:
        """Send an action; its answer arrives with the ActionID that is returned.

        When the connection is broken nothing arrives: the reader then ends the session.
        """
        action_id = messages.new_action_id()
        self._expected.add(action_id)
        data = messages.encode([*headers, ("ActionID", action_id)])
        try:
            with self._writing:
                self._sock.sendall(data)
        except OSError:
            self.end()
        return action_id

    def ask_status(self) -> None:
        """Ask for all channels; what was asked before counts no more."""
        self._expected.discard(self.status_id)
        self.status_id = self.ask([("Action", "Status"), ("AllVariables", "false")])

    def answered(self, action_id: str) -> None:
        """Forget an action whose answer has come."""
        self._expected.discard(action_id)

    def receive(self) -> bytes:
        """Read some bytes. Raises OSError, TimeoutError among them; b"" at the end."""
        return self._sock.recv(_RECEIVE)

    def end(self) -> None:
        """Break the connection; the reader sees its end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; for the reader alone."""
        self._sock.close()


@dataclass(frozen=True)
class Receivers:
    """Whom the listener tells; each must return at once."""

    connected: Callable[[Session], None]
    arrived: Callable[[Session, Arrival], None]
    disconnected: Callable[[Session], None]


class Listener:
    """Keeps one session, and makes a new one whenever it ends."""

    def __init__(self, ami: config.Ami, events: config.Events, receivers: Receivers) -> None:
        self._ami = ami
        self._events = events
        self._receivers = receivers
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="ami-events", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """End the session, and make no other."""
        self._stopping.set()
        session = self._session
        if session is not None:
            session.end()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        told = ""
        while not self._stopping.is_set():
            try:
                session = self._connect()
            except (OSError, ListenerError) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("no AMI session for live calls: %s", told)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            log.info("live calls: connected to Asterisk")
            pause, told = _FIRST_PAUSE, ""
            self._receivers.connected(session)
            reason = self._read(session)
            session.close()
            self._receivers.disconnected(session)
            if not self._stopping.is_set():
                log.warning("live calls: the AMI session ended: %s", reason)
                self._stopping.wait(_FIRST_PAUSE)

    def _connect(self) -> Session:
        address = (self._ami.host, self._ami.port)
        sock = socket.create_connection(address, self._ami.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = self._session = Session(sock)
            _read_greeting(sock)
            self._log_in(session)
            session.ask([("Action", "Events"), ("EventMask", _EVENTS)])
            session.ask_status()
            sock.settimeout(1.0)
        except BaseException:
            sock.close()
            raise
        return session

    def _log_in(self, session: Session) -> None:
        login = session.ask(
            [
                ("Action", "Login"),
                ("Username", self._events.username),
                ("Secret", self._events.secret),
                ("Events", "off"),
            ]
        )
        deadline = time.monotonic() + self._ami.timeout
        while time.monotonic() < deadline:
            data = session.receive()
            if not data:
                raise ListenerError("the connection was closed at the login")
            for action_id, message in session.framer.feed(data):
                if action_id != login:
                    continue
                if messages.is_error(message):
                    raise ListenerError(
                        f"Asterisk refuses the AMI user {self._events.username};"
                        " see [events] and manager.conf"
                    )
                session.answered(login)
                return
        raise ListenerError("no answer to the login in time")

    def _read(self, session: Session) -> str:
        """Read until the connection ends; returns why it did."""
        heard = asked = time.monotonic()
        while not self._stopping.is_set():
            try:
                data = session.receive()
            except TimeoutError:
                now = time.monotonic()
                if now - heard > _DEAD:
                    return "Asterisk is silent"
                if now - max(heard, asked) > _SILENCE:
                    asked = now
                    session.answered(session.ask([("Action", "Ping")]))
                continue
            except OSError as error:
                return error.strerror or "connection error"
            if not data:
                return "Asterisk closed it"
            heard = time.monotonic()
            found = list(session.framer.feed(data))
            if found:
                self._receivers.arrived(session, (time.time(), found))
            if session.framer.size > _LARGEST_MESSAGE:
                return "a message has no end"
        return "the service ends"


def _read_greeting(sock: socket.socket) -> None:
    """Read the first line, which comes alone: Asterisk then waits for the login."""
    line = b""
    while not line.endswith(b"\r\n"):
        more = sock.recv(1024)
        if not more or len(line) > 1024:
            raise ListenerError("no greeting of an Asterisk manager")
        line += more

"""An AMI session: the only import of pyst2.

pyst2's Manager reads a byte at a time, waits for ever, mixes up answers between threads and can't
connect again. `Session` replaces these parts; what it inherits and does not replace raises.
Source: Asterisk's documentation of the manager actions Login and Events.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

import asterisk.manager
from asterisk.manager import ManagerMsg

from evolvex_api.backends.ami import messages
from evolvex_api.backends.ami.messages import Headers

log = logging.getLogger(__name__)

CALL_EVENTS = "call"
NO_EVENTS = "off"

_RECEIVE = 256 * 1024
# Some 60,000 channels; what is more than this is no answer of a PBX.
_LARGEST_ANSWER = 64 << 20


class AmiError(Exception):
    """An exchange with Asterisk failed.

    `sent` is False when Asterisk can't have received the action; `timed_out` is True when the
    session is in order or unknown and only the answer is missing.
    """

    def __init__(self, text: str, *, sent: bool, timed_out: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.timed_out = timed_out


class LoginRefused(AmiError):
    """Asterisk rejects the user name, the secret or the address."""

    def __init__(self, text: str) -> None:
        super().__init__(text, sent=True)


class Conversation:
    """An action under way: the messages that come with its ActionID."""

    def __init__(self, session: Session, action_id: str) -> None:
        self.action_id = action_id
        self._session = session
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def take(self, message: bytes | None) -> None:
        """Hand over a message that has come; None says that the connection is gone."""
        self._messages.put(message)

    def response(self, timeout: float) -> bytes:
        """The answer to the action, a list as a whole; a session without one is given up.

        Raises AmiError when the session breaks, or `timeout` seconds pass.
        """
        try:
            return self._next(timeout)
        except queue.Empty:
            self._session.close()
            raise AmiError("no answer in time", sent=True, timed_out=True) from None

    def event(self, timeout: float) -> bytes | None:
        """What the action announced for later, or None after `timeout` seconds.

        Raises AmiError when the session breaks; silence is no fault of it.
        """
        try:
            return self._next(timeout)
        except queue.Empty:
            return None

    def _next(self, timeout: float) -> bytes:
        message = self._messages.get(timeout=timeout)
        if message is None:
            raise AmiError("the connection broke off", sent=True)
        return message


class Session(asterisk.manager.Manager):  # type: ignore[misc]  # pyst2 has no type information
    """An AMI session: bounded in time, safe between threads, answers matched to their action.

    A session that broke or timed out is closed for good; a new one takes its place.
    """

    _socket: socket.socket  # from connect() on

    def __init__(self, timeout: float) -> None:
        # pyst2's own __init__ makes two threads that would never be started.
        self._connected = threading.Event()
        self._timeout = timeout
        self._owner = os.getpid()
        self._conversations: dict[str, Conversation] = {}
        self._hangups: dict[str, Conversation] = {}  # who waits for a channel's end, by Uniqueid
        self._framer = messages.Framer(self._conversations)
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._event_lock = threading.Lock()
        self._call_watchers = 0

    def connected(self) -> bool:
        """True from connect() on until the session breaks or is closed."""
        return self._connected.is_set()

    def connect(self, host: str, port: int = 5038) -> None:
        """Connect and read the greeting; AmiError when that fails or takes too long."""
        try:
            self._socket = socket.create_connection((host, port), self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = self._greeting()
        except OSError as error:
            self.close()
            raise AmiError(str(error), sent=False) from error
        self.title, _, self.version = greeting.partition("/")
        self._connected.set()
        threading.Thread(target=self._read_on, name="ami-reader", daemon=True).start()

    def login(self, username: str, secret: str) -> None:
        """Log in, without events; LoginRefused when Asterisk rejects it."""
        response = self.send_action(
            {"Action": "Login", "Username": username, "Secret": secret, "Events": NO_EVENTS}
        )
        if response.get_header("Response") == "Error":
            raise LoginRefused(response.get_header("Message", ""))

    def send_action(self, cdict: Mapping[str, str] | None = None, **kwargs: str) -> ManagerMsg:
        """Send an action and return its response; AmiError when none comes in time."""
        headers = list({**(cdict or {}), **kwargs}.items())
        with self.converse(headers) as conversation:
            message = conversation.response(self._timeout).decode("utf-8", "replace")
        return ManagerMsg([f"{line}\r\n" for line in message.split("\r\n")])

    @contextlib.contextmanager
    def converse(self, headers: Headers, channels: Collection[str] = ()) -> Iterator[Conversation]:
        """Send an action and receive what comes with its ActionID, until the block ends.

        Given the Uniqueids of channels, their Hangup events are received too. Raises AmiError,
        whose `sent` is False when Asterisk can't have the action.
        """
        conversation = Conversation(self, messages.new_action_id())
        data = messages.encode([*headers, ("ActionID", conversation.action_id)])
        with self._state:
            if not self.connected():
                raise AmiError("not connected", sent=False)
            self._conversations[conversation.action_id] = conversation
        self._hangups.update(dict.fromkeys(channels, conversation))
        try:
            self._write(data)
            yield conversation
        finally:
            self._conversations.pop(conversation.action_id, None)
            for uniqueid in channels:
                self._hangups.pop(uniqueid, None)

    @contextlib.contextmanager
    def call_events(self) -> Iterator[None]:
        """Have events of the class call while somebody needs them, and only then.

        On a busy PBX they are a flood that would be read for nothing.
        """
        with self._event_lock:
            if self._call_watchers == 0:
                self.send_action({"Action": "Events", "EventMask": CALL_EVENTS})
            self._call_watchers += 1
        try:
            yield
        finally:
            with self._event_lock:
                self._call_watchers -= 1
                if self._call_watchers == 0:
                    with contextlib.suppress(AmiError):
                        self.send_action({"Action": "Events", "EventMask": NO_EVENTS})

    def close(self) -> None:
        """End the session; whoever waits for an answer gets AmiError."""
        self._connected.clear()
        connection = self.__dict__.get("_socket")
        if connection is None:
            return
        if self._owner == os.getpid():  # else it is the parent's, which goes on with it
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        with self._state:
            waiting = list(self._conversations.values())
        for conversation in waiting:
            conversation.take(None)

    def _greeting(self) -> str:
        """The first line, which comes alone: Asterisk then waits for the login."""
        line = b""
        while not line.endswith(b"\r\n"):
            more = self._socket.recv(1024)
            if not more or len(line) > 1024:
                raise ConnectionResetError("no greeting of an Asterisk manager")
            line += more
        return line.decode("ascii", "replace").strip()

    def _write(self, data: bytes) -> None:
        try:
            with self._writing:
                self._socket.sendall(data)
        except OSError as error:
            self.close()
            raise AmiError(str(error), sent=True) from error

    def _hand_over(self, action_id: str, message: bytes) -> None:
        conversation = self._conversations.get(action_id)
        if conversation is None and self._hangups and messages.is_hangup(message):
            conversation = self._hangups.get(messages.uniqueid_of(message))
        if conversation is not None:
            conversation.take(message)

    def _read_on(self) -> None:
        """Read until the connection ends; the thread of a session."""
        try:
            while self.connected() and self._framer.size < _LARGEST_ANSWER:
                try:
                    data = self._socket.recv(_RECEIVE)
                except TimeoutError:
                    continue
                if not data:
                    break
                for action_id, message in self._framer.feed(data):
                    self._hand_over(action_id, message)
        except OSError as error:
            log.debug("AMI connection ended: %s", error)
        finally:
            self.close()


def _unsupported(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"pyst2's Manager.{name} does not work on a Session")

    return refuse


# What pyst2 offers beyond this class is unbounded in time and not safe between threads.
for _name in vars(asterisk.manager.Manager).keys() - vars(Session).keys():
    if not _name.startswith("_"):
        setattr(Session, _name, _unsupported(_name))

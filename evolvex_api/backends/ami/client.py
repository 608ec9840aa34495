"""The Asterisk Manager Interface: the only import of pyst2.

pyst2's Manager reads a byte at a time, waits for ever, mixes up answers between threads and can't
connect again; `Manager` here is one that does not. `Ami` keeps one session of it per process.
Source: Asterisk's documentation of the manager actions Login, Events, Status and Originate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import asterisk.manager
from asterisk.manager import ManagerException, ManagerMsg, ManagerSocketException

from evolvex_api import config
from evolvex_api.backends.ami import messages
from evolvex_api.backends.ami.messages import Headers
from evolvex_api.backends.ami.status import SharedRun, Snapshot, Snapshots
from evolvex_api.backends.failures import OutcomeUnknown, PbxUnavailable
from evolvex_api.core.dialling import Call

log = logging.getLogger(__name__)

_RECEIVE = 256 * 1024
# Some 60,000 channels; what is more than this is no answer of a PBX.
_LARGEST_ANSWER = 64 << 20
_CALLS = "call"
_NO_EVENTS = "off"


@dataclass(frozen=True)
class Facts:
    """What AMI says of itself, for `doctor`: its version and which rights the user has."""

    version: str
    rights: Mapping[str, bool]


class Conversation:
    """An action under way: the messages that come with its ActionID."""

    def __init__(self, session: Manager, action_id: str) -> None:
        self.action_id = action_id
        self._session = session
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def take(self, message: bytes | None) -> None:
        """Hand over a message that has come; None says that the connection is gone."""
        self._messages.put(message)

    def response(self, timeout: float) -> bytes:
        """The answer to the action, a list as a whole; a session without one is given up.

        Raises ManagerSocketException when the session breaks, or `timeout` seconds pass.
        """
        try:
            return self._next(timeout)
        except queue.Empty:
            self._session.close()
            raise _failure("no answer in time", sent=True, timed_out=True) from None

    def event(self, timeout: float) -> bytes:
        """What the action announced for later; silence is no fault of the session."""
        try:
            return self._next(timeout)
        except queue.Empty:
            raise _failure("no event in time", sent=True, timed_out=True) from None

    def _next(self, timeout: float) -> bytes:
        message = self._messages.get(timeout=timeout)
        if message is None:
            raise _failure("the connection broke off", sent=True)
        return message


class Manager(asterisk.manager.Manager):  # type: ignore[misc]  # pyst2 has no type information
    """An AMI session: bounded in time, safe between threads, answers matched to their action.

    A session that broke or timed out is closed for good; a new one takes its place.
    """

    _socket: socket.socket  # from connect() on

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        self._owner = os.getpid()
        self._conversations: dict[str, Conversation] = {}
        self._framer = messages.Framer(self._conversations)
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._event_lock = threading.Lock()
        self._call_watchers = 0

    def connect(self, host: str, port: int = 5038) -> None:
        """Connect and read the greeting; ManagerSocketException if that fails in time."""
        try:
            self._socket = socket.create_connection((host, port), self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = self._greeting()
        except OSError as error:
            self.close()
            raise ManagerSocketException(error.errno or 0, str(error)) from error
        self.title, _, self.version = greeting.partition("/")
        self._connected.set()
        threading.Thread(target=self._read_on, name="ami-reader", daemon=True).start()

    def login(self, username: str, secret: str) -> None:
        """Log in, without events; ManagerAuthException when Asterisk refuses."""
        response = self.send_action(
            {"Action": "Login", "Username": username, "Secret": secret, "Events": _NO_EVENTS}
        )
        if response.get_header("Response") == "Error":
            raise asterisk.manager.ManagerAuthException(response.get_header("Message"))

    def send_action(self, cdict: Mapping[str, str] | None = None, **kwargs: str) -> ManagerMsg:
        """Send an action and return its response; ManagerException when none comes in time."""
        headers = list({**(cdict or {}), **kwargs}.items())
        with self.converse(headers) as conversation:
            message = conversation.response(self._timeout).decode("utf-8", "replace")
        return ManagerMsg([f"{line}\r\n" for line in message.split("\r\n")])

    @contextlib.contextmanager
    def converse(self, headers: Headers) -> Iterator[Conversation]:
        """Send an action and receive what comes with its ActionID, until the block ends.

        Raises ManagerSocketException, whose `sent` is False when Asterisk can't have the action.
        """
        conversation = Conversation(self, messages.new_action_id())
        data = messages.encode([*headers, ("ActionID", conversation.action_id)])
        with self._state:
            if not self.connected():
                raise _failure("not connected", sent=False)
            self._conversations[conversation.action_id] = conversation
        try:
            self._write(data)
            yield conversation
        finally:
            self._conversations.pop(conversation.action_id, None)

    @contextlib.contextmanager
    def call_events(self) -> Iterator[None]:
        """Have events of the class call while somebody needs them, and only then.

        On a busy PBX they are a flood that would be read for nothing.
        """
        with self._event_lock:
            if self._call_watchers == 0:
                self.send_action({"Action": "Events", "EventMask": _CALLS})
            self._call_watchers += 1
        try:
            yield
        finally:
            with self._event_lock:
                self._call_watchers -= 1
                if self._call_watchers == 0:
                    with contextlib.suppress(ManagerException):
                        self.send_action({"Action": "Events", "EventMask": _NO_EVENTS})

    def close(self) -> None:
        """End the session; whoever waits for an answer is told."""
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
            raise _failure(str(error), sent=True) from error

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
                    conversation = self._conversations.get(action_id)
                    if conversation is not None:
                        conversation.take(message)
        except OSError as error:
            log.debug("AMI connection ended: %s", error)
        finally:
            self.close()


class Ami:
    """Asterisk as this service uses it; safe between threads and over fork."""

    def __init__(self, settings: config.Ami) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._manager: Manager | None = None
        self._owner = 0
        self._attempt: Future[Manager] | None = None
        self._shared_status = SharedRun(self._status)
        self._snapshots = Snapshots()  # used by one thread at a time, the one that runs _status

    def status(self) -> Snapshot:
        """The live channels, at this moment or later; PbxUnavailable.

        Callers at the same time share one exchange with Asterisk.
        """
        return self._shared_status.result()

    def ping(self) -> None:
        """Ask Asterisk for a sign of life; PbxUnavailable."""
        self._retried(lambda manager: manager.ping())

    def describe(self) -> Facts:
        """What AMI says of itself; PbxUnavailable."""
        facts: Facts = self._retried(_ask_facts)
        return facts

    def originate(self, call: Call, wait: bool) -> dict[str, str]:
        """Make a call. Never asked twice: a call in doubt is told as such.

        Returns Response, Message, ActionID and Uniqueid; with `wait`, once the first leg's outcome
        is known, also Reason (AMI's number) and Channel. Raises PbxRejected with AMI's message,
        PbxUnavailable when nothing was dialled, OutcomeUnknown when that can't be known.
        """
        with contextlib.ExitStack() as events:
            manager: Manager = self._retried(
                (lambda manager: _with_call_events(manager, events)) if wait else _itself
            )
            try:
                return self._dial(manager, call, wait)
            except ManagerException as error:
                if not getattr(error, "sent", False):
                    raise _unavailable(error) from error
                raise OutcomeUnknown(
                    "The PBX fell silent after the call was sent to it.", call.uniqueid
                ) from error

    def _dial(self, manager: Manager, call: Call, wait: bool) -> dict[str, str]:
        timeout = self._settings.timeout
        with manager.converse(messages.originate_headers(call)) as conversation:
            message = conversation.response(timeout)
            if wait and not messages.is_error(message):
                message = conversation.event(call.timeout + timeout)
            return messages.outcome(message, conversation.action_id, call.uniqueid)

    def _status(self) -> Snapshot:
        answer: bytes = self._retried(self._ask_status)
        if messages.is_error(answer):
            log.error("AMI refuses Status: %s", messages.fields(answer).get("Message"))
            raise PbxUnavailable("The PBX refuses to tell its channels.")
        return self._snapshots.make(answer)

    def _ask_status(self, manager: Manager) -> bytes:
        with manager.converse([("Action", "Status"), ("AllVariables", "true")]) as conversation:
            return conversation.response(self._settings.timeout)

    def _retried(self, ask: Callable[[Manager], Any]) -> Any:
        """Ask something that changes nothing; once more when the connection proves broken."""
        try:
            manager = self._session()
            try:
                return ask(manager)
            except ManagerException as error:
                if getattr(error, "timed_out", False):
                    raise
            return ask(self._session())
        except ManagerException as error:
            raise _unavailable(error) from error

    def _session(self) -> Manager:
        """The session of this process; callers at the same time share one attempt to connect."""
        with self._lock:
            if self._owner != os.getpid():
                self._manager, self._attempt, self._owner = None, None, os.getpid()
            if self._manager is not None and self._manager.connected():
                return self._manager
            attempt, mine = self._attempt, self._attempt is None
            if attempt is None:
                attempt = self._attempt = Future()
        if mine:
            self._connect(attempt)
        return attempt.result()

    def _connect(self, attempt: Future[Manager]) -> None:
        manager = Manager(self._settings.timeout)
        failure: Exception | None = None
        try:
            manager.connect(self._settings.host, self._settings.port)
            manager.login(self._settings.username, self._settings.secret)
        except Exception as error:  # noqa: BLE001  # whatever it is, others wait to be told
            manager.close()
            log.warning("no AMI session: %s", error)
            failure = error
        with self._lock:
            self._attempt = None
            self._manager = None if failure else manager
        if failure:
            attempt.set_exception(failure)
        else:
            attempt.set_result(manager)


def _itself(manager: Manager) -> Manager:
    return manager


def _with_call_events(manager: Manager, events: contextlib.ExitStack) -> Manager:
    events.enter_context(manager.call_events())
    return manager


def _ask_facts(manager: Manager) -> Facts:
    """Rights are told by refusals: these actions do nothing but say whether they were allowed."""
    actions = {
        # Without a Channel nothing can be dialled.
        "originate": {"Action": "Originate"},
        "reporting (status)": {"Action": "Status", "Channel": "none"},
    }
    refused = {
        right: manager.send_action(action).get_header("Message", "")
        for right, action in actions.items()
    }
    rights = {right: "ermission denied" not in said for right, said in refused.items()}
    events = manager.send_action({"Action": "Events", "EventMask": _CALLS})
    manager.send_action({"Action": "Events", "EventMask": _NO_EVENTS})
    # "Events: Off" is the answer to a mask of which the user may read nothing.
    rights["call (events)"] = events.get_header("Events", "").lower() == "on"
    return Facts(f"{manager.title} {manager.version}", rights)


def _failure(text: str, *, sent: bool, timed_out: bool = False) -> ManagerSocketException:
    """pyst2's exception, telling also whether the action may have reached Asterisk."""
    error = ManagerSocketException(0, text)
    error.sent = sent
    error.timed_out = timed_out
    return error


def _unavailable(error: ManagerException) -> PbxUnavailable:
    if isinstance(error, asterisk.manager.ManagerAuthException):
        return PbxUnavailable("The PBX refuses the service's login.")
    return PbxUnavailable("The PBX does not answer.")

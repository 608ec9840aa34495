"""The Asterisk Manager Interface: the only import of pyst2.

pyst2's Manager reads a byte at a time, waits for ever, mixes up answers between threads and can't
connect again; `Manager` here is one that does not. `Ami` keeps one session of it per process.
Source: Asterisk's documentation of the manager actions Login, Events, Status and Originate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import asterisk.manager
from asterisk.manager import ManagerException, ManagerMsg, ManagerSocketException

from evolvex_api import config
from evolvex_api.backends.ami_status import SharedRun, Snapshot
from evolvex_api.backends.failures import OutcomeUnknown, PbxRejected, PbxUnavailable

log = logging.getLogger(__name__)

_RECEIVE = 256 * 1024
_LARGEST_MESSAGE = 4 << 20
_END = b"\r\n\r\n"
# AMI takes 1024 bytes a line (main/manager.c, struct mansession: inbuf).
MAX_LINE = 1000
_CALLS = "call"
_NO_EVENTS = "off"
# Asterisk's own ids end in a 32-bit counter, so none can be like one of ours; with `;2` behind it,
# for a Local channel's other half, it still fits the CDR's varchar(32).
_FIRST_OWN_NUMBER = 1 << 32
_OWN_NUMBERS = 1 << 48

_REASONS = {
    "0": "The call failed.",
    "1": "The called side hung up.",
    "3": "No answer.",
    "4": "Answered.",
    "5": "Busy.",
    "8": "Congestion, or the channel is not available.",
}

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Call:
    """A call to be made: `channel` is dialled first, then led to context, exten and priority.

    `timeout` in seconds; texts as checked by the API. `uniqueid` will be the first leg's.
    """

    channel: str
    context: str
    exten: str
    priority: str
    timeout: int
    callerid: str | None = None
    variables: Sequence[tuple[str, str]] = ()
    account: str | None = None
    codecs: str | None = None
    early_media: bool = False
    uniqueid: str = field(
        default_factory=lambda: (
            f"{int(time.time())}.{_FIRST_OWN_NUMBER + secrets.randbelow(_OWN_NUMBERS)}"
        )
    )

    def headers(self) -> Headers:
        """The call as headers of the action Originate."""
        optional = [
            ("CallerID", self.callerid),
            ("Account", self.account),
            ("Codecs", self.codecs),
            ("EarlyMedia", "true" if self.early_media else None),
        ]
        return [
            ("Action", "Originate"),
            ("Channel", self.channel),
            ("Context", self.context),
            ("Exten", self.exten),
            ("Priority", self.priority),
            ("Timeout", str(self.timeout * 1000)),
            ("ChannelId", self.uniqueid),
            *((name, value) for name, value in optional if value is not None),
            *(("Variable", f"{name}={value}") for name, value in self.variables),
            # Always: a synchronous one would hold the whole session until somebody answers.
            ("Async", "true"),
        ]


@dataclass(frozen=True)
class Facts:
    """What AMI says of itself, for `doctor`: its version and which rights the user has."""

    version: str
    rights: Mapping[str, bool]


class _Exchange:
    """An action under way: what has come for it, and whether that is all."""

    def __init__(self, is_last: Callable[[bytes], bool]) -> None:
        self.messages: list[bytes] = []
        self.ended = threading.Event()
        self.broken = False
        self._is_last = is_last

    def take(self, message: bytes) -> bool:
        """Add a message; True when it was the last."""
        self.messages.append(message)
        if self._is_last(message):
            self.ended.set()
            return True
        return False

    def fail(self) -> None:
        """The connection is gone."""
        self.broken = True
        self.ended.set()


class Manager(asterisk.manager.Manager):  # type: ignore[misc]  # pyst2 has no type information
    """An AMI session: bounded in time, safe between threads, answers matched to their action.

    A session that broke or timed out is closed for good; a new one takes its place.
    """

    _socket: socket.socket  # from connect() on

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout
        self._rest = b""
        self._exchanges: dict[str, _Exchange] = {}
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._event_lock = threading.Lock()
        self._call_watchers = 0

    def connect(self, host: str, port: int = 5038) -> None:
        """Connect and read the greeting; ManagerSocketException if that fails in time."""
        try:
            self._socket = socket.create_connection((host, port), self._timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            greeting = self._greeting(self._socket)
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
        headers = {**(cdict or {}), **kwargs}
        messages = self.exchange(list(headers.items()), _is_response, self._timeout)
        return _as_message(messages[-1])

    def exchange(
        self,
        headers: Headers,
        is_last: Callable[[bytes], bool],
        timeout: float,
        action_id: str | None = None,
    ) -> list[bytes]:
        """Send an action and collect all that comes with its ActionID until `is_last`.

        Raises ManagerSocketException when the session is broken, breaks or `timeout` seconds pass;
        in the last two cases the action may have been carried out, and `sent` of it is True. When
        nothing at all came in time, the session is given up.
        """
        action_id = action_id or secrets.token_hex(8)
        data = _encoded([*headers, ("ActionID", action_id)])
        exchange = _Exchange(is_last)
        with self._state:
            if not self.connected():
                raise _failure("not connected", sent=False)
            self._exchanges[action_id] = exchange
        try:
            self._write(data)
            if not exchange.ended.wait(timeout):
                if not exchange.messages:
                    self.close()
                raise _failure("no answer in time", sent=True, timed_out=True)
        finally:
            self._exchanges.pop(action_id, None)
        if exchange.broken:
            raise _failure("the connection broke off", sent=True)
        return exchange.messages

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
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        with self._state:
            waiting = list(self._exchanges.values())
        for exchange in waiting:
            exchange.fail()

    def _greeting(self, connection: socket.socket) -> str:
        while b"\r\n" not in self._rest:
            more = connection.recv(1024)
            if not more or len(self._rest) > 1024:
                raise ConnectionResetError("no greeting of an Asterisk manager")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line.decode("ascii", "replace")

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
            while self.connected():
                try:
                    more = self._socket.recv(_RECEIVE)
                except TimeoutError:
                    continue
                if not more or len(self._rest) > _LARGEST_MESSAGE:
                    break
                *messages, self._rest = (self._rest + more).split(_END)
                for message in messages:
                    self._dispatch(message)
        except OSError:
            pass  # closed by another thread, or reset: told below
        finally:
            self.close()

    def _dispatch(self, message: bytes) -> None:
        action_id = _action_id(message)
        exchange = self._exchanges.get(action_id)
        if exchange is not None and exchange.take(message):
            self._exchanges.pop(action_id, None)


class Ami:
    """Asterisk as this service uses it; safe between threads and over fork."""

    def __init__(self, settings: config.Ami) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._manager: Manager | None = None
        self._owner = 0
        self._attempt: Future[Manager] | None = None
        self._shared_status = SharedRun(self._status)

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
        action_id = secrets.token_hex(8)
        timeout = self._settings.timeout + (call.timeout if wait else 0)
        with contextlib.ExitStack() as events:
            manager: Manager = self._retried(
                (lambda manager: _with_call_events(manager, events)) if wait else _itself
            )
            try:
                messages = manager.exchange(
                    call.headers(), _is_outcome if wait else _is_response, timeout, action_id
                )
            except ManagerException as error:
                if not getattr(error, "sent", False):
                    raise _unavailable(error) from error
                raise OutcomeUnknown(
                    "The connection to the PBX was lost after the call was sent to it.",
                    call.uniqueid,
                ) from error
        return _outcome(_as_message(messages[-1]), action_id, call.uniqueid)

    def _status(self) -> Snapshot:
        headers = [("Action", "Status"), ("AllVariables", "true")]
        messages = self._retried(
            lambda manager: manager.exchange(headers, _is_status_end, self._settings.timeout)
        )
        if messages[-1].startswith(b"Response: Error"):
            raise PbxUnavailable("The PBX refuses to tell its channels.") from PbxRejected(
                _as_message(messages[-1]).get_header("Message", "")
            )
        return Snapshot([m for m in messages if m.startswith(b"Event: Status\r\n")])

    def _retried(self, ask: Callable[[Manager], Any]) -> Any:
        """Ask something that changes nothing; once more when the connection proves broken."""
        try:
            try:
                return ask(self._session())
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
        failure: PbxUnavailable | None = None
        try:
            manager.connect(self._settings.host, self._settings.port)
            manager.login(self._settings.username, self._settings.secret)
        except ManagerException as error:
            manager.close()
            failure = _unavailable(error)
            failure.__cause__ = error
        with self._lock:
            self._attempt = None
            self._manager = manager if failure is None else None
        if failure is None:
            attempt.set_result(manager)
        else:
            attempt.set_exception(failure)


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
    return Facts(f"Asterisk Call Manager {manager.version.strip()}", rights)


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


def _encoded(headers: Headers) -> bytes:
    """An action as bytes; ValueError for what could pass for a header of its own."""
    for name, value in headers:
        if any(unicodedata.category(character) == "Cc" for character in value):
            raise ValueError(f"a control character in {name}")
    lines = [f"{name}: {value}".encode() for name, value in headers]
    if any(len(line) > MAX_LINE for line in lines):
        raise ValueError("a line is longer than AMI takes")
    return b"\r\n".join(lines) + _END


def _action_id(message: bytes) -> str:
    """The ActionID of a message: in a Status the last line, after all that others may have set."""
    find = message.rfind if message.startswith(b"Event: Status\r\n") else message.find
    start = find(b"\r\nActionID: ")
    if start < 0:
        return ""
    return message[start + 12 :].partition(b"\r\n")[0].decode("ascii", "replace")


def _is_response(message: bytes) -> bool:
    return message.startswith(b"Response: ")


def _is_status_end(message: bytes) -> bool:
    return message.startswith((b"Event: StatusComplete\r\n", b"Response: Error"))


def _is_outcome(message: bytes) -> bool:
    return message.startswith((b"Event: OriginateResponse\r\n", b"Response: Error"))


def _as_message(message: bytes) -> ManagerMsg:
    lines = message.decode("utf-8", "replace").split("\r\n")
    # A ChanVariable header would be the end of pyst2's parser on Python 3.
    return ManagerMsg([f"{line}\r\n" for line in lines if not line.startswith("ChanVariable")])


def _outcome(message: ManagerMsg, action_id: str, uniqueid: str) -> dict[str, str]:
    response = message.get_header("Response")
    if response == "Error":
        raise PbxRejected(message.get_header("Message", "The PBX refuses the call."))
    answer = {
        "Response": response,
        "Message": message.get_header("Message", ""),
        "ActionID": action_id,
        "Uniqueid": uniqueid,
    }
    if message.has_header("Reason"):
        reason = message.get_header("Reason")
        answer["Message"] = _REASONS.get(reason, _REASONS["0"])
        answer |= {"Reason": reason, "Channel": message.get_header("Channel", "")}
    return answer

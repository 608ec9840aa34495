"""AMI's messages as bytes and back: pure, no connection, no pyst2.

Source: Asterisk's documentation of AMI ("AMI v2 Specification") and main/manager.c; what real
Asterisk 16 and 22 send was looked at, hostile values included: they send line ends within
variables, caller numbers and account codes as they are.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence

from evolvex_api.core.dialling import Call, variable_text

# AMI takes 1024 bytes a line (main/manager.c, struct mansession: inbuf).
MAX_LINE = 1000
MESSAGE_END = b"\r\n\r\n"
_ACTION_ID = b"\r\nActionID: "
_LIST_STARTS = b"\r\nEventList: start"
_UNIQUEID = b"\r\nUniqueid: "

Headers = Sequence[tuple[str, str]]


def new_action_id() -> str:
    """An ActionID that nobody can guess, so that no value of a variable can pass for an answer."""
    return secrets.token_hex(8)


def originate_headers(call: Call) -> Headers:
    """A call as headers of the action Originate."""
    optional = [
        ("CallerID", call.callerid),
        ("Account", call.account),
        ("Codecs", call.codecs),
        ("EarlyMedia", "true" if call.early_media else None),
    ]
    return [
        ("Action", "Originate"),
        ("Channel", call.channel),
        ("Context", call.context),
        ("Exten", call.exten),
        ("Priority", call.priority),
        ("Timeout", str(call.timeout * 1000)),
        ("ChannelId", call.uniqueid),
        *((name, value) for name, value in optional if value is not None),
        *(("Variable", variable_text(name, value)) for name, value in call.variables),
        # Always: a synchronous one would hold the whole session until somebody answers.
        ("Async", "true"),
    ]


def encode(headers: Headers) -> bytes:
    """An action as bytes; ValueError for what could pass for a header of its own."""
    for name, value in headers:
        if any(unicodedata.category(character) == "Cc" for character in value):
            raise ValueError(f"a control character in {name}")
    lines = [f"{name}: {value}".encode() for name, value in headers]
    if any(len(line) > MAX_LINE for line in lines):
        raise ValueError("a line is longer than AMI takes")
    return b"\r\n".join(lines) + MESSAGE_END


def fields(message: bytes) -> Mapping[str, str]:
    """A message's headers; of a repeated one the first, which no later value can have faked."""
    found: dict[str, str] = {}
    for line in message.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        found.setdefault(name, value.strip())
    return found


def is_response(message: bytes) -> bool:
    """True for the answer to an action, False for an event."""
    return message.startswith(b"Response: ")


def is_error(message: bytes) -> bool:
    """True for the answer to an action that Asterisk refused."""
    return message.startswith(b"Response: Error")


def value_of(message: bytes) -> str:
    """The Value of an answer to Getvar, whatever it holds; "" of any other answer."""
    if not is_response(message) or is_error(message):
        return ""
    return message.partition(b"\r\nValue: ")[2].decode("utf-8", "replace")


def is_hangup(message: bytes) -> bool:
    """True for the event that says that a channel is gone."""
    return message.startswith(b"Event: Hangup\r\n")


def uniqueid_of(message: bytes) -> str:
    """The first Uniqueid in a message, "" without one."""
    return message.partition(_UNIQUEID)[2].partition(b"\r\n")[0].decode("ascii", "replace")


class Framer:
    """Cuts what a session receives into messages, each with the ActionID that it answers.

    A list ("EventList: start" until "EventList: Complete") is one message: values in it may hold
    empty lines and whole faked events, and only its end, which bears the ActionID, is certain.
    """

    def __init__(self, expected: Container[str]) -> None:
        """Given the ActionIDs of the actions under way, which changes as they come and go."""
        self._expected = expected
        self._buffer = bytearray()
        self._looked_at = 0
        self._list: tuple[str, bytes] | None = None

    @property
    def size(self) -> int:
        """How many bytes wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """The messages that these bytes complete, as (ActionID or "", message)."""
        self._buffer += data
        while (length := self._next_length()) is not None:
            message = bytes(self._buffer[: length - len(MESSAGE_END)])
            action_id = self._list[0] if self._list else _action_id(message)
            if not self._list and _LIST_STARTS in message and action_id in self._expected:
                # Its messages are not separated before the last is there.
                end = _ACTION_ID + action_id.encode() + b"\r\nEventList: Complete\r\n"
                self._list, self._looked_at = (action_id, end), length
                continue
            del self._buffer[:length]
            self._list, self._looked_at = None, 0
            yield action_id, message

    def _next_length(self) -> int | None:
        start = self._looked_at
        if self._list:
            mark = self._list[1]
            start = self._buffer.find(mark, start)
            if start < 0:
                self._looked_at = max(self._looked_at, len(self._buffer) - len(mark))
                return None
        end = self._buffer.find(MESSAGE_END, start)
        if end >= 0:
            return end + len(MESSAGE_END)
        if not self._list:
            self._looked_at = max(0, len(self._buffer) - len(MESSAGE_END))
        return None


def _action_id(message: bytes) -> str:
    start = message.find(_ACTION_ID)
    if start < 0:
        return ""
    return message[start + len(_ACTION_ID) :].partition(b"\r\n")[0].decode("ascii", "replace")

"""A minimal AMI client of the lab's own, so that no test has to trust the service's."""

import itertools
import socket
from collections.abc import Mapping
from typing import Self

Message = dict[str, str]


class Manager:
    """A logged-in AMI session. Not for use by two threads at once."""

    def __init__(self, port: int, username: str, secret: str, timeout: float = 10.0) -> None:
        """Connect to 127.0.0.1:`port`. Raises OSError, also when nothing is said in `timeout` s."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\r\n")
        self._ids = itertools.count(1)
        self.banner = self._lines.readline().strip()
        self.events: list[Message] = []
        login = self.action("Login", Username=username, Secret=secret)
        if login["Response"] != "Success":
            self.close()
            raise PermissionError(login.get("Message", "login refused"))

    def action(self, name: str, /, **headers: str) -> Message:
        """Send an action and return its response; events that come before are kept aside."""
        action_id = f"lab-{next(self._ids)}"
        self.send({"Action": name, "ActionID": action_id} | headers)
        while True:
            message = self._read()
            if message.get("ActionID") == action_id and "Response" in message:
                return message
            self.events.append(message)

    def wait_event(self, name: str, **headers: str) -> Message:
        """Return (and forget) the first event `name` with `headers`, kept aside or yet to come.

        Raises TimeoutError when the session is silent for the timeout it was made with.
        """
        wanted = {"Event": name} | headers
        for message in self.events:
            if wanted.items() <= message.items():
                self.events.remove(message)
                return message
        while True:
            message = self._read()
            if wanted.items() <= message.items():
                return message
            self.events.append(message)

    def originate(self, channel: str, context: str, exten: str, **headers: str) -> Message:
        """Dial `channel` into `context` at once (async) and return the response."""
        place = {"Channel": channel, "Context": context, "Exten": exten, "Priority": "1"}
        return self.action("Originate", **place, Async="true", **headers)

    def send(self, headers: Mapping[str, str]) -> None:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._socket.sendall(("".join(lines) + "\r\n").encode())

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Message:
        """Return the next message; of a repeated header the last value stays."""
        message: Message = {}
        for line in iter(self._lines.readline, "\r\n"):
            if not line:
                raise ConnectionError("AMI has closed the connection")
            name, _, value = line.rstrip("\r\n").partition(": ")
            message[name] = value
        return message

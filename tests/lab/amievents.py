"""The events of a PBX as its AMI sends them, read by a thread of the test's own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from evolvex_api.events.call import Event
from tests.lab.asterisk import Asterisk
from tests.lab.server import LabError

_END = b"\r\n\r\n"


class EventStream:
    """A session of the user `evolvex-events`; `take` gets each event and its time of arrival.

    `take` runs in the reader's thread.
    """

    def __init__(self, pbx: Asterisk, take: Callable[[Event, float], None]) -> None:
        self._take = take
        self._socket = socket.create_connection(("127.0.0.1", pbx.ami_port), 10)
        self._socket.settimeout(None)
        login = {"Action": "Login", "Username": "evolvex-events", "Secret": pbx.ami_secret}
        self._logged_in = threading.Event()
        self.send(login)
        self._thread = threading.Thread(target=self._read, name="ami-events", daemon=True)
        self._thread.start()
        if not self._logged_in.wait(10):
            raise LabError("no AMI session for events")

    def send(self, headers: dict[str, str]) -> None:
        """Send an action."""
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._socket.sendall(("".join(lines) + "\r\n").encode())

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        buffer = b""
        while data := self._receive():
            *messages, buffer = (buffer + data).split(_END)
            now = time.time()
            for message in messages:
                event = parse(message.decode("utf-8", "replace"))
                if event[0][0] == "Event":
                    self._take(event, now)
                elif "Authentication accepted" in message.decode("utf-8", "replace"):
                    self._logged_in.set()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 18)
        except OSError:
            return b""


def parse(message: str) -> Event:
    """Return the headers of a message in order."""
    pairs = [line.partition(": ") for line in message.split("\r\n")]
    return tuple((name, value) for name, _, value in pairs)

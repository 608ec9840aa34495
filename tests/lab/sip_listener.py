"""A SIP address that declines every call and remembers the numbers: a trunk or an attacker's."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tests.lab import sip


class SipListener:
    """Listens on 127.0.0.1 over UDP; `port` 0 takes a free one.

    with SipListener(asterisk.phone_ports["trunk1"]) as trunk:
        …
        assert trunk.called == ["79161234567"]
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._call_ids: dict[str, str] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)

    @property
    def called(self) -> list[str]:
        """The user part of each call's request URI, in order; a call sent again counts once."""
        return list(self._call_ids.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # recvfrom() in the thread returns nothing more than this empty datagram of our own.
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            datagram, sender = self._socket.recvfrom(65536)
            if not datagram:
                return
            with contextlib.suppress(ValueError):
                message = sip.Message.parse(datagram)
                if message.start.startswith("INVITE "):
                    target = message.start.split()[1]
                    user = target.removeprefix("sip:").partition("@")[0]
                    self._call_ids.setdefault(message["Call-ID"], user)
                    self._socket.sendto(message.reply("603 Decline", "lab").encode(), sender)

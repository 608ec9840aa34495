"""`status`: what one request costs, what many do, and what Asterisk has of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

from bench.measure import (
    CLIENTS,
    Growth,
    Row,
    at_least,
    at_most,
    cpu_seconds,
    in_turns,
    per_second,
    seconds,
)
from bench.stand import Stand

_GROWTH = (10, 100, 400, 1000)
_ROUNDS = 40


def rows(stand: Stand) -> Iterator[Row | Growth]:
    """Median, throughput, AMI load, and growth with the number of channels."""
    what = "status, 400 channels, median"
    with stand.client() as client, PlainAmi(stand) as ami:
        points: dict[str, float] = {}
        for count in _GROWTH:
            stand.hold_channels(count)
            ours, peer = in_turns(
                _ROUNDS, lambda: client.time(stand.path("status")), lambda: ami.status() * 1000
            )
            points |= {f"{count}": ours, f"{count}, plain socket": peer}
            if count == 400:
                yield at_most(f"{what}; the AMI exchange over a plain socket", "ms", ours, peer, 3)
        yield Growth("status by channels", "ms", points)
    stand.hold_channels(400)
    yield from _polled(stand)
    stand.asterisk.hang_up_all()


def _polled(stand: Stand) -> Iterator[Row]:
    url = f"{stand.service.url}/status"
    ari = f"http://127.0.0.1:{stand.asterisk.ari_port}/ari/channels"
    login = f"api_key={stand.asterisk.ari_username}:{stand.asterisk.ari_password}"
    ours, peer = in_turns(3, per_second(url, stand.key), per_second(f"{ari}?{login}"))
    what = f"status, 400 channels, {CLIENTS} clients; ARI GET /channels (no variables)"
    yield at_least(what, "requests/s", ours, peer, 1)
    many, one = in_turns(
        3,
        _asterisk_load(stand, per_second(url, stand.key)),
        _asterisk_load(stand, per_second(url, stand.key, clients=1)),
    )
    what = f"AMI load of {CLIENTS} pollers (Asterisk's CPU); of one poller"
    yield at_most(what, "CPU s/s", many, one, 2)


def _asterisk_load(stand: Stand, load: Callable[[], object]) -> Callable[[], float]:
    """A measure: how much processor Asterisk takes under a load."""

    def measure() -> float:
        before = cpu_seconds([stand.asterisk.pid])
        passed = seconds(load)
        return (cpu_seconds([stand.asterisk.pid]) - before) / passed

    return measure


class PlainAmi:
    """AMI over a plain socket, read and not parsed: the fastest that an exchange can be."""

    def __init__(self, stand: Stand) -> None:
        asterisk = stand.asterisk
        self._socket = socket.create_connection(("127.0.0.1", asterisk.ami_port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ask(
            f"Action: Login\r\nUsername: {asterisk.ami_username}\r\n"
            f"Secret: {asterisk.ami_secret}\r\nEvents: off\r\n\r\n",
            b"Authentication accepted\r\n\r\n",
        )

    def __enter__(self) -> PlainAmi:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def status(self) -> float:
        """Seconds for Status with all variables."""
        return self._ask(
            "Action: Status\r\nAllVariables: true\r\nActionID: plain\r\n\r\n", b"Event: StatusComp"
        )

    def originate(self, channel: str, context: str, exten: str) -> float:
        """Seconds until a call is queued."""
        return self._ask(
            f"Action: Originate\r\nChannel: {channel}\r\nContext: {context}\r\nExten: {exten}\r\n"
            "Priority: 1\r\nAsync: true\r\nActionID: plain\r\n\r\n",
            b"successfully queued",
        )

    def _ask(self, action: str, end: bytes) -> float:
        started = time.perf_counter()
        self._socket.sendall(action.encode())
        rest = b""
        while end not in rest or not rest.endswith(b"\r\n\r\n"):
            more = self._socket.recv(256 * 1024)
            if not more:
                raise ConnectionError("AMI has closed the connection")
            rest = rest[-1000:] + more
        return time.perf_counter() - started

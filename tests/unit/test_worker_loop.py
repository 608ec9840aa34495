"""The worker's loop: room for new clients, and the end of old ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvex_api.worker import loop as loops
from evolvex_api.worker.connection import Connection
from evolvex_api.worker.loop import CLOSE, KEEP, Loop, Outcome

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Stand:
    """A loop that answers each request with ANSWER, or closes when the path is /close."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2000)
        self.loop = Loop([self.listener], self._answer, lambda _: pool)

    @staticmethod
    def _answer(connection: Connection) -> Outcome:
        connection.sock.sendall(ANSWER)
        return CLOSE if connection.path == b"/close" else KEEP

    def connect(self, sent: bytes = b"") -> socket.socket:
        """A new client that has sent something."""
        client = socket.create_connection(self.listener.getsockname(), 10)
        client.sendall(sent)
        client.setblocking(False)
        return client

    def received(self, client: socket.socket) -> bytes:
        """What the loop sends to a client next; b"" when it closes the connection."""
        for _ in range(500):
            self.loop.step(0.01)
            try:
                return client.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionError:
                return b""
        raise AssertionError("nothing comes")


@pytest.fixture
def stand() -> Iterator[Stand]:
    with ThreadPoolExecutor(2) as pool:
        made = Stand(pool)
        yield made
        made.loop.close()
        made.listener.close()


def test_new_clients_find_room_when_strangers_fill_it(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_MOST_CONNECTIONS", 100)
    strangers = [stand.connect(b"GET /") for _ in range(300)]
    for _ in range(20):
        client = stand.connect(GET)
        assert stand.received(client) == ANSWER
    assert stand.received(strangers[0]) == b""


def test_memory_of_what_has_not_arrived_is_bounded(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_MOST_MEMORY", 1 << 20)
    begun = b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 50_000
    strangers = [stand.connect(begun) for _ in range(100)]
    client = stand.connect(GET)
    assert stand.received(client) == ANSWER
    assert stand.received(strangers[0]) == b""


def test_connections_are_kept_or_closed_as_the_answer_says(stand: Stand) -> None:
    client = stand.connect(GET)
    assert stand.received(client) == ANSWER
    client.sendall(GET.replace(b"/ ", b"/close "))
    assert stand.received(client) == ANSWER
    assert stand.received(client) == b""
    assert stand.loop.empty


def test_the_end_leaves_a_moment_for_what_is_on_its_way(stand: Stand) -> None:
    client = stand.connect()
    for _ in range(5):
        stand.loop.step(0.01)
    stand.loop.stop_accepting()
    client.sendall(GET)
    assert stand.received(client) == ANSWER

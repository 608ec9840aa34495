"""Strangers without a key, however many, slow or large, stop nobody and take no memory."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration import wire
from tests.integration.conftest import Pbx, make_pbx
from tests.integration.wire import FORM, MULTIPART, Wire, form_part, line, request
from tests.lab import stacks
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import Service

# How much the memory of all workers may grow while strangers hold all they can, in bytes.
GROWTH = 60 << 20


@pytest.fixture(scope="module", params=list(stacks.STACKS))
def pbx(request: pytest.FixtureRequest, asterisk: Asterisk, database: MariaDB) -> Iterator[Pbx]:
    """The service on one of the sets of library versions, with few threads."""
    service = Service(asterisk, database, {"server": {"threads": "8"}})
    service.python = stacks.python_of(request.param)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.closing(service):
        yield make_pbx(asterisk, database, service)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(pbx: Pbx) -> int:
    """What the service's processes have for themselves, in bytes (Pss)."""
    total = 0
    for pid in (pbx.service.pid, *pbx.service.worker_pids()):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
    return total * 1024


def connect(pbx: Pbx, count: int, sent: bytes) -> list[socket.socket]:
    """Connections that have sent something."""
    connections = []
    for _ in range(count):
        connections.append(socket.create_connection(("127.0.0.1", pbx.service.port), 10))
        connections[-1].sendall(sent)
    return connections


@contextlib.contextmanager
def trickle(connections: Sequence[socket.socket], size: int) -> Iterator[None]:
    """Send that many bytes a second on each connection meanwhile."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(1):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b"x" * size)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def ask(pbx: Pbx, count: int) -> None:
    """Be answered so many times, on new connections; LabError or a timeout if not."""
    for _ in range(count):
        answer = pbx.service.request("GET", "check", pbx.keys["all"], timeout=10)
        assert answer.status == 200


def test_slow_strangers_stop_nobody(pbx: Pbx) -> None:
    """200 clients that send a file at 700 bytes a second, with a wrong key or none."""
    prefix = form_part("file", b"", b"a.wav")[:-2]
    wrong = request(
        line("POST", "uploads"), kind=MULTIPART, Content_Length=10 << 20, X_API_Key="wrong"
    )
    none = request(line("POST", "uploads"), kind=MULTIPART, Content_Length=10 << 20)
    connections = connect(pbx, 100, wrong + prefix) + connect(pbx, 100, none + prefix)
    try:
        with trickle(connections, 700):
            ask(pbx, 100)
            told = [connection.recv(12) for connection in connections[:100]]
            ask(pbx, 100)
        assert set(told) == {b"HTTP/1.1 401"}
    finally:
        for connection in connections:
            connection.close()


def test_a_thousand_strangers_stop_nobody_and_take_no_memory(pbx: Pbx) -> None:
    form = request(line("POST", "get_log_cdr"), kind=FORM, Content_Length=65536)
    file = request(line("POST", "uploads"), kind=MULTIPART, Content_Length=30 << 20)
    chunks = request(line("POST", "get_log_cdr"), kind=FORM, Transfer_Encoding="chunked")
    sent = [
        b"",
        b"GET / HT",
        form[:-2] + b"X: " + b"y" * 7000,
        form + b"a&" * 32_000,
        file + form_part("note", b"x" * 60_000)[:-2],
        chunks + wire.chunked(b"a&" * 30_000)[:-20],
    ]
    ask(pbx, 20)
    before = memory(pbx)
    connections = [c for data in sent for c in connect(pbx, 1000 // len(sent), data)]
    try:
        ask(pbx, 50)
        assert memory(pbx) - before < GROWTH
    finally:
        for connection in connections:
            connection.close()
    ask(pbx, 20)


def test_huge_bodies_take_no_memory(pbx: Pbx) -> None:
    ask(pbx, 20)
    before = memory(pbx)
    body = b'{"a":[' + b"{}," * (5 << 20) + b"{}]}"
    for kind, content in (("application/json", body), (FORM, b"a&" * (8 << 20))):
        with Wire(pbx.service) as client:
            client.send(request(line("POST", "get_log_cdr"), content, kind))
            assert client.answer().code == "body_too_large"
    assert memory(pbx) - before < GROWTH


def test_a_request_that_does_not_arrive_in_time_is_told(pbx: Pbx) -> None:
    """All of them wait at once, so this takes as long as one."""
    begun = [
        b"GET / HTTP/1.1\r\n",
        request(line("POST", "get_log_cdr"), kind=FORM, Content_Length=100) + b"a=1",
        request(line("POST", "get_log_cdr"), kind=FORM, Transfer_Encoding="chunked") + b"1\r\n",
        request(
            line("POST", "uploads"),
            kind=MULTIPART,
            Content_Length=1 << 20,
            X_API_Key=pbx.keys["all"],
        ),
    ]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(pbx.service)) for _ in begun]
        silent = stack.enter_context(Wire(pbx.service))
        for client, sent in zip(clients, begun, strict=True):
            client.send(sent)
        started = time.monotonic()
        with trickle([client.socket for client in clients[:1]], 1):
            for client in clients:
                answer = client.answer()
                assert (answer.status, answer.code) == (408, "request_timeout")
                assert client.closed()
        assert time.monotonic() - started > 10  # the bound is not reached at once
        assert silent.closed()


def test_a_client_that_leaves_is_noticed(pbx: Pbx) -> None:
    before = len(_inodes(pbx))
    with Wire(pbx.service) as client:
        client.send(request(line("POST", "get_log_cdr"), kind=FORM, Content_Length=100))
        wait_until(lambda: len(_inodes(pbx)) > before, 10, "its connection is there")
    wait_until(lambda: len(_inodes(pbx)) <= before, 10, "its connection is closed")


def _inodes(pbx: Pbx) -> set[str]:
    """The sockets that the workers hold."""
    links = (
        path.readlink().name
        for pid in pbx.service.worker_pids()
        for path in Path(f"/proc/{pid}/fd").iterdir()
        if path.is_symlink()
    )
    return {name for name in links if name.startswith("socket:")}


def test_no_thread_waits_for_a_client_that_reads_nothing(pbx: Pbx) -> None:
    """An answer fits the socket's buffer, so even many at once end."""
    sent = request(line("GET", "openapi.json")) * 3
    connections = connect(pbx, 100, sent)
    try:
        ask(pbx, 20)
        readable, _, _ = select.select(connections[:50], [], [], 10)
        assert readable
    finally:
        for connection in connections:
            connection.close()

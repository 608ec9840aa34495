"""What arrives on a connection becomes a request, however it is cut into pieces."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvex_api.core.refusals import ApiError
from evolvex_api.worker import head as heads
from evolvex_api.worker.body import SMALL, Body
from evolvex_api.worker.connection import FILE_BYTES_PER_SECOND, REQUEST_SECONDS, Connection, State

CONTENT = b"a=1&b=%20" * 50
CHUNKED = (
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
    + b"a;x=y\r\n"
    + CONTENT[:10]
    + b"\r\n"
    + b"%X\r\n" % len(CONTENT[10:])
    + CONTENT[10:]
    + b"\r\n0\r\nTrailer: x\r\n\r\n"
)
PLAIN = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection of which nothing has arrived."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, "", "", 0)


def fresh() -> Connection:
    ours, _ = socket.socketpair()
    return Connection(ours, "", "", 0)


@given(st.sampled_from([PLAIN, CHUNKED]), st.lists(st.integers(1, 200), max_size=20))
def test_any_pieces_give_the_same_request(sent: bytes, sizes: list[int]) -> None:
    connection = fresh()
    rest, ready = sent + b"GET", False
    for size in [*sizes, len(sent) + 3]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            assert not ready or piece in b"GET"
            ready = connection.feed(piece, 0)
    assert ready
    assert connection.body.stream().read() == CONTENT
    assert connection.leftover
    lines = connection.request_text().split(b"\r\n")
    assert lines[0] == b"POST /x HTTP/1.1"
    assert b"Content-Length: %d" % len(CONTENT) in lines
    assert not any(line.lower().startswith(b"transfer-encoding") for line in lines)
    connection.close()


@given(st.binary(max_size=300))
def test_anything_is_a_request_or_refused(data: bytes) -> None:
    connection = fresh()
    try:
        connection.feed(data + b"\r\n\r\n", 0)
    except ApiError as error:
        assert error.status in (400, 414, 431)
    connection.close()


@given(st.binary(max_size=200))
def test_any_chunks_are_a_body_or_refused(data: bytes) -> None:
    body = Body(None)
    try:
        rest = body.feed(data)
    except ApiError as error:
        assert error.status == 400
    else:
        assert len(rest) + body.received <= len(data)


def test_bytes_above_127_in_the_request_line_are_encoded() -> None:
    parsed = heads.parse("GET /é?x=я HTTP/1.1\r\nHost: h".encode())
    assert parsed.line == b"GET /%C3%A9?x=%D1%8F HTTP/1.1"
    assert parsed.path == b"/%C3%A9"


def test_the_worker_keeps_what_is_its_own() -> None:
    raw = b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nX_Forwarded_For: 1\r\nContent-Length: 5"
    parsed = heads.parse(raw)
    assert (parsed.expects, parsed.length, parsed.fields) == (True, 5, ())
    assert parsed.text(5, close=True).splitlines()[1:3] == [
        b"Connection: close",
        b"Content-Length: 5",
    ]


def test_a_large_body_waits_for_the_application(connection: Connection) -> None:
    size = SMALL + 1000
    assert connection.feed(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\nab" % size, 0)
    assert not connection.body.complete
    assert b"Connection: close" in connection.request_text()
    assert not connection.await_body(size, 5)
    assert connection.state is State.RECEIVING_FILE
    assert not connection.feed(b"c" * 60_000, 6)
    assert connection.deadline == 5 + REQUEST_SECONDS + 60_002 / FILE_BYTES_PER_SECOND
    assert connection.feed(b"c" * (size - 60_002), 7)
    assert connection.body.stream().read() == b"ab" + b"c" * (size - 2)
    assert connection.memory == 0


def test_chunks_beyond_what_is_wanted_are_not_collected_on(connection: Connection) -> None:
    connection.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 0)
    assert not connection.feed(b"%x\r\n" % SMALL + b"x" * SMALL + b"\r\n", 0)
    assert connection.feed(b"1\r\nx\r\n", 0)
    assert not connection.body.complete
    assert connection.body.length == SMALL + 1


def test_a_head_too_long_is_refused_before_it_ends(connection: Connection) -> None:
    with pytest.raises(ApiError) as refused:
        connection.feed(b"GET /" + b"x" * heads.MAX_LINE, 0)
    assert refused.value.status == 414

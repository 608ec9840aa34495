"""MySQL's packets without a server: rows found wherever the stream is cut, faults raised."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.err import OperationalError

from evolvex_api.backends.cdr import rows
from evolvex_api.backends.cdr.packets import RowPackets


def lenenc(row: bytes) -> bytes:
    """A text as MySQL's protocol has it."""
    if len(row) < 251:
        return bytes([len(row)]) + row
    if len(row) < 1 << 16:
        return b"\xfc" + len(row).to_bytes(2, "little") + row
    return b"\xfd" + len(row).to_bytes(3, "little") + row


def packet(payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + b"\x07" + payload


END = packet(b"\xfe\x00\x00\x02\x00")


class FakeConnection:
    """What `rows.batches` needs of a connection: a cursor, and a file of the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._rfile = SimpleNamespace(read1=lambda _size: pieces.pop(0) if pieces else b"")

    def cursor(self, _kind: object) -> Any:
        return SimpleNamespace(execute=lambda *_: None, _result=SimpleNamespace())


def batches(*pieces: bytes) -> Iterator[list[bytes]]:
    connection: Any = FakeConnection(list(pieces))
    return rows.batches(connection, ("", ()), raw=True)


@given(st.lists(st.sampled_from([0, 1, 250, 251, 300, 65535, 65536, 70000])), st.data())
def test_rows_are_found_wherever_the_stream_is_cut(sizes: list[int], data: st.DataObject) -> None:
    sent = [b"\xfe" * size for size in sizes]
    stream = b"".join(packet(lenenc(row)) for row in sent) + END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    packets = RowPackets()
    assert [row for piece in pieces for row in packets.feed(piece)] == sent
    assert packets.ended


def test_an_answer_has_not_ended_before_its_last_packet() -> None:
    packets = RowPackets()
    assert packets.feed(packet(lenenc(b"row")) + END[:-1]) == [b"row"]
    assert not packets.ended
    assert packets.feed(END[-1:]) == []
    assert packets.ended


def test_the_first_batch_comes_at_once_and_later_ones_are_gathered() -> None:
    row = packet(lenenc(b"x" * 1000))
    found = batches(row, *[row] * 99, row + END)
    assert [len(batch) for batch in found] == [1, 66, 34]


@pytest.mark.parametrize("rest", [b"", packet(lenenc(b"row"))[:-1]])
def test_a_stream_without_its_end_is_a_fault(rest: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        list(batches(packet(lenenc(b"row")), rest))


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\x25\x05#70100Query execution was interrupted",
        b"\xfb",  # NULL: the row was over max_allowed_packet
        b"\xfd" + b"x" * (0xFFFFFF - 1),  # goes on in another packet
        b"\xfe" + b"x" * (0xFFFFFF - 1),
    ],
)
def test_an_error_or_an_impossible_row_is_a_fault(payload: bytes) -> None:
    with pytest.raises(OperationalError):
        RowPackets().feed(packet(lenenc(b"row")) + packet(payload))


class OtherCursor:
    """A cursor of a PyMySQL whose private parts are others than known."""

    def __init__(self, found: list[tuple[str | bytes]]) -> None:
        self._found = found

    def execute(self, *_: object) -> None:
        """Nothing to do."""

    def fetchmany(self, count: int) -> list[tuple[str | bytes]]:
        """The next rows, as PyMySQL returns them."""
        part, self._found = self._found[:count], self._found[count:]
        return part


@pytest.mark.parametrize("count", [0, 1, 100, 250])
def test_with_unknown_private_parts_pymysql_reads_the_rows(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_known_parts", [])
    connection: Any = SimpleNamespace(cursor=lambda _: OtherCursor([("é",), (b"\xff",)] * count))
    for _ in range(2):  # the second time without a look at the parts
        found = [row for batch in rows.batches(connection, ("", ())) for row in batch]
        assert found == ["é".encode(), b"\xff"] * count
        assert rows._known_parts == [False]


def test_a_timeout_that_can_not_be_changed_stays() -> None:
    connection: Any = SimpleNamespace()
    rows.set_read_timeout(connection, 30)
    assert vars(connection) == {}

"""The call log without a database: packets, JSON, queries, the asked period."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from pymysql.err import OperationalError, ProgrammingError

from evolvex_api.api.cdr import period
from evolvex_api.backends.cdr import client as cdr
from evolvex_api.backends.cdr.client import FIELDS, Column, RawRows, Table
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core.access import Scope
from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params

NOON = datetime(2024, 10, 30, 12)
OPEN = Scope(None, "g")


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
    """What RawRows needs of a connection: a cursor, and a file that gives the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._rfile = SimpleNamespace(read1=lambda _size: pieces.pop(0) if pieces else b"")

    def cursor(self, _kind: object) -> Any:
        return SimpleNamespace(execute=lambda *_: None, _result=SimpleNamespace())


def batches(*pieces: bytes) -> Iterator[list[bytes]]:
    connection: Any = FakeConnection(list(pieces))
    return iter(RawRows(connection, "", ()))


@given(st.lists(st.sampled_from([0, 1, 250, 251, 300, 65535, 65536, 70000])), st.data())
def test_rows_are_found_wherever_the_stream_is_cut(sizes: list[int], data: st.DataObject) -> None:
    rows = [b"\xfe" * size for size in sizes]
    stream = b"".join(packet(lenenc(row)) for row in rows) + END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [row for batch in batches(*pieces) for row in batch] == rows


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
        list(batches(packet(lenenc(b"row")) + packet(payload)))


TEXT = st.text()


@given(st.lists(st.dictionaries(TEXT, st.none() | TEXT, min_size=1), min_size=1))
def test_json_of_any_text(rows: list[dict[str, str | None]]) -> None:
    def prepared(row: dict[str, str | None]) -> bytes:
        fields = [
            b"\xff"
            + name.encode()
            + b"\xff:\xff"
            + (b"\xfe" if v is None else v.encode())
            + b"\xff"
            for name, v in row.items()
        ]
        return b"{" + b",".join(fields) + b"}"

    made = b"[" + cdr._as_json(b",".join(map(prepared, rows))) + b"]"
    assert json.loads(made.decode("utf-8")) == rows


def table(*columns: str, kind: str = "varchar", **options: Any) -> Table:
    made = {name.lower(): Column(name, kind, "utf8mb4") for name in ("start", *columns)}
    return Table("cdr", made, "start", **options)


def test_a_group_that_may_nothing_asks_for_nothing() -> None:
    sql, arguments = table("dcontext").export(NOON, NOON, Scope(frozenset(), "g"))
    assert " AND (FALSE) " in sql
    assert len(arguments) == 2


def test_a_group_without_contexts_asks_for_its_own_rows() -> None:
    sql, arguments = table("dcontext", "group_uuid").export(NOON, NOON, Scope(frozenset(), "g"))
    assert "(CAST(`group_uuid` AS BINARY) IN (%s))" in sql
    assert arguments[2:] == (b"g",)


def test_names_are_quoted_and_never_formatted() -> None:
    made = Table("c`d%s", table("od`d %d").columns, "start", index="i`x")
    sql, arguments = made.export(NOON, NOON, Scope(frozenset({"a' OR 1=1 -- "}), "g"))
    filled = sql % tuple("?" for _ in arguments)
    for name in ("`od``d %d`", "FROM `c``d%s`", "FORCE INDEX (`i``x`)"):
        assert name in filled
    assert "OR 1=1" not in sql


def test_an_engine_that_locks_is_read_into_a_buffer() -> None:
    assert table(locks=True).export(NOON, NOON, OPEN)[0].startswith("SELECT SQL_BUFFER_RESULT ")
    assert "SQL_BUFFER_RESULT" not in table().export(NOON, NOON, OPEN)[0]


@pytest.mark.parametrize(
    ("kind", "charset", "text"),
    [
        ("varchar", "utf8mb4", "`c`"),
        ("varchar", "utf8mb3", "`c`"),
        ("varchar", "latin1", "CONVERT(`c` USING utf8mb4)"),
        ("blob", None, "CONVERT(`c` USING utf8mb4)"),
        ("bit", None, "CONVERT(CAST(`c` AS UNSIGNED) USING utf8mb4)"),
        ("int", None, "`c`"),
        ("datetime", None, "NULLIF(`c`, 0)"),
    ],
)
def test_every_column_becomes_utf8(kind: str, charset: str | None, text: str) -> None:
    assert Column("c", kind, charset).text == text


def test_the_last_moment_of_the_calendar() -> None:
    assert cdr._period(NOON, datetime(9999, 12, 31, 23, 59, 59))[1].startswith(
        "9999-12-31 23:59:59"
    )
    assert cdr._period(NOON, NOON)[1] == "2024-10-30 12:00:01"


@pytest.mark.parametrize("uniqueid", ["1730289600.5", "my-pbx-1730289600.5", "1730289600.5;2"])
def test_the_days_around_an_id(uniqueid: str) -> None:
    moment = datetime.fromtimestamp(1730289600)
    assert cdr._window(uniqueid) == (moment - timedelta(days=1), moment + timedelta(days=2))


@pytest.mark.parametrize("uniqueid", ["abc", "1.1", "1730289600", "99999999999999999999.1"])
def test_an_id_without_a_time_has_no_window(uniqueid: str) -> None:
    assert cdr._window(uniqueid) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OperationalError(1045, "Access denied for user 'u'@'h'"), "refuses"),
        (ProgrammingError(1146, "Table 'secret.cdr' doesn't exist"), "missing"),
        (OperationalError(2003, "Can't connect to 10.0.0.1"), "does not answer"),
        (ProgrammingError(1064, "near 'SELECT'"), "failed"),
        (RuntimeError("'cryptography' package is required"), "failed"),
        (TimeoutError("timed out"), "does not answer"),
    ],
)
def test_failures_are_told_without_their_words(error: Exception, told: str) -> None:
    with pytest.raises(CdrUnavailable, match=told) as raised, cdr._translated():
        raise error
    assert raised.value.__cause__ is error
    assert str(error.args[-1]) not in str(raised.value)


def asked(**values: str) -> tuple[datetime, datetime]:
    with Flask(__name__).test_request_context("/", query_string=values):
        return period(Params())


def day(number: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2024, 10, number, hour, minute, second)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"start": "2024-10-30", "end": "2024-10-31"}, (day(30), day(31, 23, 59, 59))),
        ({"start": "2024-10-30 09:59:15"}, (day(30, 9, 59, 15), day(30, 23, 59, 59))),
        ({"end": "2024-10-30T09:59:15"}, (day(30), day(30, 9, 59, 15))),
        ({"end": "2024-10-30"}, (day(30), day(30, 23, 59, 59))),
        ({"start": "2024-10-30", "end": ""}, (day(30), day(30, 23, 59, 59))),
        (
            {"start": "2024-10-30 09:59:15", "end": "2024-10-30 09:59:15"},
            (day(30, 9, 59, 15), day(30, 9, 59, 15)),
        ),
    ],
)
def test_period(values: dict[str, str], expected: tuple[datetime, datetime]) -> None:
    assert asked(**values) == expected


def test_period_is_today_by_itself() -> None:
    before = datetime.now().date()
    start, end = asked()
    assert before <= start.date() == end.date() <= datetime.now().date()
    assert (start.time().isoformat(), end.time().isoformat()) == ("00:00:00", "23:59:59")


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "2024-13-01", "2024-02-30", "2024-1-1", "20241030", "0000-01-01"),
        *("2024-10-30 24:00:00", "2024-10-30 9:00:00", "2024-10-30 23:59:60", "2024-10-30 12:00"),
        *("2024-10-30T12:00:00Z", "2024-10-30 12:00:00.5", "٢٠٢٤-10-30", "2024-10-30' OR '1'='1"),
    ],
)
def test_what_is_no_moment_is_refused(name: str, text: str) -> None:
    with pytest.raises(ApiError) as raised:
        asked(**{name: text})
    assert (raised.value.status, raised.value.code) == (400, "invalid_parameter")
    assert raised.value.parameter == name


def test_start_after_end_is_refused() -> None:
    with pytest.raises(ApiError) as raised:
        asked(start="2024-10-30 00:00:01", end="2024-10-30 00:00:00")
    assert (raised.value.status, raised.value.code) == (400, "invalid_parameter")


def test_the_fields_are_the_original_ones() -> None:
    assert len(FIELDS) == len(set(FIELDS)) == 25

"""Rows as JSON, NDJSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvex_api.backends.cdr.export import CsvWriter, Export, JsonWriter, NdjsonWriter, Writer

TEXT = st.text()
# Names and values as rows: every row has the same columns.
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.none() | TEXT, min_size=width, max_size=width), min_size=1)
)


def prepared(names: list[str], values: list[str | None]) -> bytes:
    """A row as the server prepares it."""
    fields = [
        b"\xff"
        + name.encode()
        + b"\xff:\xff"
        + (b"\xfe" if value is None else value.encode())
        + b"\xff"
        for name, value in zip(names, values, strict=True)
    ]
    return b"{" + b",".join(fields) + b"}"


def written(writer: Writer, *batches: list[bytes]) -> bytes:
    export = Export(iter([iter(batches)]), writer, lambda: None)
    made = b"".join(export)
    assert export.count == sum(map(len, batches))
    return made


@given(st.lists(st.dictionaries(TEXT, st.none() | TEXT, min_size=1), min_size=1), st.integers(1, 3))
def test_json_of_any_text(rows: list[dict[str, str | None]], size: int) -> None:
    raw = [prepared(list(row), list(row.values())) for row in rows]
    batches = [raw[n : n + size] for n in range(0, len(raw), size)]
    assert json.loads(written(JsonWriter(), *batches)) == rows
    lines = written(NdjsonWriter(), *batches).decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == rows


def test_no_rows() -> None:
    assert written(JsonWriter()) == b"[]"
    assert written(NdjsonWriter()) == b""
    assert written(CsvWriter(["a", "b"])) == b"\xef\xbb\xbfa,b\r\n"


@given(TABLES)
def test_csv_of_any_text(rows: list[list[str | None]]) -> None:
    names = [f"c{number}" for number in range(len(rows[0]))]
    made = written(CsvWriter(names), [prepared(names, row) for row in rows])
    text = made.decode("utf-8-sig")
    assert text.endswith("\r\n")
    read = list(csv.reader(io.StringIO(text, newline="")))
    # Python reads a line that is empty as no row at all.
    expected = [[guarded(value or "") for value in row] for row in rows]
    assert read == [names, *(row if row != [""] else [] for row in expected)]


def guarded(value: str) -> str:
    """A value as a spreadsheet may have it, by a rule of its own."""
    if value[:1] not in tuple("=+-@\t\r"):
        return value
    digits = value[1:] if value[0] in "+-" else value
    whole, dot, fraction = digits.partition(".")
    ascii_digits = "0123456789"
    number = whole and set(whole + fraction) <= set(ascii_digits) and bool(dot) == bool(fraction)
    return value if number else f"'{value}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+79161234567", "+79161234567"),
        ("-5", "-5"),
        ("-5.25", "-5.25"),
        ("+1-2", "'+1-2"),
        ("+7916\n", '"\'+7916\n"'),
        ("-", "'-"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", '"\'\r=1"'),
        ('=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"'),
        ('"Иван" <101>', '"""Иван"" <101>"'),
        ("a,b", '"a,b"'),
        ("+٧", "'+٧"),
    ],
)
def test_a_cell_is_no_formula(value: str, cell: str) -> None:
    made = written(CsvWriter(["a"]), [prepared(["a"], [value])])
    assert made == b"\xef\xbb\xbfa\r\n" + cell.encode() + b"\r\n"


def test_a_name_of_a_column_is_a_cell_too() -> None:
    made = written(CsvWriter(["=cmd", 'a"b']), [prepared(["=cmd", 'a"b'], [None, "x"])])
    assert made == b'\xef\xbb\xbf\'=cmd,"a""b"\r\n,x\r\n'


def test_nothing_is_handed_on_before_its_page_has_been_read() -> None:
    reading = False

    def page(number: int) -> Iterator[list[bytes]]:
        nonlocal reading
        reading = True
        for part in range(3):
            yield [prepared(["n"], [f"{number}.{part}"])]
        reading = False

    export = Export(map(page, range(3)), JsonWriter(), lambda: None)
    for _ in export:
        assert not reading
    assert export.count == 9

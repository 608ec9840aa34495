"""Rows of the call log as JSON, CSV or NDJSON, in whole batches.

A row is the text that `queries.py` has the server prepare: `{"name":"value",…}` with the byte 0xFF
for each quotation mark and 0xFE for a value that is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from evolvex_api.backends.cdr.faults import translated

_NULL_VALUE = re.compile(rb"\xff\xfe\xff")
_QUOTED = bytes(range(255)) + b'"'  # bytes.translate: 0xFF as a quotation mark
_CONTROLS = bytes(range(32))
_CONTROL = re.compile(rb"[\x00-\x1f]")
# RFC 4180, 2.6: what makes quotation marks necessary.
_SPECIAL = re.compile(rb'[",\r\n]')
# What a spreadsheet takes for a formula (OWASP, "CSV injection"); a number may begin with a sign.
_FORMULA = re.compile(rb"[=+\-@\t\r]")
_NUMBER = re.compile(rb"[+-]?[0-9]+(?:\.[0-9]+)?")
_BOM = b"\xef\xbb\xbf"


class Writer(Protocol):
    """Makes the bytes of an answer from batches of rows."""

    def head(self) -> bytes:
        """What stands before all rows."""

    def batch(self, rows: list[bytes], first: bool) -> bytes:
        """Rows, of which there is at least one; `first` says that none went before."""

    def tail(self) -> bytes:
        """What stands behind all rows."""


class JsonWriter:
    """Rows as a JSON array."""

    def head(self) -> bytes:
        """See Writer."""
        return b"["

    def batch(self, rows: list[bytes], first: bool) -> bytes:
        """See Writer."""
        made = as_json(b",".join(rows))
        return made if first else b"," + made

    def tail(self) -> bytes:
        """See Writer."""
        return b"]"


class NdjsonWriter:
    """Rows as JSON objects, one a line."""

    def head(self) -> bytes:
        """See Writer."""
        return b""

    def batch(self, rows: list[bytes], first: bool) -> bytes:
        """See Writer."""
        # A line end would be escaped, so a byte that UTF-8 does not have takes its place.
        return as_json(b"\xfd".join(rows)).replace(b"\xfd", b"\n") + b"\n"

    def tail(self) -> bytes:
        """See Writer."""
        return b""


class CsvWriter:
    """Rows as CSV (RFC 4180) in UTF-8 with a BOM, safe to open in a spreadsheet."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def head(self) -> bytes:
        """See Writer."""
        return _BOM + _line([name.encode() for name in self._names])

    def batch(self, rows: list[bytes], first: bool) -> bytes:
        """See Writer."""
        # Cut at 0xFF a row is {, name, :, value, `,`, name, :, value, …
        return b"".join(_line(row.split(b"\xff")[3::4]) for row in rows)

    def tail(self) -> bytes:
        """See Writer."""
        return b""


def _line(values: Iterable[bytes]) -> bytes:
    return b",".join(map(_csv_value, values)) + b"\r\n"


def _csv_value(value: bytes) -> bytes:
    if value == b"\xfe":
        return b""
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        value = b"'" + value
    if _SPECIAL.search(value):
        return b'"' + value.replace(b'"', b'""') + b'"'
    return value


def as_json(rows: bytes) -> bytes:
    """Rows, joined by commas, as JSON objects.

    Which function of bytes does which step was chosen by measuring: each sees the whole answer.
    """
    text = rows.replace(b"\\", b"\\\\")
    if len(text.translate(None, _CONTROLS)) != len(text):
        text = _CONTROL.sub(_escaped_control, text)
    return _NULL_VALUE.sub(b"null", text.replace(b'"', b'\\"')).translate(_QUOTED)


def _escaped_control(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % match[0][0]


class Export:
    """The rows of pages as an answer in chunks of bytes.

    The first page is fetched at once, so that a failure is raised here and not in mid-answer.
    Close it: an answer that nobody reads on must not keep a connection.
    """

    def __init__(
        self, pages: Iterator[Iterator[list[bytes]]], writer: Writer, close: Callable[[], None]
    ) -> None:
        self.count = 0
        self.close = close
        self._chunks = self._made(pages, writer)
        self._first = next(self._chunks, b"")

    def __iter__(self) -> Iterator[bytes]:
        """The chunks, once. Raises CdrUnavailable when the database fails in mid-answer."""
        with translated():
            if self._first:
                yield self._first
            yield from self._chunks

    def _made(self, pages: Iterator[Iterator[list[bytes]]], writer: Writer) -> Iterator[bytes]:
        opening = writer.head()
        for page in pages:
            ready = []
            for batch in page:
                ready.append(writer.batch(batch, first=self.count == 0))
                self.count += len(batch)
            ready.reverse()
            while ready:
                yield opening + ready.pop()
                opening = b""
        self.close()
        if ending := opening + writer.tail():
            yield ending

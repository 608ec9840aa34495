"""Queries on a connection of PyMySQL; the only place that uses its private parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pymysql
from pymysql.cursors import DictCursor, SSCursor

from evolvex_api.backends.cdr.packets import RowPackets
from evolvex_api.backends.cdr.table import Sql

Connection: TypeAlias = "pymysql.Connection[Any]"

_CHUNK = 64 * 1024
_ROWS_AT_ONCE = 100


def select(connection: Connection, query: Sql) -> Sequence[Any]:
    """All rows of a short answer, as tuples. Raises MySQLError, OSError."""
    with connection.cursor() as cursor:
        cursor.execute(*query)
        return list(cursor.fetchall())


def decoded(value: str | bytes) -> str:
    """A value as text; PyMySQL returns bytes for an expression that is a binary string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def dicts(connection: Connection, sql: str) -> Sequence[dict[str, Any]]:
    """All rows of a short answer, by the names of their columns. Raises MySQLError, OSError."""
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def set_read_timeout(connection: Connection, seconds: float) -> None:
    """Change how long the next piece of an answer may take, where PyMySQL is as expected.

    Else the timeout given to `pymysql.connect` stays.
    """
    private: Any = connection
    if hasattr(private, "_read_timeout"):
        private._read_timeout = seconds


def batches(connection: Connection, query: Sql, raw: bool | None = None) -> Iterator[list[bytes]]:
    """The rows of a query of one text column in batches, unbuffered.

    `raw` cuts the rows out of what the connection brings (True), or lets PyMySQL do it (False);
    by default the first where PyMySQL's private parts are as expected. Raises MySQLError, OSError.
    """
    cursor = connection.cursor(SSCursor)
    cursor.execute(*query)
    if raw is None:
        raw = _has_known_parts(connection, cursor)
    return _raw(connection, cursor) if raw else _plain(cursor)


# Whether PyMySQL has the parts that `_raw` uses; None until the first query. All of a process's
# connections are of one PyMySQL.
_known_parts: list[bool] = []


def _has_known_parts(connection: Any, cursor: Any) -> bool:
    if not _known_parts:
        file, result = getattr(connection, "_rfile", None), getattr(cursor, "_result", None)
        known = hasattr(file, "read1") and getattr(result, "unbuffered_active", None) is True
        _known_parts.append(known and getattr(connection, "_result", None) is result)
    return _known_parts[0]


def _raw(connection: Any, cursor: Any) -> Iterator[list[bytes]]:
    """Batches of about 64 KiB, the first as soon as anything is there.

    PyMySQL sends the query and reads the answer's head; then its own reader is switched off, which
    would read an abandoned answer to its end.
    """
    cursor._result.unbuffered_active = False
    packets = RowPackets()
    gathered: list[bytes] = []
    size, enough = 0, 1
    while not packets.ended:
        # The file is not kept: PyMySQL 1.0 leaves it to the last reference to close the socket.
        data = connection._rfile.read1(_CHUNK)
        if not data:
            raise ConnectionResetError("the database closed the connection in mid-answer")
        gathered += packets.feed(data)
        size += len(data)
        if gathered and (packets.ended or size >= enough):
            yield gathered
            gathered, size, enough = [], 0, _CHUNK


def _plain(cursor: Any) -> Iterator[list[bytes]]:
    """Batches by PyMySQL's public parts: slower, but with any version."""
    while found := cursor.fetchmany(_ROWS_AT_ONCE):
        yield [value if isinstance(value, bytes) else value.encode() for (value,) in found]

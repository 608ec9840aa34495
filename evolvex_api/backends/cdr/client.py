"""The call log: the MySQL or MariaDB table of call detail records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

import pymysql
from pymysql.converters import encoders
from pymysql.err import MySQLError

from evolvex_api import config
from evolvex_api.backends.cdr import calls, charsets, figures, rows
from evolvex_api.backends.cdr.export import CsvWriter, Export, JsonWriter, NdjsonWriter, Writer
from evolvex_api.backends.cdr.faults import CHANGED, translated
from evolvex_api.backends.cdr.queries import FEW, LogQueries, candidates
from evolvex_api.backends.cdr.rows import Connection
from evolvex_api.backends.cdr.table import Sql, Table, quoted, shape
from evolvex_api.backends.cdr.walk import Walk
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core.calllog import CallRow, Format, Position, Selection
from evolvex_api.core.stats import Counts, Question

_T = TypeVar("_T")

# Seconds for each step of connecting, so that a dead or frozen server is reported soon …
_CONNECT_TIMEOUT = 5
# … and for the next piece of an answer: a table without an index is sorted before its first row.
_ANSWER_TIMEOUT = 30
# sql_mode: backslashes escape and CHAR has no padding, whatever the server's default says.
_SESSION = f"SET SESSION sql_mode='', lock_wait_timeout={_ANSWER_TIMEOUT}"
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Facts:
    """What the database reports of itself: for `doctor`."""

    server: str  # its version
    now: datetime  # its clock, in its local time
    columns: tuple[str, ...]
    time_column: str  # start, or calldate in FreePBX's table
    index: str | None  # the index that serves the time column; None makes long answers slow
    stored: str | None  # the character set that `[cdr] charset` should name, if it should


@dataclass(frozen=True)
class Page:
    """A page of the call log in the format asked for; `following` is None for the last one."""

    body: bytes
    count: int
    following: Position | None


class Cdr:
    """The table of calls of one configuration; safe between threads and over fork.

    Each question has a connection of its own: one costs 0.3 ms, and none can be stale. The table's
    shape is read with each question, so a column is there as soon as the table has it.
    """

    def __init__(self, settings: config.Cdr) -> None:
        self._settings = settings

    def export(self, selection: Selection, form: Format = "json") -> Export:
        """All rows of a selection, JSON as an array; close it. Raises CdrUnavailable."""

        def ask(connection: Connection, table: Table) -> Export:
            walk = _walk(connection, table, selection)
            return Export(walk.pages(), _writer(form, table), lambda: _close(connection))

        return self._ask(ask)

    def page(
        self, selection: Selection, limit: int, position: Position | None, form: Format = "json"
    ) -> Page:
        """At most `limit` rows of a selection behind a position, JSON as an array.

        Raises CdrUnavailable.
        """

        def ask(connection: Connection, table: Table) -> Page:
            found, following = _walk(connection, table, selection).page(limit, position)
            _close(connection)
            writer = _writer(form, table)
            middle = writer.batch(found, first=True) if found else b""
            return Page(writer.head() + middle + writer.tail(), len(found), following)

        return self._ask(ask)

    def call(self, uniqueid: str) -> list[CallRow]:
        """Different rows of a call: with this uniqueid or linkedid, or the linkedid of such a row.

        An id that no row has is looked for among the channel events too. Raises CdrUnavailable.
        """

        def ask(connection: Connection, table: Table) -> list[CallRow]:
            found = calls.rows_of(connection, table, self._settings.cel_table, uniqueid)
            _close(connection)
            return found

        return self._ask(ask)

    def ping(self) -> None:
        """Log in and leave. Raises CdrUnavailable."""
        with translated(RuntimeError):
            _close(self._connect())

    def stats(self, question: Question) -> list[tuple[str, Counts]]:
        """The figures of `stats` by key; by agent the keys are names of endpoints.

        Raises CdrUnavailable.
        """

        def ask(connection: Connection, table: Table) -> list[tuple[str, Counts]]:
            rows.select(connection, (figures.SESSION, ()))
            found = rows.select(connection, figures.figures(table, question))
            _close(connection)
            return [
                (rows.decoded(key), Counts(*map(int, counts)))
                for key, *counts in found
                if key is not None
            ]

        return self._ask(ask)

    def describe(self) -> Facts:
        """What the database reports of itself. Raises CdrUnavailable."""

        def ask(connection: Connection, table: Table) -> Facts:
            server, now = rows.select(connection, ("SELECT VERSION(), NOW()", ()))[0]
            stored = charsets.suspected(connection, table)
            _close(connection)
            columns = tuple(column.name for column in table.columns.values())
            index = table.indexes.get(table.time)
            at = datetime.fromisoformat(now)
            return Facts(server, at, columns, table.time, index, stored)

        return self._ask(ask)

    def _ask(self, question: Callable[[Connection, Table], _T]) -> _T:
        """Connect and ask; who asks closes the connection when all went well."""
        # RuntimeError: PyMySQL lacks a package that the server's way of login needs.
        with translated(RuntimeError):
            connection = self._connect()
        try:
            with translated():
                return self._ask_connected(connection, question)
        except BaseException:
            _close(connection)
            raise

    def _ask_connected(
        self, connection: Connection, question: Callable[[Connection, Table], _T]
    ) -> _T:
        try:
            return question(connection, self._shape(connection))
        except MySQLError as error:
            if error.args[0] not in CHANGED:
                raise
        # The table changed between the look at it and the query.
        return question(connection, self._shape(connection))

    def _shape(self, connection: Connection) -> Table:
        name, stored = self._settings.table, self._settings.charset or None
        columns = rows.dicts(connection, f"SHOW FULL COLUMNS FROM {quoted(name)}")
        indexes = rows.dicts(connection, f"SHOW INDEX FROM {quoted(name)}")
        table = shape(name, columns, indexes, stored)
        if table is None:
            raise CdrUnavailable("The call log's table has neither a column start nor calldate.")
        return table

    def _connect(self) -> Connection:
        settings = self._settings
        connection: Connection = pymysql.connect(
            host=settings.host,
            port=settings.port,
            unix_socket=settings.unix_socket or None,
            user=settings.user,
            password=settings.password,
            database=settings.database,
            charset="utf8mb4",
            conv=cast(Any, encoders),  # and no decoders: values stay text
            autocommit=True,
            init_command=_SESSION,
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_CONNECT_TIMEOUT,
            write_timeout=_CONNECT_TIMEOUT,
            # To prepare for TLS takes PyMySQL 17 ms; nobody listens within a host.
            ssl_disabled=bool(settings.unix_socket) or settings.host in _LOCAL,
        )
        rows.set_read_timeout(connection, _ANSWER_TIMEOUT)
        return connection


def _walk(connection: Connection, table: Table, selection: Selection) -> Walk:
    def fetch(query: Sql) -> Iterator[list[bytes]]:
        return rows.batches(connection, query)

    indexes = _indexes(connection, table, selection)
    return Walk(LogQueries(table, selection, indexes), fetch, selection.descending)


def _indexes(connection: Connection, table: Table, selection: Selection) -> tuple[str, ...]:
    """The indexes of a filter that few rows pass; none when the time's index is to be followed."""
    for indexes, count in candidates(table, selection):
        if int(rows.select(connection, count)[0][0]) <= FEW:
            return indexes
    return ()


def _writer(form: Format, table: Table) -> Writer:
    if form == "csv":
        return CsvWriter([name for name, _ in table.fields()])
    return JsonWriter() if form == "json" else NdjsonWriter()


def _close(connection: Connection) -> None:
    if connection.open:
        connection.close()

"""The call log: the MySQL or MariaDB table of call detail records. The only SQL.

Rows become JSON at the speed at which the server can send them, in three steps:

1. The server joins each row's keys and values into one text (`Table.export`), with the byte 0xFF
   where a quotation mark of JSON belongs and 0xFE for NULL. Neither byte occurs in UTF-8, so no
   value can forge them.
2. `RawRows` takes many rows off the connection at a time.
3. `_as_json` escapes and quotes a whole batch with a handful of calls.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar, cast

import pymysql
from pymysql.converters import encoders
from pymysql.cursors import DictCursor, SSCursor
from pymysql.err import MySQLError, OperationalError, raise_mysql_exception

from evolvex_api import config
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core import uniqueid as uniqueids
from evolvex_api.core.access import Scope

_T = TypeVar("_T")
Connection: TypeAlias = "pymysql.Connection[Any]"

# The fields of the original API, in its order.
FIELDS = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp"),
    *("lastdata", "start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
    *("userfield", "uniqueid", "linkedid", "peeraccount", "sequence", "source", "destination"),
    *("direction", "group_uuid"),
)

# Seconds for each step of connecting, so that a dead or frozen server is told of soon …
_CONNECT_TIMEOUT = 5
# … and for the next piece of an answer: a table without an index is sorted before its first row.
_ANSWER_TIMEOUT = 30
# Seconds that a client may take to read on before the server gives its answer up.
_SLOW_READER = 600
# sql_mode: backslashes escape and CHAR has no padding, whatever the server's default says.
_SESSION = (
    f"SET SESSION sql_mode='', net_write_timeout={_SLOW_READER},"
    f" lock_wait_timeout={_ANSWER_TIMEOUT}"
)
_LOCAL = {"localhost", "127.0.0.1", "::1"}

# Errors of server (mysqld_error) and client (errmsg): the login or a right is refused; the table or
# database is missing; nobody is there, or not for long; the table is no longer as it was found.
_REFUSED = {1044, 1045, 1142, 1143, 1698}
_MISSING = {1049, 1146}
_UNREACHABLE = {1040, 1053, 2002, 2003, 2006, 2013}
_CHANGED = {1054, 1146, 1176, 1356}

_MAX_CALL_ROWS = 500
_CHUNK = 64 * 1024

# Values are arguments of the driver; what the queries are put together from is constants and
# names, which `_quoted` quotes (hence the noqa of S608).
_NULL = "X'FE'"
# The cast keeps MariaDB from taking the literal for text, where 0xFE would be an error.
_OR_NULL = "IFNULL({}, CAST(X'FE' AS BINARY))"
_NULL_VALUE = re.compile(rb"\xff\xfe\xff")
_QUOTED = bytes(range(255)) + b'"'  # bytes.translate: 0xFF as a quotation mark
_CONTROLS = bytes(range(32))
_CONTROL = re.compile(rb"[\x00-\x1f]")
_UTF8 = {"utf8", "utf8mb3", "utf8mb4"}
_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_DATES = {"date", "datetime", "timestamp"}
_ASCII_TYPES = _INTEGERS | _DATES | {"decimal", "float", "double", "time", "year"}


@dataclass(frozen=True)
class CallRow:
    """What the recordings need to know of a call's row; "" for NULL and for a missing column."""

    uniqueid: str
    linkedid: str
    dcontext: str
    group_uuid: str
    recordingfile: str
    userfield: str


@dataclass(frozen=True)
class Facts:
    """What the database says of itself: for `doctor`."""

    server: str  # its version
    now: datetime  # its clock, in its local time
    columns: tuple[str, ...]
    time_column: str  # start, or calldate in FreePBX's table
    index: str | None  # the index that serves the time column; None makes long answers slow


@dataclass(frozen=True)
class Column:
    """A column of the table; `kind` is its type's first word, `charset` None unless it is text."""

    name: str
    kind: str
    charset: str | None

    @property
    def sql(self) -> str:
        """The column's name as SQL."""
        return _quoted(self.name)

    @property
    def text(self) -> str:
        """An SQL expression: the value as UTF-8, or NULL, also for a date that is all zeros."""
        if self.kind in _DATES:
            return f"NULLIF({self.sql}, 0)"
        if self.charset in _UTF8 or self.kind in _ASCII_TYPES:
            return self.sql
        value = f"CAST({self.sql} AS UNSIGNED)" if self.kind == "bit" else self.sql
        return f"CONVERT({value} USING utf8mb4)"


@dataclass(frozen=True)
class Table:
    """The shape of the table of calls, and the queries that suit it.

    `columns` are by name in lower case, as names of columns know no case. `index` is one that
    begins with the time column. `locks` tells an engine that can't read while Asterisk writes.
    """

    name: str
    columns: Mapping[str, Column]
    time: str
    index: str | None = None
    locks: bool = False

    def export(
        self, start: datetime, end: datetime, scope: Scope
    ) -> tuple[str, tuple[str | bytes, ...]]:
        """The query, with its arguments, for rows that begin from start to the end of second `end`.

        Its one column is the row, prepared for `_as_json`.
        """
        condition, arguments = self._scoped(scope)
        # Without the hint the server would rather sort everything than follow the index.
        hint = f" FORCE INDEX ({_quoted(self.index)})" if self.index else ""
        sql = (
            f"SELECT {'SQL_BUFFER_RESULT ' if self.locks else ''}{self._row()}"  # noqa: S608
            f" FROM {_quoted(self.name)}{hint}"
            f" WHERE {self._between} AND {condition} ORDER BY {_quoted(self.time)}"
        )
        return sql, (*_period(start, end), *arguments)

    def call(
        self, keys: Sequence[str], ids: Sequence[str], window: tuple[datetime, datetime] | None
    ) -> tuple[str, tuple[str, ...]]:
        """The query, with its arguments, for CallRows that have one of the ids in a column `keys`.

        The server compares as the column's collation says: the caller must compare again.
        """
        names = [_quoted(key) for key in keys if key in self.columns]
        either = " OR ".join(f"{name} IN ({_holders(ids)})" for name in names) or "FALSE"
        texts = (self._text(name) for name in CallRow.__annotations__)
        fields = ", ".join(f"IFNULL({text}, '')" if text else "''" for text in texts)
        sql = f"SELECT {fields} FROM {_quoted(self.name)} WHERE ({either})"  # noqa: S608
        arguments = tuple(ids) * len(names)
        if window:
            sql, arguments = f"{sql} AND {self._between}", (*arguments, *_period(*window))
        return f"{sql} LIMIT {_MAX_CALL_ROWS}", arguments

    @property
    def _between(self) -> str:
        time = _quoted(self.time)
        return f"{time} >= %s AND {time} < %s"

    def _row(self) -> str:
        further = [
            (column.name, column.text) for key, column in self.columns.items() if key not in FIELDS
        ]
        pieces = []
        opening = b"{"
        for name, text in [*((name, self._field(name)) for name in FIELDS), *further]:
            pieces.append(_literal(opening + b"\xff" + name.encode() + b"\xff:\xff"))
            pieces.append(_OR_NULL.format(text) if text else _NULL)
            opening = b"\xff,"
        pieces.append(_literal(b"\xff}"))
        return f"CONCAT({', '.join(pieces)})"

    def _text(self, name: str) -> str | None:
        return self.columns[name].text if name in self.columns else None

    def _field(self, name: str) -> str | None:
        """An SQL expression for one of FIELDS; None when the table can't tell."""
        column = self.columns.get(name)
        if column is None:
            return self._derived(name)
        if name == "amaflags" and column.kind in _INTEGERS:
            # The numbers of Asterisk's enum ast_ama_flags, which text columns hold by name.
            names = f"ELT({column.sql}, 'OMIT', 'BILLING', 'DOCUMENTATION')"
            return f"IFNULL({names}, {column.sql})"
        return column.text

    def _derived(self, name: str) -> str | None:
        time = _quoted(self.time)
        if name == "start":
            return self._text(self.time)
        if name == "end" and "duration" in self.columns:
            return f"{time} + INTERVAL `duration` SECOND"
        if name == "answer" and {"duration", "billsec", "disposition"} <= self.columns.keys():
            answered = f"{time} + INTERVAL (`duration` - `billsec`) SECOND"
            return f"IF(`disposition` = 'ANSWERED', {answered}, NULL)"
        return None

    def _scoped(self, scope: Scope) -> tuple[str, tuple[bytes, ...]]:
        """The scope as a condition that compares bytes: no collation may widen it."""
        if scope.contexts is None:
            return "TRUE", ()
        granted = {"dcontext": sorted(scope.contexts), "group_uuid": [scope.group_uuid]}
        conditions, arguments = [], []
        for name, values in granted.items():
            text = self._text(name)
            if text and values:
                conditions.append(f"CAST({text} AS BINARY) IN ({_holders(values)})")
                arguments += [value.encode() for value in values]
        return f"({' OR '.join(conditions) or 'FALSE'})", tuple(arguments)


class RawRows:
    """The rows of a query of one text column, in batches, unbuffered.

    PyMySQL makes an object of each packet, which takes longer than the server's own work. This
    class lets PyMySQL send the query and read the answer's head, then splits what the connection
    brings by itself. Of PyMySQL's private parts it needs two: the connection's file, and the flag
    that makes PyMySQL read an abandoned answer to its end.
    Packets: https://mariadb.com/kb/en/0-packet/ and https://mariadb.com/kb/en/result-set-packets/
    """

    def __init__(self, connection: Connection, sql: str, arguments: Sequence[Any]) -> None:
        cursor: Any = connection.cursor(SSCursor)
        cursor.execute(sql, arguments)
        cursor._result.unbuffered_active = False
        self._connection: Any = connection

    def __iter__(self) -> Iterator[list[bytes]]:
        """Batches of rows of about 64 KiB; the first as soon as anything is there.

        Raises MySQLError when the server tells of a fault, OSError when it breaks off.
        """
        rows: list[bytes] = []
        size, enough, rest, ended = 0, 1, b"", False
        while not ended:
            # The file is not kept: PyMySQL 1.0 leaves it to the last reference to close the socket.
            more = self._connection._rfile.read1(_CHUNK)
            if not more:
                raise ConnectionResetError("the database closed the connection in mid-answer")
            size += len(more)
            rest, ended = _split(rest + more, rows)
            if rows and (ended or size >= enough):
                yield rows
                rows, size, enough = [], 0, _CHUNK


# How many bytes tell a text's length (a length-encoded integer) by the first of them; 0 stands for
# what is no row: 0xFB NULL, 0xFE the end, 0xFF an error.
_LENGTH_BYTES = bytes([1] * 251 + [0, 3, 4, 0, 0])
_packet_head = struct.Struct("<I").unpack_from
_LARGEST_PACKET = 0xFFFFFF


def _split(buffer: bytes, rows: list[bytes]) -> tuple[bytes, bool]:
    """Append the rows of all whole packets; returns what is left over, and whether it is the end.

    A packet is three bytes of length, one of sequence, then one row. A row that is NULL, or does
    not fit one packet, is over max_allowed_packet or 16 MiB: no call, so the answer fails.
    """
    position, end = 0, len(buffer)
    while position + 4 < end:
        payload = position + 4
        size = _packet_head(buffer, position)[0] & _LARGEST_PACKET
        following = payload + size
        if following > end:
            break
        skip = _LENGTH_BYTES[buffer[payload]]
        if not skip or size == _LARGEST_PACKET:
            return b"", _judge(buffer[payload:following])
        rows.append(buffer[payload + skip : following])
        position = following
    return buffer[position:], False


def _judge(packet: bytes) -> bool:
    """True for the packet that ends the answer; any other fault is raised."""
    if packet[0] == 0xFF:
        raise_mysql_exception(packet)
    if packet[0] != 0xFE or len(packet) == _LARGEST_PACKET:
        raise OperationalError(1301, "a row is larger than a packet may be")
    return True


class Export:
    """The rows of a period as one JSON array, in chunks of bytes.

    The first chunk is fetched at once, so that a failure is raised here and not in mid-answer.
    Close it: an answer that nobody reads on must not keep the server busy.
    """

    def __init__(self, connection: Connection, sql: str, arguments: Sequence[Any]) -> None:
        self.count = 0
        self._connection = connection
        self._chunks = self._json(RawRows(connection, sql, arguments))
        self._first = next(self._chunks)

    def __iter__(self) -> Iterator[bytes]:
        """The chunks, once. Raises CdrUnavailable when the database fails in mid-answer."""
        with _translated():
            yield self._first
            yield from self._chunks

    def close(self) -> None:
        """End the connection at once, whatever it still has to say."""
        if self._connection.open:
            self._connection.close()

    def _json(self, batches: Iterable[list[bytes]]) -> Iterator[bytes]:
        opening = b"["
        for rows in batches:
            self.count += len(rows)
            yield opening + _as_json(b",".join(rows))
            opening = b","
        self.close()
        yield b"]" if self.count else b"[]"


class Cdr:
    """The table of calls of one configuration; safe between threads and over fork.

    Each question has a connection of its own: one costs 0.3 ms, and none can be stale. The
    table's shape is found with the first question, and again when the server says it has changed.
    """

    def __init__(self, settings: config.Cdr) -> None:
        self._settings = settings
        self._table: Table | None = None

    def rows(self, start: datetime, end: datetime, scope: Scope) -> Export:
        """The calls that began from `start` to `end`, oldest first, as a JSON array.

        Both are local times without a zone, and included; the fraction of second `end` too.
        Raises CdrUnavailable.
        """
        return self._ask(
            lambda connection, table: Export(connection, *table.export(start, end, scope))
        )

    def call(self, uniqueid: str) -> list[CallRow]:
        """All rows of a call: those with this uniqueid or linkedid, or the linkedid of such a row.

        When the id tells its time (`<epoch>.<n>`), only rows around it are looked at, so that a
        table without an index on ids isn't read whole. Raises CdrUnavailable.
        """

        def ask(connection: Connection, table: Table) -> list[CallRow]:
            found = _call_rows(connection, table, uniqueid)
            connection.close()
            return found

        return self._ask(ask)

    def describe(self) -> Facts:
        """What the database says of itself, found anew. Raises CdrUnavailable."""

        def ask(connection: Connection, table: Table) -> Facts:
            server, now = _select(connection, "SELECT VERSION(), NOW()", ())[0]
            connection.close()
            columns = tuple(column.name for column in table.columns.values())
            return Facts(server, datetime.fromisoformat(now), columns, table.time, table.index)

        self._table = None
        return self._ask(ask)

    def _ask(self, question: Callable[[Connection, Table], _T]) -> _T:
        """Connect and ask; who asks closes the connection when all went well."""
        with _translated():
            connection = self._connect()
            try:
                return self._ask_known(connection, question)
            except BaseException:
                if connection.open:
                    connection.close()
                raise

    def _ask_known(self, connection: Connection, question: Callable[[Connection, Table], _T]) -> _T:
        if self._table is not None:
            try:
                return question(connection, self._table)
            except MySQLError as error:
                if error.args[0] not in _CHANGED:
                    raise
        self._table = _discover(connection, self._settings.table)
        return question(connection, self._table)

    def _connect(self) -> Connection:
        settings = self._settings
        connection: Any = pymysql.connect(
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
        connection._read_timeout = _ANSWER_TIMEOUT
        connected: Connection = connection
        return connected


def _as_json(rows: bytes) -> bytes:
    """Rows as `Table.export` has the server prepare them, as JSON.

    Which function of bytes does which step was chosen by measuring: each sees the whole answer.
    """
    text = rows.replace(b"\\", b"\\\\")
    if len(text.translate(None, _CONTROLS)) != len(text):
        text = _CONTROL.sub(_escaped_control, text)
    return _NULL_VALUE.sub(b"null", text.replace(b'"', b'\\"')).translate(_QUOTED)


def _escaped_control(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % match[0][0]


def _discover(connection: Connection, name: str) -> Table:
    """Find out the table's shape. Raises MySQLError, or CdrUnavailable when it holds no calls."""
    table = _quoted(name)
    columns = {
        row["Field"].lower(): Column(row["Field"], _first_word(row["Type"]), _charset(row))
        for row in _dicts(connection, f"SHOW FULL COLUMNS FROM {table}")
    }
    time = next((column for column in ("start", "calldate") if column in columns), None)
    if time is None:
        raise CdrUnavailable("The call log's table has neither a column start nor calldate.")
    indexes = _dicts(connection, f"SHOW INDEX FROM {table}")
    index = next((row["Key_name"] for row in indexes if _serves(row, time)), None)
    status = _dicts(connection, "SHOW TABLE STATUS WHERE Name = %s", (name,))
    return Table(name, columns, time, index, locks=bool(status) and status[0]["Engine"] == "MyISAM")


def _first_word(text: str) -> str:
    match = re.match(r"\w*", text)
    return match[0].lower() if match else ""


def _charset(row: Mapping[str, str | None]) -> str | None:
    collation = row["Collation"]
    return collation.partition("_")[0] if collation else None


def _serves(row: Mapping[str, str | None], column: str) -> bool:
    """True for the row of SHOW INDEX that tells of an index which begins with the column."""
    return (
        (row["Column_name"] or "").lower() == column
        and row["Seq_in_index"] == "1"
        and row["Sub_part"] is None
        and row["Index_type"] == "BTREE"
        and row.get("Ignored") != "YES"  # MariaDB 10.6
        and row.get("Visible") != "NO"  # MySQL 8
    )


def _call_rows(connection: Connection, table: Table, uniqueid: str) -> list[CallRow]:
    window = _window(uniqueid)

    def having(keys: Sequence[str], ids: Sequence[str]) -> list[CallRow]:
        found = _select(connection, *table.call(keys, ids, window))
        rows = [CallRow(*values) for values in found]
        return [row for row in rows if any(getattr(row, key) in ids for key in keys)]

    own = having(("uniqueid", "linkedid"), (uniqueid,))
    shared = sorted({row.linkedid for row in own if row.linkedid} - {uniqueid})
    if not shared:
        return own
    return having(("linkedid",), shared) + [row for row in own if row.linkedid not in shared]


def _window(uniqueid: str) -> tuple[datetime, datetime] | None:
    """The days around the epoch in an id of Asterisk's, which its `systemname-` may precede.

    In local time, which the table holds. A call's legs begin while it lasts; two days are enough.
    """
    created = uniqueids.created(uniqueid)
    if created is None:
        return None
    moment = datetime.fromtimestamp(created)
    return moment - timedelta(days=1), moment + timedelta(days=2)


def _period(start: datetime, end: datetime) -> tuple[str, str]:
    """Both bounds as SQL has them, the second one to stay below."""
    last = datetime.max.replace(microsecond=0)
    after = end + timedelta(seconds=1) if end < last else datetime.max
    return start.isoformat(" "), after.isoformat(" ")


def _select(connection: Connection, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return list(cursor.fetchall())


def _dicts(
    connection: Connection, sql: str, arguments: Sequence[str] = ()
) -> Sequence[dict[str, Any]]:
    with connection.cursor(DictCursor) as cursor:
        cursor.execute(sql, arguments)
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    """A name as SQL, for a statement that takes arguments (so `%` is doubled)."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def _literal(data: bytes) -> str:
    return f"X'{data.hex()}'"


def _holders(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """PyMySQL's errors as CdrUnavailable; the cause is for the journal alone."""
    try:
        yield
    except (MySQLError, OSError, RuntimeError) as error:
        # RuntimeError: PyMySQL lacks a package that the server's way of login needs.
        raise CdrUnavailable(_told(error)) from error


def _told(error: Exception) -> str:
    number = error.args[0] if isinstance(error, MySQLError) else 0
    if number in _REFUSED:
        return "The call log's database refuses the service's user."
    if number in _MISSING:
        return "The call log's database or table is missing."
    if isinstance(error, OSError) or number in _UNREACHABLE:
        return "The call log's database does not answer."
    return "The call log's database failed; the service's journal has the details."

"""Whether text columns hold other bytes than their character set says, for `doctor`.

Old versions of Asterisk's drivers, so of Elastix and FreePBX, wrote UTF-8 into tables that declare
latin1. MySQL then returns each byte as a letter: `Ð¡ÐµÑ€Ð³ÐµÐ¹` for `Сергей`.
"""

from __future__ import annotations

from collections.abc import Iterable

from evolvex_api.backends.cdr import rows
from evolvex_api.backends.cdr.queries import index_names
from evolvex_api.backends.cdr.rows import Connection
from evolvex_api.backends.cdr.table import Table, quoted

# The columns in which people's words stand.
_COLUMNS = ("clid", "cnam", "dst_cnam", "dcontext", "recordingfile", "userfield", "lastdata")
_ROWS = 5000


def suspected(connection: Connection, table: Table) -> str | None:
    """`utf8mb4` when columns that declare another character set hold UTF-8, else None.

    The newest rows are looked at. Raises MySQLError, OSError.
    """
    found = [table.columns[name] for name in _COLUMNS if name in table.columns]
    columns = [column.sql for column in found if column.may_be_mislabelled]
    if not columns:
        return None
    stream = table.streams[0]
    hint = f" FORCE INDEX ({index_names([stream.index])})" if stream.index else ""
    values = ", ".join(f"CAST({column} AS BINARY)" for column in columns)
    sql = (
        f"SELECT {values} FROM {table.sql}{hint} ORDER BY {quoted(stream.time)} DESC LIMIT {_ROWS}"  # noqa: S608
    )
    return "utf8mb4" if _mostly_utf8(rows.select(connection, (sql, ()))) else None


def _mostly_utf8(found: Iterable[Iterable[bytes | None]]) -> bool:
    """True when most values with other letters than ASCII's are UTF-8.

    Text of latin1 or cp1251 hardly ever is: two of its letters would have to look like one.
    """
    verdicts = [
        _is_utf8(value) for values in found for value in values if value and not value.isascii()
    ]
    return 2 * sum(verdicts) > len(verdicts)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

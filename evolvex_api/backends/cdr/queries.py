"""The queries of the call log, as SQL with its arguments.

Values are arguments of the driver. What the queries are put together from is constants and names,
which `table.quoted` quotes (hence the noqa of S608).

The server joins each row's keys and values into one text, with the byte 0xFF where a quotation
mark of JSON belongs and 0xFE for NULL. Neither byte occurs in UTF-8, so no value can forge them;
`export.py` makes JSON or CSV of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from evolvex_api.backends.cdr.table import Sql, Stream, Table, quoted
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import FILTERS, CallRow, Selection

_NULL = "X'FE'"
# The cast keeps MariaDB from taking the literal for text, where 0xFE would be an error.
_OR_NULL = "IFNULL({}, CAST(X'FE' AS BINARY))"
# So many rows are sorted faster than the time's index is followed past all other rows.
FEW = 2000


class LogQueries:
    """The queries for a selection of rows, in the order of their time and, within it, their rank.

    The order is total, so that reading can go on at any row. `indexes` are those that serve a
    filter; without them the server follows the time's index from the start of the period and stops
    after the last row asked for.
    """

    def __init__(self, table: Table, selection: Selection, indexes: tuple[str, ...] = ()) -> None:
        self._table = table
        self._selection = selection
        self._indexes = indexes
        self._row = _row(table)
        self._condition, self._arguments = joined(
            [scoped(table, selection.scope), *_filtered(table, selection)]
        )

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The table's streams, each of which is asked for by itself."""
        return self._table.streams

    def after(self, stream: Stream, time: str | None, count: int) -> Sql:
        """The first `count` rows that lie, in the order asked for, behind a moment.

        With None they are the period's first. Rows of one moment come in any order.
        """
        low, high = period(self._selection.start, self._selection.end)
        column = quoted(stream.time)
        comparison, order = ("<", "DESC") if self._selection.descending else (">", "ASC")
        behind, moment = (f" AND {column} {comparison} %s", (time,)) if time else ("", ())
        return self._select(
            stream,
            self._row,
            f"{column} >= %s AND {column} < %s{behind}",
            (low, high, *moment),
            f"{column} {order} LIMIT {count:d}",
        )

    def within(self, stream: Stream, time: str, rank: str | None, count: int, skip: int) -> Sql:
        """The first `count` rows of one moment from a rank on, behind the first `skip` of them.

        Their rank stands before the text of each row.
        """
        comparison, order = ("<=", "DESC") if self._selection.descending else (">=", "ASC")
        from_rank, ranks = (
            (f" AND {self._table.rank} {comparison} %s", (rank,)) if rank else ("", ())
        )
        return self._select(
            stream,
            f"CONCAT({self._table.rank}, {self._row})",
            f"{quoted(stream.time)} = %s{from_rank}",
            (time, *ranks),
            f"{self._table.rank} {order} LIMIT {skip:d}, {count:d}",
        )

    def _select(
        self,
        stream: Stream,
        what: str,
        condition: str,
        arguments: tuple[str | bytes, ...],
        order: str,
    ) -> Sql:
        # Without the hint the server would often sort everything rather than follow an index.
        indexes = self._indexes or ((stream.index,) if stream.index else ())
        hint = f" FORCE INDEX ({index_names(indexes)})" if indexes else ""
        sql = (
            f"SELECT {what} FROM {self._table.sql}{hint} WHERE {condition}"  # noqa: S608
            f" AND {stream.condition} AND {self._condition} ORDER BY {order}"
        )
        return sql, (*arguments, *self._arguments)


def candidates(table: Table, selection: Selection) -> Iterable[tuple[tuple[str, ...], Sql]]:
    """Indexes that serve a filter, each with a query that counts its rows, up to one over FEW."""
    for name, value in selection.filters.items():
        columns = FILTERS[name]
        if not all(column in table.indexes for column in columns):
            continue
        names = tuple(table.indexes[column] for column in columns)
        condition, arguments = _any_equals(table, columns, value)
        rows = f"SELECT 1 FROM {table.sql} FORCE INDEX ({index_names(names)}) WHERE {condition}"  # noqa: S608
        counted = f"SELECT COUNT(*) FROM ({rows} LIMIT {FEW + 1}) AS found"  # noqa: S608
        yield names, (counted, arguments)


def index_names(names: Sequence[str]) -> str:
    """Indexes as SQL, for a hint."""
    return ", ".join(dict.fromkeys(map(quoted, names)))


def _filtered(table: Table, selection: Selection) -> Iterable[Sql]:
    for name, value in selection.filters.items():
        yield _any_equals(table, FILTERS[name], value)


def _any_equals(table: Table, columns: Sequence[str], value: str) -> Sql:
    found = [table.columns[name].equals([value]) for name in columns if name in table.columns]
    return joined(found, " OR ") if found else ("FALSE", ())


def scoped(table: Table, scope: Scope) -> Sql:
    """The scope as a condition that compares bytes: no collation may widen it."""
    if scope.contexts is None:
        return "TRUE", ()
    granted = {"dcontext": sorted(scope.contexts), "group_uuid": [scope.group_uuid]}
    found = [
        table.columns[name].bytes_in(values)
        for name, values in granted.items()
        if name in table.columns and values
    ]
    return joined(found, " OR ") if found else ("FALSE", ())


def joined(conditions: Iterable[Sql], word: str = " AND ") -> Sql:
    """Several conditions as one."""
    made = list(conditions)
    arguments = tuple(argument for _, given in made for argument in given)
    return f"({word.join(sql for sql, _ in made)})", arguments


def call_rows(
    table: Table, key: str, ids: Sequence[str], since: str | None, until: str | None
) -> Sql:
    """Different CallRows that have one of the ids in a column, compared byte by byte.

    With `since` or `until`, of rows that begin at or after the one and before the other.
    """
    conditions = [table.columns[key].equals(ids) if key in table.columns else ("FALSE", ())]
    for comparison, moment in ((">=", since), ("<", until)):
        if moment:
            times = [
                (f"({quoted(s.time)} {comparison} %s AND {s.condition})", (moment,))
                for s in table.streams
            ]
            conditions.append(joined(times, " OR "))
    texts = (table.text(name) for name in CallRow.__annotations__)
    fields = ", ".join(
        f"CAST(IFNULL({text}, '') AS BINARY) AS f{number}" if text else f"'' AS f{number}"
        for number, text in enumerate(texts)
    )
    condition, arguments = joined(conditions)
    return f"SELECT DISTINCT {fields} FROM {table.sql} WHERE {condition}", arguments  # noqa: S608


def period(start: datetime, end: datetime) -> tuple[str, str]:
    """Both bounds as SQL has them, the second one to stay below."""
    last = datetime.max.replace(microsecond=0)
    after = end + timedelta(seconds=1) if end < last else datetime.max
    return start.isoformat(" "), after.isoformat(" ")


def _row(table: Table) -> str:
    pieces = []
    opening = b"{"
    for name, text in table.fields():
        pieces.append(_literal(opening + b"\xff" + name.encode() + b"\xff:\xff"))
        pieces.append(_OR_NULL.format(text) if text else _NULL)
        opening = b"\xff,"
    pieces.append(_literal(b"\xff}"))
    return f"CONCAT({', '.join(pieces)})"


def _literal(data: bytes) -> str:
    return f"X'{data.hex()}'"

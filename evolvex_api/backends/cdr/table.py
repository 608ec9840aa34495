"""The table of calls: its shape, as the database reports it, and its values as SQL.

The table comes in two shapes. The original API's has a column `start`; FreePBX's has `calldate`,
and neither an answer nor an end. A table that was migrated may have both, with `start` NULL in its
old rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evolvex_api.core.calllog import FIELDS

_UTF8 = {"utf8", "utf8mb3", "utf8mb4"}
_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_DATES = {"date", "datetime", "timestamp"}
_ASCII_TYPES = _INTEGERS | _DATES | {"decimal", "float", "double", "time", "year"}

# What orders the rows of one moment, beside `sequence`.
_RANKED_BY = (
    *("uniqueid", "linkedid", "channel", "dstchannel", "src", "dst", "dcontext"),
    *("lastapp", "lastdata", "duration", "billsec", "disposition"),
)
RANK_LENGTH = 52

# A piece of SQL with the arguments of its placeholders.
Sql = tuple[str, tuple[str | bytes | int, ...]]


@dataclass(frozen=True)
class Column:
    """A column of the table.

    `kind` is its type's first word, `collation` None unless it is text, `stored` the character set
    in which its bytes really are when that is not the declared one.
    """

    name: str
    kind: str
    collation: str | None
    stored: str | None = None

    @property
    def charset(self) -> str | None:
        """The declared character set, the first word of every collation's name."""
        return self.collation.partition("_")[0] if self.collation else None

    @property
    def sql(self) -> str:
        """The column's name as SQL."""
        return quoted(self.name)

    @property
    def text(self) -> str:
        """An SQL expression: the value as UTF-8, or NULL, also for a date that is all zeros."""
        if self.kind in _DATES:
            return f"NULLIF({self.sql}, 0)"
        if self.stored:
            value = f"CONVERT(CAST({self.sql} AS BINARY) USING {self.stored})"
            return value if self.stored in _UTF8 else f"CONVERT({value} USING utf8mb4)"
        if self.charset in _UTF8 or self.kind in _ASCII_TYPES:
            return self.sql
        value = f"CAST({self.sql} AS UNSIGNED)" if self.kind == "bit" else self.sql
        return f"CONVERT({value} USING utf8mb4)"

    @property
    def may_be_mislabelled(self) -> bool:
        """True for text whose bytes may be in another character set than the one declared.

        What is declared as UTF-8 was checked when it was written.
        """
        return self.charset is not None and self.charset not in _UTF8 and self.stored is None

    @property
    def is_integer(self) -> bool:
        """True for a column of whole numbers."""
        return self.kind in _INTEGERS

    def equals(self, values: Sequence[str]) -> Sql:
        """The condition that the column's text is, byte by byte, one of the values.

        Its first half compares as the column's collation does, which finds more rows, but lets
        the server use the column's index.
        """
        holder = "%s"
        if self.stored:
            holder = f"CAST(CONVERT(%s USING {self.stored}) AS BINARY)"
        if self.charset and self.charset not in _UTF8:
            holder = f"CONVERT({holder} USING {self.charset}) COLLATE {self.collation}"
        holders = ", ".join([holder] * len(values))
        exact, encoded = self.bytes_in(values)
        return f"({self.sql} IN ({holders}) AND {exact})", (*values, *encoded)

    def bytes_in(self, values: Sequence[str]) -> Sql:
        """The same condition without that half: for values that no index could find."""
        holders = ", ".join(["%s"] * len(values))
        encoded = tuple(value.encode() for value in values)
        return f"CAST({self.text} AS BINARY) IN ({holders})", encoded


@dataclass(frozen=True)
class Stream:
    """Rows that have their time in one column.

    `condition` is what else holds for them; `index` begins with the column.
    """

    time: str
    index: str | None
    condition: str = "TRUE"


@dataclass(frozen=True)
class Table:
    """The shape of the table of calls.

    `columns` are by name in lower case, as names of columns know no case. `indexes` has, by its
    first column, an index that serves it. `streams` are rows by the column of their time.
    """

    name: str
    columns: Mapping[str, Column]
    indexes: Mapping[str, str]
    streams: tuple[Stream, ...]

    @property
    def sql(self) -> str:
        """The table's name as SQL."""
        return quoted(self.name)

    @property
    def time(self) -> str:
        """The name of the column of a call's begin: start, or calldate in FreePBX's."""
        return self.streams[0].time

    @property
    def moment(self) -> str:
        """An SQL expression: when the row's call began."""
        texts = [f"NULLIF({quoted(stream.time)}, 0)" for stream in self.streams]
        return texts[0] if len(texts) == 1 else f"COALESCE({', '.join(texts)})"

    @property
    def rank(self) -> str:
        """An SQL expression: the row's rank among the rows of the same moment, RANK_LENGTH long."""
        number = self.columns.get("sequence")
        sequence = f"IFNULL({number.sql}, 0)" if number and number.is_integer else "0"
        texts = [f"IFNULL({self.columns[n].text}, '')" for n in _RANKED_BY if n in self.columns]
        digest = f"SHA2(CONCAT_WS(X'1F', {', '.join(texts or ['0'])}), 256)"
        return f"CAST(CONCAT(LPAD({sequence}, 20, '0'), LEFT({digest}, 32)) AS BINARY)"

    def fields(self) -> list[tuple[str, str | None]]:
        """The names of a row's fields in their order, each with an SQL expression of its value.

        First FIELDS, None where the table does not have the value, then its further columns.
        """
        further = [
            (column.name, column.text) for key, column in self.columns.items() if key not in FIELDS
        ]
        return [*((name, self.field(name)) for name in FIELDS), *further]

    def text(self, name: str) -> str | None:
        """An SQL expression for a column's text; None when there is no such column."""
        return self.columns[name].text if name in self.columns else None

    def field(self, name: str) -> str | None:
        """An SQL expression for one of FIELDS; None when the table does not have it."""
        if name == "start":
            return self.moment
        column = self.columns.get(name)
        derived = self._derived(name)
        if column is None:
            return derived
        if name == "amaflags" and column.is_integer:
            # The numbers of Asterisk's enum ast_ama_flags, which text columns hold by name.
            names = f"ELT({column.sql}, 'OMIT', 'BILLING', 'DOCUMENTATION')"
            return f"IFNULL({names}, {column.sql})"
        if derived and len(self.streams) > 1:
            # Only where the time comes from the other column: NULL is a value of its own else.
            missing = f"NULLIF({quoted(self.time)}, 0) IS NULL"
            return f"IF({missing}, COALESCE({column.text}, {derived}), {column.text})"
        return column.text

    def _derived(self, name: str) -> str | None:
        if name == "end" and "duration" in self.columns:
            return f"{self.moment} + INTERVAL `duration` SECOND"
        if name == "answer" and {"duration", "billsec", "disposition"} <= self.columns.keys():
            answered = f"{self.moment} + INTERVAL (`duration` - `billsec`) SECOND"
            return f"IF(`disposition` = 'ANSWERED', {answered}, NULL)"
        return None


def shape(
    name: str,
    columns: Iterable[Mapping[str, str | None]],
    indexes: Sequence[Mapping[str, str | None]],
    stored: str | None = None,
) -> Table | None:
    """The Table of what SHOW FULL COLUMNS and SHOW INDEX returned; None when it holds no calls.

    `stored` is the character set of its text when that is not the one that the columns declare;
    columns that declare UTF-8 are believed.
    """
    found = {column.name.lower(): column for column in (_column(row, stored) for row in columns)}
    served = {
        str(row["Column_name"]).lower(): str(row["Key_name"])
        for row in reversed(indexes)
        if _serves(row)
    }
    times = [time for time in ("start", "calldate") if time in found]
    if not times:
        return None
    streams = [Stream(times[0], served.get(times[0]))]
    if len(times) > 1:
        # `= 0` is a date that is all zeros.
        missing = f"({quoted(times[0])} IS NULL OR {quoted(times[0])} = 0)"
        streams.append(Stream(times[1], None, missing))
    return Table(name, found, served, tuple(streams))


def _column(row: Mapping[str, str | None], stored: str | None) -> Column:
    collation, kind = row["Collation"], re.match(r"\w*", row["Type"] or "")
    column = Column(str(row["Field"]), kind[0].lower() if kind else "", collation)
    if stored and column.charset and column.charset not in _UTF8:
        return replace(column, stored=stored)
    return column


def _serves(row: Mapping[str, str | None]) -> bool:
    """True for a row of SHOW INDEX that stands for an index whose first column it is."""
    return (
        row["Seq_in_index"] == "1"
        and row["Sub_part"] is None
        and row["Index_type"] == "BTREE"
        and row.get("Ignored") != "YES"  # MariaDB 10.6
        and row.get("Visible") != "NO"  # MySQL 8
    )


def quoted(name: str) -> str:
    """A name as SQL, for a statement that takes arguments (so `%` is doubled)."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"

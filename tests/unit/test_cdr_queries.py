"""The call log's SQL without a database: names, scope, columns, failures."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pymysql.err import OperationalError, ProgrammingError

from evolvex_api.backends.cdr.faults import translated
from evolvex_api.backends.cdr.queries import LogQueries, period
from evolvex_api.backends.cdr.table import Column, Sql, Table, shape
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import Selection

NOON = datetime(2024, 10, 30, 12)


def table(*columns: str, name: str = "cdr", index: str | None = None) -> Table:
    rows: list[dict[str, Any]] = [
        {"Field": column, "Type": "varchar(80)", "Collation": "utf8mb4_general_ci"}
        for column in ("start", *columns)
    ]
    indexes: list[dict[str, Any]] = [
        {"Key_name": index, "Column_name": "start", "Seq_in_index": "1", "Sub_part": None}
        | {"Index_type": "BTREE"}
    ]
    made = shape(name, rows, indexes if index else [])
    assert made
    return made


def asked(made: Table, scope: Scope, **filters: str) -> Sql:
    queries = LogQueries(made, Selection(NOON, NOON, scope, filters))
    return queries.after(queries.streams[0], None, 10)


def test_a_group_that_may_nothing_asks_for_nothing() -> None:
    sql, arguments = asked(table("dcontext"), Scope(frozenset(), "g"))
    assert " AND (FALSE) " in sql
    assert len(arguments) == 2


def test_a_group_without_contexts_asks_for_its_own_rows() -> None:
    sql, arguments = asked(table("dcontext", "group_uuid"), Scope(frozenset(), "g"))
    assert "((CAST(`group_uuid` AS BINARY) IN (%s)))" in sql
    assert arguments[2:] == (b"g",)


def test_a_filter_on_a_column_that_is_not_there_finds_nothing() -> None:
    assert " AND (TRUE AND FALSE) " in asked(table(), Scope(None, "g"), dst="1")[0]


def test_names_are_quoted_and_never_formatted() -> None:
    made = table("od`d %d", "dcontext", name="c`d%s", index="i`x")
    sql, arguments = asked(made, Scope(frozenset({"a' OR 1=1 -- "}), "g"))
    filled = sql % tuple("?" for _ in arguments)
    for name in ("`od``d %d`", "FROM `c``d%s`", "FORCE INDEX (`i``x`)"):
        assert name in filled
    assert "OR 1=1" not in sql


@pytest.mark.parametrize(
    ("kind", "collation", "stored", "text"),
    [
        ("varchar", "utf8mb4_bin", None, "`c`"),
        ("varchar", "utf8mb3_general_ci", None, "`c`"),
        ("varchar", "latin1_swedish_ci", None, "CONVERT(`c` USING utf8mb4)"),
        ("varchar", "latin1_swedish_ci", "utf8mb4", "CONVERT(CAST(`c` AS BINARY) USING utf8mb4)"),
        (
            *("varchar", "latin1_swedish_ci", "cp1251"),
            "CONVERT(CONVERT(CAST(`c` AS BINARY) USING cp1251) USING utf8mb4)",
        ),
        ("blob", None, None, "CONVERT(`c` USING utf8mb4)"),
        ("bit", None, None, "CONVERT(CAST(`c` AS UNSIGNED) USING utf8mb4)"),
        ("int", None, None, "`c`"),
        ("datetime", None, None, "NULLIF(`c`, 0)"),
    ],
)
def test_every_column_becomes_utf8(
    kind: str, collation: str | None, stored: str | None, text: str
) -> None:
    assert Column("c", kind, collation, stored).text == text


def test_the_last_moment_of_the_calendar() -> None:
    assert period(NOON, datetime(9999, 12, 31, 23, 59, 59))[1].startswith("9999-12-31 23:59:59")
    assert period(NOON, NOON)[1] == "2024-10-30 12:00:01"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OperationalError(1045, "Access denied for user 'u'@'h'"), "refuses"),
        (ProgrammingError(1146, "Table 'secret.cdr' doesn't exist"), "missing"),
        (OperationalError(2003, "Can't connect to 10.0.0.1"), "does not answer"),
        (OperationalError(1226, "User 'u' has exceeded max_user_connections"), "no connection"),
        (ProgrammingError(1064, "near 'SELECT'"), "failed"),
        (RuntimeError("'cryptography' package is required"), "failed"),
        (TimeoutError("timed out"), "does not answer"),
    ],
)
def test_failures_are_reported_without_their_words(error: Exception, text: str) -> None:
    with pytest.raises(CdrUnavailable, match=text) as raised, translated(RuntimeError):
        raise error
    assert raised.value.__cause__ is error
    assert str(error.args[-1]) not in str(raised.value)


def test_a_fault_of_the_service_is_none_of_the_database() -> None:
    with pytest.raises(RuntimeError, match="a bug"), translated():
        raise RuntimeError("a bug")

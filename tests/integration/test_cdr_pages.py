"""Filters, order, pages, CSV and NDJSON of the call log, on a real MariaDB."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from evolvex_api.backends.cdr import rows as raw_rows
from evolvex_api.backends.cdr.client import _walk
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import FIELDS, Position, Selection
from tests.integration.calllog import DAY, OPEN, SAMPLE, Scratch
from tests.integration.conftest import Pbx

NINE = "2024-10-30 09:00:00"


def selected(
    filters: dict[str, str] | None = None, descending: bool = False, scope: Scope = OPEN
) -> Selection:
    return Selection(*DAY, scope, filters or {}, descending)


def all_of(scratch: Scratch, selection: Selection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"".join(scratch.cdr.export(selection)))
    return found


def page(
    scratch: Scratch, selection: Selection, limit: int, position: Position | None = None
) -> tuple[list[dict[str, Any]], Position | None]:
    found = scratch.cdr.page(selection, limit, position)
    rows = json.loads(found.body)
    assert len(rows) == found.count
    return rows, found.following


def paged(scratch: Scratch, selection: Selection, limit: int) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows, following = page(scratch, selection, limit)
    while following:
        assert len(rows) % limit == 0
        more, following = page(scratch, selection, limit, following)
        assert more
        rows += more
    return rows


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["sequence"]) for row in rows]


def test_filters_compare_bytes(scratch: Scratch) -> None:
    values = ["101", "101 ", "A", "a", "á", "1_1", "1%", "' OR '1'='1", "Ё", "ё", "", None]
    for number, value in enumerate(values):
        scratch.insert(start=NINE, sequence=number, src=value, dst="x", disposition=value)
        scratch.insert(start=NINE, sequence=100 + number, src="y", dst=value, linkedid=value)
    for number, value in enumerate(values[:-2]):
        assert value
        for name, expected in {
            "src": [number],
            "dst": [100 + number],
            "number": [number, 100 + number],
            "linkedid": [100 + number],
            "disposition": [number],
        }.items():
            assert numbers(all_of(scratch, selected({name: value}))) == expected
            assert numbers(page(scratch, selected({name: value}), 10)[0]) == expected
    assert numbers(all_of(scratch, selected({"src": "101", "number": "x"}))) == [0]
    assert all_of(scratch, selected({"src": "101", "number": "y"})) == []


def test_filters_and_the_scope_hold_together(scratch: Scratch) -> None:
    for number, context in enumerate(["inner", "outer"]):
        scratch.insert(start=NINE, sequence=number, src="101", dcontext=context)
    assert numbers(all_of(scratch, selected({"src": "101"}))) == [0, 1]
    mine = Scope(frozenset({"inner"}), "g")
    assert numbers(all_of(scratch, selected({"src": "101"}, scope=mine))) == [0]
    assert numbers(page(scratch, selected({"number": "101"}, scope=mine), 5)[0]) == [0]


@pytest.mark.parametrize("charset", ["latin1", "cp1251", "utf8mb3"])
def test_filters_on_a_table_of_another_character_set(freepbx: Scratch, charset: str) -> None:
    freepbx.sql(f"ALTER TABLE cdr CONVERT TO CHARACTER SET {charset}")
    text = "café" if charset == "latin1" else "кафе"
    freepbx.insert(calldate=NINE, src=text, dst=text, sequence=1)
    freepbx.insert(calldate=NINE, src="cafe", dst="x", sequence=2)
    for name in ("src", "dst", "number"):
        assert numbers(all_of(freepbx, selected({name: text}))) == [1]
        assert all_of(freepbx, selected({name: "漢字"})) == []


def plan(scratch: Scratch, filters: dict[str, str], descending: bool = False) -> dict[str, Any]:
    """What the server says of the query for a first page."""
    selection = Selection(datetime(2000, 1, 1), DAY[1], OPEN, filters, descending)
    with scratch.cdr._connect() as connection:
        table = scratch.cdr._shape(connection)
        queries = _walk(connection, table, selection)._queries
    sql, arguments = queries.after(queries.streams[0], None, 100)
    return scratch.sql(f"EXPLAIN {sql}", arguments)[0]


def test_filters_use_the_indexes_of_freepbx(freepbx: Scratch) -> None:
    freepbx.sql(
        "INSERT INTO cdr (calldate, src, dst, uniqueid, linkedid) SELECT %s + INTERVAL seq SECOND,"
        " seq, IF(seq %% 1000 = 0, '7495', '100'), CONCAT('1730268000.', seq), seq DIV 3"
        " FROM seq_1_to_20000",
        (str(DAY[0]),),
    )
    freepbx.sql("ANALYZE TABLE cdr")
    expected: list[tuple[dict[str, str], str]] = [
        ({"dst": "7495"}, "dst"),
        ({"uniqueid": "1730268000.7"}, "uniqueid"),
        ({"uniqueid": "1730268000.7", "dst": "100"}, "uniqueid"),
        ({"dst": "100"}, "calldate"),  # nearly all rows: the newest are found at once
        ({"src": "7"}, "calldate"),
        ({"number": "7495"}, "calldate"),  # there is no index on src
        ({"disposition": "ANSWERED"}, "calldate"),
        ({}, "calldate"),
    ]
    for filters, key in expected:
        for descending in (False, True):
            found = plan(freepbx, filters, descending)
            assert found["key"] == key, (filters, found)
            assert ("filesort" in (found["Extra"] or "")) == (key != "calldate")
    freepbx.sql("ALTER TABLE cdr ADD INDEX by_src (src)")
    found = plan(freepbx, {"number": "7495"})
    assert (found["type"], set(found["key"].split(","))) == ("index_merge", {"by_src", "dst"})
    assert plan(freepbx, {"number": "100"})["key"] == "calldate"


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_have_every_row_once(scratch: Scratch, limit: int, descending: bool) -> None:
    """Rows of one moment, rows without a number, and rows that are equal in everything."""
    moments = [0, 1, 1, 1, 1, 2, 3, 3, 3, 4, 4, 5]
    for number, seconds in enumerate(moments):
        moment = datetime(2024, 10, 30, 9) + timedelta(seconds=seconds)
        for _ in range(2 if number in (2, 6) else 1):
            scratch.insert(start=moment, uniqueid=f"{number % 5}", sequence=number)
    expected = sorted([*range(len(moments)), 2, 6], reverse=descending)
    assert numbers(paged(scratch, selected(descending=descending), limit)) == expected
    assert sorted(numbers(all_of(scratch, selected(descending=descending)))) == sorted(expected)
    scratch.sql("UPDATE cdr SET sequence = NULL, src = IF(uniqueid = '1', NULL, uniqueid)")
    rows = paged(scratch, selected(descending=descending), limit)
    by_source = sorted(str(row["src"]) for row in rows)
    assert by_source == sorted(
        str(row["src"]) for row in all_of(scratch, selected(descending=descending))
    )


@pytest.mark.parametrize("descending", [False, True])
def test_pages_are_stable_while_rows_are_added(scratch: Scratch, descending: bool) -> None:
    for number in range(10, 20):
        scratch.insert(start=NINE, sequence=number)
    first, position = page(scratch, selected(descending=descending), 5)
    for number in (*range(10), *range(20, 30)):  # in the same second, before and behind
        scratch.insert(start=NINE, sequence=number)
    for seconds in (-1, 1):
        moment = datetime(2024, 10, 30, 9) + timedelta(seconds=seconds)
        scratch.insert(start=moment, sequence=100)
    rest: list[dict[str, Any]] = []
    while position:
        more, position = page(scratch, selected(descending=descending), 5, position)
        rest += more
    seen = numbers(first) + numbers(rest)
    assert len(seen) == len(set(seen))
    assert set(range(10, 20)) < set(seen)
    assert seen == sorted(seen, reverse=descending) or seen[-1] == 100


def test_more_rows_of_one_moment_than_a_page_takes(scratch: Scratch) -> None:
    scratch.sql(
        "INSERT INTO cdr (start, sequence) SELECT %s, seq DIV 2 FROM seq_1_to_12000", (NINE,)
    )
    scratch.insert(start="2024-10-30 08:00:00", sequence=-1)
    scratch.insert(start="2024-10-30 10:00:00", sequence=7000)
    expected = sorted([-1, 7000, *(number // 2 for number in range(1, 12001))])
    for descending in (False, True):
        assert sorted(numbers(all_of(scratch, selected(descending=descending)))) == expected
    assert numbers(paged(scratch, selected(), 5000)) == expected


def test_a_long_answer_has_every_row_once(scratch: Scratch) -> None:
    scratch.many(30000)
    assert numbers(all_of(scratch, selected())) == list(range(1, 30001))
    newest = numbers(all_of(scratch, selected(descending=True)))
    assert sorted(newest) == list(range(1, 30001))
    starts = [row["start"] for row in all_of(scratch, selected(descending=True))]
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize("precision", [0, 6])
def test_rows_whose_start_is_null_beside_a_calldate(scratch: Scratch, precision: int) -> None:
    scratch.sql("ALTER TABLE cdr ADD COLUMN calldate DATETIME, ADD INDEX (calldate)")
    scratch.sql(f"ALTER TABLE cdr MODIFY start DATETIME({precision})")
    old = {"duration": 20, "billsec": 15, "disposition": "ANSWERED"}
    scratch.insert(**old, calldate="2024-10-30 09:59:15", sequence=2, uniqueid="7.x")
    scratch.insert(**old, start="2024-10-30 09:59:16", sequence=3)
    scratch.insert(**old, start="2024-10-30 09:59:14", calldate="2001-01-01", sequence=1)
    scratch.insert(**old, calldate="2001-01-01", sequence=0)
    scratch.insert(start="0000-00-00", calldate="2024-10-30 09:59:17", sequence=4)
    rows = all_of(scratch, selected())
    assert numbers(rows) == [1, 2, 3, 4]
    told = [[str(rows[1][name])[:19] for name in ("start", "answer", "end")]]
    assert told == [["2024-10-30 09:59:15", "2024-10-30 09:59:20", "2024-10-30 09:59:35"]]
    assert (rows[2]["answer"], rows[2]["end"]) == (None, None)
    assert numbers(all_of(scratch, selected(descending=True))) == [4, 3, 2, 1]
    for limit in (1, 2, 3):
        assert numbers(paged(scratch, selected(), limit)) == [1, 2, 3, 4]
        assert numbers(paged(scratch, selected(descending=True), limit)) == [4, 3, 2, 1]
    assert len(scratch.cdr.call("7.x")) == 1
    scratch.sql("ALTER TABLE cdr DROP INDEX uniqueid")
    assert len(scratch.cdr.call("7.x")) == 1


def test_a_column_that_is_added_is_there_at_once(scratch: Scratch) -> None:
    scratch.insert(start=NINE, sequence=1)
    assert "did" not in all_of(scratch, selected())[0]
    scratch.sql("ALTER TABLE cdr ADD COLUMN did VARCHAR(50) DEFAULT '7495'")
    assert all_of(scratch, selected())[0]["did"] == "7495"
    assert page(scratch, selected(), 1)[0][0]["did"] == "7495"


def test_csv_and_ndjson_have_the_same_rows_as_json(freepbx: Scratch) -> None:
    freepbx.insert(calldate=NINE, clid='"Иван, =x" <1>', src="+79161234567", cnam="=1+1")
    freepbx.insert(calldate=NINE, sequence=1)
    rows = all_of(freepbx, selected())
    for body in (
        b"".join(freepbx.cdr.export(selected(), "ndjson")),
        freepbx.cdr.page(selected(), 10, None, "ndjson").body,
    ):
        assert [json.loads(line) for line in body.splitlines()] == rows
    for body in (
        b"".join(freepbx.cdr.export(selected(), "csv")),
        freepbx.cdr.page(selected(), 10, None, "csv").body,
    ):
        read = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
        assert list(read[0]) == list(rows[0])
        expected = [{name: value or "" for name, value in row.items()} for row in rows]
        expected[0]["cnam"] = "'=1+1"
        assert read == expected


def test_pages_over_http(pbx: Pbx) -> None:
    for number in range(5):
        pbx.database.execute(
            "INSERT INTO cdr (start, dcontext, src, dst, sequence)"
            " VALUES ('2003-01-02 03:04:05', 'outgoing', 'pager', '7', %s)",
            (number,),
        )
    asked = {"start": "2003-01-02", "src": "pager", "order": "desc", "limit": 2}
    seen, cursor = [], None
    for _ in range(3):
        answer = pbx.service.get("get_log_cdr", pbx.keys["sales"], **asked, cursor=cursor or "")
        seen += [row["sequence"] for row in answer.data]
        cursor = answer.json["next"]
        if len(seen) == 2:
            refused(pbx, cursor, asked)
    assert (seen, cursor) == (["4", "3", "2", "1", "0"], None)
    assert "next" not in pbx.service.get("get_log_cdr", pbx.keys["all"], start="2003-01-02").json


def refused(pbx: Pbx, cursor: str, asked: dict[str, Any]) -> None:
    """A cursor is valid for the same group, filters and order alone."""
    wrong: list[tuple[str, dict[str, str]]] = [
        ("all", {}),
        ("sales", {"order": "asc"}),
        ("sales", {"dst": "7"}),
        ("sales", {"src": "other"}),
        ("sales", {"start": "2003-01-01"}),
        ("sales", {"cursor": cursor[:-1]}),
        ("sales", {"cursor": "x"}),
    ]
    for key, changes in wrong:
        values = {**asked, "cursor": cursor, **changes}
        answer = pbx.service.get("get_log_cdr", pbx.keys[key], **values)
        assert (answer.status, answer.code) == (400, "invalid_parameter")
        assert answer.json["parameter"] == "cursor"
    values = {**asked, "cursor": cursor, "limit": ""}
    assert pbx.service.get("get_log_cdr", pbx.keys["sales"], **values).status == 400


def test_a_file_to_download(pbx: Pbx) -> None:
    pbx.database.execute("INSERT INTO cdr (start, src) VALUES ('2003-02-03 04:05:06', '=1+1')")
    asked = {"start": "2003-02-03"}
    answer = pbx.service.get("get_log_cdr", pbx.keys["all"], **asked, format="csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="calls.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    lines = answer.body.decode("utf-8-sig").split("\r\n")
    assert lines[0] == ",".join(FIELDS)
    assert lines[1].startswith(",'=1+1,")
    answer = pbx.service.get("get_log_cdr", pbx.keys["all"], **asked, format="ndjson", limit=1)
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert json.loads(answer.body)["src"] == "=1+1"


def test_an_id_finds_its_call_of_another_day(pbx: Pbx) -> None:
    moment = datetime(2003, 3, 4, 5, 6, 7)
    uniqueid = f"{int(moment.timestamp())}.9"
    pbx.database.execute(
        "INSERT INTO cdr (start, uniqueid, linkedid) VALUES (%s, %s, %s), (%s, 'odd', 'odd')",
        (moment, uniqueid, uniqueid, moment),
    )
    for name, value in (("uniqueid", uniqueid), ("linkedid", uniqueid), ("linkedid", "odd")):
        answer = pbx.service.get("get_log_cdr", pbx.keys["all"], **{name: value})
        assert [row[name] for row in answer.data] == [value]
    asked = {"linkedid": uniqueid, "start": "2003-03-05"}
    assert pbx.service.get("get_log_cdr", pbx.keys["all"], **asked).data == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "10001"),
        ("limit", "x"),
        ("order", "newest"),
        ("format", "xml"),
        ("cursor", "x"),
        ("src", "x" * 256),
    ],
)
def test_what_is_none_of_it_is_refused(pbx: Pbx, name: str, value: str) -> None:
    answer = pbx.service.get("get_log_cdr", pbx.keys["all"], **{name: value})
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["parameter"] == name


def test_the_sample_in_every_order(scratch: Scratch) -> None:
    scratch.insert(**SAMPLE)
    for descending in (False, True):
        assert all_of(scratch, selected(descending=descending)) == [SAMPLE]
        assert page(scratch, selected(descending=descending), 1) == ([SAMPLE], None)


def test_the_same_by_pymysqls_public_parts_alone(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_rows, "_known_parts", [False])
    scratch.insert(**SAMPLE)
    assert all_of(scratch, selected()) == [SAMPLE]
    scratch.sql("DELETE FROM cdr")
    test_a_long_answer_has_every_row_once(scratch)
    scratch.sql("DELETE FROM cdr")
    test_pages_have_every_row_once(scratch, 3, descending=True)
    scratch.sql("DELETE FROM cdr")
    test_filters_compare_bytes(scratch)

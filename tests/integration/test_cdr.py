"""The call log on a real MariaDB: both shapes of the table, hostile data, the scope, the stream."""

from __future__ import annotations

import contextlib
import http.client
import json
import tracemalloc
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pymysql.cursors import SSCursor

from evolvex_api.backends.cdr import rows as raw_rows
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.backends.cdr.queries import LogQueries
from evolvex_api.backends.failures import CdrUnavailable
from evolvex_api.core.access import Scope
from evolvex_api.core.calllog import FIELDS, CallRow, Selection
from tests.integration.calllog import DAY, OPEN, SAMPLE, Scratch, settings
from tests.integration.conftest import Pbx
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until


def test_the_original_sample_comes_out_as_it_is(scratch: Scratch) -> None:
    scratch.insert(**SAMPLE)
    rows = scratch.rows()
    assert rows == [SAMPLE]
    assert list(rows[0]) == list(SAMPLE) == list(FIELDS)


def test_no_rows_are_an_empty_array(scratch: Scratch) -> None:
    assert scratch.rows() == []


def test_freepbx_has_start_answer_and_end_from_its_durations(freepbx: Scratch) -> None:
    common = {"calldate": "2024-10-30 09:59:15", "duration": 20, "amaflags": 3, "cnam": "Сергей"}
    freepbx.insert(**common, billsec=15, disposition="ANSWERED", recordingfile="a.wav")
    freepbx.insert(**common, billsec=0, disposition="NO ANSWER")
    answered, missed = freepbx.rows()
    assert (answered["start"], answered["answer"], answered["end"]) == (
        *("2024-10-30 09:59:15", "2024-10-30 09:59:20", "2024-10-30 09:59:35"),
    )
    assert (missed["answer"], missed["end"]) == (None, "2024-10-30 09:59:35")
    assert answered["amaflags"] == "DOCUMENTATION"
    lacking = ("source", "destination", "direction", "group_uuid")
    assert [answered[name] for name in lacking] == [None] * 4
    assert list(answered)[:25] == list(FIELDS)
    assert {"did", "recordingfile", "cnum", "cnam", "calldate"} <= set(list(answered)[25:])
    assert (answered["recordingfile"], answered["cnam"]) == ("a.wav", "Сергей")


def test_dates_that_are_all_zeros_are_null(freepbx: Scratch) -> None:
    freepbx.sql("ALTER TABLE cdr ADD COLUMN answer DATETIME NOT NULL DEFAULT 0")
    freepbx.insert(calldate="2024-10-30 09:59:15")
    assert freepbx.rows()[0]["answer"] is None


@pytest.mark.parametrize("precision", [0, 6])
def test_both_ends_are_included(scratch: Scratch, precision: int) -> None:
    scratch.sql(f"ALTER TABLE cdr MODIFY start DATETIME({precision})")
    inside = ["2024-10-30 00:00:00", "2024-10-30 23:59:59", "2024-10-30 23:59:59.999999"]
    for moment in ["2024-10-29 23:59:59", *inside[: 2 + (precision > 0)], "2024-10-31 00:00:00"]:
        scratch.insert(start=moment)
    assert [str(row["start"])[:19] for row in scratch.rows()] == [
        moment[:19] for moment in inside[: 2 + (precision > 0)]
    ]
    assert len(scratch.rows(datetime.min, datetime(9999, 12, 31, 23, 59, 59))) == len(
        inside
    ) + 1 + (precision > 0)


def test_oldest_first(scratch: Scratch) -> None:
    for hour in (9, 7, 8):
        scratch.insert(start=f"2024-10-30 0{hour}:00:00")
    assert [str(row["start"])[11:13] for row in scratch.rows()] == ["07", "08", "09"]


def test_the_fence_compares_bytes(scratch: Scratch) -> None:
    for number, context in enumerate(["inner", "Inner", "inner ", "ínner", "inne", None]):
        scratch.insert(start="2024-10-30 09:00:00", dcontext=context, sequence=number)
    scratch.insert(start="2024-10-30 09:00:00", dcontext="x", sequence=9, group_uuid="my-group")
    scratch.insert(start="2024-10-30 09:00:00", dcontext="x", sequence=8, group_uuid="My-group")

    def seen(*contexts: str) -> list[str | None]:
        scope = Scope(frozenset(contexts), "my-group")
        return [row["sequence"] for row in scratch.rows(scope=scope)]

    assert seen("inner") == ["0", "9"]
    assert seen("Inner", "ínner") == ["1", "3", "9"]
    assert seen() == ["9"]
    assert seen("' OR '1'='1", "\\") == ["9"]
    assert len(scratch.rows()) == 8


def test_a_fence_on_a_latin1_table(freepbx: Scratch) -> None:
    freepbx.sql("ALTER TABLE cdr CONVERT TO CHARACTER SET latin1")
    freepbx.insert(calldate="2024-10-30 09:00:00", dcontext="café", clid="ÿþý é")
    assert len(freepbx.rows(scope=Scope(frozenset({"café"}), "g"))) == 1
    assert freepbx.rows(scope=Scope(frozenset({"cafe"}), "g")) == []
    assert freepbx.rows(scope=Scope(frozenset(), "g")) == []
    assert freepbx.rows()[0]["clid"] == "ÿþý é"


HOSTILE = [
    'quotes " and \\ and \\" and </script>',
    "".join(map(chr, range(33))) + "\x7f\x80\x9f",
    "\u2028\u2029\ufffe\uffff\ufdd0 þÿ ý",
    "😀 Ёлка 漢字 \U0010ffff",
    "null",
    '","src":"forged',
    "'; DROP TABLE cdr; -- %s %(a)s",
]


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH"])
def test_hostile_values_come_out_as_they_are(scratch: Scratch, mode: str) -> None:
    for number, text in enumerate(HOSTILE):
        scratch.insert(start="2024-10-30 09:00:00", clid=text, group_uuid="g", sequence=number)
    before = scratch.sql("SELECT @@GLOBAL.sql_mode AS mode")[0]["mode"]
    scratch.sql("SET GLOBAL sql_mode = %s", (mode,))
    try:
        rows = scratch.rows(scope=Scope(frozenset({"a'b\\"}), "g"))
    finally:
        scratch.sql("SET GLOBAL sql_mode = %s", (before,))
    assert [row["clid"] for row in rows] == HOSTILE
    assert {row["group_uuid"] for row in rows} == {"g"}


def test_columns_of_any_type_and_name(scratch: Scratch) -> None:
    names = ['a"b', "c\\d", "e`f", "100%s", "имя"]
    added = ", ".join(f"ADD `{n.replace('`', '``')}` INT DEFAULT 5" for n in names)
    scratch.sql(f"ALTER TABLE cdr {added}")
    kinds = {
        **{"k_blob": "BLOB", "k_bit": "BIT(5)", "k_latin": "TEXT CHARACTER SET latin1"},
        **{"k_dec": "DECIMAL(9,3)", "k_enum": "ENUM('да','нет')", "k_date": "DATE"},
        **{"k_utf16": "VARCHAR(9) CHARACTER SET utf16", "k_json": "JSON", "k_year": "YEAR"},
    }
    scratch.sql("ALTER TABLE cdr " + ", ".join(f"ADD {n} {kind}" for n, kind in kinds.items()))
    scratch.sql(
        "INSERT INTO cdr (start, k_blob, k_bit, k_latin, k_dec, k_enum, k_date, k_utf16, k_json,"
        " k_year) VALUES ('2024-10-30', X'FEFF4100', 5, X'E9FFFE', 1.5, 'да', '2024-10-30', '😀',"
        ' \'{"a": "b"}\', 2024)'
    )
    row = scratch.rows()[0]
    assert [row[name] for name in names] == ["5"] * 5
    assert row["k_blob"] == "??A\0"
    expected = ["5", "éÿþ", "1.500", "да", "2024-10-30", "😀", '{"a": "b"}', "2024"]
    assert [row[name] for name in kinds][1:] == expected


def test_names_of_columns_know_no_case(scratch: Scratch) -> None:
    scratch.sql("ALTER TABLE cdr CHANGE uniqueid UniqueID VARCHAR(32)")
    scratch.insert(start="2024-10-30 09:00:00", uniqueid="1730267955.2409")
    assert scratch.rows()[0]["uniqueid"] == "1730267955.2409"
    assert len(scratch.cdr.call("1730267955.2409")) == 1


def test_it_goes_on_when_the_table_changes(scratch: Scratch) -> None:
    scratch.insert(start="2024-10-30 09:00:00", direction="in")
    assert scratch.rows()[0]["direction"] == "in"
    scratch.sql("ALTER TABLE cdr DROP COLUMN direction, DROP INDEX start")
    assert scratch.rows()[0]["direction"] is None
    assert scratch.cdr.describe().index is None
    scratch.sql("RENAME TABLE cdr TO other")
    with pytest.raises(CdrUnavailable, match="missing"):
        scratch.rows()
    scratch.sql("RENAME TABLE other TO cdr")
    assert len(scratch.rows()) == 1


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX start",
        "ENGINE = MyISAM",
        "ENGINE = Aria",
        "DROP INDEX start, ADD INDEX (start, src)",
    ],
)
def test_any_engine_and_index(scratch: Scratch, change: str) -> None:
    scratch.many(3000)
    expected = scratch.rows()
    scratch.sql(f"ALTER TABLE cdr {change}")
    assert sorted(scratch.rows(), key=lambda row: int(row["sequence"] or 0)) == expected


def test_a_view_in_place_of_the_table(scratch: Scratch) -> None:
    scratch.sql("RENAME TABLE cdr TO base")
    scratch.sql("CREATE VIEW cdr AS SELECT * FROM base")
    scratch.sql("INSERT INTO base (start, src) VALUES ('2024-10-30 09:00:00', '7')")
    assert scratch.rows()[0]["src"] == "7"


def test_a_long_answer_follows_the_index_and_is_not_sorted(scratch: Scratch) -> None:
    scratch.many(20000)
    connection = scratch.cdr._connect()
    with connection:
        table = scratch.cdr._shape(connection)
    queries = LogQueries(table, Selection(datetime(2000, 1, 1), datetime(2030, 1, 1), OPEN))
    sql, arguments = queries.after(queries.streams[0], None, 1000)
    plan = scratch.sql(f"EXPLAIN {sql}", arguments)[0]
    assert plan["key"] == "start"
    assert "filesort" not in plan["Extra"]


def test_memory_does_not_grow_with_rows(scratch: Scratch) -> None:
    scratch.many(40000)
    scratch.rows(end=DAY[0])
    tracemalloc.start()
    try:
        export = scratch.cdr.export(Selection(*DAY, OPEN))
        size = sum(map(len, export))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert export.count == 40000
    assert peak < 7_000_000 < size / 2


def test_rows_in_bulk_equal_pymysqls_own(scratch: Scratch) -> None:
    scratch.many(3000)
    sizes = "SELECT REPEAT('é', n) FROM (SELECT 0 AS n UNION ALL SELECT 125 UNION ALL SELECT 126"
    sizes += " UNION ALL SELECT 32767 UNION ALL SELECT 32768 UNION ALL SELECT 500000) AS sizes"
    numbers = "SELECT CONCAT_WS(' ', start, clid, sequence) FROM cdr WHERE sequence > %s"
    nothing = "SELECT clid FROM cdr WHERE sequence < %s"
    for sql, arguments in ((sizes, ()), (numbers, (7,)), (nothing, (0,))):
        with scratch.cdr._connect() as connection:
            cursor: Any = connection.cursor(SSCursor)
            cursor.execute(sql, arguments)
            ordinary = [row[0].encode() for row in cursor.fetchall()]
        with scratch.cdr._connect() as connection:
            bulk, plain = (
                [
                    row
                    for rows in raw_rows.batches(connection, (sql, arguments), raw)
                    for row in rows
                ]
                for raw in (True, False)
            )
        assert bulk == plain == ordinary


def queries(database: MariaDB) -> int:
    """How many connections of the service's user the server has."""
    sql = "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE user = %s"
    return int(database.execute(sql, database.reader[:1])[0]["n"])


def test_an_abandoned_answer_ends_at_once(scratch: Scratch) -> None:
    scratch.many(60000)
    before = queries(scratch.database)
    export = scratch.cdr.export(Selection(*DAY, OPEN))
    chunks = iter(export)
    assert next(chunks).startswith(b'[{"accountcode":null')
    next(chunks)
    assert queries(scratch.database) == before + 1
    export.close()
    wait_until(lambda: queries(scratch.database) == before, 10, "the query has ended")


def call_ids(rows: list[CallRow]) -> list[str]:
    return sorted(row.uniqueid for row in rows)


def test_all_rows_of_a_call(scratch: Scratch) -> None:
    epoch = int(datetime(2024, 10, 30, 9).timestamp())
    legs = [(f"{epoch}.1", f"{epoch}.1"), (f"{epoch}.2", f"{epoch}.1"), (f"{epoch}.2", None)]
    strangers = [(f"{epoch}.4", f"{epoch}.4"), ("pbx-A.1", "pbx-A.1"), ("pbx-a.1", "PBX-a.1")]
    for uniqueid, linkedid in legs + strangers:
        scratch.insert(start="2024-10-30 09:00:00", uniqueid=uniqueid, linkedid=linkedid)
    whole = sorted(uniqueid for uniqueid, _ in legs)
    assert call_ids(scratch.cdr.call(f"{epoch}.2")) == whole
    assert call_ids(scratch.cdr.call(f"{epoch}.1")) == whole[:2]
    assert call_ids(scratch.cdr.call("pbx-A.1")) == ["pbx-A.1"]
    assert scratch.cdr.call(f"{epoch}.3") == scratch.cdr.call("%") == []


def test_without_an_index_a_call_is_looked_for_around_its_time(scratch: Scratch) -> None:
    moment = datetime(2024, 10, 30, 9)
    uniqueid = f"pbx-{int(moment.timestamp())}.1"
    for days in (-2, 0, 1, 3):
        scratch.insert(start=moment + timedelta(days=days), uniqueid=uniqueid, userfield=days)
    assert {row.userfield for row in scratch.cdr.call(uniqueid)} == {"-2", "0", "1", "3"}
    scratch.sql("ALTER TABLE cdr DROP INDEX uniqueid, DROP INDEX linkedid")
    assert {row.userfield for row in scratch.cdr.call(uniqueid)} == {"0", "1"}
    scratch.sql("DELETE FROM cdr WHERE userfield IN (0, 1)")
    assert {row.userfield for row in scratch.cdr.call(uniqueid)} == {"3"}


def test_what_a_calls_row_tells(freepbx: Scratch) -> None:
    freepbx.insert(calldate="2024-10-30 09:00:00", uniqueid="7.x", dcontext="д", recordingfile="r")
    assert freepbx.cdr.call("7.x") == [CallRow("7.x", "", "д", "", "r", "")]
    freepbx.sql("ALTER TABLE cdr DROP linkedid, DROP recordingfile, DROP userfield, DROP dcontext")
    assert freepbx.cdr.call("7.x") == [CallRow("7.x", "", "", "", "", "")]


def test_what_doctor_is_told(freepbx: Scratch) -> None:
    facts = freepbx.cdr.describe()
    assert "MariaDB" in facts.server
    assert (facts.time_column, facts.index) == ("calldate", "calldate")
    assert facts.columns[:2] == ("calldate", "clid")
    assert abs(facts.now - datetime.now()) < timedelta(minutes=5)


def test_a_table_that_holds_no_calls(scratch: Scratch) -> None:
    scratch.sql("ALTER TABLE cdr DROP COLUMN start")
    with pytest.raises(CdrUnavailable, match="neither"):
        scratch.rows()


def test_over_the_unix_socket(scratch: Scratch) -> None:
    scratch.insert(**SAMPLE)
    options = settings(scratch.database, unix_socket=str(scratch.database.socket), host="nowhere")
    export = Cdr(options).export(Selection(*DAY, OPEN))
    assert json.loads(b"".join(export)) == [SAMPLE]


def test_a_real_call_is_in_the_log(any_pbx: Pbx) -> None:
    uniqueid = any_pbx.recorded_call(callerid="Сергей <79123456789>")
    everything = any_pbx.service.get("get_log_cdr", any_pbx.keys["all"]).data
    rows = [row for row in everything if row["linkedid"] == uniqueid]
    assert len(rows) >= 3
    assert all(list(row) == list(FIELDS) for row in rows)
    assert all(value is None or isinstance(value, str) for row in rows for value in row.values())
    assert {row["amaflags"] for row in rows} == {"DOCUMENTATION"}
    assert any("Сергей" in row["clid"] for row in rows)
    assert "ANSWERED" in {row["disposition"] for row in rows}
    assert {row.uniqueid for row in _cdr_of(any_pbx).call(uniqueid)} == {
        row["uniqueid"] for row in rows
    }
    mine = any_pbx.service.get("get_log_cdr", any_pbx.keys["sales"]).data
    assert {row["uniqueid"] for row in mine if row["linkedid"] == uniqueid}
    assert {row["dcontext"] for row in mine} <= {"outgoing", "answer"}
    seen = any_pbx.service.get("get_log_cdr", any_pbx.keys["other"]).data
    assert not [row for row in seen if row["linkedid"] == uniqueid]
    assert any_pbx.service.get("get_log_cdr", any_pbx.keys["nobody"]).code == "right_denied"


def _cdr_of(pbx: Pbx) -> Cdr:
    return Cdr(settings(pbx.database, database="asteriskcdrdb"))


def test_get_post_form_and_json_answer_alike(pbx: Pbx) -> None:
    sql = "INSERT INTO cdr (start, dcontext, src) VALUES ('2001-02-03 04:05:06', 'x', '7')"
    pbx.database.execute(sql)
    key, asked = pbx.keys["all"], {"start": "2001-02-03", "end": "2001-02-03T04:05:06"}
    kinds = {
        "application/json": json.dumps(asked),
        "application/x-www-form-urlencoded": urlencode(asked),
    }
    answers = [pbx.service.get("get_log_cdr", key, **asked)]
    answers.append(pbx.service.request("POST", "get_log_cdr", key, params=asked))
    for kind, body in kinds.items():
        sent = {"Content-Type": kind}
        body_ = body.encode()
        answers.append(pbx.service.request("POST", "get_log_cdr", key, headers=sent, body=body_))
    assert [len(answer.data) for answer in answers] == [1] * 4
    assert {answer.body for answer in answers} == {answers[0].body}
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
    line = f" {answers[0].headers['X-Request-ID']} 200 GET /pbx/api/index/get_log_cdr "
    wait_until(lambda: line in pbx.service.log(), 5, "the journal's line")
    told = next(text for text in pbx.service.log().splitlines() if line in text)
    assert told.endswith(" rows=1")


def test_head_has_the_headers_of_get(pbx: Pbx) -> None:
    answer = pbx.service.request("HEAD", "get_log_cdr", pbx.keys["all"])
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "asked",
    [{"start": "x"}, {"end": "2024-10-32"}, {"start": "2024-10-31", "end": "2024-10-30"}],
)
def test_a_period_that_is_none_is_refused(pbx: Pbx, asked: dict[str, str]) -> None:
    answer = pbx.service.get("get_log_cdr", pbx.keys["all"], **asked)
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["parameter"] in asked


def test_a_client_that_goes_away_ends_the_query(pbx: Pbx) -> None:
    pbx.database.execute(
        "INSERT INTO cdr (start, dcontext, clid) SELECT '2002-01-01', 'x', REPEAT('x', 60)"
        " FROM seq_1_to_60000"
    )
    before = queries(pbx.database)
    path = "/pbx/api/index/get_log_cdr?start=2002-01-01"
    connection = http.client.HTTPConnection("127.0.0.1", pbx.service.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-API-Key": pbx.keys["all"]})
        response = connection.getresponse()
        assert response.read(100).startswith(b'{"data":[{"accountcode":null')
        assert queries(pbx.database) == before + 1
        response.close()
    wait_until(lambda: queries(pbx.database) == before, 10, "the query has ended")

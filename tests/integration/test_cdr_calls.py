"""Which rows are a call's, whatever id of it is known and however many rows it has."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from evolvex_api.backends.cdr import rows
from evolvex_api.backends.cdr.client import Cdr
from evolvex_api.core.calllog import CallRow
from tests.integration.calllog import SCRATCH, Scratch, settings
from tests.integration.conftest import Pbx
from tests.lab.server import wait_until

NINE = datetime(2024, 10, 30, 9)
EPOCH = int(NINE.timestamp())


def userfields(rows: list[CallRow]) -> set[str]:
    return {row.userfield for row in rows}


@pytest.mark.parametrize("rows", [499, 602, 5000])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_call_of_many_rows(scratch: Scratch, rows: int, indexed: bool) -> None:
    """A queue that rings all members anew for minutes makes a row for each attempt."""
    if not indexed:
        scratch.sql("ALTER TABLE cdr DROP INDEX uniqueid, DROP INDEX linkedid")
    scratch.sql(
        "INSERT INTO cdr (start, uniqueid, linkedid, dstchannel, userfield)"
        " SELECT %s + INTERVAL seq SECOND, IF(seq %% 2, %s, CONCAT(%s, '.', 1000 + seq)), %s,"
        f" CONCAT('PJSIP/', seq), IF(seq = {rows}, 'audio:last.wav', '')"
        f" FROM seq_1_to_{rows}",
        (NINE, f"{EPOCH}.1", EPOCH, f"{EPOCH}.1"),
    )
    for uniqueid in (f"{EPOCH}.1", f"{EPOCH}.1002", f"{EPOCH}.{1000 + rows // 2 * 2}"):
        found = scratch.cdr.call(uniqueid)
        assert "audio:last.wav" in userfields(found)
        assert len({row.uniqueid for row in found}) == 1 + rows // 2


@pytest.mark.parametrize("indexed", [True, False])
def test_a_linkedid_days_older_than_its_row(freepbx: Scratch, indexed: bool) -> None:
    """The channel of an agent who stays logged in lives for days."""
    if not indexed:
        freepbx.sql("ALTER TABLE cdr DROP INDEX uniqueid")
    linkedid = f"{EPOCH}.1"
    for days in (5, 9):
        later = NINE + timedelta(days=days)
        freepbx.insert(
            calldate=later,
            uniqueid=f"{int(later.timestamp())}.7",
            linkedid=linkedid,
            userfield=f"day {days}",
        )
    assert userfields(freepbx.cdr.call(linkedid)) == {"day 5", "day 9"}
    for days in (5, 9):
        moment = int((NINE + timedelta(days=days)).timestamp())
        assert f"day {days}" in userfields(freepbx.cdr.call(f"{moment}.7"))


def test_rows_that_differ_in_case_alone_are_different(scratch: Scratch) -> None:
    for context in ("Inner", "inner", "inner "):
        scratch.insert(start=NINE, uniqueid="1.1", linkedid="1.1", dcontext=context)
    assert {row.dcontext for row in scratch.cdr.call("1.1")} == {"Inner", "inner", "inner "}


def with_events(scratch: Scratch, *pairs: tuple[str, str]) -> None:
    scratch.sql("CREATE TABLE cel (uniqueid VARCHAR(32), linkedid VARCHAR(32), KEY (uniqueid))")
    for uniqueid, linkedid in pairs:
        scratch.sql("INSERT INTO cel VALUES (%s, %s)", (uniqueid, linkedid))


def test_a_leg_without_a_row_is_found_by_its_events(scratch: Scratch) -> None:
    scratch.insert(start=NINE, uniqueid=f"{EPOCH}.1", linkedid=f"{EPOCH}.1", userfield="caller")
    leg = f"{EPOCH}.2"
    assert scratch.cdr.call(leg) == []  # there is no table of events
    with_events(scratch, (leg, f"{EPOCH}.1"), (leg, leg), (leg, ""), ("X", f"{EPOCH}.1"))
    assert userfields(scratch.cdr.call(leg)) == {"caller"}
    assert userfields(scratch.cdr.call("X")) == {"caller"}
    for stranger in ("x", "X ", f"{EPOCH}.3", "%", ""):
        assert scratch.cdr.call(stranger) == []


def test_a_table_of_events_that_may_not_be_read_is_as_none(scratch: Scratch) -> None:
    scratch.insert(start=NINE, uniqueid="1.1", linkedid="1.1")
    with_events(scratch, ("1.2", "1.1"))
    reader = scratch.database.reader[:1]
    scratch.sql(f"REVOKE SELECT ON {SCRATCH}.* FROM %s", reader)
    scratch.sql(f"GRANT SELECT ON {SCRATCH}.cdr TO %s", reader)
    try:
        assert scratch.cdr.call("1.2") == []
        assert len(scratch.cdr.call("1.1")) == 1
    finally:
        scratch.sql(f"REVOKE SELECT ON {SCRATCH}.cdr FROM %s", reader)
        scratch.sql(f"GRANT SELECT ON {SCRATCH}.* TO %s", reader)


def test_events_in_a_table_of_another_name(scratch: Scratch) -> None:
    scratch.insert(start=NINE, uniqueid="1.1", linkedid="1.1")
    with_events(scratch, ("1.2", "1.1"))
    scratch.sql("RENAME TABLE cel TO events")
    named = Cdr(settings(scratch.database, cel_table="events"))
    assert len(named.call("1.2")) == 1


def test_the_dialled_leg_of_a_real_call(any_pbx: Pbx) -> None:
    """It leaves no row; its recording is found by Asterisk's events when the call is over."""
    uniqueid = any_pbx.recorded_call()
    legs = (
        "SELECT DISTINCT uniqueid FROM cel WHERE linkedid = %s AND uniqueid NOT IN"
        " (SELECT uniqueid FROM cdr WHERE linkedid = %s)"
    )

    def dialled() -> list[str]:
        found = any_pbx.database.execute(legs, (uniqueid, uniqueid))
        return [row["uniqueid"] for row in found]

    wait_until(lambda: len(dialled()) > 0, 10, "events of the dialled leg")
    for leg in dialled():
        for key, heard in (("all", True), ("sales", True), ("other", False)):
            answer = any_pbx.service.get("check", any_pbx.keys[key], uniqueid=leg)
            assert answer.data["file"] is heard
        got = any_pbx.service.get("get_file_wav", any_pbx.keys["sales"], uniqueid=leg)
        assert got.status == 200


def test_every_id_takes_the_same_queries(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that its asker may not see is refused after the same work as one that is none."""
    with_events(scratch, (f"{EPOCH}.3", f"{EPOCH}.1"))
    for leg in (1, 2):
        scratch.insert(start=NINE, uniqueid=f"{EPOCH}.{leg}", linkedid=f"{EPOCH}.1")
    asked: list[int] = []
    select = rows.select

    def counted(*arguments: Any) -> Any:
        asked.append(1)
        return select(*arguments)

    monkeypatch.setattr(rows, "select", counted)
    counts = {}
    for uniqueid in (f"{EPOCH}.1", f"{EPOCH}.2", f"{EPOCH}.3", f"{EPOCH}.99", "nothing"):
        asked.clear()
        scratch.cdr.call(uniqueid)
        counts[uniqueid] = len(asked)
    assert set(counts.values()) == {3}

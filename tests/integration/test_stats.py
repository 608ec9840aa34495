"""stats on tables made by hand, whose figures were counted by hand, and on real calls."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from evolvex_api.core.access import Scope
from evolvex_api.core.stats import By, Question, buckets
from tests.integration.calllog import DAY, OPEN, Scratch
from tests.integration.conftest import Pbx
from tests.lab.scenarios import SCENARIOS
from tests.lab.server import wait_until
from tests.lab.stage import Stage

NONE: dict[str, float] = {
    **{"calls": 0, "inbound": 0, "outbound": 0, "internal": 0, "answered": 0, "missed": 0},
    **{"not_called_back": 0, "talk_seconds": 0, "average_talk_seconds": 0},
    **{"average_wait_seconds": 0, "longest_wait_seconds": 0},
}


def question(by: By, scope: Scope = OPEN, day: tuple[datetime, datetime] = DAY) -> Question:
    return Question(*day, scope, by, ("from-trunk*",), re.compile("[0-9]{2,5}"))


def counted(scratch: Scratch, by: By, scope: Scope = OPEN) -> dict[str, dict[str, Any]]:
    asked = question(by, scope)
    found = buckets(scratch.cdr.stats(asked), asked)
    return {str(bucket.pop("key")): bucket for bucket in found}


class Calls:
    """Rows as Asterisk writes them, in the table's own shape."""

    def __init__(self, scratch: Scratch, freepbx: bool) -> None:
        self._scratch = scratch
        self._freepbx = freepbx

    def row(
        self, call: int, at: str, wait: int, talk: int | None = None, /, **values: object
    ) -> None:
        """A row that rings `wait` seconds and, unless None, is answered for `talk` seconds."""
        start = datetime.fromisoformat(f"2024-10-30 {at}")
        made: dict[str, object] = {
            **{"linkedid": f"{call}.1", "uniqueid": f"{call}.1", "dcontext": "ext-local"},
            **{"duration": wait + (talk or 0), "billsec": talk or 0, "channel": "PJSIP/trunk-1"},
            "disposition": "NO ANSWER" if talk is None else "ANSWERED",
            **values,
        }
        if self._freepbx:
            made["calldate"] = start
        else:
            answer = None if talk is None else start + timedelta(seconds=wait)
            end = start + timedelta(seconds=wait + (talk or 0))
            made |= {"start": start, "answer": answer, "end": end}
        self._scratch.insert(**made)


@pytest.fixture(params=["original", "freepbx"])
def calls(request: pytest.FixtureRequest) -> tuple[Scratch, Calls]:
    """A morning: five calls from outside, two to the outside, one inside."""
    name = "freepbx" if request.param == "freepbx" else "scratch"
    scratch: Scratch = request.getfixturevalue(name)
    made = Calls(scratch, freepbx=name == "freepbx")
    trunk = {"dcontext": "from-trunk-a"}
    # 1: a ring group of three: 10 s, answered by 102 for 60 s, then transferred to 103 for 30 s.
    for endpoint in ("101", "103"):
        made.row(
            1,
            "09:00:00",
            10,
            **trunk,
            src="74951112233",
            dst="600",
            dstchannel=f"PJSIP/{endpoint}-1",
        )
    made.row(1, "09:00:00", 10, 60, **trunk, src="74951112233", dst="600", dstchannel="PJSIP/102-1")
    made.row(1, "09:01:10", 0, 30, src="74951112233", dst="103", dstchannel="PJSIP/103-2")
    # 2: missed by 101 after 20 s; called back at once, by another notation of the number.
    made.row(2, "09:10:00", 20, **trunk, src="79160000001", dst="101", dstchannel="PJSIP/101-3")
    made.row(
        3,
        "09:11:00",
        5,
        40,
        channel="PJSIP/101-4",
        src="101",
        dst="89160000001",
        dstchannel="PJSIP/trunk-5",
    )
    # 4: an IVR answered it, no person did; nobody called back.
    made.row(4, "10:00:00", 0, 15, **trunk, src="79160000002", dst="s", dstchannel="")
    # 5: missed after an answered one of the same number, by a chain of Local channels (6).
    made.row(
        6, "10:05:00", 4, 100, **trunk, src="79160000003", dst="101", dstchannel="Local/101@q-1;1"
    )
    made.row(
        6,
        "10:05:00",
        4,
        100,
        uniqueid="6.3",
        src="79160000003",
        dst="101",
        channel="Local/101@q-1;2",
        dstchannel="PJSIP/101-6",
    )
    made.row(5, "10:10:00", 8, **trunk, src="79160000003", dst="102", dstchannel="PJSIP/102-7")
    # 7: to the outside, not answered. 8: inside, answered.
    made.row(
        7,
        "10:20:00",
        30,
        channel="PJSIP/102-8",
        src="102",
        dst="79160000009",
        dstchannel="PJSIP/trunk-9",
    )
    made.row(
        8,
        "11:00:00",
        2,
        50,
        channel="PJSIP/101-9",
        src="101",
        dst="102",
        dstchannel="PJSIP/user-102-sales-1",
    )
    return scratch, made


def test_by_hour(calls: tuple[Scratch, Calls]) -> None:
    assert counted(calls[0], "hour") == {
        "2024-10-30 09:00": NONE
        | {"calls": 3, "inbound": 2, "outbound": 1, "answered": 2, "missed": 1}
        | {"talk_seconds": 130, "average_talk_seconds": 65.0}
        | {"average_wait_seconds": 15.0, "longest_wait_seconds": 20},
        "2024-10-30 10:00": NONE
        | {"calls": 4, "inbound": 3, "outbound": 1, "answered": 1, "missed": 2}
        | {"not_called_back": 2, "talk_seconds": 100, "average_talk_seconds": 100.0}
        | {"average_wait_seconds": 9.0, "longest_wait_seconds": 15},
        "2024-10-30 11:00": NONE
        | {"calls": 1, "internal": 1, "answered": 1, "talk_seconds": 50}
        | {"average_talk_seconds": 50.0},
    }


@pytest.mark.parametrize(("by", "key"), [("day", "2024-10-30"), ("weekday", "3")])
def test_by_day(calls: tuple[Scratch, Calls], by: By, key: str) -> None:
    expected = NONE | {"calls": 8, "inbound": 5, "outbound": 2, "internal": 1, "answered": 4}
    expected |= {"missed": 3, "not_called_back": 2, "talk_seconds": 280}
    expected |= {"average_talk_seconds": 70.0, "average_wait_seconds": 11.4}
    assert counted(calls[0], by) == {key: expected | {"longest_wait_seconds": 20}}


def test_by_agent(calls: tuple[Scratch, Calls]) -> None:
    assert counted(calls[0], "agent") == {
        # 2 (missed), 3 (made), 6 (answered), 8 (made)
        "101": NONE
        | {"calls": 4, "inbound": 2, "outbound": 1, "internal": 1, "answered": 3, "missed": 1}
        | {"talk_seconds": 190, "average_talk_seconds": 63.3}
        | {"average_wait_seconds": 12.0, "longest_wait_seconds": 20},
        # 1 (answered), 5 (missed), 7 (made, not answered), 8 (answered)
        "102": NONE
        | {"calls": 4, "inbound": 2, "outbound": 1, "internal": 1, "answered": 2, "missed": 1}
        | {"not_called_back": 1, "talk_seconds": 110, "average_talk_seconds": 55.0}
        | {"average_wait_seconds": 9.0, "longest_wait_seconds": 10},
        # 1 (by transfer: it waited until the 103 answered)
        "103": NONE
        | {"calls": 1, "inbound": 1, "answered": 1, "talk_seconds": 30}
        | {"average_talk_seconds": 30.0}
        | {"average_wait_seconds": 70.0, "longest_wait_seconds": 70},
    }


def test_by_queue(calls: tuple[Scratch, Calls]) -> None:
    scratch, made = calls
    assert counted(scratch, "queue") == {}
    queue = {"dcontext": "from-trunk", "lastapp": "Queue", "lastdata": "sales,tT,,,20", "dst": "7"}
    for endpoint in ("101", "102"):
        made.row(20, "12:00:00", 12, **queue, src="1", dstchannel=f"PJSIP/{endpoint}-1")
    made.row(20, "12:00:12", 6, 30, **queue, src="1", dstchannel="PJSIP/101-2")
    made.row(21, "12:10:00", 25, **queue, src="2", dstchannel="")
    made.row(
        21,
        "12:10:25",
        5,
        5,
        dst="7",
        src="2",
        lastapp="Queue",
        lastdata="support",
        dstchannel="PJSIP/101-2",
    )
    found = counted(scratch, "queue")
    assert found.keys() == {"sales", "support"}
    assert found["sales"] == NONE | {
        **{"calls": 2, "inbound": 2, "answered": 2, "talk_seconds": 35},
        **{"average_talk_seconds": 17.5, "average_wait_seconds": 24.0, "longest_wait_seconds": 30},
    }
    assert (found["support"]["calls"], found["support"]["talk_seconds"]) == (1, 5)


def test_what_the_dialplan_wrote_counts_first(scratch: Scratch) -> None:
    made = Calls(scratch, freepbx=False)
    for number, (word, way) in enumerate(
        [
            *(("in", "inbound"), ("Incoming", "inbound"), ("outgoing", "outbound")),
            *(("local", "internal"), ("", "inbound"), ("elsewhere", "inbound")),
        ]
    ):
        made.row(
            number, f"0{number}:00:00", 5, dcontext="from-trunk", src="1", dst="7", direction=word
        )
        assert counted(scratch, "hour")[f"2024-10-30 0{number}:00"][way] == 1


def test_freepbx_marks_calls_from_outside_by_did(freepbx: Scratch) -> None:
    Calls(freepbx, freepbx=True).row(1, "09:00:00", 5, dcontext="ext-queues", dst="600", did="7495")
    assert counted(freepbx, "day")["2024-10-30"]["inbound"] == 1


def test_a_hidden_number_is_not_called_back(scratch: Scratch) -> None:
    made = Calls(scratch, freepbx=False)
    for call, talk in ((1, None), (2, 30)):
        made.row(
            call, f"09:0{call}:00", 5, talk, dcontext="from-trunk", src="", dstchannel="PJSIP/1"
        )
    day = counted(scratch, "day")["2024-10-30"]
    assert (day["answered"], day["missed"], day["not_called_back"]) == (1, 1, 1)


def test_only_rows_that_the_group_may_see_count(calls: tuple[Scratch, Calls]) -> None:
    scratch = calls[0]
    mine = Scope(frozenset({"from-trunk-a"}), "g")
    assert counted(scratch, "day", mine)["2024-10-30"]["calls"] == 5
    assert counted(scratch, "day", Scope(frozenset({"FROM-trunk-a"}), "g")) == {}
    assert counted(scratch, "agent", Scope(frozenset(), "g")) == {}


def test_tables_of_other_shapes(freepbx: Scratch) -> None:
    Calls(freepbx, freepbx=True).row(1, "09:00:00", 5, 7, dstchannel="PJSIP/101-1", did="1")
    for change in (
        "ADD COLUMN start DATETIME NULL",
        "DROP COLUMN linkedid",
        "CONVERT TO CHARACTER SET latin1",
        "DROP COLUMN did, DROP COLUMN uniqueid, DROP COLUMN lastdata, DROP COLUMN src",
    ):
        freepbx.sql(f"ALTER TABLE cdr {change}")
        for by in ("day", "hour", "weekday", "agent"):
            (bucket,) = counted(freepbx, by).values()
            assert (bucket["calls"], bucket["answered"], bucket["talk_seconds"]) == (1, 1, 7)
        assert counted(freepbx, "queue") == {}


def test_over_http(pbx: Pbx) -> None:
    pbx.database.execute(
        "INSERT INTO cdr (start, end, dcontext, linkedid, uniqueid, direction, disposition, src)"
        " VALUES ('2004-01-02 03:04:05', '2004-01-02 03:04:25', 'outgoing', '1.1', '1.1',"
        " 'incoming', 'NO ANSWER', '7')"
    )
    asked = {"start": "2004-01-01", "end": "2004-02-01"}
    expected = NONE | {"calls": 1, "inbound": 1, "missed": 1, "not_called_back": 1}
    expected |= {"average_wait_seconds": 20.0, "longest_wait_seconds": 20}
    for by, key in (("hour", "2004-01-02 03:00"), ("day", "2004-01-02"), ("weekday", "5")):
        answer = pbx.service.get("stats", pbx.keys["sales"], **asked, by=by)
        assert answer.data == [{"key": key, **expected}]
    assert pbx.service.get("stats", pbx.keys["other"], **asked).data == []
    assert pbx.service.get("stats", pbx.keys["nobody"], **asked).code == "right_denied"
    for wrong in ({"by": "month"}, {"start": "2003-10-01"}, {"end": "x"}):
        answer = pbx.service.get("stats", pbx.keys["all"], **{**asked, **wrong})
        assert (answer.status, answer.code) == (400, "invalid_parameter")


def figures(pbx: Pbx, key: str, by: str) -> dict[str, dict[str, float]]:
    return {bucket.pop("key"): bucket for bucket in pbx.service.get("stats", key, by=by).data}


def played(pbx: Pbx, names: Sequence[str]) -> None:
    """Play scenarios one after the other, and wait until their rows are in the log."""
    sql = "SELECT COUNT(DISTINCT linkedid) AS n FROM cdr WHERE dcontext = 'from-trunk'"
    before = int(pbx.database.execute(sql)[0]["n"])
    for name in names:
        stage = Stage(pbx.asterisk)
        with contextlib.closing(stage):
            SCENARIOS[name](stage)
    done = before + len(names)
    wait_until(lambda: int(pbx.database.execute(sql)[0]["n"]) == done, 15, "rows of the calls")
    wait_until(lambda: pbx.asterisk.channels() == 0, 15, "no call is left")


def test_real_calls_through_queues_and_a_ring_group(any_pbx: Pbx) -> None:
    """A ring group of three, two queues that are answered by the second member, one left."""
    pbx = any_pbx
    name = f"strangers-{uuid.uuid4()}"
    key = pbx.service.add_user(name, pbx.service.add_group(name, ["from-trunk"]))
    before = {by: figures(pbx, key, by) for by in ("day", "agent", "queue")}
    played(pbx, ("group", "queue_agents", "queue_local", "queue_abandoned"))

    def more(by: str, bucket: str) -> dict[str, float]:
        old = before[by].get(bucket, {})
        new = figures(pbx, key, by)[bucket]
        return {n: new[n] - old.get(n, 0) for n in ("calls", "inbound", "answered", "missed")}

    (today,) = figures(pbx, key, "day")
    assert more("day", today) == {"calls": 4, "inbound": 4, "answered": 3, "missed": 1}
    taken, left = (
        {"calls": 1, "inbound": 1, "answered": 1, "missed": 0},
        {"answered": 0, "missed": 1},
    )
    for queue, expected in (("agents", taken), ("local", taken), ("deaf", taken | left)):
        assert more("queue", queue) == expected
    for agent, expected in (
        *(("1006", taken), ("1024", taken), ("1022", taken)),
        *(("1025", taken | left), ("1026", taken | left)),
    ):
        assert more("agent", agent) == expected
    assert {"1005", "1007", "1021", "1023"} & figures(pbx, key, "agent").keys() <= before[
        "agent"
    ].keys()

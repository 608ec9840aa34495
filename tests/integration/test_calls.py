"""status and originate on a real PBX: outcomes, scope, firewall, sharing of exchanges."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.conftest import Pbx
from tests.lab.phone import Phone
from tests.lab.server import wait_until

CALL = {"channel": "Local/110@answer", "context": "outgoing", "exten": "120", "priority": "1"}


def originate(pbx: Pbx, key: str = "all", **params: object) -> dict[str, str]:
    """A waiting originate; returns its data."""
    data: dict[str, str] = pbx.service.get("originate", pbx.keys[key], **{**CALL, **params}).data
    return data


def test_answered_call_waits_for_the_first_leg_and_is_in_status(any_pbx: Pbx) -> None:
    data = originate(any_pbx, callerid='"Сергей Петрович" <79123456789>', variable="file=1,id=4")
    assert (data["Response"], data["Reason"]) == ("Success", "4")
    legs = [
        leg
        for leg in any_pbx.service.get("status", any_pbx.keys["all"]).data
        if leg["Uniqueid"] == data["Uniqueid"]
    ]
    assert len(legs) == 1
    assert list(legs[0])[:9] == [
        *("Event", "Privilege", "Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum"),
        *("CallerIDName", "ConnectedLineNum", "ConnectedLineName"),
    ]
    assert list(legs[0])[-1] == "ActionID"
    assert (legs[0]["file"], legs[0]["id"]) == ("1", "4")
    assert legs[0]["CallerIDName"] == "Сергей Петрович"
    assert legs[0]["Variable"].count("=") >= 1
    assert {type(value) for value in legs[0].values()} == {str}


@pytest.mark.parametrize(
    ("number", "reason"), [("210", "5"), ("310", "3"), ("410", "8"), ("910", None)]
)
def test_outcomes_tell_themselves(any_pbx: Pbx, number: str, reason: str | None) -> None:
    data = originate(any_pbx, channel=f"Local/{number}@answer", timeout=2)
    assert data["Response"] == "Failure"
    assert data["Message"]
    assert reason is None or data["Reason"] == reason


def test_async_answers_at_once_with_the_id(any_pbx: Pbx) -> None:
    answer = any_pbx.service.get("originate", any_pbx.keys["all"], **CALL, async_="yes").data
    assert list(answer) == ["Response", "Message", "ActionID", "Uniqueid"]
    assert answer["Response"] == "Success"
    epoch, number = answer["Uniqueid"].split(".")
    assert abs(int(epoch) - time.time()) < 60
    assert int(number) > 2**32
    assert len(answer["Uniqueid"]) <= 30  # with ";2" behind it, still a varchar(32)


def test_what_the_pbx_refuses_is_422_in_its_words(any_pbx: Pbx) -> None:
    answer = any_pbx.service.get("originate", any_pbx.keys["all"], **{**CALL, "exten": "nowhere"})
    assert (answer.status, answer.code) == (422, "rejected_by_pbx")
    assert answer.json["detail"] == "Extension does not exist."


def test_a_channel_that_is_not_there_fails(any_pbx: Pbx) -> None:
    assert originate(any_pbx, channel="PJSIP/nobody")["Response"] == "Failure"


def test_contexts_are_fenced_in_both_places(pbx: Pbx) -> None:
    before = pbx.asterisk.global_variable("FORBIDDEN")
    for wrong in (
        {"context": "forbidden"},
        {"channel": "Local/110@forbidden"},
        {"channel": "local/110@forbidden"},
        {"channel": "Local/110@forbidden/n"},
    ):
        answer = pbx.service.get("originate", pbx.keys["sales"], **{**CALL, **wrong})
        assert (answer.status, answer.code) == (403, "context_denied"), wrong
    assert pbx.asterisk.global_variable("FORBIDDEN") == before


_CONTROLS = ["\r\nChannel: x", "\n", "\r", "\0", "\x01", "\x7f", "\x85", "\x1b"]
_FIELDS = [
    *("channel", "exten", "context", "priority", "callerid", "variable", "account", "codecs"),
]


@pytest.mark.parametrize(("field", "control"), list(itertools.product(_FIELDS, _CONTROLS)))
def test_control_characters_never_reach_asterisk(pbx: Pbx, field: str, control: str) -> None:
    value = {**CALL, "variable": "a=1", "callerid": "1", "account": "a", "codecs": "alaw"}[field]
    params = {**CALL, field: f"{value}{control}"}
    answer = pbx.service.get("originate", pbx.keys["all"], **params)
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["parameter"] == field
    assert pbx.asterisk.channels() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel", "110"),
        ("channel", "Local/110"),
        ("channel", "Local/110@answer@forbidden"),
        ("channel", "Local/110@answer&Local/110@forbidden"),
        ("channel", "PJSIP/phone1&PJSIP/phone2"),
        ("channel", "PJSIP/"),
        ("channel", "Console/dsp"),
        ("channel", "Bridge/x"),
        ("exten", "1,2"),
        ("exten", "${GLOBAL(X)}"),
        ("context", "a b"),
        ("priority", "-1"),
        ("priority", "1,2"),
        ("variable", "MIXMON_POST=rm"),
        ("variable", "__MIXMON_POST=rm"),
        ("variable", "SHELL(id)=1"),
        ("variable", "CDR(x)=1"),
        ("variable", "novalue"),
        ("variable", "a=${SHELL(id)}"),
        ("variable", "a=" + "x" * 2000),
        ("variable", ",".join(f"v{n}=1" for n in range(101))),
        ("timeout", "0"),
        ("timeout", "301"),
        ("timeout", "soon"),
        ("async", "perhaps"),
        ("account", "a b"),
        ("codecs", "alaw;ulaw"),
        ("callerid", "x" * 300),
    ],
)
def test_the_firewall(pbx: Pbx, field: str, value: str) -> None:
    answer = pbx.service.get("originate", pbx.keys["all"], **{**CALL, field: value})
    assert (answer.status, answer.code) == (400, "invalid_parameter")
    assert answer.json["parameter"] == field


@pytest.mark.parametrize("missing", ["channel", "exten", "context", "priority"])
def test_required_parameters(pbx: Pbx, missing: str) -> None:
    params = {name: value for name, value in CALL.items() if name != missing}
    answer = pbx.service.get("originate", pbx.keys["all"], **params)
    assert (answer.code, answer.json["parameter"]) == ("missing_parameter", missing)


def test_head_checks_but_never_dials(pbx: Pbx) -> None:
    assert pbx.service.request("HEAD", "originate", pbx.keys["all"], params=CALL).status == 200
    assert pbx.asterisk.channels() == 0


def test_further_parameters_reach_the_channel(pbx: Pbx) -> None:
    more: dict[str, object] = {
        "account": "acc1",
        "codecs": "alaw,ulaw",
        "early_media": "true",
        "timeout": 5,
    }
    data = originate(pbx, "all", **more)
    legs = pbx.service.get("status", pbx.keys["all"]).data
    assert {"acc1"} == {leg["AccountCode"] for leg in legs if leg["Uniqueid"] == data["Uniqueid"]}


def test_status_filters_and_fence(any_pbx: Pbx) -> None:
    get, keys = any_pbx.service.get, any_pbx.keys
    assert get("status", keys["all"]).data == []
    originate(any_pbx, callerid="100500")
    seen = get("status", keys["all"]).data
    assert {leg["Context"] for leg in seen} == {"outgoing", "answer"}
    assert get("status", keys["sales"]).data
    assert get("status", keys["other"]).data == []
    assert get("status", keys["nobody"]).code == "right_denied"
    only = get("status", keys["all"], context="answer", calleridnum="100500").data
    assert only
    assert {(leg["Context"], leg["CallerIDNum"]) for leg in only} == {("answer", "100500")}
    assert get("status", keys["all"], calleridnum="10050").data == []


def test_variables_cannot_pass_for_headers(pbx: Pbx) -> None:
    """Values that look like headers, ends of lists and fenced contexts stay values."""
    tricks = "Context=forbidden,a=StatusComplete,b=Event: StatusComplete,c=Variable: x=y"
    data = originate(pbx, variable=tricks)
    legs = pbx.service.get("status", pbx.keys["sales"]).data
    mine = next(leg for leg in legs if leg["Uniqueid"] == data["Uniqueid"])
    assert mine["Context"] == "outgoing"
    assert (mine["a"], mine["b"]) == ("StatusComplete", "Event: StatusComplete")
    assert mine["c"] == "Variable: x=y"


def test_waiting_originates_hold_nobody_up(pbx: Pbx) -> None:
    """Eight unanswered calls wait; status answers while all of them still do."""
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(originate, pbx, channel="Local/310@answer", timeout=4) for _ in range(8)
        ]
        wait_until(lambda: pbx.asterisk.channels() >= 16, 5, "all are ringing")
        for _ in range(5):
            assert len(pbx.service.get("status", pbx.keys["all"]).data) >= 16
        assert not any(call.done() for call in calls)
        assert {call.result()["Reason"] for call in calls} == {"3"}


def test_a_sip_phone_is_called_and_heard(pbx: Pbx) -> None:
    with Phone(pbx.asterisk):
        uniqueid = pbx.originate(channel="Local/610@answer", exten="phone1")
        wait_until(
            lambda: any(
                leg["Channel"].startswith("PJSIP/phone1") and leg["ChannelStateDesc"] == "Up"
                for leg in pbx.service.get("status", pbx.keys["all"]).data
            ),
            10,
            "the phone is up in status",
        )
        pbx.wait_recorded(uniqueid, 60000)
        pbx.asterisk.hang_up_all()
    wav = pbx.service.get("get_file_wav", pbx.keys["all"], uniqueid=uniqueid).body
    samples = memoryview(wav[44 : len(wav) // 2 * 2]).cast("h")
    assert max(samples) > 3000  # the phone's tone

"""What a key can't dial, seen from the network: a listener that must never get an INVITE."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Pbx
from tests.lab.server import wait_until
from tests.lab.sip_listener import SipListener

ANYTHING = """[originate]
channels = PJSIP/*, PJSIP/*@*, PJSIP/*/*, SIP/*, SIP/*@*, SIP/*/*, IAX2/*, IAX2/*/*, DAHDI/*/*
"""
TRUNK = """[originate]
channels = PJSIP/*@trunk1, Local/*@outgoing
numbers = _7XXXXXXXXXX, _1XX
forbidden_numbers = _7809.
caller_ids = _7495XXXXXXX
accounts = crm
variables = file, crm_*
"""
PLACE = {"context": "hold", "exten": "100", "priority": "1"}


@pytest.fixture(scope="module")
def keys(pbx: Pbx) -> dict[str, str]:
    """Keys of the shared service, and of groups with rules of their own."""
    groups = {"anything": (["*"], ANYTHING), "trunk": (["hold", "outgoing"], TRUNK)}
    made = {
        name: pbx.service.add_user(f"dialling-{name}", pbx.service.add_group(name, contexts, rules))
        for name, (contexts, rules) in groups.items()
    }
    return pbx.keys | made


@pytest.fixture(scope="module")
def attacker() -> Iterator[SipListener]:
    """An address that asks whoever calls it for a password."""
    with SipListener() as listener:
        yield listener


@pytest.fixture
def trunk(pbx: Pbx) -> Iterator[SipListener]:
    """Where the endpoint `trunk1` leads."""
    with SipListener(pbx.asterisk.phone_ports["trunk1"]) as listener:
        yield listener


ADDRESSES = [
    "PJSIP/trunk1/sip:18005551234@127.0.0.1:{}",
    "PJSIP/trunk1/sip:127.0.0.1:{}",
    "PJSIP/trunk1/sips:1@127.0.0.1:{}",
    "PJSIP/trunk1/SIP:1@127.0.0.1:{};transport=udp",
    "pjsip/trunk1/sip:1@localhost:{}",
    "PJSIP/1@trunk1/sip:1@127.0.0.1:{}",
    "PJSIP/sip:1@127.0.0.1:{}",
    "PJSIP/127.0.0.1:{}",
    "PJSIP/1@127.0.0.1:{}",
    "SIP/127.0.0.1:{}",
    "SIP/1:secret@127.0.0.1:{}",
    "SIP/2130706433:{}",
    "SIP/127.0.0.1:{}/1",
    "IAX2/user:secret@127.0.0.1:{}/1",
    "DAHDI/127.0.0.1:{}/1",
]


@pytest.mark.parametrize("channel", ADDRESSES)
def test_an_address_is_dialled_for_nobody(
    any_pbx: Pbx, attacker: SipListener, channel: str
) -> None:
    for name in ("all", "sales", "other"):
        asked = {**PLACE, "channel": channel.format(attacker.port)}
        answer = any_pbx.service.get("originate", any_pbx.keys[name], **asked)
        assert (answer.status, answer.code) == (403, "channel_denied"), name
    assert attacker.called == []


def test_no_pattern_of_a_group_opens_addresses(
    pbx: Pbx, keys: dict[str, str], attacker: SipListener
) -> None:
    for channel in ADDRESSES:
        asked = {**PLACE, "channel": channel.format(attacker.port)}
        answer = pbx.service.get("originate", keys["anything"], **asked)
        assert (answer.status, answer.code) == (403, "channel_denied")
    # Asterisk itself would have called: without the service in front, the INVITE comes.
    with pbx.asterisk.manager() as manager:
        manager.originate(f"PJSIP/trunk1/sip:control@127.0.0.1:{attacker.port}", "hold", "1")
        wait_until(lambda: attacker.called == ["control"], 10, "the INVITE of the control")


def test_a_trunk_is_reached_by_those_whose_file_names_it(
    pbx: Pbx, keys: dict[str, str], trunk: SipListener
) -> None:
    dialled = {**PLACE, "channel": "PJSIP/79161234567@trunk1"}
    for name in ("other", "sales"):
        answer = pbx.service.get("originate", keys[name], **dialled)
        assert answer.code == "channel_denied", name
    assert pbx.service.get("originate", keys["trunk"], **dialled).data["Response"] == "Failure"
    dialled["channel"] = "PJSIP/+7-916-1234568@trunk1"
    assert pbx.service.get("originate", keys["trunk"], **dialled).data["Response"] == "Failure"
    assert trunk.called == ["79161234567", "+7-916-1234568"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"channel": "PJSIP/0088216123@trunk1"}, "number_denied"),
        ({"channel": "PJSIP/78091234567@trunk1"}, "number_denied"),
        ({"channel": "PJSIP/+7-809-123-45-67@trunk1"}, "number_denied"),
        ({"channel": "PJSIP/79161234567@trunk2"}, "channel_denied"),
        ({"channel": "PJSIP/trunk1/79161234567"}, "channel_denied"),
        ({"channel": "PJSIP/phone1"}, "channel_denied"),
        ({"channel": "Local/212@outgoing"}, "number_denied"),
        ({"channel": "Local/79161234567@incoming"}, "channel_denied"),
        ({"exten": "810"}, "number_denied"),
        ({"exten": "+7.809.1234567"}, "number_denied"),
        ({"context": "forbidden"}, "context_denied"),
        ({"callerid": "79161234567"}, "callerid_denied"),
        ({"callerid": '"74951234567" <112>'}, "callerid_denied"),
        ({"account": "boss"}, "account_denied"),
        ({"variable": "idcall=1"}, "variable_denied"),
        ({"variable": "file=1,__idcall=1"}, "variable_denied"),
    ],
)
def test_what_a_group_may_not(
    pbx: Pbx,
    keys: dict[str, str],
    trunk: SipListener,
    changed: dict[str, str],
    code: str,
) -> None:
    asked = {**PLACE, "channel": "PJSIP/79161234567@trunk1", **changed}
    answer = pbx.service.get("originate", keys["trunk"], **asked)
    assert (answer.status, answer.code, answer.json["parameter"]) == (
        403,
        code,
        next(iter(changed)),
    )
    assert trunk.called == []
    assert pbx.asterisk.channels() == 0


def test_a_refused_call_is_in_the_journal_with_its_code(pbx: Pbx, keys: dict[str, str]) -> None:
    asked = {**PLACE, "channel": "PJSIP/0088216777@trunk1", "exten": "7809 1\u00e9=x"}
    answer = pbx.service.get("originate", keys["trunk"], **asked)
    assert answer.code == "invalid_parameter"
    asked["exten"] = "100"
    answer = pbx.service.get("originate", keys["trunk"], **asked)
    request_id = answer.headers["X-Request-ID"]

    def line() -> str:
        return next((row for row in pbx.service.log().splitlines() if request_id in row), "")

    wait_until(lambda: bool(line()), 10, "the journal's line")
    assert "channel=PJSIP/0088216777@trunk1 exten=100" in line()
    assert line().endswith("code=number_denied")


def test_what_is_let_through_arrives(pbx: Pbx, keys: dict[str, str]) -> None:
    asked = {
        **PLACE,
        "channel": "Local/110@outgoing",
        "callerid": '"Shop" <+7 495 123-45-67>',
        "account": "crm",
        "variable[]": "file=1",
        "variable[crm_id]": "2",
    }
    uniqueid = pbx.service.get("originate", keys["trunk"], **asked).data["Uniqueid"]
    with contextlib.closing(pbx.asterisk.manager()) as manager:
        manager.send({"Action": "Status", "AllVariables": "true", "ActionID": "s"})
        event = manager.wait_event("Status", Uniqueid=uniqueid)
    assert event["AccountCode"] == "crm"
    legs = pbx.service.get("status", pbx.keys["all"]).data
    mine = next(leg for leg in legs if leg["Uniqueid"] == uniqueid)
    assert (mine["file"], mine["crm_id"]) == ("1", "2")

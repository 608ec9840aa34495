"""originate's bytes and texts as a real Asterisk takes them."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Pbx
from tests.lab.server import wait_until

CALL = {"channel": "Local/610@answer", "context": "hold", "exten": "1", "priority": "1"}

VALUES = [
    'say "hello" \\ to C:\\temp',
    "(unbalanced",
    "[x] {y} 100%; # | & ' `",
    "a=b=c: d",
    "Здравствуй мир",
    "Event: StatusComplete",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_variable_arrives_as_it_was_sent(any_pbx: Pbx, value: str) -> None:
    params = {**CALL, "variable": f"first={value},second=2"}
    uniqueid = any_pbx.service.get("originate", any_pbx.keys["all"], **params).data["Uniqueid"]
    legs = any_pbx.service.get("status", any_pbx.keys["all"]).data
    mine = next(leg for leg in legs if leg["Uniqueid"] == uniqueid)
    assert (mine["first"], mine["second"]) == (value, "2")


def test_the_most_that_gets_through_is_no_error_of_the_pbx(any_pbx: Pbx) -> None:
    """Line length and number of headers, both at the limit that the service sets."""
    variable = ",".join(["a=" + "x" * 895, *(f"v{n}={n}" for n in range(99))])
    params = {**CALL, "variable": variable, "callerid": "я" * 100, "account": "a" * 79}
    # As a URL this is some 1,900 bytes, well within what web servers take.
    uniqueid = any_pbx.service.get("originate", any_pbx.keys["all"], **params).data["Uniqueid"]
    legs = any_pbx.service.get("status", any_pbx.keys["all"]).data
    mine = next(leg for leg in legs if leg["Uniqueid"] == uniqueid)
    assert (mine["a"], mine["v98"]) == ("x" * 895, "98")


def test_expressions_of_the_dialplan_are_not_run(pbx: Pbx) -> None:
    """Even if one came through the firewall: Asterisk takes a variable's value as it is."""
    with pbx.asterisk.manager() as manager:
        manager.originate("Local/610@answer", "hold", "1", Variable="a=${CHANNEL}")
    wait_until(lambda: pbx.asterisk.channels() == 2, 10, "the call is up")
    legs = pbx.service.get("status", pbx.keys["all"]).data
    assert {leg["a"] for leg in legs} == {"${CHANNEL}"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get_dials(pbx: Pbx, method: str) -> None:
    answer = pbx.service.request(method, "originate", pbx.keys["all"], params=CALL)
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]
    assert pbx.asterisk.channels() == 0


def test_a_bad_priority_is_refused_by_the_pbx(any_pbx: Pbx) -> None:
    params = {**CALL, "priority": "nolabel"}
    answer = any_pbx.service.get("originate", any_pbx.keys["all"], **params)
    assert (answer.status, answer.code) == (422, "rejected_by_pbx")


def test_the_technology_is_sent_in_its_own_spelling(any_pbx: Pbx) -> None:
    params = {**CALL, "channel": "lOCAL/610@answer"}
    data = any_pbx.service.get("originate", any_pbx.keys["all"], **params).data
    assert (data["Response"], data["Channel"][:17]) == ("Success", "Local/610@answer-")

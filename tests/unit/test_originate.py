"""The firewall in front of Originate, parameter by parameter, without a PBX."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from evolvex_api.backends.ami.messages import encode, originate_headers
from evolvex_api.config import Originate
from evolvex_api.core.access import Scope
from evolvex_api.core.dialling import Call, read_call
from evolvex_api.core.refusals import ApiError
from evolvex_api.params import Params
from tests.options import section

GOOD = {"channel": "PJSIP/100", "exten": "200", "context": "out", "priority": "1"}
SETTINGS = section(
    Originate, technologies=("PJSIP", "SIP", "DAHDI", "Local"), variables=("FOO_*", "BAR")
)
FENCE = Scope(frozenset({"out", "in"}), "g")


def read(scope: Scope = FENCE, **params: Any) -> Call:
    """What the firewall makes of these parameters, over good ones."""
    asked = {name: value for name, value in {**GOOD, **params}.items() if value is not None}
    with Flask(__name__).test_request_context(query_string=asked):
        return read_call(Params(), SETTINGS, scope)


def refusal(scope: Scope = FENCE, **params: Any) -> tuple[int, str, str | None]:
    """Status, code and parameter of the refusal."""
    with pytest.raises(ApiError) as caught:
        read(scope, **params)
    return caught.value.status, caught.value.code, caught.value.parameter


@pytest.mark.parametrize(
    "channel",
    [
        "PJSIP/100",
        "PJSIP/79123456789@trunk",
        "PJSIP/trunk/sip:79123456789@host.example:5060;transport=tcp",
        "PJSIP/user_1.a-b",
        "SIP/+79123456789@trunk",
        "DAHDI/g1/*72100#",
        "Local/100@out",
        "Local/+7912@in/n",
    ],
)
def test_channels_that_are_dialled(channel: str) -> None:
    assert read(channel=channel).channel == channel


@pytest.mark.parametrize(
    "channel",
    [
        *("100", "PJSIP", "PJSIP/", "/100", " PJSIP/100", "PJSIP /100", "PJSIP/100 ", "PJSIP/1 2"),
        *("PJSIP/1&PJSIP/2", "PJSIP/1&Local/1@secret", "PJSIP/1,2", "PJSIP/${X}", "PJSIP/1|2"),
        *("Local/1", "Local/1@", "Local/@out", "Local/1@out@secret", "Local/1@secret@out"),
        *("Local/1@out/n@secret", "Local/1@out/n/n", "Local/1@out,2", "Local/1@out&Local/1@secret"),
        *("Local/1/2@out", "Console/dsp", "Application/System", "PJSIP/" + "1" * 201, "SIP/a\\b"),
        'PJSIP/"1"',
    ],
)
def test_channels_that_are_not(channel: str) -> None:
    assert refusal(channel=channel) == (400, "invalid_parameter", "channel")


@pytest.mark.parametrize("tech", ["Local", "local", "LOCAL", "lOcAl"])
def test_local_is_fenced_in_whatever_case_it_is_written(tech: str) -> None:
    assert refusal(channel=f"{tech}/1@secret")[:2] == (403, "context_denied")
    assert read(channel=f"{tech}/1@in").channel == "Local/1@in"


@pytest.mark.parametrize("context", ["secret", "OUT", "out2", "ou"])
def test_the_context_must_be_granted(context: str) -> None:
    assert refusal(context=context) == (403, "context_denied", "context")
    assert read(Scope(None, "g"), context=context).context == context


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("exten", bad) for bad in ("1 2", "1,2", "${X}", "1/2", "1&2", "1@out", "x" * 80)),
        *(("context", bad) for bad in ("a b", "a,b", "a/b", "a@b", "${X}", "*", "x" * 80)),
        *(("priority", bad) for bad in ("0", "-1", "1.5", "1,2", "1 2", "+1", "1" * 10, "${X}")),
        *(("account", bad) for bad in ("a b", "a,b", "x" * 81)),
        *(("codecs", bad) for bad in ("alaw;ulaw", "alaw ulaw", ",", "alaw,", "!")),
        *(("timeout", bad) for bad in ("0", "301", "-1", "1.5", "x", "9" * 50)),
        ("callerid", "x" * 201),
        ("early_media", "perhaps"),
    ],
)
def test_values_that_no_dialplan_has(field: str, value: str) -> None:
    assert refusal(Scope(None, "g"), **{field: value}) == (400, "invalid_parameter", field)


@pytest.mark.parametrize("field", [*GOOD, "callerid", "variable", "account", "codecs", "timeout"])
@pytest.mark.parametrize("control", ["\r", "\n", "\0", "\t", "\x1b", "\x7f", "\x85", "\x9b"])
def test_no_control_character_in_any_field(field: str, control: str) -> None:
    good = {**GOOD, "callerid": "1", "variable": "a=1", "account": "a", "codecs": "alaw"}
    value = good.get(field, "5")
    for given in (control + value, value + control, value[:1] + control + value[1:]):
        assert refusal(Scope(None, "g"), **{field: given}) == (400, "invalid_parameter", field)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_required(name: str) -> None:
    assert refusal(FENCE, **{name: None}) == (400, "missing_parameter", name)
    assert refusal(FENCE, **{name: ""}) == (400, "missing_parameter", name)


@pytest.mark.parametrize("priority", ["1", "42", "start", "label_1"])
def test_a_priority_is_a_number_or_a_label(priority: str) -> None:
    assert read(priority=priority).priority == priority


def test_variables_keep_their_order_and_what_stands_in_them() -> None:
    call = read(variable="file=a b,_id=4=5,__x=,FOO_1=y,__BAR=Привет")
    assert call.variables == [
        ("file", "a b"),
        ("_id", "4=5"),
        ("__x", ""),
        ("FOO_1", "y"),
        ("__BAR", "Привет"),
    ]


@pytest.mark.parametrize(
    "variable",
    [
        *("a", "=1", "a=1,", ",a=1", "a=1,,b=2", "1a=1", "a b=1", "a-b=1", "___a=1", "é=1"),
        *("MIXMON_POST=rm", "_MIXMON_POST=rm", "__MIXMON_POST=rm", "FOO=1", "BAR2=1", "X=1"),
        *("CDR(x)=1", "SHELL(id)=1", "CALLERID(all)=1", "FOO_(x)=1", "a[1]=1"),
        *("a=${SHELL(id)}", "a=$[1+1]", "a=1,a=2", "a=1,__a=2", "a=" + "x" * 1000),
        *("a=" + '"' * 600, ",".join(f"v{n}=1" for n in range(101))),
    ],
)
def test_variables_that_are_refused(variable: str) -> None:
    assert refusal(variable=variable) == (400, "invalid_parameter", "variable")


def test_the_longest_call_that_gets_through_fits_ami() -> None:
    """AMI takes 1,024 bytes a line and 128 headers."""
    variable = ",".join(["a" * 79 + "=" + "я" * 400, *(f"v{n}=1" for n in range(99))])
    call = read(
        Scope(None, "g"),
        channel="PJSIP/" + "1" * 200,
        exten="1" * 79,
        context="ё" * 79,
        callerid="я" * 100,
        account="ё" * 80,
        codecs=",".join(["x" * 20] * 21),
        variable=variable,
    )
    lines = encode(originate_headers(call)).split(b"\r\n")
    assert len(lines) < 128
    assert max(map(len, lines)) < 1024


def test_defaults() -> None:
    call = read()
    assert (call.timeout, call.callerid, call.variables, call.early_media) == (30, None, [], False)
    assert read(timeout="300", early_media="1").timeout == 300

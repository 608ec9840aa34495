"""The firewall in front of Originate, parameter by parameter, without a PBX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from evolvex_api.backends.ami.messages import encode, originate_headers
from evolvex_api.config import Originate
from evolvex_api.core.access import Access, Group
from evolvex_api.core.dialling import Call, callerid_number, read_call
from evolvex_api.core.refusals import ApiError
from evolvex_api.core.rules import Rules, read_call_rules
from evolvex_api.params import Params
from tests.options import section

GOOD = {"channel": "PJSIP/100", "exten": "200", "context": "out", "priority": "1"}
SETTINGS = section(
    Originate, technologies=("PJSIP", "SIP", "IAX2", "DAHDI", "Local"), variables=("FOO_*", "BAR")
)
NAMED = Group("g", "named", accesses=tuple(Access("c", n, "", "g") for n in ("out", "in")))
ALL = Group("g", "all", accesses=(Access("c", "*", "", "g"),))


def ruled(**rules: str) -> Group:
    """A group with every context and these keys in its section [originate]."""
    return replace(ALL, rules=Rules(read_call_rules(rules, ZoneInfo)))


def read(group: Group = NAMED, **params: Any) -> Call:
    """What the firewall makes of these parameters, over good ones."""
    asked = {name: value for name, value in {**GOOD, **params}.items() if value is not None}
    with Flask(__name__).test_request_context(query_string=asked):
        return read_call(Params(), SETTINGS, group)


def refusal(group: Group = NAMED, **params: Any) -> tuple[int, str, str | None]:
    """Status, code and parameter of the refusal."""
    with pytest.raises(ApiError) as caught:
        read(group, **params)
    return caught.value.status, caught.value.code, caught.value.parameter


@pytest.mark.parametrize(
    ("channel", "numbers"),
    [
        ("PJSIP/100", ("200",)),
        ("PJSIP/user_1-a", ("200",)),
        ("PJSIP/79123456789@trunk", ("200", "79123456789")),
        ("SIP/+7912-345.67@trunk", ("200", "791234567")),
        ("SIP/trunk/200", ("200",)),
        ("DAHDI/g1/*72100#", ("200", "*72100#")),
        ("DAHDI/1", ("200",)),
        ("Local/100@out", ("200", "100")),
        ("Local/+7912@in/n", ("200", "7912")),
    ],
)
def test_channels_that_are_dialled(channel: str, numbers: tuple[str, ...]) -> None:
    call = read(ALL, channel=channel)
    assert (call.channel, call.numbers) == (channel, numbers)


@pytest.mark.parametrize(
    "channel",
    [
        *("PJSIP/trunk/sip:79123456789@host.example:5060;transport=tcp", "PJSIP/sip:1@127.0.0.1"),
        *("PJSIP/trunk/sips:1@10.0.0.1", "pjsip/trunk/SIP:1@h", "PJSIP/trunk/tel:1", "PJSIP/a;b=c"),
        *("PJSIP/127.0.0.1", "PJSIP/1@127.0.0.1", "PJSIP/1@host.example", "PJSIP/trunk/127.0.0.1"),
        *("PJSIP/trunk/host.example", "SIP/10.0.0.1", "SIP/host.example", "SIP/host.example/8495"),
        *("SIP/8495@10.0.0.1", "SIP/user:password@trunk", "SIP/trunk:5060", "SIP/::1", "SIP/a:b:c"),
        *("SIP/2130706433", "SIP/0x7f000001", "SIP/017700000001", "SIP/1@3232235777"),
        *("IAX2/user:secret@10.0.0.1/1@out", "IAX2/10.0.0.1/1", "IAX2/1@3232235777", "IAX2/a;b"),
        *("DAHDI/g1:1", "PJSIP/1@trunk=1", "SIP/.", "PJSIP/host."),
    ],
)
def test_an_address_is_dialled_for_nobody(channel: str) -> None:
    given = channel.partition("/")[0].upper()
    group = ruled(channels=f"{given}/*, {given}/*@*, {given}/*/*, {given}/*/*@*")
    for caller in (NAMED, ALL, group):
        assert refusal(caller, channel=channel) == (403, "channel_denied", "channel")


@pytest.mark.parametrize(
    "channel", ["SIP/101", "SIP/79161234567", "IAX2/16777215", "PJSIP/2130706433"]
)
def test_a_number_that_is_no_address_is_a_name(channel: str) -> None:
    assert read(channel=channel).channel == channel


@pytest.mark.parametrize(
    "channel",
    [
        *("100", "PJSIP", "PJSIP/", "/100", " PJSIP/100", "PJSIP /100", "PJSIP/100 ", "PJSIP/1 2"),
        *("PJSIP/1&PJSIP/2", "PJSIP/1&Local/1@secret", "PJSIP/1,2", "PJSIP/${X}", "PJSIP/1|2"),
        *("Local/1", "Local/1@", "Local/@out", "Local/1@out@secret", "Local/1@secret@out"),
        *("Local/1@out/n@secret", "Local/1@out/n/n", "Local/1@out,2", "Local/1@out&Local/1@secret"),
        *("Local/1/2@out", "Console/dsp", "Application/System", "PJSIP/" + "1" * 201, "SIP/a\\b"),
        *("PJSIP/1@2@3", "PJSIP/1/2/3", "IAX2/peer/1@out", "PJSIP/1@2/3", "PJSIP/%31", "SIP/[1]"),
        *("PJSIP/@trunk", "PJSIP/1@", "DAHDI/g1/", "DAHDI//1", "PJSIP/1(2)@trunk", "PJSIP/1 2@t"),
        'PJSIP/"1"',
    ],
)
def test_channels_that_are_none(channel: str) -> None:
    assert refusal(ALL, channel=channel) == (400, "invalid_parameter", "channel")


@pytest.mark.parametrize(
    "channel", ["PJSIP/1@trunk", "SIP/trunk/1", "DAHDI/g1/810", "IAX2/810@trunk", "pjsip/1@trunk"]
)
def test_only_groups_with_every_context_dial_through_trunks(channel: str) -> None:
    assert refusal(channel=channel) == (403, "channel_denied", "channel")
    assert read(ALL, channel=channel)


@pytest.mark.parametrize(
    ("channels", "dialled", "denied"),
    [
        ("PJSIP/1??", "PJSIP/101", "PJSIP/1011"),
        ("PJSIP/1??", "pjsip/101", "SIP/101"),
        ("pjsip/1??, SIP/*", "SIP/9", "SIP/9@trunk"),
        ("PJSIP/*@trunk-a", "PJSIP/8495@trunk-a", "PJSIP/8495@trunk-b"),
        ("PJSIP/*@trunk-a", "PJSIP/8495@trunk-a", "PJSIP/trunk-a/8495"),
        ("PJSIP/*", "PJSIP/101", "PJSIP/trunk/1"),
        ("DAHDI/g[12]/*", "DAHDI/g2/1", "DAHDI/g3/1"),
        ("DAHDI/g[!1]/*", "DAHDI/g2/1", "DAHDI/g1/1"),
        ("Local/*@out", "Local/1@out/n", "Local/1@in"),
        ("Local/1*@*", "Local/1@in", "Local/2@in"),
        ("PJSIP/*", "PJSIP/1", "Local/1@out"),
        ("PJSIP/101", "PJSIP/101", "PJSIP/1010"),
        ("SIP/a+b", "SIP/a+b", "SIP/aab"),
    ],
)
def test_channels_of_a_group(channels: str, dialled: str, denied: str) -> None:
    group = ruled(channels=channels)
    assert read(group, channel=dialled)
    assert refusal(group, channel=denied) == (403, "channel_denied", "channel")


def test_a_channel_pattern_opens_no_context() -> None:
    group = replace(NAMED, rules=Rules(read_call_rules({"channels": "Local/*@*"}, ZoneInfo)))
    assert read(group, channel="Local/1@out")
    assert refusal(group, channel="Local/1@secret") == (403, "context_denied", "channel")


NUMBERS = {"numbers": "_7XXXXXXXXXX, _XXX, s", "forbidden_numbers": "_7809., 112"}


@pytest.mark.parametrize("number", ["79161234567", "+79161234567", "7-916-123.45.67", "101", "s"])
def test_numbers_of_a_group(number: str) -> None:
    for params in ({"exten": number}, {"channel": f"Local/{number}@out"}):
        assert read(ruled(**NUMBERS), **params)
    assert read(ruled(**NUMBERS), channel=f"PJSIP/{number}@trunk")
    assert read(ruled(**NUMBERS), channel=f"DAHDI/g1/{number}")


@pytest.mark.parametrize(
    "number",
    ["78091234567", "+7-809-1234567", "112", "1-12", "1.1.2", "8809", "1", "1011", "S", "0088216"],
)
def test_numbers_that_a_group_may_not_dial(number: str) -> None:
    group = ruled(**NUMBERS)
    assert refusal(group, exten=number) == (403, "number_denied", "exten")
    for channel in ("Local/{}@out/n", "PJSIP/{}@trunk", "SIP/trunk/{}"):
        given = channel.format(number)
        assert refusal(group, channel=given) == (403, "number_denied", "channel")


def test_forbidden_numbers_alone_leave_the_rest_open() -> None:
    group = ruled(forbidden_numbers="_+810.")
    assert read(group, exten="79161234567").numbers == ("79161234567",)
    assert refusal(group, exten="+8-10-1") == (403, "number_denied", "exten")


@pytest.mark.parametrize(
    "form", ["{}", "<{}>", "Shop <{}>", '"Shop <1>" <{}>', "{} ", '"x" <{}', "({})"]
)
def test_caller_ids_of_a_group(form: str) -> None:
    group = ruled(caller_ids="_7495XXXXXXX")
    for good in ("74951234567", "+74951234567", "7 495 123-45-67"):
        assert read(group, callerid=form.format(good))
    for bad in ("79161234567", "112", "749512345678"):
        assert refusal(group, callerid=form.format(bad)) == (403, "callerid_denied", "callerid")


def test_a_caller_id_that_is_not_given_or_has_no_number_is_not_compared() -> None:
    group = ruled(caller_ids="_7495XXXXXXX", accounts="crm")
    assert read(group).callerid is None
    assert read(group, callerid="Shop").callerid == "Shop"
    assert read(group, callerid="Shop <>").callerid == "Shop <>"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("101", "101"),
        ('"Name" <101>', "101"),
        ("Name <101", "101"),
        ("<1><2>", "2"),
        ("<1>2>", "1>2"),
        ("Bob 7", ""),
        ('"101"', "101"),
        ("+7 (495) 123-45-67", "+74951234567"),
        ("", ""),
        ("<sip:1@host>", "sip:1@host"),
    ],
)
def test_the_number_inside_a_caller_id(text: str, number: str) -> None:
    assert callerid_number(text) == number


def test_accounts_of_a_group() -> None:
    group = ruled(accounts="crm, shop_*")
    assert read(group, account="crm").account == "crm"
    assert read(group, account="shop_1").account == "shop_1"
    assert refusal(group, account="boss") == (403, "account_denied", "account")


def test_variables_of_a_group() -> None:
    group = ruled(variables="file, crm_*, BAR")
    assert read(group, variable="file=1,__crm_id=2,BAR=3")
    for name in ("idcall", "_idcall", "Crm_id", "files", "FOO_1"):
        assert refusal(group, variable=f"{name}=1") == (403, "variable_denied", "variable")
    # What evolvex.conf leaves to the dialplan, no group's file opens.
    assert refusal(ruled(variables="*"), variable="X=1") == (400, "invalid_parameter", "variable")


@pytest.mark.parametrize("tech", ["Local", "local", "LOCAL", "lOcAl"])
def test_local_is_fenced_in_whatever_case_it_is_written(tech: str) -> None:
    assert refusal(channel=f"{tech}/1@secret") == (403, "context_denied", "channel")
    assert read(channel=f"{tech}/1@in").channel == "Local/1@in"


@pytest.mark.parametrize("context", ["secret", "OUT", "out2", "ou"])
def test_the_context_must_be_granted(context: str) -> None:
    assert refusal(context=context) == (403, "context_denied", "context")
    assert read(ALL, context=context).context == context


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("exten", bad) for bad in ("1 2", "1,2", "${X}", "1/2", "1&2", "1@out", "x" * 80)),
        *(("context", bad) for bad in ("a b", "a,b", "a/b", "a@b", "${X}", "*", "x" * 80)),
        *(("priority", bad) for bad in ("0", "-1", "1.5", "1,2", "1 2", "+1", "1" * 10, "${X}")),
        *(("account", bad) for bad in ("a b", "a,b", "x" * 81)),
        *(("codecs", bad) for bad in ("alaw;ulaw", "alaw ulaw", ",", "a,,b", "!", ",alaw")),
        *(("timeout", bad) for bad in ("0", "301", "-1", "1.5", "x", "9" * 50)),
        ("callerid", "x" * 201),
        ("early_media", "perhaps"),
    ],
)
def test_values_that_no_dialplan_has(field: str, value: str) -> None:
    assert refusal(ALL, **{field: value}) == (400, "invalid_parameter", field)


@pytest.mark.parametrize("field", [*GOOD, "callerid", "variable", "account", "codecs", "timeout"])
@pytest.mark.parametrize("control", ["\r", "\n", "\0", "\t", "\x1b", "\x7f", "\x85", "\x9b"])
def test_no_control_character_in_any_field(field: str, control: str) -> None:
    good = {**GOOD, "callerid": "1", "variable": "a=1", "account": "a", "codecs": "alaw"}
    value = good.get(field, "5")
    for given in (control + value, value + control, value[:1] + control + value[1:]):
        assert refusal(ALL, **{field: given}) == (400, "invalid_parameter", field)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_required(name: str) -> None:
    assert refusal(NAMED, **{name: None}) == (400, "missing_parameter", name)
    assert refusal(NAMED, **{name: ""}) == (400, "missing_parameter", name)


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
        *("a", "=1", ",a=1", "a=1,,", "a=1,,b=2", "1a=1", "a b=1", "a-b=1", "___a=1", "é=1"),
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
        ALL,
        channel=f"PJSIP/{'1' * 79}@{'t' * 79}",
        exten="1" * 79,
        context="ё" * 79,
        callerid="я" * 100,
        account="ё" * 80,
        codecs=",".join(["x" * 20] * 20),
        variable=variable,
    )
    lines = encode(originate_headers(call)).split(b"\r\n")
    assert len(lines) < 128
    assert max(map(len, lines)) < 1024


@pytest.mark.parametrize(
    "query",
    [
        *(
            "variable=a=1,b=2",
            "variable=a=1,b=2,",
            "variable=a=1,%20b=2,%20",
            "variable=a=1&variable=b=2",
        ),
        *("variable[]=a=1&variable[]=b=2", "variable%5B%5D=a=1&variable%5B%5D=b=2,"),
        *("variable[a]=1&variable[b]=2", "variable[0]=a=1&variable[1]=b=2", "variable[]=a=1,b=2"),
    ],
)
def test_how_several_variables_are_written(query: str) -> None:
    with Flask(__name__).test_request_context(f"/?{urlencode(GOOD)}&{query}"):
        assert read_call(Params(), SETTINGS, NAMED).variables == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    "query", ["variable[a]=1,b=2", "variable[a]=1&variable[]=a=2", "variable[X]=1"]
)
def test_how_variables_are_not_written(query: str) -> None:
    with (
        Flask(__name__).test_request_context(f"/?{urlencode(GOOD)}&{query}"),
        pytest.raises(ApiError) as caught,
    ):
        read_call(Params(), SETTINGS, NAMED)
    assert (caught.value.code, caught.value.parameter) == ("invalid_parameter", "variable")


@pytest.mark.parametrize("codecs", ["alaw,ulaw", "alaw, ulaw", " alaw ,ulaw, "])
def test_codecs_are_sent_as_ami_takes_them(codecs: str) -> None:
    assert read(codecs=codecs).codecs == "alaw,ulaw"


def test_a_refusal_names_what_would_work() -> None:
    for name, value, words in (
        ("exten", "1 2", "a plus sign in a URL is %2B"),
        ("channel", "PJSIP/1@trunk", "`channels` in section [originate]"),
        ("variable", "X=1", "`variables` in section [originate] of evolvex.conf"),
    ):
        with pytest.raises(ApiError) as caught:
            read(NAMED, **{name: value})
        assert words in caught.value.detail


def test_defaults() -> None:
    call = read()
    assert (call.timeout, call.callerid, call.variables, call.early_media) == (30, None, [], False)
    assert read(timeout="300", early_media="1").timeout == 300

"""The firewall in front of Originate: request parameters → a Call, or ApiError.

What gets through here is dialled at the PBX owner's expense, so everything is refused that is not
known to be harmless (CVE-2012-4869 shows the alternative). Control characters never come this
far: `Params` rejects them everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Protocol

from evolvex_api.config import Originate
from evolvex_api.core import uniqueid
from evolvex_api.core.access import CONTEXT_NAME, Group
from evolvex_api.core.channels import Channel, check_channel, read_channel
from evolvex_api.core.patterns import any_matches, dialled, shell_matches
from evolvex_api.core.refusals import ApiError, Code, invalid_parameter
from evolvex_api.core.rules import CallRules

_CODEC = re.compile(r"!?[a-z0-9_-]{1,20}", re.IGNORECASE)
_MAX_CODECS = 20
_VARIABLE_NAME = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]{0,78}")
# AMI takes 128 headers in all.
_MAX_VARIABLES = 100
# AMI takes 1024 bytes a line (main/manager.c, struct mansession: inbuf).
_MAX_VALUE = 900
_QUOTED = re.compile(r'["\\]')
# What each parameter takes, as a regular expression and in words for its refusal.
_ALPHABETS = {
    "exten": (
        re.compile(r"[A-Za-z0-9*#+_.-]{1,79}"),
        "letters, digits and *#+_.- (a plus sign in a URL is %2B), at most 79",
    ),
    "context": (re.compile(CONTEXT_NAME), "letters, digits and _.+:-, at most 79"),
    "priority": (
        re.compile(r"[1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9_-]{0,78}"),
        "a number from 1 on, or a label of letters, digits, _ and -",
    ),
    "account": (re.compile(r"[\w.+-]{1,80}"), "letters, digits and _.+-, at most 80"),
}


class Values(Protocol):
    """The parameters of a request; `params.Params` is one. Each method raises ApiError(400)."""

    def optional(self, name: str) -> str | None:
        """The text of a parameter, or None when it is missing or empty."""

    def required(self, name: str) -> str:
        """The text of a parameter."""

    def flag(self, name: str) -> bool:
        """A Boolean parameter; missing is false."""

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from low to high, or None when missing."""

    def pairs(self, name: str) -> Sequence[tuple[str | None, str]]:
        """Several values of a parameter, each with the key that stands in its brackets."""


@dataclass(frozen=True)
class Call:
    """A call to be made: `channel` is dialled first, then led to context, exten and priority.

    `timeout` in seconds; texts as checked by `read_call`; a variable's value must not hold a
    comma. `numbers` are those dialled, exten's and the one inside channel, each once and as
    `patterns.dialled` returns them. `uniqueid` will be the first leg's.
    """

    channel: str
    context: str
    exten: str
    priority: str
    timeout: int
    callerid: str | None = None
    variables: Sequence[tuple[str, str]] = ()
    account: str | None = None
    codecs: str | None = None
    early_media: bool = False
    numbers: Sequence[str] = ()
    uniqueid: str = field(default_factory=uniqueid.new)


def variable_text(name: str, value: str) -> str:
    """NAME=VALUE as a header Variable needs it: Asterisk drops bare quotes and backslashes."""
    return f"{name}={_QUOTED.sub(lambda found: chr(92) + found[0], value)}"


def read_call(params: Values, settings: Originate, group: Group) -> Call:
    """The call that a request asks for, if its group may make it.

    Raises ApiError: 400 missing_parameter and invalid_parameter; 403 channel_denied,
    context_denied, number_denied, callerid_denied, account_denied and variable_denied.
    """
    channel = read_channel(params.required("channel"), settings.technologies)
    call = Call(
        channel=channel.text,
        exten=_required(params, "exten"),
        context=_required(params, "context"),
        priority=_required(params, "priority"),
        timeout=params.integer("timeout", 1, 300) or settings.timeout,
        callerid=_short(params, "callerid"),
        variables=_variables(params, settings),
        account=_optional(params, "account"),
        codecs=_codecs(params),
        early_media=params.flag("early_media"),
    )
    _check_call(call, channel, group)
    return replace(call, numbers=_numbers(call.exten, channel))


def _check_call(call: Call, channel: Channel, group: Group) -> None:
    """Raise ApiError (403) unless the group may make the call."""
    rules = group.rules.calls
    check_channel(channel, rules.channels, group.scope)
    if not group.scope.allows(call.context):
        raise ApiError(
            403, "context_denied", "Your group may not use this context.", parameter="context"
        )
    _check_number(rules, "exten", call.exten)
    if channel.number is not None:
        _check_number(rules, "channel", channel.number)
    number = callerid_number(call.callerid or "")
    if number and rules.caller_ids is not None and not any_matches(rules.caller_ids, number):
        raise _denied("callerid_denied", "callerid", "present this number", "caller_ids")
    if call.account and not _listed(rules.accounts, call.account):
        raise _denied("account_denied", "account", "set this account", "accounts")
    for name, _ in call.variables:
        if not _listed(rules.variables, name.lstrip("_")):
            raise _denied("variable_denied", "variable", f"set the variable {name}", "variables")


def _check_number(rules: CallRules, parameter: str, number: str) -> None:
    if any_matches(rules.forbidden_numbers or (), number):
        raise _denied("number_denied", parameter, f"dial {number}", "forbidden_numbers")
    if rules.numbers is not None and not any_matches(rules.numbers, number):
        raise _denied("number_denied", parameter, f"dial {number}", "numbers")


def _denied(code: Code, parameter: str, what: str, key: str) -> ApiError:
    return ApiError(
        403,
        code,
        f"Your group may not {what}: an administrator sets `{key}` in section [originate] of the"
        " group's file.",
        parameter=parameter,
    )


def _listed(patterns: Sequence[str] | None, name: str) -> bool:
    return patterns is None or any(shell_matches(pattern, name) for pattern in patterns)


def _numbers(exten: str, channel: Channel) -> Sequence[str]:
    given = (dialled(number) for number in (exten, channel.number) if number is not None)
    return tuple(dict.fromkeys(given))


def callerid_number(text: str) -> str:
    """The number inside a caller id, as `"Name" <number>`, `Name <number>` or `number`.

    Empty where there is none. Source: Asterisk's main/callerid.c, `ast_callerid_parse` and
    `ast_shrink_phone_number`; where versions differ, the text that any of them takes as a number.
    """
    _, bracket, inside = text.strip().strip('"').rpartition("<")
    number = (inside.rpartition(">")[0] if ">" in inside else inside) if bracket else inside
    number = re.sub(r"[()\s-]|\.(?!$)", "", number)
    return number if bracket or re.fullmatch(r"[0-9*#+.]+", number) else ""


def _codecs(params: Values) -> str | None:
    """`alaw, ulaw` as AMI takes it: without spaces, nor a comma at its end."""
    given = params.optional("codecs")
    if given is None:
        return None
    codecs = _parts(given)
    if not codecs or len(codecs) > _MAX_CODECS or not all(map(_CODEC.fullmatch, codecs)):
        raise invalid_parameter("codecs", "codecs must be names between commas, as in alaw,ulaw.")
    return ",".join(codecs)


def _variables(params: Values, settings: Originate) -> Sequence[tuple[str, str]]:
    """`a=1,b=2` as pairs. A value can't hold a comma: AMI itself would split it there."""
    pairs = []
    for key, text in params.pairs("variable"):
        texts = _parts(text, strip=False) if key is None else [f"{key}={text}"]
        pairs += [_variable(pair, settings) for pair in texts]
    names = [name.lstrip("_") for name, _ in pairs]
    if len(set(names)) != len(names):
        raise invalid_parameter("variable", "variable sets a name twice.")
    if len(pairs) > _MAX_VARIABLES:
        raise invalid_parameter("variable", f"variable holds more than {_MAX_VARIABLES} variables.")
    return pairs


def _parts(text: str, *, strip: bool = True) -> list[str]:
    """What stands between commas; a comma at the end counts for nothing."""
    parts = text.split(",")
    if not parts[-1].strip():
        parts.pop()
    return [part.strip() for part in parts] if strip else parts


def _variable(pair: str, settings: Originate) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not equals or not _VARIABLE_NAME.fullmatch(name):
        raise invalid_parameter("variable", "variable must be name=value,name=value.")
    bare = name.lstrip("_")
    if bare == bare.upper() and not any(fnmatchcase(bare, p) for p in settings.variables):
        raise invalid_parameter(
            "variable",
            f"{name}: names all in capitals belong to the dialplan; an administrator permits them"
            " by `variables` in section [originate] of evolvex.conf.",
        )
    if "${" in value or "$[" in value:
        raise invalid_parameter("variable", f"{name}: a value must not hold an expression.")
    if "," in value:
        raise invalid_parameter("variable", f"{name}: a value must not hold a comma.")
    if len(variable_text(name, value).encode()) > _MAX_VALUE:
        raise invalid_parameter("variable", f"{name}: the value is longer than AMI takes.")
    return name, value


def _required(params: Values, name: str) -> str:
    return _checked(name, params.required(name))


def _optional(params: Values, name: str) -> str | None:
    value = params.optional(name)
    return value and _checked(name, value)


def _checked(name: str, value: str) -> str:
    allowed, words = _ALPHABETS[name]
    if not allowed.fullmatch(value):
        raise invalid_parameter(name, f"{name} takes {words}.")
    return value


def _short(params: Values, name: str) -> str | None:
    value = params.optional(name)
    if value is not None and len(value.encode()) > 200:
        raise invalid_parameter(name, f"{name} takes at most 200 bytes.")
    return value

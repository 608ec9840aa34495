"""The firewall in front of Originate: request parameters → a Call, or ApiError.

What gets through here is dialled at the PBX owner's expense, so everything is refused that is not
known to be harmless (CVE-2012-4869 is what happens otherwise). Control characters never come this
far: `Params` rejects them everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from evolvex_api.config import Originate
from evolvex_api.core import uniqueid
from evolvex_api.core.access import CONTEXT_NAME, Scope
from evolvex_api.core.refusals import ApiError, invalid_parameter

_EXTEN = re.compile(r"[A-Za-z0-9*#+_.-]{1,79}")
_CONTEXT = re.compile(CONTEXT_NAME)
_PRIORITY = re.compile(r"[1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9_-]{0,78}")
_RESOURCE = re.compile(r"[A-Za-z0-9_.+*#:;=@/-]{1,200}")
# Asterisk's core_local.c: an extension, its context, and after a slash one-letter options.
_LOCAL = re.compile(
    rf"(?P<exten>[A-Za-z0-9*#+_.-]{{1,79}})@(?P<context>{CONTEXT_NAME})(?:/[a-z]{{1,8}})?"
)
_ACCOUNT = re.compile(r"[\w.+-]{1,80}")
_CODECS = re.compile(r"!?[a-z0-9_-]{1,20}(?:,!?[a-z0-9_-]{1,20}){0,20}", re.IGNORECASE)
_VARIABLE_NAME = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]{0,78}")
# AMI takes 128 headers in all.
_MAX_VARIABLES = 100
# AMI takes 1024 bytes a line (main/manager.c, struct mansession: inbuf).
_MAX_VALUE = 900
_QUOTED = re.compile(r'["\\]')


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


@dataclass(frozen=True)
class Call:
    """A call to be made: `channel` is dialled first, then led to context, exten and priority.

    `timeout` in seconds; texts as checked by `read_call`; a variable's value must not hold a
    comma. `uniqueid` will be the first leg's.
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
    uniqueid: str = field(default_factory=uniqueid.new)


def variable_text(name: str, value: str) -> str:
    """NAME=VALUE as a header Variable needs it: Asterisk drops bare quotes and backslashes."""
    return f"{name}={_QUOTED.sub(lambda found: chr(92) + found[0], value)}"


def read_call(params: Values, settings: Originate, scope: Scope) -> Call:
    """The call that a request asks for, if its caller may make it.

    Raises ApiError: 400 missing_parameter and invalid_parameter, 403 context_denied.
    """
    channel = _channel(params, settings, scope)
    exten = _required(params, "exten", _EXTEN)
    context = _required(params, "context", _CONTEXT)
    _demand(scope, context)
    priority = _required(params, "priority", _PRIORITY)
    return Call(
        channel=channel,
        exten=exten,
        context=context,
        priority=priority,
        timeout=params.integer("timeout", 1, 300) or settings.timeout,
        callerid=_short(params, "callerid"),
        variables=_variables(params, settings),
        account=_optional(params, "account", _ACCOUNT),
        codecs=_optional(params, "codecs", _CODECS),
        early_media=params.flag("early_media"),
    )


def _channel(params: Values, settings: Originate, scope: Scope) -> str:
    channel = params.required("channel")
    technology, _, resource = channel.partition("/")
    # Asterisk knows no case in it, so neither must the scope.
    known = {name.lower(): name for name in settings.technologies}
    if technology.lower() not in known:
        allowed = ", ".join(settings.technologies)
        raise invalid_parameter(
            "channel", f"channel must be Tech/resource, Tech one of: {allowed}."
        )
    if technology.lower() == "local":
        match = _LOCAL.fullmatch(resource)
        if not match:
            raise invalid_parameter("channel", "channel must be Local/exten@context.")
        _demand(scope, match["context"])
    elif not _RESOURCE.fullmatch(resource):
        raise invalid_parameter("channel", "channel names no resource that can be dialled.")
    return f"{known[technology.lower()]}/{resource}"


def _demand(scope: Scope, context: str) -> None:
    if not scope.allows(context):
        raise ApiError(
            403, "context_denied", "Your group may not use this context.", parameter="context"
        )


def _variables(params: Values, settings: Originate) -> Sequence[tuple[str, str]]:
    """`a=1,b=2` as pairs. A value can't hold a comma: AMI itself would split it there."""
    given = params.optional("variable")
    pairs = [_variable(pair, settings) for pair in given.split(",")] if given else []
    names = [name.lstrip("_") for name, _ in pairs]
    if len(set(names)) != len(names):
        raise invalid_parameter("variable", "variable sets a name twice.")
    if len(pairs) > _MAX_VARIABLES:
        raise invalid_parameter("variable", f"variable holds more than {_MAX_VARIABLES} variables.")
    return pairs


def _variable(pair: str, settings: Originate) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not equals or not _VARIABLE_NAME.fullmatch(name):
        raise invalid_parameter("variable", "variable must be name=value,name=value.")
    bare = name.lstrip("_")
    if bare == bare.upper() and not any(fnmatchcase(bare, p) for p in settings.variables):
        raise invalid_parameter(
            "variable", f"{name}: names all in capitals belong to the dialplan."
        )
    if "${" in value or "$[" in value:
        raise invalid_parameter("variable", f"{name}: a value must not hold an expression.")
    if len(variable_text(name, value).encode()) > _MAX_VALUE:
        raise invalid_parameter("variable", f"{name}: the value is too long.")
    return name, value


def _required(params: Values, name: str, allowed: re.Pattern[str]) -> str:
    return _checked(name, params.required(name), allowed)


def _optional(params: Values, name: str, allowed: re.Pattern[str]) -> str | None:
    value = params.optional(name)
    return value and _checked(name, value, allowed)


def _checked(name: str, value: str, allowed: re.Pattern[str]) -> str:
    if not allowed.fullmatch(value):
        raise invalid_parameter(name, f"{name} holds characters that it can't have, or too many.")
    return value


def _short(params: Values, name: str) -> str | None:
    value = params.optional(name)
    if value is not None and len(value.encode()) > 200:
        raise invalid_parameter(name, f"{name} is too long.")
    return value

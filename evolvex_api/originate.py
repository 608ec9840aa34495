"""The firewall in front of Originate: request parameters → a Call, or ApiError.

What gets through here is dialled at the PBX owner's expense, so everything is refused that is not
known to be harmless (CVE-2012-4869 is what happens otherwise). Control characters never come this
far: `Params` refuses them everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from evolvex_api.access import Fence
from evolvex_api.backends.ami_messages import MAX_LINE, Call, variable_text
from evolvex_api.config import Originate
from evolvex_api.errors import ApiError, invalid_parameter
from evolvex_api.params import Params

_EXTEN = re.compile(r"[A-Za-z0-9*#+_.-]{1,79}")
_CONTEXT = re.compile(r"[\w.+-]{1,79}")
_PRIORITY = re.compile(r"[1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9_-]{0,78}")
_RESOURCE = re.compile(r"[A-Za-z0-9_.+*#:;=@/-]{1,200}")
# Asterisk's core_local.c: an extension, its context, and after a slash one-letter options.
_LOCAL = re.compile(
    r"(?P<exten>[A-Za-z0-9*#+_.-]{1,79})@(?P<context>[\w.+-]{1,79})(?:/[a-z]{1,8})?"
)
_ACCOUNT = re.compile(r"[\w.+-]{1,80}")
_CODECS = re.compile(r"!?[a-z0-9_-]{1,20}(?:,!?[a-z0-9_-]{1,20}){0,20}", re.IGNORECASE)
_VARIABLE_NAME = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]{0,78}")
# AMI takes 128 headers in all.
_MAX_VARIABLES = 100
_MAX_VALUE = MAX_LINE - 100


def read_call(params: Params, settings: Originate, fence: Fence) -> Call:
    """The call that a request asks for, if its caller may make it.

    Raises ApiError: 400 missing_parameter and invalid_parameter, 403 context_denied.
    """
    channel = _channel(params, settings, fence)
    exten = _required(params, "exten", _EXTEN)
    context = _required(params, "context", _CONTEXT)
    _demand(fence, context)
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


def _channel(params: Params, settings: Originate, fence: Fence) -> str:
    channel = params.required("channel")
    technology, _, resource = channel.partition("/")
    # Asterisk knows no case in it, so neither must the fence.
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
        _demand(fence, match["context"])
    elif not _RESOURCE.fullmatch(resource):
        raise invalid_parameter("channel", "channel names no resource that can be dialled.")
    return f"{known[technology.lower()]}/{resource}"


def _demand(fence: Fence, context: str) -> None:
    if not fence.allows(context):
        raise ApiError(
            403, "context_denied", "Your group may not use this context.", parameter="context"
        )


def _variables(params: Params, settings: Originate) -> Sequence[tuple[str, str]]:
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


def _required(params: Params, name: str, allowed: re.Pattern[str]) -> str:
    return _checked(name, params.required(name), allowed)


def _optional(params: Params, name: str, allowed: re.Pattern[str]) -> str | None:
    value = params.optional(name)
    return value and _checked(name, value, allowed)


def _checked(name: str, value: str, allowed: re.Pattern[str]) -> str:
    if not allowed.fullmatch(value):
        raise invalid_parameter(name, f"{name} holds characters that it can't have, or too many.")
    return value


def _short(params: Params, name: str) -> str | None:
    value = params.optional(name)
    if value is not None and len(value.encode()) > 200:
        raise invalid_parameter(name, f"{name} is too long.")
    return value

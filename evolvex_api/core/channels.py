"""What stands in `channel`: its parts, and what no request may dial.

Sources: Asterisk's channels/chan_pjsip.c (`chan_pjsip_request`: PJSIP/[number@]endpoint[/URI]),
chan_sip.c (`sip_request_call`: SIP/[user[:password]@]host[/number]), chan_iax2.c
(`parse_dial_string`), chan_dahdi.c and core_local.c.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evolvex_api.core.access import CONTEXT_NAME, Scope
from evolvex_api.core.patterns import shell_matches
from evolvex_api.core.refusals import ApiError, invalid_parameter

LOCAL = "Local"
FORMS = "TECH/name, TECH/number@endpoint, TECH/group/number or Local/number@context"
_RESOURCE = re.compile(r"[A-Za-z0-9_.+*#:;=@/-]{1,200}")
_NUMBER = r"[A-Za-z0-9*#+_.-]{1,79}"
# core_local.c: an extension, its context, and after a slash one-letter options.
_LOCAL = re.compile(rf"(?P<number>{_NUMBER})@(?P<context>{CONTEXT_NAME})(?:/[a-z]{{1,8}})?")
_PEER = r"[A-Za-z0-9_+*#-]{1,79}"
_ENDPOINT = re.compile(_PEER)
_NUMBER_AT_ENDPOINT = re.compile(rf"(?P<number>{_NUMBER})@{_PEER}")
_GROUP_AND_NUMBER = re.compile(rf"{_PEER}/(?P<number>{_NUMBER})")
_HOST = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|.*[A-Za-z].*\..*|.*\..*[A-Za-z].*")
# These never resolve the name of a peer in the DNS; DAHDI has no network.
_WITHOUT_DNS = ("pjsip", "dahdi")


@dataclass(frozen=True)
class Channel:
    """A channel that may be dialled by somebody: `text` as Asterisk gets it.

    `number` is the one in it (None for TECH/name), `context` that of Local.
    """

    text: str
    number: str | None = None
    context: str | None = None

    @property
    def pattern_text(self) -> str:
        """What a pattern of `channels` is compared with: the options of Local are left out."""
        return f"{LOCAL}/{self.number}@{self.context}" if self.context else self.text


def read_channel(text: str, technologies: Sequence[str]) -> Channel:
    """The parts of a channel.

    Raises ApiError: 400 invalid_parameter for what is none of the forms, 403 channel_denied for an
    address: Asterisk would call there and answer a request for the password with its digest.
    """
    technology, _, resource = text.partition("/")
    # Asterisk knows no case in it, so neither may the check.
    known = {name.lower(): name for name in technologies}
    spelled = known.get(technology.lower())
    if spelled is None:
        allowed = ", ".join(technologies)
        raise invalid_parameter(
            "channel", f"channel must be Tech/resource, Tech one of: {allowed}."
        )
    if technology.lower() == LOCAL.lower():
        match = _LOCAL.fullmatch(resource)
        if not match:
            raise invalid_parameter("channel", "channel must be Local/number@context.")
        return Channel(f"{LOCAL}/{resource}", match["number"], match["context"])
    if not _RESOURCE.fullmatch(resource):
        raise invalid_parameter("channel", f"channel must be {FORMS}.")
    _refuse_address(technology.lower(), resource)
    return Channel(f"{spelled}/{resource}", _number_in(resource))


def _number_in(resource: str) -> str | None:
    if _ENDPOINT.fullmatch(resource):
        return None
    match = _NUMBER_AT_ENDPOINT.fullmatch(resource) or _GROUP_AND_NUMBER.fullmatch(resource)
    if not match:
        raise invalid_parameter("channel", f"channel must be {FORMS}.")
    return match["number"]


def _refuse_address(technology: str, resource: str) -> None:
    peer = resource.rpartition("@")[2].partition("/")[0]
    number = resource.partition("/")[2]
    if (
        re.search("[:;=]", resource)
        or "." in peer
        or _HOST.fullmatch(number)
        or (technology not in _WITHOUT_DNS and _is_number_of_host(peer))
    ):
        raise ApiError(
            403,
            "channel_denied",
            "An address (sip:…, a host, an IP address, a port or a password) is never dialled;"
            f" channel must be {FORMS}.",
            parameter="channel",
        )


def _is_number_of_host(peer: str) -> bool:
    """True for an IPv4 address written as one number, as inet_aton(3) reads it: 2130706433.

    Those of the network 0.0.0.0/8 reach nothing; extensions such as 101 are among them.
    """
    match = re.fullmatch(r"(0[xX])([0-9a-fA-F]+)|(0[0-7]*|[1-9][0-9]*)", peer)
    if not match or len(peer) > 20:
        return False
    digits = match[2] or match[3]
    base = 16 if match[1] else 8 if digits.startswith("0") else 10
    return 1 << 24 <= int(digits, base) < 1 << 32


def check_channel(channel: Channel, patterns: Sequence[str] | None, scope: Scope) -> None:
    """Raise ApiError (403 channel_denied or context_denied) unless a group may dial a channel.

    `patterns` are those of the group's `channels`; None: it has none, so that a group with every
    context may dial every form, and any other one TECH/name and Local.
    """
    if patterns is not None:
        if not any(_allows(pattern, channel) for pattern in patterns):
            raise _denied(
                "Your group may not dial this channel; `channels` of its file says which."
            )
    elif channel.number is not None and channel.context is None and not scope.open:
        raise _denied(
            "Your group may dial TECH/name and Local/number@context only; an administrator permits"
            " trunks by `channels` in section [originate] of the group's file."
        )
    if channel.context is not None and not scope.allows(channel.context):
        raise ApiError(
            403,
            "context_denied",
            "Your group may not use the context inside channel.",
            parameter="channel",
        )


def _allows(pattern: str, channel: Channel) -> bool:
    """Asterisk knows no case in a technology, so neither does the pattern."""
    technology, _, resource = pattern.partition("/")
    own_technology, _, own = channel.pattern_text.partition("/")
    return technology.lower() == own_technology.lower() and shell_matches(resource, own)


def _denied(detail: str) -> ApiError:
    return ApiError(403, "channel_denied", detail, parameter="channel")

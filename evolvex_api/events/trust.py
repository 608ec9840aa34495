"""Which AMI events are believed.

Asterisk prints line ends inside values as they are, so a caller's name may hold whole headers
("x\\r\\nLinkedid: …"). An event is believed when it has exactly one of each header that Asterisk 16
to 22 sends, in their order; a forged header is then one too many. What a caller controls (number,
name, extension, account) is cut off by Asterisk after 80 characters, too few to forge an event.
Variables are not: whoever lists one in manager.conf's `channelvars` trusts who sets it.
Source: main/manager_channels.c, manager_bridges.c, manager.c and app_queue.c, and recordings of
both versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from evolvex_api.events.call import Event

Fields = Mapping[str, str]

_SNAPSHOT = (
    *("Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum", "CallerIDName"),
    *("ConnectedLineNum", "ConnectedLineName", "Language", "AccountCode"),
    *("Context", "Exten", "Priority", "Uniqueid", "Linkedid"),
)
_BRIDGE = (
    *("BridgeUniqueid", "BridgeType", "BridgeTechnology", "BridgeCreator", "BridgeName"),
    *("BridgeNumChannels", "BridgeVideoSourceMode"),
)
# What manager.c puts before the event's own headers, by timestampevents, debug and systemname.
_PREAMBLE = "Event Privilege Timestamp? SequenceNumber? File? Line? Func? SystemName?"
# `@` is a channel's headers, `#` a bridge's, with a prefix behind it; `?` is optional.
_LAYOUTS = {
    "Newchannel": "@",
    "Newstate": "@",
    "NewCallerid": "@ CID-CallingPres",
    "NewConnectedLine": "@",
    "Hangup": "@ Cause Cause-txt TechCause?",
    "HangupRequest": "@ Cause? TechCause?",
    "DialBegin": "@? @Dest DialString",
    "DialState": "@? @Dest DialStatus",
    "DialEnd": "@? @Dest Forward? DialStatus",
    "BridgeEnter": "# @ SwapUniqueid?",
    "BridgeLeave": "# @",
    "BridgeDestroy": "#",
    "Hold": "@ MusicClass?",
    "Unhold": "@",
    "BlindTransfer": "Result @Transferer @Transferee? # IsExternal Context Extension",
    "AttendedTransfer": (
        "Result @OrigTransferer #Orig? @SecondTransferer #Second? @Transferee? @TransferTarget?"
        " IsExternal DestType DestBridgeUniqueid? DestTransfererChannel? DestApp?"
        " @LocalOne? @LocalTwo?"
    ),
    "LocalBridge": "@LocalOne @LocalTwo Context Exten LocalOptimization",
    "MixMonitorStart": "@",
    "OriginateResponse": (
        "ActionID? Response Channel Context Exten Reason Uniqueid CallerIDNum CallerIDName"
    ),
    "QueueCallerJoin": "@ Queue Position Count",
    "QueueCallerLeave": "@ Queue Position Count",
    "Status": (
        "@ Type DNID EffectiveConnectedLineNum EffectiveConnectedLineName TimeToHangup BridgeID"
        " Application Data Nativeformats Readformat Readtrans Writeformat Writetrans Callgroup"
        " Pickupgroup Seconds Variable* ActionID?"
    ),
}
# Believed shapes are kept, so that few events need the regular expressions. A setting such as
# channelvars multiplies them, hence the bound.
_MOST_SHAPES = 1000


class Trust:
    """Reads events into their headers, believing only those of a known shape."""

    def __init__(self) -> None:
        self._believed: set[tuple[str, ...]] = set()

    def read(self, event: Event) -> Fields | None:
        """Return the headers of a believed event; None for any other and for unknown types."""
        if not event or event[0][0] != "Event" or event[0][1] not in _PATTERNS:
            return None
        name = event[0][1]
        shape = (name, *[header for header, _ in event])
        if shape not in self._believed:
            if not _PATTERNS[name].fullmatch("".join(f"{header} " for header in shape[1:])):
                return None
            if len(self._believed) >= _MOST_SHAPES:
                self._believed.clear()
            self._believed.add(shape)
        return dict(event)


def _pattern(layout: str) -> re.Pattern[str]:
    return re.compile("".join(_part(token) for token in f"{_PREAMBLE} {layout}".split()))


def _part(token: str) -> str:
    """Return the regular expression of a token of a layout; each header ends with a blank.

    `ChanVariable` follows a channel where manager.conf has `channelvars`.
    """
    name = token.rstrip("?*")
    repeat = token[len(name) :]
    if name[0] not in "@#":
        return f"(?:{re.escape(name)} ){repeat}"
    prefix = name[1:]
    headers = _SNAPSHOT if name[0] == "@" else _BRIDGE
    text = "".join(f"{prefix}{header} " for header in headers)
    variables = f"(?:{prefix}ChanVariable )*" if name[0] == "@" else ""
    return f"(?:{text}{variables}){repeat}"


_PATTERNS = {name: _pattern(layout) for name, layout in _LAYOUTS.items()}

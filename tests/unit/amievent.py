"""AMI events written by a test, with all the headers that Asterisk sends."""

from __future__ import annotations

from evolvex_api.events.call import Event

_STATES = {"0": "Down", "4": "Ring", "5": "Ringing", "6": "Up"}


def channel(
    uniqueid: str,
    linkedid: str,
    name: str = "PJSIP/101-00000001",
    *,
    state: str = "6",
    prefix: str = "",
    number: str = "101",
    context: str = "from-internal",
    exten: str = "102",
) -> Event:
    """Return the headers of a channel, as every event has them that concerns one."""
    values = {
        "Channel": name,
        "ChannelState": state,
        "ChannelStateDesc": _STATES[state],
        "CallerIDNum": number,
        "CallerIDName": "<unknown>",
        "ConnectedLineNum": "<unknown>",
        "ConnectedLineName": "<unknown>",
        "Language": "en",
        "AccountCode": "",
        "Context": context,
        "Exten": exten,
        "Priority": "1",
        "Uniqueid": uniqueid,
        "Linkedid": linkedid,
    }
    return tuple((f"{prefix}{header}", value) for header, value in values.items())


def event(name: str, *parts: Event, **last: str) -> Event:
    """Return an event: its channels' headers, then `last` (`Cause_txt` is Cause-txt)."""
    head = (("Event", name), ("Privilege", "call,all"))
    behind = tuple((header.replace("_", "-"), value) for header, value in last.items())
    return (*head, *(pair for part in parts for pair in part), *behind)


def hangup(uniqueid: str, linkedid: str, cause: str = "16", **of_channel: str) -> Event:
    """Return the Hangup of a channel."""
    return event("Hangup", channel(uniqueid, linkedid, **of_channel), Cause=cause, Cause_txt="Text")


def bridge_enter(bridge: str, part: Event, kind: str = "basic") -> Event:
    """Return the BridgeEnter of the channel with these headers."""
    return event("BridgeEnter", _bridge(bridge, kind), part)


def bridge_leave(bridge: str, part: Event, kind: str = "basic") -> Event:
    """Return its BridgeLeave."""
    return event("BridgeLeave", _bridge(bridge, kind), part)


def status(part: Event, bridge: str = "", application: str = "Dial", data: str = "") -> Event:
    """Return the Status of the channel with these headers."""
    names = "Type DNID EffectiveConnectedLineNum EffectiveConnectedLineName TimeToHangup"
    formats = "Nativeformats Readformat Readtrans Writeformat Writetrans Callgroup Pickupgroup"
    values = dict.fromkeys(names.split(), "")
    values |= {"BridgeID": bridge, "Application": application, "Data": data}
    values |= dict.fromkeys(formats.split(), "") | {"Seconds": "7", "ActionID": "1"}
    return event("Status", part, **values)


def _bridge(bridge: str, kind: str) -> Event:
    return (
        ("BridgeUniqueid", bridge),
        ("BridgeType", kind),
        ("BridgeTechnology", "simple_bridge"),
        ("BridgeCreator", "<unknown>"),
        ("BridgeName", "<unknown>"),
        ("BridgeNumChannels", "1"),
        ("BridgeVideoSourceMode", "none"),
    )

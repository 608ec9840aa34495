"""Channels and bridges, as the events name them."""

from __future__ import annotations

from dataclasses import dataclass, field

from evolvex_api.events.call import Leg
from evolvex_api.events.trust import Fields

DOWN, RING, RINGING, UP = "0", "4", "5", "6"  # ChannelState, include/asterisk/channelstate.h
# The extension of a channel that was dialled and executes no dialplan of its own.
_NO_EXTENS = ("", "s")


@dataclass(slots=True)
class Channel:
    """A channel, known by its Uniqueid: names and Linkedids change.

    `is_placed` says that it came by its context by its own call, not by a Dial, `is_dialled` that
    its number is the dialled one; `place` is where it stood at first; `left` are the Linkedids that
    it has had before.
    """

    uniqueid: str
    name: str
    linkedid: str
    number: str
    place: tuple[str, str]
    is_placed: bool = False
    is_originated: bool = False
    is_dialled: bool = False
    has_rung: bool = False
    has_answered: bool = False
    bridge: str | None = None
    left: set[str] = field(default_factory=set)

    @property
    def is_root(self) -> bool:
        """True for the channel that began its call."""
        return self.uniqueid == self.linkedid

    @property
    def is_local(self) -> bool:
        """True for half of a Local channel, which is nobody's phone."""
        return self.name.startswith("Local/")

    @property
    def leg(self) -> Leg:
        return Leg(self.uniqueid, self.name, self.number)


@dataclass(slots=True)
class Bridge:
    """A bridge and the Uniqueids in it, in order of entering."""

    kind: str
    members: dict[str, None] = field(default_factory=dict)


def new_channel(fields: Fields, prefix: str, linkedid: str) -> Channel:
    """Return the channel of a snapshot, the headers with that prefix, as part of that call.

    A channel that begins a call in state Down was originated: drivers create a caller's channel
    in state Ring, or (chan_sip) say so right afterwards.
    """
    uniqueid, state = fields[f"{prefix}Uniqueid"], fields[f"{prefix}ChannelState"]
    is_root = uniqueid == linkedid
    name = fields[f"{prefix}Channel"]
    return Channel(
        uniqueid,
        name,
        linkedid,
        leg_number(name, known(fields[f"{prefix}CallerIDNum"])),
        (fields[f"{prefix}Context"], fields[f"{prefix}Exten"]),
        is_placed=is_root and state in (RING, UP),
        is_originated=is_root and state not in (RING, UP),
    )


def known(value: str) -> str:
    """Return a value of AMI, "" for what AMI prints when it has none."""
    return "" if value == "<unknown>" else value


def is_number(exten: str) -> bool:
    """Return whether an extension says who was called."""
    return exten not in _NO_EXTENS


def leg_number(name: str, caller_number: str, dialled: str = "") -> str:
    """Return whose phone a leg is: the number dialled through a trunk, else the endpoint's.

    `name` is the channel's ("PJSIP/101-0000000a"), `caller_number` its own caller id, which is a
    trunk's or a group's number as often as the phone's; `dialled` is DialBegin's DialString.
    """
    number, at, _ = dialled.rpartition("@")
    if at:
        return number.rpartition("/")[2]
    endpoint = name.partition("/")[2].rpartition("-")[0]
    if endpoint.isdigit():
        return endpoint
    return caller_number or endpoint

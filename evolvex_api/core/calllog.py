"""The call log: its fields, what a client asks of it, and how far it has read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from evolvex_api.core.access import Scope

# The fields of the original API, in its order.
FIELDS = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp"),
    *("lastdata", "start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
    *("userfield", "uniqueid", "linkedid", "peeraccount", "sequence", "source", "destination"),
    *("direction", "group_uuid"),
)

Format = Literal["json", "csv", "ndjson"]

# A filter's name → the columns of which one must have its value.
FILTERS: Mapping[str, tuple[str, ...]] = {
    "src": ("src",),
    "dst": ("dst",),
    "number": ("src", "dst"),
    "uniqueid": ("uniqueid",),
    "linkedid": ("linkedid",),
    "disposition": ("disposition",),
}


@dataclass(frozen=True)
class Selection:
    """The rows that a client asks for.

    `start` and `end` are local times without a zone, both included, the fractions of second `end`
    too. `filters` are names of FILTERS with the values that are compared byte by byte.
    """

    start: datetime
    end: datetime
    scope: Scope
    filters: Mapping[str, str] = field(default_factory=dict)
    descending: bool = False


@dataclass(frozen=True)
class Position:
    """How far a client has read: after `seen` rows that begin at `time` and have the rank `rank`.

    `time` is a row's start as the database prints it. Ranks order the rows of one moment; the same
    row always has the same rank. Only rows that are equal in all that the rank is made of share
    one.
    """

    time: str
    rank: str
    seen: int


@dataclass(frozen=True)
class CallRow:
    """What the recordings need to know of a call's row; "" for NULL and for a missing column."""

    uniqueid: str
    linkedid: str
    dcontext: str
    group_uuid: str
    recordingfile: str
    userfield: str

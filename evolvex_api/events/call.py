"""A live call as clients see it, and what happened to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from evolvex_api.events.directions import Direction

# An AMI event as it came: header names and values in order, already cut out of the stream.
Event = tuple[tuple[str, str], ...]
State = Literal["ringing", "queued", "answered", "held", "ended"]
Reason = Literal["hangup", "merged", "lost"]
Disposition = Literal["ANSWERED", "BUSY", "NO ANSWER", "FAILED", "CANCEL"]


class Leg(NamedTuple):
    """A channel of a call: who rings, who talks."""

    uniqueid: str
    channel: str
    number: str

    def as_json(self) -> dict[str, str]:
        """Return the leg under AMI's names."""
        return {"Uniqueid": self.uniqueid, "Channel": self.channel, "Number": self.number}


class Recorder(NamedTuple):
    """A channel on which MixMonitor started; its file's path is in the channel's variables."""

    linkedid: str
    uniqueid: str
    channel: str


@dataclass(frozen=True)
class Change:
    """One thing that happened to a call: the content of an envelope but for its id.

    `type` is "call.started" and the like; `seq` counts within a call from 1 without a gap;
    `timestamp` is seconds since the epoch; `call` is the call as JSON at that moment; `contexts`
    are those by which a group may see it; `change` is the leg that it is about, or empty. Of
    `call.transferred` it is who gets the call, with the number that hands it over as `From`;
    Uniqueid and Channel are null where a blind transfer has not yet rung anybody.
    """

    type: str
    seq: int
    timestamp: float
    call: dict[str, Any]
    contexts: frozenset[str]
    change: dict[str, Any]


@dataclass(slots=True)
class Call:
    """All channels that share a Linkedid. Times are seconds since the epoch."""

    linkedid: str
    start: float
    caller_number: str = ""
    caller_name: str = ""
    exten: str = ""
    context: str = ""
    direction: Direction = "internal"
    state: State = "ringing"
    queue: str | None = None
    ringing: dict[str, Leg] = field(default_factory=dict)
    answered_by: Leg | None = None
    uniqueids: list[str] = field(default_factory=list)
    answer: float | None = None
    end: float | None = None
    disposition: Disposition | None = None
    cause: str | None = None
    cause_text: str | None = None
    reason: Reason | None = None
    merged_into: str | None = None
    recording: dict[str, Any] | None = None
    seq: int = 0
    contexts: set[str] = field(default_factory=set)
    # What follows is the tracker's own, no part of the JSON: Uniqueids, outcomes of dialled legs.
    channels: set[str] = field(default_factory=set)
    dialling: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    holders: set[str] = field(default_factory=set)
    outcomes: set[str] = field(default_factory=set)
    caller_left: bool = False
    awaits_response: bool = False  # originated, and OriginateResponse has not come
    empty_since: float | None = None
    unannounced_since: float | None = None  # another talks now, and no event has said so
    has_progressed: bool = False  # a phone rang, or the dialplan took the call

    @property
    def visible_contexts(self) -> frozenset[str]:
        """The contexts that its channels showed, those made by a Dial excepted."""
        return frozenset(self.contexts)

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the call object of the API; durations run until `now` while the call lives.

        A clock that was set back never makes a duration negative.
        """
        until = now if self.end is None else self.end
        return {
            "Linkedid": self.linkedid,
            "State": self.state,
            "Direction": self.direction,
            "CallerIDNum": self.caller_number,
            "CallerIDName": self.caller_name,
            "Exten": self.exten,
            "Context": self.context,
            "Queue": self.queue,
            "Ringing": [leg.as_json() for leg in self.ringing.values()],
            "AnsweredBy": self.answered_by.as_json() if self.answered_by else None,
            "Uniqueids": list(self.uniqueids),
            "StartTime": local_time(self.start),
            "AnswerTime": None if self.answer is None else local_time(self.answer),
            "EndTime": None if self.end is None else local_time(self.end),
            "Duration": _whole_seconds(self.start, until),
            "BillableSeconds": 0 if self.answer is None else _whole_seconds(self.answer, until),
            "Disposition": self.disposition,
            "Cause": self.cause,
            "Cause-txt": self.cause_text,
            "Reason": self.reason,
            "MergedInto": self.merged_into,
            "Recording": self.recording,
        }


def local_time(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in the host's zone, to the millisecond."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def _whole_seconds(start: float, until: float) -> int:
    return max(0, int(until - start))

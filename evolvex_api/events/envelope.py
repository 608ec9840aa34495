"""The envelope of an event, the same in streams and webhooks: its id, its JSON, its links.

{"id": "evt_…", "type": "call.answered", "timestamp": …, "seq": 7, "data": call, "change": {…}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvex_api.core.access import Group, Scope
from evolvex_api.core.links import DEFAULT_TTL, Link
from evolvex_api.events.call import Change, local_time

TYPES = (
    "call.started",
    "call.queued",
    "call.ringing",
    "call.ring_ended",
    "call.answered",
    "call.held",
    "call.resumed",
    "call.transferred",
    "call.ended",
    "call.recorded",
)
# Events are missing before this one: the receiver asks `calls` for what is true now.
RESET = "stream.reset"
# What a CRM can do without when it comes late. The others are delivered however late.
LASTING = frozenset({"call.ended", "call.recorded", RESET})

_ID = re.compile(r"evt_([0-9a-f]{8})([0-9a-f]{12})")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Stored:
    """An event as it is kept: `n` grows by time; `body` is the envelope's JSON without links."""

    n: int
    id: str
    type: str
    linkedid: str
    at: float
    contexts: frozenset[str]
    body: str

    def visible_to(self, scope: Scope) -> bool:
        """True when the group of that scope may see the event. A reset holds nothing of a call."""
        return self.type == RESET or may_see(scope, self.contexts)


class Ids:
    """Event ids: a generation, which is a database's, and a number that only grows within it."""

    def __init__(self, generation: str) -> None:
        """Given eight hexadecimal digits."""
        self._generation = generation

    def make(self, n: int) -> str:
        """Return the id of the event number `n`."""
        return f"evt_{self._generation}{n:012x}"

    def read(self, event_id: str) -> int | None:
        """Return the number in an id; None for an id of elsewhere."""
        found = _ID.fullmatch(event_id)
        return int(found[2], 16) if found and found[1] == self._generation else None


class Links:
    """Adds links to recordings to what a group is sent.

    `base` is the address before the method's name; `secret` that of `core.links`.
    """

    def __init__(self, base: str, secret: bytes) -> None:
        self._base = base
        self._secret = secret

    def add(self, call: Mapping[str, Any], group: Group, now: float) -> dict[str, Any]:
        """Return the call with `link` in its `Recording`, if it has one that the group may hear."""
        recording = call.get("Recording")
        if not recording or "recordings" not in group.rights:
            return dict(call)
        expires = int(now) + DEFAULT_TTL
        query = Link(recording["Uniqueid"], group.uuid, str(expires)).query(self._secret)
        link = {kind: f"{self._base}/get_file_{kind}?{query}" for kind in ("mp3", "wav")}
        return {**call, "Recording": {**recording, "link": link | {"expires": local_time(expires)}}}

    def body(self, event: Stored, group: Group) -> str:
        """Return the envelope for a group, always the same for the same event and group."""
        if event.type != "call.recorded" and '"Recording":null' in event.body:
            return event.body
        envelope = json.loads(event.body)
        envelope["data"] = self.add(envelope["data"], group, event.at)
        return _encode(envelope)


def stored(n: int, event_id: str, change: Change) -> Stored:
    """Return a change as an event to be kept."""
    envelope = {
        "id": event_id,
        "type": change.type,
        "timestamp": local_time(change.timestamp),
        "seq": change.seq,
        "data": change.call,
        "change": change.change,
    }
    return Stored(
        n,
        event_id,
        change.type,
        change.call["Linkedid"],
        change.timestamp,
        change.contexts,
        _encode(envelope),
    )


def reset(event_id: str, at: float, data: Sequence[Any], change: Mapping[str, Any]) -> str:
    """Return the JSON of a `stream.reset`: events before it are missing, `data` is what lives."""
    envelope = {
        "id": event_id,
        "type": RESET,
        "timestamp": local_time(at),
        "seq": 0,
        "data": list(data),
        "change": dict(change),
    }
    return _encode(envelope)


def may_see(scope: Scope, contexts: frozenset[str]) -> bool:
    """True when a group of that scope may see a call that showed these contexts."""
    return scope.open or any(scope.allows(context) for context in contexts)

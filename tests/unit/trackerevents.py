"""A caller and a phone that is called, for the tests of the tracker."""

from __future__ import annotations

import re

from evolvex_api.events.call import Change, Event
from evolvex_api.events.directions import Directions
from evolvex_api.events.tracker import Tracker
from tests.unit.amievent import bridge_enter, channel, event

NOON = 1_795_600_000.0
CALLER, CALLEE = f"{NOON:.0f}.1", f"{NOON:.0f}.2"
PHONE = "PJSIP/102-00000002"


def new_tracker() -> Tracker:
    """Return a tracker for numbers of three digits behind two trunks."""
    return Tracker(Directions(("from-trunk*", "from-pstn"), re.compile(r"\d{3}")))


def feed(tracker: Tracker, *events: Event, at: float = NOON) -> list[Change]:
    """Feed events of one moment and return what they changed."""
    return [change for one in events for change in tracker.feed(one, at)]


def types(changes: list[Change]) -> list[str]:
    """Return the kinds of changes, without their common "call."."""
    return [change.type.removeprefix("call.") for change in changes]


def caller(state: str = "4", **more: str) -> Event:
    """The headers of the calling channel."""
    return channel(CALLER, CALLER, state=state, **more)


def callee(state: str = "5", prefix: str = "", **more: str) -> Event:
    """The headers of the dialled channel."""
    values = {"name": PHONE, "number": "102", "context": "internal", "exten": "s", **more}
    return channel(CALLEE, CALLER, state=state, prefix=prefix, **values)


def answered_call() -> list[Event]:
    """The events of a call that 102 has answered."""
    return [
        event("Newchannel", caller()),
        event("Newchannel", callee("0")),
        event("Newstate", callee("5")),
        event("DialEnd", caller(), callee("6", "Dest"), DialStatus="ANSWER"),
        bridge_enter("b1", callee("6")),
        bridge_enter("b1", caller("6")),
    ]

"""AMI events become calls. Pure: no socket, no file, no clock of its own.

A call is all channels that share a Linkedid; it ends when the last of them has gone.
Source: Asterisk's channel.c, bridge_basic.c, app_dial.c, app_queue.c, cel.c.

    tracker = Tracker(Directions(("from-trunk*",), re.compile(r"\\d{2,5}")))
    for change in tracker.feed((("Event", "Newchannel"), …), time.time()):
        …

After a gap in the connection, in this order: events on and buffered, Status, `rebuild`, then feed
what was buffered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evolvex_api.events.call import Call, Change, Event, Recorder
from evolvex_api.events.directions import Directions


class Tracker:
    """The live calls of a PBX. Not for use by two threads at once."""

    def __init__(self, directions: Directions) -> None:
        self._directions = directions
        self._calls: dict[str, Call] = {}

    def feed(self, event: Event, now: float) -> list[Change]:
        """Take one AMI event and return what it changed, often nothing.

        An event that is not built exactly as Asterisk 16 to 22 builds it is ignored: a caller may
        have written a part of it.
        """
        raise NotImplementedError

    def tick(self, now: float) -> list[Change]:
        """Return what changed by the passing of time; to be called about once a second."""
        raise NotImplementedError

    def rebuild(self, status: Sequence[Event], now: float) -> list[Change]:
        """Bring the calls in line with the channels of a Status list (its `Event: Status` only).

        Calls that are not there any more end with Reason `lost`.
        """
        raise NotImplementedError

    def recorded(self, linkedid: str, recording: dict[str, Any], now: float) -> list[Change]:
        """Set a call's `Recording` and return `call.recorded`; nothing for a call not known.

        The call may live, or have ended within the last hour.
        """
        raise NotImplementedError

    def new_recorders(self) -> list[Recorder]:
        """Return the channels that have begun to record since this was last asked."""
        raise NotImplementedError

    def live(self) -> list[Call]:
        """Return the calls that live now, oldest first."""
        return list(self._calls.values())

    def dump(self, linkedid: str) -> dict[str, Any] | None:
        """Return all that is known of a call, JSON-able, for `restore`; None for one not known.

        To be stored together with each Change: what happened since is found again by `rebuild`.
        """
        raise NotImplementedError

    def restore(self, dumps: Iterable[dict[str, Any]]) -> None:
        """Take up the calls that an earlier process dumped; `rebuild` must follow."""
        raise NotImplementedError

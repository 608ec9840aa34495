"""AMI events become calls. Pure: no socket, no file, no clock of its own.

A call is all channels that share a Linkedid; it ends when the last of them has gone.
Source: Asterisk's channel.c, bridge_basic.c, app_dial.c, app_queue.c, cel.c.

    tracker = Tracker(Directions(("from-trunk*",), re.compile(r"\\d{2,5}")))
    for change in tracker.feed((("Event", "Newchannel"), …), time.time()):
        …

trust.py      which events are believed
handlers.py   what each event means
board.py      channels, bridges and calls, and the changes that come of them
rebuild.py    the same from a Status, after a gap
outcome.py    dispositions

After a gap in the connection, in this order: events on and buffered, Status, `rebuild`, then feed
what was buffered. A `rebuild` now and then, without a gap, does no harm: it ends a call whose
Hangup could not be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from evolvex_api.events import dump as dumps
from evolvex_api.events.board import Board
from evolvex_api.events.call import Call, Change, Event, Recorder
from evolvex_api.events.directions import Directions
from evolvex_api.events.handlers import HANDLERS
from evolvex_api.events.rebuild import rebuild
from evolvex_api.events.trust import Fields, Trust

# Seconds to wait for an event that may follow, and mostly does at once.
_PATIENCE = 1.0


class Tracker:
    """The live calls of a PBX. Not for use by two threads at once.

    `now` is always seconds since the epoch; a clock that is set back does no harm.
    """

    def __init__(self, directions: Directions) -> None:
        self._board = Board(directions)
        self._trust = Trust()

    def feed(self, event: Event, now: float) -> list[Change]:
        """Take one AMI event and return what it changed, often nothing.

        An event that is not built exactly as Asterisk 16 to 22 builds it is ignored: a caller may
        have written a part of it.
        """
        handler = HANDLERS.get(event[0][1]) if event else None
        fields = self._trust.read(event) if handler else None
        if handler is None or fields is None:
            return []
        self._board.now = now
        handler(self._board, fields)
        return self._changes()

    def rebuild(self, status: Sequence[Event], now: float) -> list[Change]:
        """Bring the calls in line with the channels of a Status list (its `Event: Status` only).

        Calls that are not there any more end with Reason `lost`.
        """
        self._board.now = now
        believed: dict[str, Fields] = {}
        doubtful: set[str] = set()
        for event in status:
            fields = self._trust.read(event)
            if fields is None or fields["Event"] != "Status":
                doubtful.update(value for name, value in event if name == "Uniqueid")
            else:
                believed[fields["Uniqueid"]] = fields
        rebuild(self._board, believed, frozenset(doubtful))
        return self._changes()

    def recorded(self, linkedid: str, recording: dict[str, Any], now: float) -> list[Change]:
        """Set a call's `Recording` and return `call.recorded`; nothing for a call not known.

        The call may live, or have ended within the last ten minutes.
        """
        board = self._board
        call = board.calls.get(linkedid) or board.ended.get(linkedid)
        if call is None:
            return []
        board.now = now
        call.recording = recording
        board.emit(call, "call.recorded")
        return self._changes()

    def new_recorders(self) -> list[Recorder]:
        """Return the channels that have begun to record since this was last asked."""
        recorders, self._board.recorders = self._board.recorders, []
        return recorders

    def live(self) -> list[Call]:
        """Return the calls that live now, oldest first."""
        return list(self._board.calls.values())

    def tick(self, now: float) -> list[Change]:
        """Return what changed by the passing of time; to be called about once a second.

        An originate that nobody answered is over when OriginateResponse says what it was for, or a
        second later: a synchronous one has no such event. Who talks after two calls were joined is
        announced by call.transferred, or a second later by call.answered.
        """
        self._board.now = now
        self._board.end_overdue(_PATIENCE)
        self._board.announce_overdue(_PATIENCE)
        self._board.forget()
        return self._changes()

    def dump(self, linkedid: str) -> dict[str, Any] | None:
        """Return all that is known of a call, JSON-able, for `restore`; None for one not known.

        To be stored together with each Change: what happened since is found again by `rebuild`.
        """
        board = self._board
        call = board.calls.get(linkedid) or board.ended.get(linkedid)
        if call is None:
            return None
        return dumps.dump(call, [board.channels[uid] for uid in sorted(call.channels)])

    def restore(self, dumped: Iterable[dict[str, Any]]) -> None:
        """Take up the calls that an earlier process dumped, ended ones too; `rebuild` must follow.

        Raises KeyError or TypeError for what `dump` has not made.
        """
        board = self._board
        for one in dumped:
            call, channels = dumps.load(one)
            calls = board.calls if call.end is None else board.ended
            calls[call.linkedid] = call
            board.channels |= {channel.uniqueid: channel for channel in channels}

    def _changes(self) -> list[Change]:
        changes, self._board.changes = self._board.changes, []
        return changes

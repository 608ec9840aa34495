"""The state behind the tracker: which channel is in which call and bridge, and what changed."""

from __future__ import annotations

from typing import Any

from evolvex_api.core import uniqueid
from evolvex_api.events import outcome
from evolvex_api.events.call import Call, Change, Leg, Reason, Recorder
from evolvex_api.events.channels import RING, UP, Bridge, Channel, is_number, known, new_channel
from evolvex_api.events.directions import Directions
from evolvex_api.events.trust import Fields

# How long what has ended is remembered, in seconds: against late events, and for its recording.
_MEMORY = 600.0
# … and how many of them at most.
_ENDED_CALLS = 5000
_GONE_CHANNELS = 20000
_RESPONSES = 1000


class Board:
    """Channels, bridges and calls; every method may add to `changes`. `now` is set by the tracker.

    Ended calls and gone channels are remembered for ten minutes, so that no late or repeated event
    brings them back: a call has one end.
    """

    def __init__(self, directions: Directions) -> None:
        self.directions = directions
        self.now = 0.0
        self.changes: list[Change] = []
        self.calls: dict[str, Call] = {}
        self.ended: dict[str, Call] = {}
        self.channels: dict[str, Channel] = {}
        self.gone: dict[str, float] = {}
        self.bridges: dict[str, Bridge] = {}
        self.recorders: list[Recorder] = []
        self.responses: dict[str, tuple[str, str]] = {}
        self.is_rebuilding = False

    def see(self, fields: Fields, prefix: str = "", is_new: bool = False) -> Channel | None:
        """Return the channel of a snapshot, brought up to date; None for one that is not known.

        `prefix` is that of the snapshot's headers: "" for `Uniqueid`, "Dest" for `DestUniqueid`.
        Only Newchannel (`is_new`) and Status make a channel known. One whose Newchannel was not
        believed stays unknown, though later events of it may look sound: its Hangup may not.
        """
        uid = fields[f"{prefix}Uniqueid"]
        linkedid = fields[f"{prefix}Linkedid"]
        channel = self.channels.get(uid)
        if channel is None:
            if uid in self.gone or not (is_new or self.is_rebuilding):
                return None
            channel = self._appear(fields, prefix)
            if channel is None:
                return None
        channel.name = fields[f"{prefix}Channel"]
        if linkedid != channel.linkedid and linkedid not in channel.left:
            self.move(channel, linkedid)
        self._note_place(channel, fields, prefix)
        return channel

    def call_of(self, channel: Channel) -> Call:
        """Return the live call of a live channel."""
        return self.calls[channel.linkedid]

    def move(self, channel: Channel, linkedid: str) -> None:
        """Give a channel another Linkedid; its call ends as merged when it was the last one."""
        target = self._living(linkedid)
        if target is None or target == channel.linkedid:
            return
        old = self.calls[channel.linkedid]
        call = self.calls.get(target) or self._start(target, like=old)
        channel.left.add(channel.linkedid)
        channel.linkedid = target
        call.contexts |= old.contexts
        self._join(call, channel)
        for mine, its in ((old.holders, call.holders), (old.waiting, call.waiting)):
            if channel.uniqueid in mine:
                its.add(channel.uniqueid)
        if channel.uniqueid in old.ringing:
            call.ringing[channel.uniqueid] = channel.leg
        old.merged_into = target
        self._part(old, channel)

    def unify(self, channels: list[Channel]) -> None:
        """Give channels that talk with each other the oldest of their Linkedids."""
        linkedids = {channel.linkedid for channel in channels}
        if len(linkedids) > 1:
            target = uniqueid.oldest(sorted(linkedids))
            for channel in channels:
                self.move(channel, target)

    def remove(self, channel: Channel, reason: Reason = "hangup") -> None:
        """Take away a channel that was hung up; its call ends when it was the last one."""
        self.leave_bridge(channel)
        self.stop_ringing(channel)
        del self.channels[channel.uniqueid]
        self.gone[channel.uniqueid] = self.now
        self._part(self.call_of(channel), channel, reason)

    def ring(self, channel: Channel) -> None:
        """A leg rings: once, and only a phone does."""
        if channel.is_local or channel.has_rung or channel.has_answered:
            return
        channel.has_rung = True
        call = self.call_of(channel)
        call.has_progressed = True
        call.ringing[channel.uniqueid] = channel.leg
        if not call.waiting and not self.talks(call):
            call.state = "ringing"
        self.emit(call, "call.ringing", channel.leg)

    def stop_ringing(self, channel: Channel) -> None:
        """A leg that rang will not be answered."""
        call = self.call_of(channel)
        call.dialling.discard(channel.uniqueid)
        if call.ringing.pop(channel.uniqueid, None):
            self.emit(call, "call.ring_ended", channel.leg)

    def answer(self, channel: Channel) -> None:
        """A leg was answered, or talks without having been rung: announced once."""
        call = self.call_of(channel)
        call.dialling.discard(channel.uniqueid)
        call.ringing.pop(channel.uniqueid, None)
        if channel.has_answered or channel.is_local:
            return
        channel.has_answered = True
        self.talk_with(call, channel)
        call.unannounced_since = None
        self.emit(call, "call.answered", channel.leg)

    def talk_with(self, call: Call, channel: Channel | None) -> None:
        """Somebody talks in a call: from now on this channel; None in a conference."""
        if channel is not None:
            call.answered_by = channel.leg
        if call.answer is None:
            call.answer = self.now
        call.state = "held" if call.holders else "answered"

    def place(self, call: Call, context: str, exten: str) -> None:
        """Note whom a call is for, and so its direction."""
        call.context, call.exten = context, exten
        call.direction = self.directions.of(context, exten)

    def originated(self, call: Call) -> None:
        """A call was begun by an originate; it is over when the response has come as well."""
        call.awaits_response = True
        if call.linkedid in self.responses:
            self._respond(call)

    def response_came(self, linkedid: str, place: tuple[str, str]) -> None:
        """An originate is over, which was for that context and extension."""
        self.responses[linkedid] = place
        call = self.calls.get(linkedid)
        if call is not None:
            self._respond(call)

    def end_overdue(self, patience: float) -> None:
        """End calls that have been without a channel for `patience` seconds."""
        for call in list(self.calls.values()):
            age = self.now - (call.empty_since or 0.0)
            if not call.channels and not 0 <= age < patience:
                self._end(call, "hangup")

    def announce_overdue(self, patience: float) -> None:
        """Announce who talks now where no transfer has done so, as after AMI's Bridge."""
        for call in self.calls.values():
            since = call.unannounced_since
            if since is not None and not 0 <= self.now - since < patience:
                call.unannounced_since = None
                self.emit(call, "call.answered", call.answered_by)

    def enter_bridge(self, channel: Channel, bridge_id: str, kind: str) -> Bridge:
        """Put a channel into a bridge; it is in one at a time."""
        self.leave_bridge(channel)
        bridge = self.bridges.setdefault(bridge_id, Bridge(kind))
        bridge.members[channel.uniqueid] = None
        channel.bridge = bridge_id
        return bridge

    def leave_bridge(self, channel: Channel) -> None:
        """Take a channel out of its bridge, and end a hold that it made."""
        bridge = self.bridges.get(channel.bridge or "")
        if bridge is not None:
            bridge.members.pop(channel.uniqueid, None)
            if not bridge.members:
                del self.bridges[channel.bridge or ""]
        channel.bridge = None
        call = self.call_of(channel)
        if channel.uniqueid in call.holders:
            call.holders.discard(channel.uniqueid)
            if call.state == "held" and not call.holders:
                call.state = "answered"

    def talks(self, call: Call) -> bool:
        """Return whether who answered is in a bridge with somebody."""
        channel = self.channels.get(call.answered_by.uniqueid) if call.answered_by else None
        bridge = self.bridges.get(channel.bridge or "") if channel else None
        return bridge is not None and len(bridge.members) > 1

    def emit(self, call: Call, kind: str, leg: Leg | None = None, /, **more: Any) -> None:
        """Announce a change of a call: whom it is about, and `more` for the envelope's `change`."""
        call.seq += 1
        change = {**(leg.as_json() if leg else {}), **more}
        snapshot = call.as_json(self.now)
        contexts = call.visible_contexts
        self.changes.append(Change(kind, call.seq, self.now, snapshot, contexts, change))

    def forget(self) -> None:
        """Drop what ended more than ten minutes ago, and the oldest of what is too much."""
        self.gone = {uid: when for uid, when in self.gone.items() if when > self.now - _MEMORY}
        for linkedid in [id_ for id_, call in self.ended.items() if self._is_old(call)]:
            del self.ended[linkedid]
        for linkedid in list(self.responses)[: max(0, len(self.responses) - _RESPONSES)]:
            del self.responses[linkedid]
        for uid in list(self.gone)[: max(0, len(self.gone) - _GONE_CHANNELS)]:
            del self.gone[uid]
        for linkedid in list(self.ended)[: max(0, len(self.ended) - _ENDED_CALLS)]:
            del self.ended[linkedid]

    def _is_old(self, call: Call) -> bool:
        return call.end is not None and call.end < self.now - _MEMORY

    def _respond(self, call: Call) -> None:
        """Take over what an originate was for; the call ends if all its channels have gone."""
        call.awaits_response = False
        context, exten = self.responses[call.linkedid]
        if context:
            call.contexts.add(context)
            if is_number(exten):
                self.place(call, context, exten)
        if not call.channels:
            self._end(call, "hangup")

    def _appear(self, fields: Fields, prefix: str) -> Channel | None:
        linkedid = self._living(fields[f"{prefix}Linkedid"])
        uid = fields[f"{prefix}Uniqueid"]
        if linkedid is None:
            self.gone[uid] = self.now
            return None
        channel = new_channel(fields, prefix, linkedid)
        call = self.calls.get(linkedid)
        if call is None:
            if uid != linkedid and not self.is_rebuilding:
                return None
            call = self._start_by(linkedid, fields, prefix)
        self.channels[uid] = channel
        self._join(call, channel)
        self._note_place(channel, fields, prefix)
        if call.seq == 0:
            self.emit(call, "call.started")
        return channel

    def _living(self, linkedid: str) -> str | None:
        """Return the call that a Linkedid means now: an ended one may be merged into another."""
        seen = set()
        while linkedid in self.ended and linkedid not in seen:
            seen.add(linkedid)
            linkedid = self.ended[linkedid].merged_into or linkedid
        return None if linkedid in self.ended else linkedid

    def _start(self, linkedid: str, like: Call) -> Call:
        """Begin a call of which nothing is known but that a channel of `like` now belongs to it."""
        call = Call(linkedid, self.now, like.caller_number, like.caller_name)
        call.exten, call.context, call.direction = like.exten, like.context, like.direction
        self.calls[linkedid] = call
        self.emit(call, "call.started")
        return call

    def _start_by(self, linkedid: str, fields: Fields, prefix: str) -> Call:
        """Begin a call by the snapshot of its first channel."""
        call = self.calls[linkedid] = Call(linkedid, self._start_time(linkedid))
        call.caller_number = known(fields[f"{prefix}CallerIDNum"])
        call.caller_name = known(fields[f"{prefix}CallerIDName"])
        self.place(call, fields[f"{prefix}Context"], fields[f"{prefix}Exten"])
        return call

    def _start_time(self, linkedid: str) -> float:
        """Now, but of a call that is found living what its id says, to the second."""
        created = uniqueid.created(linkedid) if self.is_rebuilding else None
        return self.now if created is None else min(self.now, float(created))

    def _join(self, call: Call, channel: Channel) -> None:
        call.channels.add(channel.uniqueid)
        call.empty_since = None
        if channel.uniqueid not in call.uniqueids:
            call.uniqueids.append(channel.uniqueid)

    def _part(self, call: Call, channel: Channel, reason: Reason = "hangup") -> None:
        """A channel has left a call, by a hangup or into another call."""
        uid = channel.uniqueid
        for group in (call.channels, call.dialling, call.waiting, call.holders):
            group.discard(uid)
        call.ringing.pop(uid, None)
        if call.channels:
            return
        if call.awaits_response and reason == "hangup":
            call.empty_since = self.now
        else:
            self._end(call, "merged" if call.merged_into else reason)

    def _end(self, call: Call, reason: Reason) -> None:
        call.disposition = outcome.disposition(call)
        call.state, call.reason = "ended", reason
        end = self.now if call.empty_since is None else call.empty_since
        call.end = max(end, call.start, call.answer or 0.0)
        del self.calls[call.linkedid]
        self.ended[call.linkedid] = call
        self.emit(call, "call.ended")

    def _note_place(self, channel: Channel, fields: Fields, prefix: str) -> None:
        """Note a context by which a group may see the call, and whom an originated call is for.

        An originated channel stands at its endpoint's context until it was answered and sent to
        where the originate says; only that counts.
        """
        if not (channel.is_placed or channel.is_originated):
            return
        state = fields[f"{prefix}ChannelState"]
        call = self.call_of(channel)
        if channel.is_originated:
            place = (fields[f"{prefix}Context"], fields[f"{prefix}Exten"])
            if state == RING:
                channel.is_originated = False
            elif state != UP or place == channel.place or not is_number(place[1]):
                return
            else:
                channel.is_originated = call.awaits_response = False
                call.caller_number = call.caller_number or known(fields[f"{prefix}CallerIDNum"])
                self.place(call, fields[f"{prefix}Context"], fields[f"{prefix}Exten"])
            channel.is_placed = True
        if state == UP:
            call.has_progressed = True
        call.contexts.add(fields[f"{prefix}Context"])

"""What each AMI event means for the calls: a function per event, and the table of them."""

from __future__ import annotations

from collections.abc import Callable

from evolvex_api.events import outcome
from evolvex_api.events.board import Board
from evolvex_api.events.call import Call, Leg, Recorder
from evolvex_api.events.channels import RINGING, Bridge, Channel, known, leg_number
from evolvex_api.events.trust import Fields

Handler = Callable[[Board, Fields], None]

_BASIC = "basic"
# Where one waits with music or alone, and nobody talks: res_parking.c, bridge_holding.c.
_WAITING_ROOMS = ("parking", "holding")


def _new_channel(board: Board, fields: Fields) -> None:
    board.see(fields, is_new=True)


def _new_connected_line(board: Board, fields: Fields) -> None:
    """Nothing but the snapshot, which may have another Linkedid."""
    board.see(fields)


def _new_caller_id(board: Board, fields: Fields) -> None:
    """A caller's name may be looked up after the call began; a number set later is a trunk's.

    A leg through a trunk gets the dialled number as its own, often before DialBegin.
    """
    channel = board.see(fields)
    if channel is None:
        return
    call = board.call_of(channel)
    if not channel.is_root and not channel.is_dialled:
        channel.number = leg_number(channel.name, known(fields["CallerIDNum"]))
    if not channel.is_root or call.caller_name:
        return
    if known(fields["CallerIDNum"]) == call.caller_number:
        call.caller_name = known(fields["CallerIDName"])


def _new_state(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel and fields["ChannelState"] == RINGING:
        board.ring(channel)


def _hangup_request(board: Board, fields: Fields) -> None:
    """The far end hangs up: of a call's first channel, the caller."""
    channel = board.see(fields)
    if channel and channel.is_root and not channel.is_originated:
        outcome.note_caller_left(board.call_of(channel))


def _hangup(board: Board, fields: Fields) -> None:
    if fields["Uniqueid"] not in board.channels:
        board.gone[fields["Uniqueid"]] = board.now
        return
    channel = board.see(fields)
    if channel:
        _note_cause(board.call_of(channel), channel, fields)
        board.remove(channel)


def _note_cause(call: Call, channel: Channel, fields: Fields) -> None:
    """The call's cause is its first channel's, where that knows one, else the last that is known.

    A Local channel's half, and in Asterisk 22 an answered SIP leg, often has 0 (unknown).
    """
    cause, text = fields["Cause"], fields["Cause-txt"]
    if call.cause in (None, "0") or (channel.is_root and cause != "0"):
        call.cause, call.cause_text = cause, text


def _dial_begin(board: Board, fields: Fields) -> None:
    """A leg is dialled; without a Channel by an originate."""
    if "Uniqueid" in fields:
        board.see(fields)
    channel = board.see(fields, "Dest")
    if channel is None:
        return
    call, channel.is_dialled = board.call_of(channel), True
    if "Uniqueid" not in fields and channel.is_root:
        board.originated(call)
    channel.number = leg_number(channel.name, channel.number, fields["DialString"])
    if channel.uniqueid in call.ringing:
        call.ringing[channel.uniqueid] = channel.leg
    if not channel.has_answered:
        call.dialling.add(channel.uniqueid)
    if fields["DestChannelState"] == RINGING:
        board.ring(channel)


def _dial_state(board: Board, fields: Fields) -> None:
    if "Uniqueid" in fields:
        board.see(fields)
    channel = board.see(fields, "Dest")
    if channel and fields["DialStatus"] == "RINGING":
        board.ring(channel)


def _dial_end(board: Board, fields: Fields) -> None:
    """The attempt to reach a leg is over; app_queue.c may say so twice of one.

    A leg of another call has picked this one up: the two calls are one from now on, which no
    event says before the first of them leaves the bridge.
    """
    caller = board.see(fields) if "Uniqueid" in fields else None
    channel = board.see(fields, "Dest")
    if channel is None:
        return
    if fields["DialStatus"] == "ANSWER":
        if caller:
            board.unify([caller, channel])
        board.answer(channel)
        return
    call = board.call_of(channel)
    if channel.uniqueid in call.dialling and "Forward" not in fields:
        outcome.note_dial_status(call, fields["DialStatus"], caller is not None and caller.is_local)
    board.stop_ringing(channel)


def _bridge_enter(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel is None:
        return
    swapped = board.channels.get(fields.get("SwapUniqueid", ""))
    if swapped and swapped is not channel:
        board.leave_bridge(swapped)
    bridge = board.enter_bridge(channel, fields["BridgeUniqueid"], fields["BridgeType"])
    meet(board, bridge)


def meet(board: Board, bridge: Bridge) -> None:
    """Draw the conclusions from who is in a bridge: calls that become one, who talks now.

    Source: ast_bridge_update_linkedids in bridge.c, which only bridge_basic.c calls.
    """
    members = [board.channels[uid] for uid in bridge.members]
    if len(members) < 2 or bridge.kind in _WAITING_ROOMS:
        return
    if bridge.kind == _BASIC:
        board.unify(members)
        _converse(board, members)
    else:
        _confer(board, [member for member in members if not member.is_local])


def _converse(board: Board, members: list[Channel]) -> None:
    """Two talk: when who answered no longer does, the other side of the caller is it now."""
    call = board.call_of(members[0])
    phones = [member for member in members if not member.is_local]
    if board.talks(call) or len(phones) < 2:
        return
    others = [phone for phone in phones if not phone.is_root]
    partner = next((phone for phone in others if phone.has_answered), others[-1])
    if partner.has_answered:
        board.talk_with(call, partner)
        call.unannounced_since = board.now  # an attended transfer is announced right afterwards
    else:
        board.answer(partner)


def _confer(board: Board, phones: list[Channel]) -> None:
    """A conference: each call in it is answered as soon as there are two, by nobody in particular.

    Who else is in it is not shown: that may be a call which a group must not see.
    """
    for phone in phones if len(phones) > 1 else ():
        call = board.call_of(phone)
        if call.answer is None:
            board.talk_with(call, None)
            board.emit(call, "call.answered", phone.leg)


def _bridge_leave(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel and channel.bridge == fields["BridgeUniqueid"]:
        board.leave_bridge(channel)


def _hold(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel is None:
        return
    call = board.call_of(channel)
    call.holders.add(channel.uniqueid)
    if call.state == "answered":
        call.state = "held"
        board.emit(call, "call.held", channel.leg)


def _unhold(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel is None:
        return
    call = board.call_of(channel)
    call.holders.discard(channel.uniqueid)
    if call.state == "held" and not call.holders:
        call.state = "answered"
        board.emit(call, "call.resumed", channel.leg)


def _queue_join(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel is None:
        return
    call = board.call_of(channel)
    call.waiting.add(channel.uniqueid)
    call.queue, call.state = fields["Queue"], "queued"
    board.emit(call, "call.queued", channel.leg)


def _queue_leave(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel is None:
        return
    call = board.call_of(channel)
    call.waiting.discard(channel.uniqueid)
    if call.state == "queued" and not call.waiting:
        call.state = "ringing"


def _blind_transfer(board: Board, fields: Fields) -> None:
    """Somebody sends the other side on to an extension, where nobody has been rung yet."""
    transferer = board.see(fields, "Transferer")
    if transferer and fields["Result"] == "Success":
        nobody_yet = {"Uniqueid": None, "Channel": None, "Number": fields["Extension"]}
        change = nobody_yet | {"From": transferer.number}
        board.emit(board.call_of(transferer), "call.transferred", **change)


def _attended_transfer(board: Board, fields: Fields) -> None:
    """Somebody connects two whom he has talked with; by then they are in one bridge already."""
    transferer = board.see(fields, "OrigTransferer")
    second = board.see(fields, "SecondTransferer")
    others = {
        prefix: board.see(fields, prefix)
        for prefix in ("Transferee", "TransferTarget")
        if f"{prefix}Uniqueid" in fields
    }
    if not transferer or fields["Result"] != "Success":
        return
    call = board.call_of(others.get("Transferee") or transferer)
    call.unannounced_since = None
    taker = _taker(board, call, others.get("TransferTarget"), second)
    board.emit(call, "call.transferred", taker, From=transferer.number)


def _taker(board: Board, call: Call, target: Channel | None, second: Channel | None) -> Leg | None:
    """Return who gets the call.

    A feature's transfer names a Local channel or nobody as the target: it is who answered last. A
    transfer before the answer names nobody either: it is who rings at the transferer's other call.
    """
    if target and not target.is_local:
        return target.leg
    ringing = board.call_of(second).ringing if second else {}
    return next(iter(ringing.values()), call.answered_by)


def _local_bridge(board: Board, fields: Fields) -> None:
    """The two halves of a Local channel; of an originated one the second is at its own context."""
    first, second = board.see(fields, "LocalOne"), board.see(fields, "LocalTwo")
    if first and second and first.is_root:
        second.is_placed = True
        board.call_of(second).contexts.add(fields["LocalTwoContext"])


def _originate_response(board: Board, fields: Fields) -> None:
    """An asynchronous originate is over: only this says what it was for, when nobody answered.

    It goes a shorter way through Asterisk than the others, and may overtake even DialBegin.
    """
    place = (known(fields["Context"]), known(fields["Exten"]))
    board.response_came(fields["Uniqueid"], place)


def _recording(board: Board, fields: Fields) -> None:
    channel = board.see(fields)
    if channel:
        board.recorders.append(Recorder(channel.linkedid, channel.uniqueid, channel.name))


HANDLERS: dict[str, Handler] = {
    "Newchannel": _new_channel,
    "NewCallerid": _new_caller_id,
    "NewConnectedLine": _new_connected_line,
    "Newstate": _new_state,
    "HangupRequest": _hangup_request,
    "Hangup": _hangup,
    "DialBegin": _dial_begin,
    "DialState": _dial_state,
    "DialEnd": _dial_end,
    "BridgeEnter": _bridge_enter,
    "BridgeLeave": _bridge_leave,
    "Hold": _hold,
    "Unhold": _unhold,
    "QueueCallerJoin": _queue_join,
    "QueueCallerLeave": _queue_leave,
    "BlindTransfer": _blind_transfer,
    "AttendedTransfer": _attended_transfer,
    "LocalBridge": _local_bridge,
    "OriginateResponse": _originate_response,
    "MixMonitorStart": _recording,
}

"""The calls after a gap in the events: what AMI's Status shows is taken for the truth."""

from __future__ import annotations

from collections.abc import Mapping

from evolvex_api.events.board import Board
from evolvex_api.events.channels import RINGING, UP, Channel
from evolvex_api.events.handlers import meet
from evolvex_api.events.trust import Fields

# What runs on a channel in a bridge whose kind Status does not show.
_CONFERENCES = ("ConfBridge", "Page", "Stasis")
_WAITING_ROOMS = ("BridgeWait", "Park", "ParkAndAnnounce")


def rebuild(board: Board, status: Mapping[str, Fields], doubtful: frozenset[str]) -> None:
    """Bring the calls in line with the live channels.

    `status` holds the believed `Event: Status` by Uniqueid, `doubtful` the Uniqueids that others
    mention: nothing of those is taken over, but their channels are not taken for gone.
    """
    board.is_rebuilding = True
    for fields in status.values():
        board.see(fields)
    for channel in list(board.channels.values()):
        if channel.uniqueid not in status and channel.uniqueid not in doubtful:
            board.remove(channel, "lost")
    found = {uid: board.channels[uid] for uid in status if uid in board.channels}
    for uid, channel in found.items():
        _bring_up_to_date(board, channel, status[uid])
    _rebuild_bridges(board, found, status)
    board.is_rebuilding = False


def _bring_up_to_date(board: Board, channel: Channel, fields: Fields) -> None:
    call = board.call_of(channel)
    if fields["ChannelState"] == RINGING:
        board.ring(channel)
    elif channel.uniqueid in call.ringing:
        if fields["ChannelState"] == UP:
            board.answer(channel)
        else:
            board.stop_ringing(channel)
    queues = fields["Application"] == "Queue" and not fields["BridgeID"]
    if queues and channel.uniqueid not in call.waiting:
        call.waiting.add(channel.uniqueid)
        call.queue, call.state = fields["Data"].partition(",")[0], "queued"
        board.emit(call, "call.queued", channel.leg)
    elif not queues and channel.uniqueid in call.waiting:
        call.waiting.discard(channel.uniqueid)
        call.state = "ringing" if call.state == "queued" else call.state


def _rebuild_bridges(
    board: Board, found: Mapping[str, Channel], status: Mapping[str, Fields]
) -> None:
    kinds = {bridge_id: bridge.kind for bridge_id, bridge in board.bridges.items()}
    board.bridges.clear()
    for channel in board.channels.values():
        channel.bridge = None
    for uid, channel in found.items():
        bridge_id = status[uid]["BridgeID"]
        if bridge_id:
            kind = kinds.get(bridge_id) or _kind(status[uid]["Application"])
            board.enter_bridge(channel, bridge_id, kind)
    for bridge in list(board.bridges.values()):
        meet(board, bridge)


def _kind(application: str) -> str:
    """Return the BridgeType that an application makes. What Dial and Queue make is basic."""
    if application in _CONFERENCES:
        return "base"
    return "holding" if application in _WAITING_ROOMS else "basic"

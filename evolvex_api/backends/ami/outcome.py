"""What became of an originate, in words and in AMI's numbers: pure.

Sources: Asterisk's include/asterisk/causes.h (causes, ITU-T Q.850), include/asterisk/frame.h and
main/pbx.c (reasons), main/manager.c, action_originate (refusals). A SIP phone's refusal shows in
OriginateResponse as Reason 0 only, on Asterisk 16 and 22; the leg's Hangup event has the cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evolvex_api.backends.ami import messages
from evolvex_api.backends.failures import PbxRejected, PbxUnavailable

_ANSWERED, _BUSY, _NO_ANSWER, _CONGESTION, _HUNG_UP, _FAILED = "4", "5", "3", "8", "1", "0"
_REASONS = {
    _HUNG_UP: "The called side hung up.",
    _NO_ANSWER: "No answer.",
    _ANSWERED: "Answered.",
    _BUSY: "Busy.",
    _CONGESTION: "Congestion, or the channel is not available.",
}
_UNKNOWN = "The call failed."
# No channel was made: nothing was dialled.
_NO_CHANNEL = "The call failed: no such endpoint or number, or the endpoint is not registered."
# Cause → the reason that says the same, and the words.
_CAUSES = {
    "1": (_FAILED, "No such number."),
    "2": (_FAILED, "No route to the called network."),
    "3": (_FAILED, "No route to the called number."),
    "16": (_HUNG_UP, "The called side hung up."),
    "17": (_BUSY, "Busy."),
    "18": (_NO_ANSWER, "The called side does not respond."),
    "19": (_NO_ANSWER, "No answer."),
    "20": (_FAILED, "The endpoint is not registered or not reachable."),
    "21": (_HUNG_UP, "Declined."),
    "22": (_FAILED, "The number has changed."),
    "27": (_FAILED, "The called side is out of order."),
    "28": (_FAILED, "The number is incomplete or has a wrong format."),
    "29": (_FAILED, "The called side rejects the requested facility."),
    "34": (_CONGESTION, "Congestion: no channel is free."),
    "38": (_CONGESTION, "The network is out of order."),
    "41": (_CONGESTION, "Temporary failure of the called side."),
    "42": (_CONGESTION, "Congestion of the switching equipment."),
    "44": (_CONGESTION, "The requested channel is not available."),
    "50": (_FAILED, "The called side's number lacks this facility."),
    "52": (_FAILED, "Outgoing calls are barred."),
    "57": (_FAILED, "The call is not authorized."),
    "58": (_CONGESTION, "The called side can't take the call at present."),
    "88": (_FAILED, "The called side supports no common codec."),
    "102": (_NO_ANSWER, "No answer in time."),
    "127": (_FAILED, "The called network reports no precise cause."),
}
# Causes that say nothing: not set, and normal clearing of a half that was only let go.
_SILENT = {"", "0"}

# Refusals that pass by themselves; the call was not dialled.
_PASSING = {"asterisk is shutting down", "originate failed"}
_NO_EXTENSION = "extension does not exist"


def refused(message: bytes) -> str:
    """The Message of a refusal (Response: Error); "" for any other answer."""
    if not messages.is_error(message):
        return ""
    return messages.fields(message).get("Message", "") or "The PBX refuses the call."


def refusal(text: str, *, starting: bool) -> PbxRejected | PbxUnavailable:
    """The failure for AMI's words of refusal.

    `starting` says that Asterisk started a moment ago: its AMI answers before the dialplan is
    loaded, so that an extension that does not exist may exist a moment later.
    """
    if _plain(text) in _PASSING:
        return PbxUnavailable(f"The PBX takes no call at present: {text}")
    if is_missing_extension(text) and starting:
        return PbxUnavailable("The PBX is starting; its dialplan may not be loaded yet.")
    return PbxRejected(text)


def is_missing_extension(text: str) -> bool:
    """True when AMI's words of refusal say that the dialplan lacks the extension."""
    return _plain(text) == _NO_EXTENSION


def _plain(text: str) -> str:
    return text.lower().rstrip(". ")


def queued(message: bytes, action_id: str, uniqueid: str) -> dict[str, str]:
    """The answer to a client that does not wait, of AMI's Response."""
    said = messages.fields(message)
    return {
        "Response": said.get("Response", ""),
        "Message": said.get("Message", ""),
        "ActionID": action_id,
        "Uniqueid": uniqueid,
    }


def outcome(
    event: bytes, hangups: Sequence[bytes], action_id: str, uniqueid: str
) -> dict[str, str]:
    """The answer to a client that waits, of the event OriginateResponse and the legs' Hangups."""
    said = messages.fields(event)
    reason = said.get("Reason", _FAILED)
    cause = _cause([messages.fields(hangup) for hangup in hangups])
    same, words = _CAUSES.get(cause.get("Cause", ""), (_FAILED, _UNKNOWN))
    if reason not in _REASONS:
        reason = same
        text = words if hangups else _NO_CHANNEL
    else:
        text = words if same == reason else _REASONS[reason]
    return {
        "Response": said.get("Response", ""),
        "Message": text,
        "ActionID": action_id,
        "Uniqueid": uniqueid,
        "Reason": reason,
        "Channel": said.get("Channel", ""),
        **cause,
    }


def _cause(hangups: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Cause and Cause-txt of the leg; of a Local channel's two halves, those that say most."""
    known = [hangup for hangup in hangups if hangup.get("Cause", "") not in _SILENT]
    # The half that dialled on knows why; the other one was only let go.
    known.sort(key=lambda hangup: hangup.get("Cause") == "16")
    best = next(iter(known or hangups), {})
    return {name: best[name] for name in ("Cause", "Cause-txt") if name in best}

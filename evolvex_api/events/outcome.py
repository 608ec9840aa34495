"""How a call ended: the disposition."""

from __future__ import annotations

from evolvex_api.events.call import Call, Disposition

# DialStatus of app_dial.c and dial.c → what it means for the call, best first.
_OUTCOMES: dict[str, Disposition] = {
    "NOANSWER": "NO ANSWER",
    "TIMEOUT": "NO ANSWER",
    "BUSY": "BUSY",
    "CONGESTION": "FAILED",
    "CHANUNAVAIL": "FAILED",
    "INVALIDARGS": "FAILED",
}
_CANCELLED = "CANCEL"


def note_dial_status(call: Call, status: str, by_local: bool) -> None:
    """Note how the attempt to reach one leg ended, by its first DialEnd.

    A Dial behind a Local channel is cancelled also when a queue passes on to its next member.
    """
    if not (by_local and status == _CANCELLED):
        call.outcomes.add(status)


def note_caller_left(call: Call) -> None:
    """Note that the caller hangs up now: does he while it rings, or in a queue or a menu?

    Who hangs up while the dialplan explains that everybody is busy has not cancelled the call.
    """
    if call.answer is None and (call.dialling or call.waiting or not call.outcomes):
        call.caller_left = True


def disposition(call: Call) -> Disposition:
    """Return the disposition of a call that ends now.

    A call merged into another one before anybody answered in it (a pickup) goes on as that one:
    its party talks there.
    """
    if call.answer is not None or call.merged_into is not None:
        return "ANSWERED"
    if call.caller_left or _CANCELLED in call.outcomes:
        return "CANCEL"
    for status, outcome in _OUTCOMES.items():
        if status in call.outcomes:
            return outcome
    return "NO ANSWER" if call.has_progressed else "FAILED"

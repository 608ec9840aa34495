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
    "CANCEL": "CANCEL",
}


def note_dial_status(call: Call, status: str, by_local: bool) -> None:
    """Note how the attempt to reach one leg ended, by its first DialEnd.

    Of itself CANCEL does not say that the caller left: a queue cancels when it passes on to the
    next member, or lets the caller go, and so does what it has dialled behind a Local channel.
    """
    if status != "CANCEL" or not (by_local or call.waiting):
        call.outcomes.add(status)


def note_caller_left(call: Call) -> None:
    """Note that the caller hangs up now: does he while it rings, or in a queue or a menu?

    Who hangs up while the dialplan explains that everybody is busy has not cancelled the call.
    (QueueCallerAbandon says nothing of the kind: it comes also when a queue lets the caller go.)
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
    if call.caller_left:
        return "CANCEL"
    for status, outcome in _OUTCOMES.items():
        if status in call.outcomes:
            return outcome
    return "NO ANSWER" if call.has_progressed else "FAILED"

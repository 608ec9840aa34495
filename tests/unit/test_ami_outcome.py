"""What became of an originate: the answer for every way in which a first leg can fail."""

from __future__ import annotations

import pytest

from evolvex_api.backends.ami import outcome
from evolvex_api.backends.failures import PbxRejected, PbxUnavailable


def event(reason: str, response: str = "Failure") -> bytes:
    return (
        f"Event: OriginateResponse\r\nActionID: X\r\nResponse: {response}\r\n"
        f"Channel: PJSIP/1\r\nReason: {reason}\r\nUniqueid: 1.1"
    ).encode()


def hangup(cause: str, text: str, uniqueid: str = "1.1") -> bytes:
    return (
        f"Event: Hangup\r\nChannel: PJSIP/1-1\r\nUniqueid: {uniqueid}\r\n"
        f"Cause: {cause}\r\nCause-txt: {text}"
    ).encode()


@pytest.mark.parametrize(
    ("reason", "cause", "text", "told", "message"),
    [
        ("0", "17", "User busy", "5", "Busy."),
        ("0", "21", "Call Rejected", "1", "Declined."),
        ("0", "19", "User alerting, no answer", "3", "No answer."),
        ("0", "1", "Unallocated (unassigned) number", "0", "No such number."),
        ("0", "34", "Circuit/channel congestion", "8", "Congestion: no channel is free."),
        ("0", "16", "Normal Clearing", "1", "The called side hung up."),
        ("0", "99", "Something new", "0", "The call failed."),
        ("5", "17", "User busy", "5", "Busy."),
        ("3", "0", "Unknown", "3", "No answer."),
        ("8", "38", "Network out of order", "8", "The network is out of order."),
        ("77", "17", "User busy", "5", "Busy."),
    ],
)
def test_the_hangup_says_why(reason: str, cause: str, text: str, told: str, message: str) -> None:
    answer = outcome.outcome(event(reason), [hangup(cause, text)], "X", "1.1")
    assert (answer["Reason"], answer["Message"]) == (told, message)
    assert (answer["Cause"], answer["Cause-txt"]) == (cause, text)
    assert (answer["Response"], answer["ActionID"], answer["Uniqueid"]) == ("Failure", "X", "1.1")


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_local_channels_halves_the_one_counts_that_knows_why(order: int) -> None:
    halves = [hangup("0", "Unknown"), hangup("17", "User busy", "1.1;2")][::order]
    assert outcome.outcome(event("0"), halves, "X", "1.1")["Cause"] == "17"
    halves = [hangup("16", "Normal Clearing"), hangup("21", "Call Rejected", "1.1;2")][::order]
    assert outcome.outcome(event("0"), halves, "X", "1.1")["Message"] == "Declined."


def test_without_a_hangup_nothing_was_dialled() -> None:
    answer = outcome.outcome(event("0"), [], "X", "1.1")
    assert "not registered" in answer["Message"]
    assert "Cause" not in answer


def test_who_does_not_wait_gets_the_response() -> None:
    response = b"Response: Success\r\nActionID: X\r\nMessage: queued"
    expected = {"Response": "Success", "Message": "queued", "ActionID": "X", "Uniqueid": "1.1"}
    assert outcome.queued(response, "X", "1.1") == expected


@pytest.mark.parametrize(
    ("text", "starting", "kind"),
    [
        ("Extension does not exist.", False, PbxRejected),
        ("Extension does not exist.", True, PbxUnavailable),
        ("Asterisk is shutting down", False, PbxUnavailable),
        ("Originate failed", False, PbxUnavailable),
        ("Originate Access Forbidden: app or data blacklisted", True, PbxRejected),
    ],
)
def test_what_passes_by_itself_is_not_rejected_for_good(
    text: str, starting: bool, kind: type[Exception]
) -> None:
    message = f"Response: Error\r\nActionID: X\r\nMessage: {text}".encode()
    assert outcome.refused(message) == text
    assert type(outcome.refusal(text, starting=starting)) is kind

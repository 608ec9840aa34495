"""The tracker after a gap: what a Status makes of the calls."""

from __future__ import annotations

import pytest

from evolvex_api.events.call import Call
from evolvex_api.events.tracker import Tracker
from tests.unit.amievent import event, hangup, status
from tests.unit.trackerevents import (
    CALLER,
    NOON,
    answered_call,
    callee,
    caller,
    feed,
    new_tracker,
    types,
)


@pytest.fixture
def tracker() -> Tracker:
    return new_tracker()


def _only(tracker: Tracker) -> Call:
    (call,) = tracker.live()
    return call


def test_status_finds_a_talking_call(tracker: Tracker) -> None:
    channels = [status(caller("6"), "b"), status(callee("6"), "b", "AppDial")]
    changes = tracker.rebuild(channels, NOON + 60)
    assert types(changes) == ["started", "answered"]
    call = _only(tracker)
    assert (call.start, call.answer) == (NOON, NOON + 60)
    assert call.answered_by and call.answered_by.number == "102"
    assert tracker.rebuild(channels, NOON + 61) == []


def test_status_finds_ringing_and_queueing(tracker: Tracker) -> None:
    queueing = status(caller("6"), application="Queue", data="support,tT")
    changes = tracker.rebuild([queueing, status(callee("5"))], NOON)
    assert types(changes) == ["started", "queued", "ringing"]
    assert (_only(tracker).queue, _only(tracker).state) == ("support", "queued")


def test_status_ends_what_is_not_there(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    (ended,) = tracker.rebuild([], NOON + 9)
    assert (ended.call["Reason"], ended.call["Disposition"]) == ("lost", "ANSWERED")
    assert feed(tracker, event("Newstate", caller("6")), hangup(CALLER, CALLER)) == []


def test_status_ends_ringing_of_a_leg_that_is_gone(tracker: Tracker) -> None:
    feed(tracker, event("Newchannel", caller()), event("Newchannel", callee("0")))
    feed(tracker, event("Newstate", callee("5")))
    assert types(tracker.rebuild([status(caller())], NOON)) == ["ring_ended"]


def test_status_that_cannot_be_believed_ends_nothing(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    forged = (*status(caller("6")), ("x", ""))
    assert types(tracker.rebuild([forged], NOON)) == []
    assert _only(tracker).linkedid == CALLER

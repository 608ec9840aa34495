"""The tracker on single events, where the recordings do not go."""

from __future__ import annotations

import re

import pytest

from evolvex_api.core import uniqueid
from evolvex_api.events.call import Event
from evolvex_api.events.channels import leg_number
from evolvex_api.events.tracker import Tracker
from tests.unit.amievent import bridge_enter, bridge_leave, channel, event, hangup
from tests.unit.trackerevents import (
    CALLEE,
    CALLER,
    NOON,
    PHONE,
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


def test_call_object_has_the_contract_s_keys_in_order(tracker: Tracker) -> None:
    (started,) = feed(tracker, event("Newchannel", caller()))
    assert list(started.call) == [
        *("Linkedid", "State", "Direction", "CallerIDNum", "CallerIDName", "Exten", "Context"),
        *("Queue", "Ringing", "AnsweredBy", "Uniqueids", "StartTime", "AnswerTime", "EndTime"),
        *("Duration", "BillableSeconds", "Disposition", "Cause", "Cause-txt", "Reason"),
        *("MergedInto", "Recording"),
    ]
    assert re.fullmatch(r"2026-11-2\dT..:..:40\.000[+-]..:..", started.call["StartTime"])


def test_durations_are_whole_seconds_and_run_while_the_call_lives(tracker: Tracker) -> None:
    for late, one in enumerate(answered_call()):
        tracker.feed(one, NOON + late)
    (call,) = tracker.live()
    assert (call.as_json(NOON + 10.9)["Duration"], call.as_json(NOON + 9)["Duration"]) == (10, 9)
    assert call.as_json(NOON + 10.9)["BillableSeconds"] == 7


@pytest.mark.parametrize("step", [-86400.0, -1.0, 0.0, 86400.0])
def test_clock_may_be_stepped(tracker: Tracker, step: float) -> None:
    feed(tracker, *answered_call())
    events = [hangup(CALLEE, CALLER), hangup(CALLER, CALLER)]
    end = feed(tracker, *events, at=NOON + step)[-1].call
    assert end["Duration"] == end["BillableSeconds"] == max(0, step)
    assert end["EndTime"] >= end["StartTime"]


@pytest.mark.parametrize(
    ("context", "exten", "direction"),
    [
        ("from-trunk", "74951234567", "in"),
        ("from-trunk-sip-x", "101", "in"),
        ("from-pstn", "s", "in"),
        ("from-internal", "79161234567", "out"),
        ("from-internal", "+79161234567", "out"),
        ("from-internal", "102", "internal"),
        ("from-internal", "*97", "internal"),
        ("from-internal", "s", "internal"),
        ("not-from-trunk", "102", "internal"),
    ],
)
def test_direction(tracker: Tracker, context: str, exten: str, direction: str) -> None:
    (started,) = feed(tracker, event("Newchannel", caller(context=context, exten=exten)))
    assert started.call["Direction"] == direction


@pytest.mark.parametrize(
    ("name", "caller_number", "dialled", "number"),
    [
        ("PJSIP/101-0000000a", "600", "101", "101"),
        ("SIP/101-0000000a", "", "101", "101"),
        ("PJSIP/trunk-0000000a", "", "79161234567@trunk", "79161234567"),
        ("PJSIP/trunk-0000000a", "74950000000", "PJSIP/79161234567@trunk", "79161234567"),
        ("DAHDI/i1/79161234567-1", "79161234567", "g1/79161234567", "79161234567"),
        ("PJSIP/desk-0000000a", "101", "desk", "101"),
        ("PJSIP/front-desk-0000000a", "", "front-desk", "front-desk"),
        ("PJSIP/101-0000000a", "600", "", "101"),
    ],
)
def test_number_of_a_leg(name: str, caller_number: str, dialled: str, number: str) -> None:
    assert leg_number(name, caller_number, dialled) == number


@pytest.mark.parametrize(
    ("linkedids", "oldest"),
    [
        (["1795600000.1", "1795600000.2"], "1795600000.1"),
        (["1795600000.10", "1795600000.9"], "1795600000.9"),
        (["1795600001.1", "1795600000.9"], "1795600000.9"),
        (["pbx-1795600000.10", "pbx-1795600000.9"], "pbx-1795600000.9"),
        (["1795600000.4294967297", "1795600000.2"], "1795600000.4294967297"),
        (["1795600000.7", "words"], "words"),
    ],
)
def test_oldest_linkedid(linkedids: list[str], oldest: str) -> None:
    assert uniqueid.oldest(linkedids) == oldest
    assert uniqueid.oldest(reversed(linkedids)) == oldest


def test_forged_header_changes_nothing(tracker: Tracker) -> None:
    forged = (*caller()[:4], ("Linkedid", "1.1"), *caller()[4:])
    assert feed(tracker, event("Newchannel", forged)) == []
    assert tracker.live() == []


def test_channel_whose_beginning_was_forged_stays_unknown(tracker: Tracker) -> None:
    """Its later events may look sound, when the dialplan has replaced what the caller wrote."""
    forged = (*caller()[:4], ("x", ""), *caller()[4:])
    feed(tracker, event("Newchannel", forged), event("Newstate", caller("6")))
    feed(tracker, event("Newchannel", callee("0")), event("Newstate", callee("5")))
    assert tracker.live() == []


def test_dialled_leg_shows_no_context(tracker: Tracker) -> None:
    changes = feed(tracker, *answered_call())
    assert {change.contexts for change in changes} == {frozenset(["from-internal"])}


def test_chan_sip_s_caller_begins_in_state_down(tracker: Tracker) -> None:
    changes = feed(tracker, event("Newchannel", caller("0")), event("Newstate", caller("4")))
    assert types(changes) == ["started"]
    (call,) = tracker.live()
    assert call.visible_contexts == {"from-internal"}
    assert call.exten == "102"


def _originated(state: str, **more: str) -> Event:
    values = {"context": "from-internal", "exten": "s", **more}
    return channel(CALLER, CALLER, state=state, **values)


def _refused_originate() -> list[Event]:
    dialled = _originated("0", prefix="Dest")
    return [
        event("Newchannel", _originated("0")),
        event("DialBegin", dialled, DialString="101"),
        event("DialEnd", dialled, DialStatus="BUSY"),
        hangup(CALLER, CALLER, "17", state="0"),
    ]


_RESPONSE = event(
    "OriginateResponse",
    (("ActionID", "1"), ("Response", "Failure"), ("Channel", "PJSIP/101")),
    (("Context", "sales"), ("Exten", "79161234567"), ("Reason", "0"), ("Uniqueid", CALLER)),
    (("CallerIDNum", "<unknown>"), ("CallerIDName", "<unknown>")),
)


@pytest.mark.parametrize("place", range(5))
def test_refused_originate_is_seen_by_what_it_was_for(tracker: Tracker, place: int) -> None:
    """Wherever among the others OriginateResponse comes."""
    events = _refused_originate()
    changes = feed(tracker, *events[:place], _RESPONSE, *events[place:], at=NOON)
    assert types(changes) == ["started", "ended"]
    assert changes[-1].contexts == {"sales"}
    values = ("Context", "Exten", "Direction", "Disposition", "Cause", "Duration")
    assert [changes[-1].call[value] for value in values] == [
        *("sales", "79161234567", "out", "BUSY", "17", 0)
    ]


def test_originate_without_a_response_ends_after_a_second(tracker: Tracker) -> None:
    feed(tracker, *_refused_originate())
    assert tracker.tick(NOON + 0.9) == []
    (ended,) = tracker.tick(NOON + 1.1)
    assert (ended.type, ended.contexts) == ("call.ended", frozenset())
    assert tracker.tick(NOON + 2) == []


def test_originated_call_is_seen_by_where_it_was_sent(tracker: Tracker) -> None:
    feed(
        tracker,
        event("Newchannel", _originated("0")),
        event("Newstate", _originated("6")),
    )
    (call,) = tracker.live()
    assert call.visible_contexts == frozenset()
    feed(tracker, event("Newstate", _originated("6", context="sales", exten="79161234567")))
    assert call.visible_contexts == {"sales"}
    assert call.direction == "out"


def test_second_half_of_an_originated_local_channel_shows_its_context(tracker: Tracker) -> None:
    one = {"name": "Local/101@sales-1;1", "context": "sales", "exten": "101"}
    two = {"name": "Local/101@sales-1;2", "context": "sales", "exten": "101"}
    bridge = event(
        "LocalBridge",
        channel(CALLER, CALLER, state="0", prefix="LocalOne", **one),
        channel(f"{CALLER};2", CALLER, state="4", prefix="LocalTwo", **two),
        Context="sales",
        Exten="101",
        LocalOptimization="Yes",
    )
    first = channel(CALLER, CALLER, state="0", **one)
    second = channel(f"{CALLER};2", CALLER, state="4", **two)
    feed(tracker, event("Newchannel", first), event("Newchannel", second), bridge)
    assert tracker.live()[0].visible_contexts == {"sales"}


def test_hold_without_unhold_ends_with_who_held(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    assert types(feed(tracker, event("Hold", callee("6"), MusicClass="default"))) == ["held"]
    assert types(feed(tracker, event("Hold", callee("6")))) == []
    feed(tracker, bridge_leave("b1", callee("6")))
    assert tracker.live()[0].state == "answered"


def test_unhold_without_hold_is_nothing(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    assert feed(tracker, event("Unhold", callee("6"))) == []


def test_leg_rings_once_whatever_announces_it(tracker: Tracker) -> None:
    state = event("DialState", caller(), callee("5", "Dest"), DialStatus="RINGING")
    begin = event("DialBegin", caller(), callee("5", "Dest"), DialString="102")
    new = [event("Newchannel", caller()), event("Newchannel", callee("0"))]
    changes = feed(tracker, *new, state, begin, event("Newstate", callee("5")))
    assert types(changes) == ["started", "ringing"]


def test_leg_through_a_trunk_that_rings_before_it_is_dialled_has_the_number(
    tracker: Tracker,
) -> None:
    trunk = {"name": "PJSIP/trunk-00000002", "number": "<unknown>"}
    feed(tracker, event("Newchannel", caller()), event("Newchannel", callee("0", **trunk)))
    trunk["number"] = "79161234567"
    feed(tracker, event("NewCallerid", callee("0", **trunk), CID_CallingPres="0"))
    (ringing,) = feed(tracker, event("Newstate", callee("5", **trunk)))
    assert ringing.change["Number"] == "79161234567"
    begin = event("DialBegin", caller(), callee("5", "Dest", **trunk), DialString="42@trunk")
    feed(tracker, begin)
    assert [leg.number for leg in tracker.live()[0].ringing.values()] == ["42"]


def test_looked_up_name_is_taken_and_a_trunk_s_number_is_not(tracker: Tracker) -> None:
    feed(tracker, event("Newchannel", caller()))
    named = tuple((n, "Иван" if n == "CallerIDName" else v) for n, v in caller())
    feed(tracker, event("NewCallerid", named, CID_CallingPres="0"))
    renumbered = tuple((n, "74950000000" if n == "CallerIDNum" else v) for n, v in named)
    feed(tracker, event("NewCallerid", renumbered, CID_CallingPres="0"))
    (call,) = tracker.live()
    assert (call.caller_number, call.caller_name) == ("101", "Иван")


@pytest.mark.parametrize(
    ("statuses", "disposition"),
    [
        (["BUSY"], "BUSY"),
        (["CONGESTION"], "FAILED"),
        (["CHANUNAVAIL"], "FAILED"),
        (["NOANSWER"], "NO ANSWER"),
        (["BUSY", "NOANSWER"], "NO ANSWER"),
        (["CONGESTION", "BUSY"], "BUSY"),
        (["CANCEL"], "CANCEL"),
        (["BUSY", "ANSWER"], "ANSWERED"),
    ],
)
def test_disposition(tracker: Tracker, statuses: list[str], disposition: str) -> None:
    feed(tracker, event("Newchannel", caller()))
    for number, dial_status in enumerate(statuses):
        uid = f"{NOON:.0f}.1{number}"
        feed(tracker, event("Newchannel", channel(uid, CALLER, PHONE, state="0")))
        leg = channel(uid, CALLER, PHONE, prefix="Dest")
        feed(tracker, event("DialBegin", caller(), leg, DialString="102"))
        feed(tracker, event("DialEnd", caller(), leg, DialStatus=dial_status))
        feed(tracker, hangup(uid, CALLER))
    assert feed(tracker, hangup(CALLER, CALLER))[-1].call["Disposition"] == disposition


def test_who_hangs_up_on_the_busy_tone_has_not_cancelled(tracker: Tracker) -> None:
    leg = callee("0", "Dest")
    feed(
        tracker,
        event("Newchannel", caller()),
        event("Newchannel", callee("0")),
        event("DialBegin", caller(), leg, DialString="102"),
        event("DialEnd", caller(), leg, DialStatus="BUSY"),
        hangup(CALLEE, CALLER, "17"),
        event("HangupRequest", caller(), Cause="16"),
    )
    assert feed(tracker, hangup(CALLER, CALLER))[-1].call["Disposition"] == "BUSY"


def test_linkedid_that_is_changed_by_no_event_of_its_own(tracker: Tracker) -> None:
    other = f"{NOON:.0f}.9"
    feed(tracker, event("Newchannel", caller()))
    feed(tracker, event("Newchannel", channel(other, other, "PJSIP/109-00000009", state="4")))
    moved = channel(other, CALLER, "PJSIP/109-00000009")
    (ended,) = feed(tracker, event("Newstate", moved))
    assert (ended.call["Linkedid"], ended.call["Reason"]) == (other, "merged")
    assert ended.call["MergedInto"] == CALLER
    stale = channel(other, other, "PJSIP/109-00000009")
    assert feed(tracker, event("Newstate", stale)) == []
    assert tracker.live()[0].uniqueids == [CALLER, other]


def test_join_without_a_transfer_is_announced_after_a_second(tracker: Tracker) -> None:
    """AMI's Bridge takes the answering side of another call: no event says who talks now."""
    feed(tracker, *answered_call())
    other, third = f"{NOON:.0f}.8", f"{NOON:.0f}.9"
    dialling = channel(other, other, "PJSIP/108-00000008", state="4")
    answering = channel(third, other, "PJSIP/109-00000009")
    dest = channel(third, other, "PJSIP/109-00000009", prefix="Dest")
    feed(
        tracker,
        event("Newchannel", dialling),
        event("Newchannel", answering),
        event("DialEnd", dialling, dest, DialStatus="ANSWER"),
    )
    left = [bridge_leave("b1", callee("6")), hangup(CALLEE, CALLER)]
    assert feed(tracker, *left, bridge_enter("b1", answering)) == []
    assert tracker.tick(NOON + 0.5) == []
    (answered,) = tracker.tick(NOON + 1.5)
    assert answered.type == "call.answered"
    assert answered.call["AnsweredBy"]["Number"] == "109"
    assert tracker.tick(NOON + 3) == []


def test_conference_merges_nothing(tracker: Tracker) -> None:
    first, second = caller("6"), channel(CALLEE, CALLEE, PHONE)
    feed(tracker, event("Newchannel", first), event("Newchannel", second))
    changes = feed(tracker, bridge_enter("c", first, "base"), bridge_enter("c", second, "base"))
    assert types(changes) == ["answered", "answered"]
    assert {call.linkedid for call in tracker.live()} == {CALLER, CALLEE}
    assert [call.answered_by for call in tracker.live()] == [None, None]


def test_recorder_is_noted_once(tracker: Tracker) -> None:
    feed(tracker, event("Newchannel", caller()), event("MixMonitorStart", caller()))
    assert [(one.linkedid, one.uniqueid) for one in tracker.new_recorders()] == [(CALLER, CALLER)]
    assert tracker.new_recorders() == []


def test_recorded_follows_the_end(tracker: Tracker) -> None:
    feed(tracker, *answered_call(), hangup(CALLEE, CALLER), hangup(CALLER, CALLER))
    (recorded,) = tracker.recorded(CALLER, {"Seconds": 3}, NOON + 5)
    assert (recorded.type, recorded.seq) == ("call.recorded", 5)
    assert recorded.call["Recording"] == {"Seconds": 3}
    assert recorded.call["State"] == "ended"
    assert tracker.recorded("1.1", {}, NOON) == []


def test_what_ended_is_forgotten_in_time(tracker: Tracker) -> None:
    feed(tracker, *answered_call(), hangup(CALLEE, CALLER), hangup(CALLER, CALLER))
    tracker.tick(NOON + 500)
    assert tracker.dump(CALLER) is not None
    tracker.tick(NOON + 700)
    assert tracker.dump(CALLER) is None

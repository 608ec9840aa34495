"""The tracker on single events, where the recordings do not go."""

from __future__ import annotations

import re

import pytest

from evolvex_api.core import uniqueid
from evolvex_api.events.call import Call, Change, Event
from evolvex_api.events.channels import leg_number
from evolvex_api.events.directions import Directions
from evolvex_api.events.tracker import Tracker
from tests.unit.amievent import bridge_enter, bridge_leave, channel, event, hangup, status

_NOON = 1_795_600_000.0
_CALLER, _CALLEE = f"{_NOON:.0f}.1", f"{_NOON:.0f}.2"
_PHONE = "PJSIP/102-00000002"


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(Directions(("from-trunk*", "from-pstn"), re.compile(r"\d{3}")))


def feed(tracker: Tracker, *events: Event, at: float = _NOON) -> list[Change]:
    """Feed events of one moment and return what they changed."""
    return [change for one in events for change in tracker.feed(one, at)]


def types(changes: list[Change]) -> list[str]:
    return [change.type.removeprefix("call.") for change in changes]


def caller(state: str = "4", **more: str) -> Event:
    """The headers of the calling channel."""
    return channel(_CALLER, _CALLER, state=state, **more)


def callee(state: str = "5", prefix: str = "", **more: str) -> Event:
    """The headers of the dialled channel."""
    values = {"name": _PHONE, "number": "102", "context": "internal", "exten": "s", **more}
    return channel(_CALLEE, _CALLER, state=state, prefix=prefix, **values)


def answered_call() -> list[Event]:
    """The events of a call that 102 has answered."""
    return [
        event("Newchannel", caller()),
        event("Newchannel", callee("0")),
        event("Newstate", callee("5")),
        event("DialEnd", caller(), callee("6", "Dest"), DialStatus="ANSWER"),
        bridge_enter("b1", callee("6")),
        bridge_enter("b1", caller("6")),
    ]


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
        tracker.feed(one, _NOON + late)
    (call,) = tracker.live()
    assert (call.as_json(_NOON + 10.9)["Duration"], call.as_json(_NOON + 9)["Duration"]) == (10, 9)
    assert call.as_json(_NOON + 10.9)["BillableSeconds"] == 7


@pytest.mark.parametrize("step", [-86400.0, -1.0, 0.0, 86400.0])
def test_clock_may_be_stepped(tracker: Tracker, step: float) -> None:
    feed(tracker, *answered_call())
    events = [hangup(_CALLEE, _CALLER), hangup(_CALLER, _CALLER)]
    end = feed(tracker, *events, at=_NOON + step)[-1].call
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
    return channel(_CALLER, _CALLER, state=state, **values)


def _refused_originate(tracker: Tracker) -> list[Change]:
    dialled = _originated("0", prefix="Dest")
    return feed(
        tracker,
        event("Newchannel", _originated("0")),
        event("DialBegin", dialled, DialString="101"),
        event("DialEnd", dialled, DialStatus="BUSY"),
        hangup(_CALLER, _CALLER, "17", state="0"),
    )


def test_refused_originate_ends_when_its_context_is_known(tracker: Tracker) -> None:
    assert types(_refused_originate(tracker)) == ["started"]
    response = event(
        "OriginateResponse",
        (("ActionID", "1"), ("Response", "Failure"), ("Channel", "PJSIP/101")),
        (("Context", "sales"), ("Exten", "79161234567"), ("Reason", "0"), ("Uniqueid", _CALLER)),
        (("CallerIDNum", "<unknown>"), ("CallerIDName", "<unknown>")),
    )
    (ended,) = feed(tracker, response, at=_NOON + 0.5)
    assert ended.contexts == {"sales"}
    values = ("Context", "Exten", "Direction", "Disposition", "Cause", "Duration")
    assert [ended.call[value] for value in values] == [
        *("sales", "79161234567", "out", "BUSY", "17", 0)
    ]


def test_originate_without_a_response_ends_after_a_second(tracker: Tracker) -> None:
    _refused_originate(tracker)
    assert tracker.tick(_NOON + 0.9) == []
    (ended,) = tracker.tick(_NOON + 1.1)
    assert (ended.type, ended.contexts) == ("call.ended", frozenset())
    assert tracker.tick(_NOON + 2) == []


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
        channel(_CALLER, _CALLER, state="0", prefix="LocalOne", **one),
        channel(f"{_CALLER};2", _CALLER, state="4", prefix="LocalTwo", **two),
        Context="sales",
        Exten="101",
        LocalOptimization="Yes",
    )
    feed(tracker, event("Newchannel", channel(_CALLER, _CALLER, state="0", **one)), bridge)
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
    changes = feed(tracker, state, begin, event("Newstate", callee("5")))
    assert types(changes) == ["started", "ringing"]


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
        leg = channel(f"{_NOON:.0f}.1{number}", _CALLER, _PHONE, prefix="Dest")
        feed(tracker, event("DialBegin", caller(), leg, DialString="102"))
        feed(tracker, event("DialEnd", caller(), leg, DialStatus=dial_status))
        feed(tracker, hangup(f"{_NOON:.0f}.1{number}", _CALLER))
    assert feed(tracker, hangup(_CALLER, _CALLER))[-1].call["Disposition"] == disposition


def test_who_hangs_up_on_the_busy_tone_has_not_cancelled(tracker: Tracker) -> None:
    leg = callee("0", "Dest")
    feed(
        tracker,
        event("Newchannel", caller()),
        event("DialBegin", caller(), leg, DialString="102"),
        event("DialEnd", caller(), leg, DialStatus="BUSY"),
        hangup(_CALLEE, _CALLER, "17"),
        event("HangupRequest", caller(), Cause="16"),
    )
    assert feed(tracker, hangup(_CALLER, _CALLER))[-1].call["Disposition"] == "BUSY"


def test_linkedid_that_is_changed_by_no_event_of_its_own(tracker: Tracker) -> None:
    other = f"{_NOON:.0f}.9"
    feed(tracker, event("Newchannel", caller()))
    feed(tracker, event("Newchannel", channel(other, other, "PJSIP/109-00000009", state="4")))
    moved = channel(other, _CALLER, "PJSIP/109-00000009")
    (ended,) = feed(tracker, event("Newstate", moved))
    assert (ended.call["Linkedid"], ended.call["Reason"]) == (other, "merged")
    assert ended.call["MergedInto"] == _CALLER
    stale = channel(other, other, "PJSIP/109-00000009")
    assert feed(tracker, event("Newstate", stale)) == []
    assert tracker.live()[0].uniqueids == [_CALLER, other]


def test_join_without_a_transfer_is_announced_after_a_second(tracker: Tracker) -> None:
    """AMI's Bridge takes the answering side of another call: no event says who talks now."""
    feed(tracker, *answered_call())
    other, third = f"{_NOON:.0f}.8", f"{_NOON:.0f}.9"
    dialling = channel(other, other, "PJSIP/108-00000008", state="4")
    answering = channel(third, other, "PJSIP/109-00000009")
    dest = channel(third, other, "PJSIP/109-00000009", prefix="Dest")
    feed(
        tracker,
        event("Newchannel", dialling),
        event("DialEnd", dialling, dest, DialStatus="ANSWER"),
    )
    left = [bridge_leave("b1", callee("6")), hangup(_CALLEE, _CALLER)]
    assert feed(tracker, *left, bridge_enter("b1", answering)) == []
    assert tracker.tick(_NOON + 0.5) == []
    (answered,) = tracker.tick(_NOON + 1.5)
    assert answered.type == "call.answered"
    assert answered.call["AnsweredBy"]["Number"] == "109"
    assert tracker.tick(_NOON + 3) == []


def test_conference_merges_nothing(tracker: Tracker) -> None:
    first, second = caller("6"), channel(_CALLEE, _CALLEE, _PHONE)
    changes = feed(tracker, bridge_enter("c", first, "base"), bridge_enter("c", second, "base"))
    assert types(changes) == ["started", "started", "answered", "answered"]
    assert {call.linkedid for call in tracker.live()} == {_CALLER, _CALLEE}
    assert [call.answered_by for call in tracker.live()] == [None, None]


def test_recorder_is_noted_once(tracker: Tracker) -> None:
    feed(tracker, event("MixMonitorStart", caller()))
    assert [(one.linkedid, one.uniqueid) for one in tracker.new_recorders()] == [(_CALLER, _CALLER)]
    assert tracker.new_recorders() == []


def test_recorded_follows_the_end(tracker: Tracker) -> None:
    feed(tracker, *answered_call(), hangup(_CALLEE, _CALLER), hangup(_CALLER, _CALLER))
    (recorded,) = tracker.recorded(_CALLER, {"Seconds": 3}, _NOON + 5)
    assert (recorded.type, recorded.seq) == ("call.recorded", 5)
    assert recorded.call["Recording"] == {"Seconds": 3}
    assert recorded.call["State"] == "ended"
    assert tracker.recorded("1.1", {}, _NOON) == []


def test_what_ended_is_forgotten_in_time(tracker: Tracker) -> None:
    feed(tracker, *answered_call(), hangup(_CALLEE, _CALLER), hangup(_CALLER, _CALLER))
    tracker.tick(_NOON + 500)
    assert tracker.dump(_CALLER) is not None
    tracker.tick(_NOON + 700)
    assert tracker.dump(_CALLER) is None


def _only(tracker: Tracker) -> Call:
    (call,) = tracker.live()
    return call


def test_status_finds_a_talking_call(tracker: Tracker) -> None:
    channels = [status(caller("6"), "b"), status(callee("6"), "b", "AppDial")]
    changes = tracker.rebuild(channels, _NOON + 60)
    assert types(changes) == ["started", "answered"]
    call = _only(tracker)
    assert (call.start, call.answer) == (_NOON, _NOON + 60)
    assert call.answered_by and call.answered_by.number == "102"
    assert tracker.rebuild(channels, _NOON + 61) == []


def test_status_finds_ringing_and_queueing(tracker: Tracker) -> None:
    queueing = status(caller("6"), application="Queue", data="support,tT")
    changes = tracker.rebuild([queueing, status(callee("5"))], _NOON)
    assert types(changes) == ["started", "queued", "ringing"]
    assert (_only(tracker).queue, _only(tracker).state) == ("support", "queued")


def test_status_ends_what_is_not_there(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    (ended,) = tracker.rebuild([], _NOON + 9)
    assert (ended.call["Reason"], ended.call["Disposition"]) == ("lost", "ANSWERED")
    assert feed(tracker, event("Newstate", caller("6")), hangup(_CALLER, _CALLER)) == []


def test_status_ends_ringing_of_a_leg_that_is_gone(tracker: Tracker) -> None:
    feed(tracker, event("Newchannel", caller()), event("Newstate", callee("5")))
    assert types(tracker.rebuild([status(caller())], _NOON)) == ["ring_ended"]


def test_status_that_cannot_be_believed_ends_nothing(tracker: Tracker) -> None:
    feed(tracker, *answered_call())
    forged = (*status(caller("6")), ("x", ""))
    assert types(tracker.rebuild([forged], _NOON)) == []
    assert _only(tracker).linkedid == _CALLER

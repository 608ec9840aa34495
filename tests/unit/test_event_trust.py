"""Only events that have exactly Asterisk's headers, in their order, are believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvex_api.events.call import Event
from evolvex_api.events.handlers import HANDLERS
from evolvex_api.events.trust import Trust
from tests.lab import eventfile
from tests.unit.amievent import bridge_enter, channel, event, hangup, status


def _recorded() -> list[Event]:
    """Return an event of each shape that the recordings have."""
    shapes: dict[tuple[str, ...], Event] = {}
    for path in (Path(__file__).parent / "events").glob("*.txt"):
        for one, _ in eventfile.read(path):
            if one[0][1] in HANDLERS:
                shapes[one[0][1], *(name for name, _ in one)] = one
    return [shapes[shape] for shape in sorted(shapes)]


_RECORDED = _recorded()


def test_recordings_have_every_event_that_is_handled() -> None:
    assert {one[0][1] for one in _RECORDED} == HANDLERS.keys()


@pytest.mark.parametrize("one", _RECORDED, ids=lambda one: f"{one[0][1]}-{len(one)}")
def test_recorded_event_is_believed(one: Event) -> None:
    assert Trust().read(one) == dict(one)


@given(st.sampled_from(_RECORDED), st.data())
@settings(max_examples=300)
def test_event_with_a_header_too_many_is_not_believed(one: Event, data: st.DataObject) -> None:
    """A repeated header, a foreign one or a line that is none, anywhere behind the event's name."""
    names = [name for name, _ in one]
    extra = data.draw(st.sampled_from([*names, "", "x", "Foo Bar", "Privilege ", "uniqueid"]))
    place = data.draw(st.integers(1, len(one)))
    assert Trust().read((*one[:place], (extra, "1795600000.1"), *one[place:])) is None


@given(st.sampled_from(_RECORDED), st.data())
@settings(max_examples=200)
def test_event_in_another_order_is_not_believed(one: Event, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(one) - 2))
    swapped = (*one[:first], one[first + 1], one[first], *one[first + 2 :])
    assert Trust().read(swapped) is None


@pytest.mark.parametrize(
    "preamble",
    [
        [("Timestamp", "1795600000.000001")],
        [("SystemName", "pbx1")],
        [("SequenceNumber", "7"), ("File", "x.c"), ("Line", "1"), ("Func", "f")],
    ],
)
def test_headers_of_settings_in_manager_conf_are_believed(preamble: list[tuple[str, str]]) -> None:
    one = hangup("1.1", "1.1")
    assert Trust().read((*one[:2], *preamble, *one[2:])) is not None


def test_channelvars_are_believed_behind_their_channel() -> None:
    variables: Event = (("ChanVariable", "a=1"), ("ChanVariable", "b=2"))
    begin = event(
        "DialBegin",
        channel("1.1", "1.1"),
        variables,
        channel("1.2", "1.1", prefix="Dest"),
        (("DestChanVariable", "a=1"),),
        DialString="102",
    )
    assert Trust().read(begin) is not None
    assert Trust().read(event("Newstate", variables, channel("1.1", "1.1"))) is None


@pytest.mark.parametrize("one", [(), (("Response", "Success"),), (("Event", "FullyBooted"),)])
def test_what_is_no_event_of_a_call_is_not_read(one: Event) -> None:
    assert Trust().read(one) is None


def test_events_of_the_test_itself_are_believed() -> None:
    part = channel("1.1", "1.1")
    for one in (hangup("1.1", "1.1"), bridge_enter("b", part), status(part)):
        assert Trust().read(one) is not None

"""Whatever happens to the events around a reconnect, a call has one end and no negative time."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evolvex_api.events.call import Change, Event
from evolvex_api.events.tracker import Tracker
from tests.lab import eventfile
from tests.livecalls import DIRECTIONS
from tests.unit.statusmodel import StatusModel

_NOON = 1_795_600_000.0
_NAMES = sorted(path.name for path in (Path(__file__).parent / "events").glob("*.txt"))


@cache
def _recording(name: str) -> list[tuple[Event, float]]:
    return eventfile.read(Path(__file__).parent / "events" / name)


@st.composite
def _gaps(draw: st.DrawFn) -> tuple[list[tuple[Event, float]], int, int, list[int]]:
    """A recording, where in it the connection broke and came back, and an order of what follows.

    The order has repetitions and holes: Status and events overtake each other.
    """
    events = _recording(draw(st.sampled_from(_NAMES)))
    broke = draw(st.integers(0, len(events)))
    back = draw(st.integers(broke, len(events)))
    around = range(max(0, back - 8), min(len(events), back + 8))
    order = draw(st.lists(st.sampled_from(around), max_size=24)) if around else []
    return events, broke, back, order


@given(_gaps(), st.floats(-5000, 5000))
@settings(max_examples=250, deadline=None)
def test_gap_gives_each_call_one_end(
    gap: tuple[list[tuple[Event, float]], int, int, list[int]], step: float
) -> None:
    """Events are lost, the clock is stepped, Status comes, old and new events are mixed up."""
    events, broke, back, order = gap
    tracker, pbx, changes = Tracker(DIRECTIONS), StatusModel(), list[Change]()
    for event, at in events[:broke]:
        pbx.note(event)
        changes += tracker.feed(event, _NOON + at)
    for event, _ in events[broke:back]:
        pbx.note(event)
    changes += tracker.rebuild(pbx.status(), _NOON + step)
    assert {call.linkedid for call in tracker.live()} <= pbx.linkedids()
    for index in order:
        changes += tracker.feed(events[index][0], _NOON + step)
    for event, at in events[back:]:
        changes += tracker.feed(event, _NOON + step + at)
    changes += tracker.rebuild([], _NOON + step)
    changes += tracker.tick(_NOON + step + 5)
    assert tracker.live() == []
    _assert_sound(changes)


@given(st.lists(st.tuples(st.sampled_from(_NAMES), st.integers(0, 99)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_events_in_any_order_give_no_second_end(picks: list[tuple[str, int]]) -> None:
    """Not even events of several recordings, thrown together, bring a call back."""
    tracker, changes = Tracker(DIRECTIONS), list[Change]()
    for second, (name, index) in enumerate(picks):
        events = _recording(name)
        changes += tracker.feed(events[index % len(events)][0], _NOON + second)
    changes += tracker.rebuild([], _NOON)
    changes += tracker.tick(_NOON + 70)
    assert tracker.live() == []
    _assert_sound(changes)


def _assert_sound(changes: list[Change]) -> None:
    ends = Counter(c.call["Linkedid"] for c in changes if c.type == "call.ended")
    starts = Counter(c.call["Linkedid"] for c in changes if c.type == "call.started")
    assert ends == starts
    assert set(ends.values()) <= {1}
    seqs: dict[str, int] = {}
    for change in changes:
        call = change.call
        seqs[call["Linkedid"]] = seqs.get(call["Linkedid"], 0) + 1
        assert change.seq == seqs[call["Linkedid"]]
        assert call["Duration"] >= 0
        assert call["BillableSeconds"] >= 0
        assert call["EndTime"] is None or call["EndTime"] >= call["StartTime"]
        assert (call["State"] == "ended") == (change.type == "call.ended")
